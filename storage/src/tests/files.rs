//! What segment files keep, and what happens when they break.

use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, SqlType, SystemTime};
use datafusion::arrow::array::{
    ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    RecordBatch, StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNano};
use datafusion::prelude::SessionContext;

use crate::Overlay;
use crate::rows::memory_of;
use crate::tests::world::{World, column, directory, table_def};

fn every_type() -> Vec<(SqlType, ArrayRef)> {
    let texts = |a: &str, b: &str| -> ArrayRef {
        Arc::new(StringViewArray::from(vec![Some(a), None, Some(b)]))
    };
    let interval = IntervalMonthDayNano::new(-14, 3, 5_000_000_001);
    let list = |item: &SqlType, values: ArrayRef| -> ArrayRef {
        let DataType::List(field) = SqlType::Array(Box::new(item.clone())).arrow() else {
            unreachable!("an array is a list")
        };
        let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
        let nulls = Some(vec![true, false, true].into());
        Arc::new(ListArray::new(field, offsets, values, nulls))
    };
    let intervals = || -> ArrayRef {
        Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(interval),
            None,
            Some(IntervalMonthDayNano::new(0, 0, -1)),
        ]))
    };
    let decimals = |p, s| -> ArrayRef {
        let values = Decimal128Array::from(vec![Some(12345), None, Some(-7)]);
        Arc::new(values.with_precision_and_scale(p, s).unwrap())
    };
    vec![
        (SqlType::Int8, Arc::new(Int64Array::from(vec![1, 2, 3]))),
        (SqlType::Bool, Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        (SqlType::Int2, Arc::new(Int16Array::from(vec![Some(-1), None, Some(i16::MAX)]))),
        (SqlType::Int4, Arc::new(Int32Array::from(vec![Some(-1), None, Some(i32::MIN)]))),
        (SqlType::Float4, Arc::new(Float32Array::from(vec![Some(0.5), None, Some(f32::NAN)]))),
        (SqlType::Float8, Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(1e300)]))),
        (SqlType::Numeric(None), decimals(38, 16)),
        (SqlType::Numeric(Some((10, 2))), decimals(10, 2)),
        (SqlType::Text, texts("", "long enough not to be kept within the view")),
        (SqlType::Varchar(Some(20)), texts("v", "w")),
        (SqlType::Char(3), texts("a  ", "b  ")),
        (SqlType::Uuid, texts("00000000-0000-0000-0000-000000000001", "x")),
        (SqlType::Json, texts("{ }", "[1]")),
        (SqlType::Jsonb, texts("{\"a\": 1}", "[1, 2]")),
        (
            SqlType::Bytea,
            Arc::new(BinaryViewArray::from(vec![Some(&b"\0\xff"[..]), None, Some(&b""[..])])),
        ),
        (SqlType::Date, Arc::new(Date32Array::from(vec![Some(-1), None, Some(20000)]))),
        (SqlType::Time, Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(1)]))),
        (
            SqlType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
        (
            SqlType::Timestamptz,
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)]).with_timezone("UTC"),
            ),
        ),
        (SqlType::Interval, intervals()),
        (SqlType::Oid, Arc::new(UInt32Array::from(vec![Some(1), None, Some(u32::MAX)]))),
        (
            SqlType::Array(Box::new(SqlType::Int4)),
            list(&SqlType::Int4, Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))),
        ),
        (SqlType::Array(Box::new(SqlType::Jsonb)), list(&SqlType::Jsonb, texts("1", "2"))),
        (SqlType::Array(Box::new(SqlType::Interval)), list(&SqlType::Interval, intervals())),
    ]
}

async fn all_rows(world: &World) -> RecordBatch {
    let now = CommitTs(world.now);
    let names: Vec<String> = world.def.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
    let sql = format!("SELECT {} FROM t", names.join(", "));
    let batches = world.query(SystemTime::AsOf(now), now, &Overlay::default(), &sql).await;
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[tokio::test]
async fn every_type_survives_flush_and_bulk_and_restart() {
    let types = every_type();
    let columns = types.iter().enumerate();
    let columns =
        columns.map(|(i, (ty, _))| column(i as u32 + 1, &format!("c.{i}"), ty.clone())).collect();
    let arrays: Vec<ArrayRef> = types.into_iter().map(|t| t.1).collect();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let mut world = World::new(&url, table_def(1, columns)).await;
    world.commit(arrays.clone(), vec![0; 3], Vec::new(), &[]);
    let hot = all_rows(&world).await;
    assert_eq!(hot.columns(), arrays.as_slice());
    world.restart().await;
    assert_eq!(all_rows(&world).await, hot);
    world.flush(true).await;
    let hot_tables: Vec<Oid> = world.store.hot_usage().iter().map(|u| u.table).collect();
    assert_eq!(hot_tables, [Oid::COMMITS]);
    assert_eq!(all_rows(&world).await, hot);
    world.restart().await;
    assert_eq!(all_rows(&world).await, hot);

    let mut bulk = World::new("memory:", world.def.as_ref().clone()).await;
    let mut writer = bulk.store.new_segment_writer(super::world::TABLE, &bulk.def).unwrap();
    let rows = bulk.rows(arrays, vec![0; 3]);
    assert!(writer.write(&rows).await.unwrap().is_empty());
    let segments = writer.finish().await.unwrap().into_iter().collect();
    let none: Vec<ArrayRef> = rows.slice(0, 0).columns()[..rows.num_columns() - 1].to_vec();
    bulk.commit(none, Vec::new(), segments, &[]);
    assert_eq!(all_rows(&bulk).await, hot);
}

#[tokio::test]
async fn flipped_bit_is_an_error_that_names_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let def = table_def(1, vec![column(1, "id", SqlType::Int8), column(2, "v", SqlType::Int8)]);
    let mut world = World::new(dir.path().to_str().unwrap(), def).await;
    let n = 500_i64;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..n).map(|i| i * i * 7919)));
    world.commit(vec![ids, values], vec![0; n as usize], Vec::new(), &[]);
    world.flush(true).await;
    let meta = {
        let state = world.state.read();
        let manifest = &state.manifests[&super::world::TABLE];
        manifest.segments.values().next().unwrap().file.clone()
    };
    let path = dir.path().join(&meta.path);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(good.len() as u64, meta.size);
    let now = CommitTs(world.now);
    let sql = "SELECT sum(id + v + _ov + _cv), max(_system_from) FROM t";
    let none = Overlay::default();
    let right = world.query(SystemTime::AsOf(now), now, &none, sql).await;
    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        // Nothing cached.
        world.restart().await;
        match world.try_query(SystemTime::AsOf(now), now, &none, sql).await {
            Ok(answer) => assert_eq!(answer, right, "bit in byte {at}"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(&meta.path) && text.contains("corrupt"), "{text}");
            }
        }
    }
    // Every page is read, so a byte in the middle cannot go unseen.
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    world.restart().await;
    assert!(world.try_query(SystemTime::AsOf(now), now, &none, sql).await.is_err());
}

