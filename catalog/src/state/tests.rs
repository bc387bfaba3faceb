use super::*;
use crate::command::{RowEnds, TableWrite};
use crate::ids::ColumnId;
use crate::manifest::{ObjectMeta, SegmentMeta};
use crate::schema::{Column, SqlType};

const TABLE: Oid = Oid(16_384);

fn table(name: &str, schema_version: u32) -> Object {
    let column = Column {
        id: ColumnId(1),
        name: "id".to_owned(),
        ty: SqlType::Int4,
        not_null: true,
        default: None,
        generated: None,
        identity_always: None,
        missing: None,
    };
    let def = TableDef {
        schema_version,
        columns: vec![column],
        constraints: Vec::new(),
        options: BTreeMap::new(),
        next_column: 2,
        periods: Vec::new(),
    };
    Object {
        name: name.to_owned(),
        namespace: Some(Oid::PUBLIC),
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: std::collections::BTreeMap::new(),
        row_security: crate::schema::RowSecurity::default(),
        relation: Relation::Table(Arc::new(def)),
    }
}

fn change(ts: i64, oid: Oid, object: Option<Object>) -> Command {
    let changes = vec![ObjectChange { oid, object }];
    Command::Commit(Commit { ts: CommitTs(ts), changes, ..Commit::default() })
}

fn write(row_count: u32) -> TableWrite {
    TableWrite {
        table: TABLE,
        schema_version: 1,
        rows: bytes::Bytes::new(),
        row_count,
        updated: 0,
        segments: Vec::new(),
        ends: Vec::new(),
    }
}

fn commit(ts: i64, write: TableWrite) -> Command {
    Command::Commit(Commit { ts: CommitTs(ts), writes: vec![write], ..Commit::default() })
}

fn segment(id: u64) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId(id),
        schema_version: 1,
        rows: 4,
        file: ObjectMeta {
            path: format!("s-{id}"),
            size: 0,
            block_bytes: 1,
            checksums: Vec::new(),
        },
        key_files: BTreeMap::new(),
        from_min: CommitTs::ZERO,
        from_max: CommitTs::ZERO,
        commit_number: None,
        ended_max: None,
        ended_min: None,
        sorted: false,
    }
}

fn with_table() -> State {
    let mut state = State::default();
    // Without the log of commits, whose segments are numbered along.
    state.manifests.remove(&Oid::COMMITS);
    state.apply(&change(10, TABLE, Some(table("t", 1)))).unwrap();
    state
}

#[test]
fn commit_leaves_a_row_in_the_log_for_each_table_or_one_without() {
    let mut state = State::default();
    let made = state.apply(&change(10, TABLE, Some(table("t", 1)))).unwrap().logged.unwrap();
    assert_eq!((made.0.commit_number, made.1.len()), (0, 1));
    assert_eq!((made.1[0].table, made.1[0].definitions), (None, 1));
    let ends = vec![RowEnds { segment: SegmentId(1), positions: [0, 1].into_iter().collect() }];
    let both = TableWrite { updated: 1, ends, ..write(3) };
    let (placement, rows) = state.apply(&commit(11, both)).unwrap().logged.unwrap();
    assert_eq!((placement.commit_number, placement.first_position), (1, 1));
    let counts = (rows[0].inserted, rows[0].updated, rows[0].deleted);
    assert_eq!((rows[0].table, counts), (Some(TABLE), (2, 1, 1)));
    assert_eq!(rows[0].table_name, Some(("public".to_owned(), "t".to_owned())));
}

fn placed(state: &mut State, command: &Command) -> (SegmentId, u32, i64) {
    let placement = state.apply(command).unwrap().placements.remove(0);
    (placement.segment, placement.first_position, placement.commit_number)
}

fn lookup(state: &State, name: &str, at: i64) -> Option<Oid> {
    let found = state.objects.lookup(NameKind::Relation, Some(Oid::PUBLIC), name, CommitTs(at));
    found.map(|(oid, _)| oid)
}

#[test]
fn rows_are_placed_one_after_the_other_in_the_open_segment() {
    let mut state = with_table();
    let first = placed(&mut state, &commit(11, write(3)));
    let second = placed(&mut state, &commit(12, write(2)));
    assert_eq!(first, (SegmentId(1), 0, 0));
    assert_eq!(second, (SegmentId(1), 3, 1));
    assert_eq!(state.manifests[&TABLE].open, Some((SegmentId(1), 5)));
    assert_eq!(state.manifests[&TABLE].rows_written, 5);
}

#[test]
fn sealed_segment_takes_no_more_rows() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(3)));
    state.apply(&Command::Maintain(Maintenance::Seal { table: TABLE })).unwrap();
    assert_eq!(state.manifests[&TABLE].sealed, BTreeMap::from([(SegmentId(1), 3)]));
    assert_eq!(placed(&mut state, &commit(12, write(1))).0, SegmentId(2));
}

#[test]
fn new_shape_seals_the_open_segment_and_a_comment_does_not() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(3)));
    let mut commented = table("t", 1);
    commented.comments.insert(0, "a table".to_owned());
    state.apply(&change(12, TABLE, Some(commented))).unwrap();
    assert_eq!(placed(&mut state, &commit(13, write(1))), (SegmentId(1), 3, 1));
    state.apply(&change(14, TABLE, Some(table("t", 2)))).unwrap();
    assert_eq!(placed(&mut state, &commit(15, write(1))), (SegmentId(2), 0, 2));
    assert!(state.objects.table_shape(TABLE, 1).is_some());
    assert!(state.objects.table_shape(TABLE, 3).is_none());
}

