//! The bytes of every kind of command, pinned: a log outlives a release.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;

use super::*;
use crate::command::{Commit, CommitMeta, Maintenance, ObjectChange, RowEnds, TableWrite};
use crate::ids::{ColumnId, Oid, SegmentId};
use crate::manifest::{ObjectMeta, RowEndsMeta, SegmentMeta};
use crate::schema::{Column, Constraint, ConstraintKind, Object, Relation, SqlType, TableDef};
use crate::time::CommitTs;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/format/commands.golden");

fn object(path: &str) -> ObjectMeta {
    ObjectMeta { path: path.to_owned(), size: 70_000, block_bytes: 65_536, checksums: vec![1, 2] }
}

fn segment(id: u64) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId(id),
        schema_version: 1,
        rows: 10,
        file: object("segments/1"),
        key_files: BTreeMap::from([(16_385, object("keys/1"))]),
        from_min: CommitTs(1_790_000_000_000_000),
        from_max: CommitTs(1_790_000_000_000_001),
        commit_number: Some(3),
        ended_max: None,
        ended_min: None,
        sorted: false,
    }
}

fn row_ends() -> RowEndsMeta {
    RowEndsMeta {
        file: object("ends/1"),
        from: CommitTs(1),
        to: CommitTs(2),
        count: 2,
        segments: BTreeMap::from([(SegmentId(1), 2)]),
    }
}

fn ends() -> RowEnds {
    RowEnds { segment: SegmentId(1), positions: [1, 2, 1000].into_iter().collect() }
}

fn table() -> Object {
    let column = Column {
        id: ColumnId(1),
        name: "id".to_owned(),
        ty: SqlType::Numeric(Some((10, 2))),
        not_null: true,
        default: Some("0".to_owned()),
        generated: None,
        identity_always: None,
        missing: None,
    };
    let key = Constraint::new(Oid(16_385), "t_pkey", ConstraintKind::PrimaryKey(vec![ColumnId(1)]));
    let def = TableDef {
        schema_version: 1,
        columns: vec![column],
        constraints: vec![key],
        options: BTreeMap::from([("ttl".to_owned(), "1 day".to_owned())]),
        next_column: 2,
        periods: Vec::new(),
    };
    Object {
        name: "t".to_owned(),
        namespace: Some(Oid::PUBLIC),
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: BTreeMap::new(),
        row_security: crate::schema::RowSecurity::default(),
        relation: Relation::Table(std::sync::Arc::new(def)),
    }
}

fn commands() -> Vec<(&'static str, Command)> {
    let table_oid = Oid(16_384);
    let commit = Commit {
        ts: CommitTs(1_790_000_000_000_000),
        meta: CommitMeta {
            user: "chronos".to_owned(),
            application_name: "psql".to_owned(),
            actor: Some("alice".to_owned()),
            reason: None,
            function_id: None,
        },
        changes: vec![
            ObjectChange { oid: table_oid, object: Some(table()) },
            ObjectChange { oid: Oid(16_399), object: None },
        ],
        writes: vec![TableWrite {
            table: table_oid,
            schema_version: 1,
            rows: Bytes::from_static(b"arrow"),
            row_count: 5,
            updated: 0,
            segments: vec![segment(7)],
            ends: vec![ends()],
        }],
    };
    let maintain = Command::Maintain;
    vec![
        ("commit", Command::Commit(commit)),
        ("sequences", Command::AdvanceSequences(BTreeMap::from([(Oid(16_386), -3)]))),
        ("seal", maintain(Maintenance::Seal { table: table_oid })),
        (
            "flush",
            maintain(Maintenance::Flush {
                table: table_oid,
                segments: vec![segment(1)],
                row_ends: Some(row_ends()),
            }),
        ),
        (
            "compact",
            maintain(Maintenance::Compact {
                table: table_oid,
                removed: vec![SegmentId(1), SegmentId(2)],
                added: vec![segment(8)],
                carried: vec![(CommitTs(9), ends())],
                row_ends_removed: vec!["ends/0".to_owned()],
                row_ends_added: Some(row_ends()),
            }),
        ),
        ("horizon", maintain(Maintenance::Horizon { table: table_oid, horizon: CommitTs(12) })),
    ]
}

/// Set `CHRONOS_BLESS` to rewrite the file; a line that changes breaks every log there is.
#[test]
fn bytes_of_every_command_are_what_they_were() {
    let mut found = String::new();
    for (name, command) in commands() {
        let bytes = encode_command(&command).unwrap();
        assert_eq!(decode_command(&bytes).unwrap(), command, "{name}");
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(found, "{name} {hex}");
    }
    if std::env::var_os("CHRONOS_BLESS").is_some() {
        std::fs::write(GOLDEN, &found).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (found, golden) in found.lines().zip(golden.lines()) {
        assert_eq!(found, golden);
    }
    assert_eq!(found.lines().count(), golden.lines().count());
}

/// What a commit was when the log began: everything else is defaulted.
#[test]
fn commit_without_later_fields_is_read() {
    #[derive(serde::Serialize)]
    struct Meta {
        user: &'static str,
    }
    #[derive(serde::Serialize)]
    struct Early {
        ts: i64,
        meta: Meta,
        unheard_of: Option<u8>,
    }
    let early = Early { ts: 5, meta: Meta { user: "u" }, unheard_of: Some(1) };
    let bytes = rmp_serde::to_vec_named(&BTreeMap::from([("Commit", early)])).unwrap();
    let Command::Commit(commit) = decode_command(&bytes).unwrap() else { panic!("no commit") };
    assert_eq!((commit.ts, commit.meta.user.as_str()), (CommitTs(5), "u"));
    assert!(commit.changes.is_empty() && commit.writes.is_empty());
}

#[test]
fn bytes_cut_anywhere_are_refused() {
    let (_, command) = commands().swap_remove(0);
    let bytes = encode_command(&command).unwrap();
    for length in 0..bytes.len() {
        assert!(decode_command(&bytes[..length]).is_err(), "cut at {length}");
    }
}
