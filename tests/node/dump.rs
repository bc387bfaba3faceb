//! What `pg_dump` of PostgreSQL 15 wrote, loaded by psql.

use chronos_tests::tools::{find, psql, skipped};
use chronos_tests::{TestNode, data};

#[test]
fn the_dump_of_a_postgresql_database_loads() {
    let test = "the_dump_of_a_postgresql_database_loads";
    if find("psql").is_none() {
        skipped(test, "psql is not on the PATH");
        return;
    }
    let node = TestNode::start();
    let dump = data::folder().join("pg_dump15.sql");
    let script = format!(
        "\\set ON_ERROR_STOP on
CREATE ROLE reporting;
CREATE ROLE shopkeeper;
\\i '{}'
RESET search_path;
\\t off
\\d public.customers
\\d sales.orders
\\d sales.lines
\\d sales.products
\\t on
SELECT obj_description('public.customers'::regclass), col_description('public.customers'::regclass, 2);
SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'customers_email_check';
SELECT has_table_privilege('reporting', 'public.customers', 'insert'), has_table_privilege('reporting', 'sales.orders', 'select');
INSERT INTO public.customers (email) VALUES ('a@b') RETURNING id, name;
INSERT INTO sales.products (sku, price) VALUES ('x', 100) RETURNING tax;
INSERT INTO sales.orders (customer_id, status, note) VALUES (1, 'paid', 'xyz') RETURNING id;
INSERT INTO sales.lines VALUES (1, 1, 'x', 3);
SELECT id, name, total = 300, bulk FROM sales.totals;
SELECT id, note, x, c FROM public.recent;
SELECT * FROM public.names ORDER BY name;
SELECT nextval('public.invoice_numbers'), nextval('public.invoice_numbers');
DELETE FROM public.customers;
SELECT count(*) FROM sales.lines;
",
        dump.display()
    );
    let output = psql(&node, &script);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    for line in [
        "id|integer||not null|generated always as identity",
        "email|character varying(200)||not null|",
        "joined|timestamp with time zone|||now()",
        "tags|text[]|||",
        "id|bigint||not null|nextval('sales.orders_id_seq'::regclass)",
        "price|numeric(10,2)||not null|",
        "code|character(3)|||",
        "\"customers_pkey\" PRIMARY KEY, btree (id)",
        "\"customers_email_key\" UNIQUE CONSTRAINT, btree (email)",
        "\"orders_customer_id_placed_at_key\" UNIQUE CONSTRAINT, btree (customer_id, placed_at)",
        "\"orders_placed_idx\" btree (placed_at)",
        "\"products_code_idx\" UNIQUE CONSTRAINT, btree (code, sku)",
        "\"orders_customer_id_fkey\" FOREIGN KEY (customer_id) REFERENCES customers(id) ON DELETE CASCADE",
        "\"lines_order_fkey\" FOREIGN KEY (order_id) REFERENCES sales.orders(id) ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
        "\"lines_sku_fkey\" FOREIGN KEY (sku) REFERENCES sales.products(sku) ON DELETE SET NULL",
        "Who buys|One's address",
        "has an @",
        "t|f",
        "1|nobody",
        "19.00",
        "1|nobody|t|1",
        "1|XYZ|t|xyzpaid",
        "1000|1005",
    ] {
        assert!(
            stdout.lines().any(|l| l.trim() == line),
            "no line {line:?} in\n{stdout}\n{stderr}"
        );
    }
    assert_eq!(stdout.lines().last(), Some("0"), "{stdout}");
}
