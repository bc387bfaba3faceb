//! The segment files, read without Chronos.

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use chronos_tests::data;
use chronos_tests::{Answer, TestNode};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn batches(file: File) -> Vec<RecordBatch> {
    ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("the file is Parquet")
        .build()
        .expect("the file can be read")
        .map(|batch| batch.expect("the file can be read to its end"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_parquet_with_every_version_and_its_system_from() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    // One by one: statements sent together are one transaction, which makes one version of a row.
    for statement in [
        "CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(10,2), at timestamptz)",
        "INSERT INTO t VALUES (1, 'one', 1.50, '2026-01-01 00:00+00'), (2, 'two', NULL, NULL)",
        "INSERT INTO t VALUES (3, 'three', 3, NULL)",
        "UPDATE t SET name = 'TWO' WHERE id = 2",
        "DELETE FROM t WHERE id = 1",
    ] {
        client.batch_execute(statement).await.expect("the statement works");
    }
    let history = "SELECT id, name, (extract(epoch FROM _system_from) * 1000000)::int8
                   FROM t FOR SYSTEM_TIME ALL ORDER BY id, _system_from";
    let history = Answer::simple(&client, history).await.expect("the history can be read");
    assert_eq!(history.rows.len(), 4, "{history}");
    drop(client);
    // A clean stop flushes.
    assert!(node.stop().success());

    let mut found = Vec::new();
    for path in node.parquet_files() {
        for batch in batches(File::open(&path).expect("the file can be opened")) {
            let column = |name: &str| {
                let column = batch.column_by_name(name);
                column.unwrap_or_else(|| panic!("no column {name} in {}", path.display())).clone()
            };
            let ids = column("id");
            let ids = ids.as_primitive::<Int32Type>();
            let names = arrow::compute::cast(&column("name"), &arrow::datatypes::DataType::Utf8)
                .expect("a name is text");
            let froms =
                arrow::compute::cast(&column("_system_from"), &arrow::datatypes::DataType::Int64)
                    .expect("an instant is microseconds");
            let froms = froms.as_primitive::<Int64Type>();
            column("_ov");
            column("_cv");
            for i in 0..batch.num_rows() {
                assert!(froms.is_valid(i), "small commits have their time in the file");
                found.push(vec![
                    Some(ids.value(i).to_string()),
                    Some(names.as_string::<i32>().value(i).to_owned()),
                    Some(froms.value(i).to_string()),
                ]);
            }
        }
    }
    found.sort();
    let mut expected = history.rows;
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_rows_are_in_the_files_exactly_once() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    client.batch_execute(&data::schema()).await.expect("the tables can be made");
    let rows = data::copy_in(&client, "weather", data::csv("weather")).await;
    drop(client);
    assert!(node.stop().success());
    let mut keys: BTreeMap<(String, i64), u32> = BTreeMap::new();
    for path in node.parquet_files() {
        for batch in batches(File::open(&path).expect("the file can be opened")) {
            let cast = |name: &str, ty| {
                let column = batch.column_by_name(name).expect("the column is in the file");
                arrow::compute::cast(column, &ty).expect("the column has its type")
            };
            let origins = cast("origin", arrow::datatypes::DataType::Utf8);
            let hours = cast("time_hour", arrow::datatypes::DataType::Int64);
            let hours = hours.as_primitive::<Int64Type>();
            for i in 0..batch.num_rows() {
                let origin = origins.as_string::<i32>().value(i).to_owned();
                *keys.entry((origin, hours.value(i))).or_default() += 1;
            }
        }
    }
    assert_eq!(keys.len() as u64, rows);
    assert!(keys.values().all(|&times| times == 1));
}