#[tokio::test]
async fn columns_renamed_added_dropped_and_widened_read_from_old_segments() {
    let dir = tempfile::tempdir().unwrap();
    let def = table_def(
        1,
        vec![
            column(1, "id", SqlType::Int4),
            column(2, "gone", SqlType::Text),
            column(3, "old_name", SqlType::Text),
        ],
    );
    let mut world = World::new(dir.path().to_str().unwrap(), def).await;
    let texts = |t: &str| -> ArrayRef { Arc::new(StringViewArray::from(vec![t, t])) };
    let row = |a: i32| -> Vec<ArrayRef> {
        vec![Arc::new(Int32Array::from(vec![a, a + 1])), texts("gone"), texts("kept")]
    };
    world.commit(row(1), vec![0; 2], Vec::new(), &[]);
    world.flush(true).await;
    world.commit(row(11), vec![0; 2], Vec::new(), &[]);
    let mut added = column(4, "gone", SqlType::Int8);
    added.missing = Some("42".to_owned());
    let mut quoted = column(5, "quoted", SqlType::Text);
    quoted.missing = Some("'it''s'".to_owned());
    let columns = vec![
        column(1, "id", SqlType::Int8),
        column(3, "name", SqlType::Text),
        added,
        quoted,
        column(6, "nothing", SqlType::Date),
    ];
    world.alter(Arc::new(table_def(2, columns)));
    let new: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1 << 40])),
        Arc::new(StringViewArray::from(vec!["new"])),
        Arc::new(Int64Array::from(vec![7])),
        Arc::new(StringViewArray::from(vec!["q"])),
        Arc::new(Date32Array::from(vec![9])),
    ];
    world.commit(new, vec![0], Vec::new(), &[]);
    let now = CommitTs(world.now);
    for restart in [false, true] {
        if restart {
            world.flush(true).await;
            world.restart().await;
        }
        let sql = "SELECT id, name, gone, quoted, nothing FROM t WHERE gone = 42 ORDER BY id";
        let time = SystemTime::AsOf(now);
        let batches = world.query(time, now, &Overlay::default(), sql).await;
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(all.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 11, 12]);
        assert_eq!(all.column(1).as_string_view().value(3), "kept");
        assert_eq!(all.column(3).as_string_view().value(0), "it's");
        assert_eq!(all.column(4).null_count(), 4);
        let sql = "SELECT name FROM t WHERE id = 12 OR id = 1099511627776 ORDER BY id";
        let batches = world.query(time, now, &Overlay::default(), sql).await;
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(all.num_rows(), 2);
        assert_eq!(all.column(0).as_string_view().value(1), "new");
    }
}

#[tokio::test]
async fn rows_in_memory_are_counted_once() {
    let dir = directory();
    let def = table_def(1, vec![column(1, "id", SqlType::Int8), column(2, "v", SqlType::Text)]);
    let mut world = World::new(dir.path().to_str().unwrap(), def).await;
    let ids: Int64Array = (0..50_000).map(Some).collect();
    let texts = (0..50_000).map(|i| format!("a text that does not fit into a view: {i}"));
    let texts = StringViewArray::from_iter_values(texts);
    world.commit(vec![Arc::new(ids), Arc::new(texts)], vec![0; 50_000], Vec::new(), &[]);
    let now = CommitTs(world.now);
    let table = world.table(SystemTime::AsOf(now), now, &Overlay::default());
    let frame = SessionContext::new().read_table(Arc::new(table)).unwrap();
    let batches = frame.select_columns(&["id", "v"]).unwrap().collect().await.unwrap();
    let counted: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    let used: usize = batches.iter().map(memory_of).sum();
    assert!(counted < 2 * used, "{counted} bytes for {used}");
}