#[test]
fn full_segment_is_sealed_before_positions_run_out() {
    let mut state = with_table();
    state.manifests.get_mut(&TABLE).unwrap().open = Some((SegmentId(1), u32::MAX - 1));
    state.next_segment = 2;
    assert_eq!(placed(&mut state, &commit(11, write(2))), (SegmentId(2), 0, 0));
    assert_eq!(state.manifests[&TABLE].sealed, BTreeMap::from([(SegmentId(1), u32::MAX - 1)]));
}

#[test]
fn flush_moves_a_sealed_segment_and_changes_no_identifier() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(4)));
    state.apply(&Command::Maintain(Maintenance::Seal { table: TABLE })).unwrap();
    let flush = Maintenance::Flush { table: TABLE, segments: vec![segment(1)], row_ends: None };
    state.apply(&Command::Maintain(flush)).unwrap();
    let manifest = &state.manifests[&TABLE];
    assert!(manifest.sealed.is_empty());
    assert_eq!(manifest.segments.keys().copied().collect::<Vec<_>>(), [SegmentId(1)]);
}

#[test]
fn segments_of_a_large_transaction_get_its_instant_and_number() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(1)));
    let id = SegmentId::FIRST_UNPLACED;
    let large = TableWrite { segments: vec![segment(id.0)], ..write(0) };
    placed(&mut state, &commit(12, large));
    let meta = &state.manifests[&TABLE].segments[&id];
    assert_eq!((meta.from_min, meta.from_max), (CommitTs(12), CommitTs(12)));
    assert_eq!(meta.commit_number, Some(1));
    assert_eq!(state.next_segment, 2, "hot segments go on counting where they were");
}

#[test]
fn ends_are_counted() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(3)));
    let positions = [0, 2].into_iter().collect();
    let ends = vec![RowEnds { segment: SegmentId(1), positions }];
    placed(&mut state, &commit(12, TableWrite { ends, ..write(0) }));
    assert_eq!(state.manifests[&TABLE].rows_ended, 2);
}

#[test]
fn definition_is_that_of_the_instant() {
    let mut state = with_table();
    state.apply(&change(20, TABLE, Some(table("renamed", 1)))).unwrap();
    state.apply(&change(30, TABLE, None)).unwrap();
    assert_eq!(lookup(&state, "t", 9), None);
    assert_eq!(lookup(&state, "t", 10), Some(TABLE));
    assert_eq!(lookup(&state, "t", 19), Some(TABLE));
    assert_eq!(lookup(&state, "t", 20), None);
    assert_eq!(lookup(&state, "renamed", 20), Some(TABLE));
    assert_eq!(lookup(&state, "renamed", 29), Some(TABLE));
    assert_eq!(lookup(&state, "renamed", 30), None);
    assert_eq!(state.objects.history(TABLE).len(), 2);
}

#[test]
fn dropped_name_may_be_used_again_and_history_tells_them_apart() {
    let mut state = with_table();
    state.apply(&change(20, TABLE, None)).unwrap();
    let second = Oid(state.next_oid);
    state.apply(&change(30, second, Some(table("t", 1)))).unwrap();
    assert_eq!(lookup(&state, "t", 15), Some(TABLE));
    assert_eq!(lookup(&state, "t", 25), None);
    assert_eq!(lookup(&state, "t", 35), Some(second));
    assert!(state.next_oid > second.0);
}

#[test]
fn dropped_and_made_in_one_commit_is_the_new_one() {
    let mut state = with_table();
    let second = Oid(state.next_oid);
    let changes = vec![
        ObjectChange { oid: TABLE, object: None },
        ObjectChange { oid: second, object: Some(table("t", 1)) },
    ];
    let commit = Commit { ts: CommitTs(20), changes, ..Commit::default() };
    state.apply(&Command::Commit(commit)).unwrap();
    assert_eq!(lookup(&state, "t", 19), Some(TABLE));
    assert_eq!(lookup(&state, "t", 20), Some(second));
}

#[test]
fn commit_that_does_not_follow_the_last_is_refused() {
    let mut state = with_table();
    for ts in [9, 10] {
        assert!(matches!(state.apply(&commit(ts, write(1))), Err(Error::Corrupt { .. })));
    }
    let unknown = TableWrite { table: Oid(99), ..write(1) };
    assert!(matches!(state.apply(&commit(11, unknown)), Err(Error::NoSuchObject(Oid(99)))));
}

#[test]
fn state_survives_its_bytes_and_goes_on_alike() {
    let mut state = with_table();
    placed(&mut state, &commit(11, write(3)));
    state.apply(&Command::AdvanceSequences(BTreeMap::from([(Oid(7), 32)]))).unwrap();
    let bytes = rmp_serde::to_vec_named(&state).unwrap();
    let mut back: State = rmp_serde::from_slice(&bytes).unwrap();
    let next = commit(12, write(2));
    assert_eq!(state.apply(&next).unwrap(), back.apply(&next).unwrap());
    assert_eq!(rmp_serde::to_vec_named(&state).unwrap(), rmp_serde::to_vec_named(&back).unwrap());
    assert_eq!(lookup(&back, "t", 12), Some(TABLE));
}
