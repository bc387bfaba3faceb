// What a Node program does with `pg` and with `postgres`. All of it holds for PostgreSQL 15 too,
// except the past. Run: node node_pg_checks.mjs postgres://user@host:port/db

import { createRequire } from 'node:module';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import assert from 'node:assert/strict';

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const pg = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const { from: copyFrom, to: copyTo } = require('pg-copy-streams');
const postgres = require('postgres');

const url = process.argv[2];
let failed = 0, count = 0;

async function check(name, run) {
  count++;
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  try {
    await client.connect();
    await run(client);
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}: ${error.message.split('\n').join(' | ')}`);
  } finally {
    await client.end().catch(() => {});
  }
}

const eq = assert.deepEqual;

await check('pg: values go both ways', async (c) => {
  const at = new Date('2026-11-21T01:02:03.456Z');
  for (const [kind, value, wanted] of [
    ['boolean', true], ['int4', 5], ['int8', '9007199254740993'], ['float8', 1.5],
    ['numeric(8,2)', '1.50'], ['text', 'žluť 🐎'], ['bytea', Buffer.from([0, 255])],
    ['timestamptz', at], ['jsonb', { a: [1, null] }], ['int4[]', [1, null, 3]],
    ['text[]', ['a', null, 'x"y,{']], ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ]) {
    const { rows } = await c.query({ text: `SELECT $1::${kind} AS v`, values: [value] });
    eq(rows[0].v, wanted ?? value);
    const none = await c.query(`SELECT $1::${kind} AS v`, [null]);
    eq(none.rows[0].v, null);
  }
});

await check('pg: results tell of rows and fields', async (c) => {
  const result = await c.query('SELECT 1 AS a, NULL::text AS b; SELECT 2 AS c');
  eq(result.map((r) => r.rows), [[{ a: 1, b: null }], [{ c: 2 }]]);
  const one = await c.query({ text: 'SELECT 1 AS a', rowMode: 'array' });
  eq([one.command, one.rowCount, one.fields[0].dataTypeID, one.rows], ['SELECT', 1, 23, [[1]]]);
  eq((await c.query('')).rows, []);
});

await check('pg: a named statement runs again', async (c) => {
  await c.query('DROP TABLE IF EXISTS npg_named');
  await c.query('CREATE TABLE npg_named (id int PRIMARY KEY, v text)');
  for (let i = 0; i < 10; i++) {
    await c.query({ name: 'insert', text: 'INSERT INTO npg_named VALUES ($1, $2)', values: [i, `v${i}`] });
  }
  for (let i = 0; i < 10; i++) {
    const r = await c.query({ name: 'get', text: 'SELECT v FROM npg_named WHERE id = $1', values: [i] });
    eq(r.rows, [{ v: `v${i}` }]);
  }
  const many = await c.query('SELECT count(*) FROM npg_named WHERE id = ANY($1)', [[1, 2, 99]]);
  eq(many.rows[0].count, '2');
  const page = await c.query('SELECT id FROM npg_named ORDER BY id LIMIT $1 OFFSET $2', [2, 3]);
  eq(page.rows.map((r) => r.id), [3, 4]);
});

await check('pg: a transaction is rolled back', async (c) => {
  await c.query('DROP TABLE IF EXISTS npg_tx');
  await c.query('CREATE TABLE npg_tx (id int PRIMARY KEY)');
  await c.query('BEGIN');
  await c.query('INSERT INTO npg_tx VALUES (1)');
  await assert.rejects(c.query('INSERT INTO npg_tx VALUES (1)'), (e) =>
    e.code === '23505' && e.constraint === 'npg_tx_pkey' && e.table === 'npg_tx' &&
    e.detail === 'Key (id)=(1) already exists.');
  await assert.rejects(c.query('SELECT 1'), (e) => e.code === '25P02');
  await c.query('ROLLBACK');
  eq((await c.query('SELECT count(*)::int AS n FROM npg_tx')).rows, [{ n: 0 }]);
});

await check('pg: cursors and streams read in pieces', async (c) => {
  const cursor = c.query(new Cursor('SELECT g FROM generate_series(1, $1::int) AS t(g)', [1000]));
  eq((await cursor.read(10)).length, 10);
  eq((await cursor.read(990)).length, 990);
  eq((await cursor.read(1)).length, 0);
  await cursor.close();
  let rows = 0;
  for await (const _ of c.query(new QueryStream('SELECT g FROM generate_series(1, 200000) AS t(g)'))) rows++;
  eq(rows, 200000);
});

await check('pg: copy goes in and out', async (c) => {
  await c.query('DROP TABLE IF EXISTS npg_copy');
  await c.query('CREATE TABLE npg_copy (id int, v text)');
  await pipeline(Readable.from(['1\ta\n', '2\t\\N\n']), c.query(copyFrom('COPY npg_copy FROM STDIN')));
  let out = '';
  for await (const chunk of c.query(copyTo('COPY (SELECT * FROM npg_copy ORDER BY id) TO STDOUT'))) out += chunk;
  eq(out, '1\ta\n2\t\\N\n');
});

await check('pg: notifications and notices arrive', async (c) => {
  const seen = [];
  const arrived = new Promise((resolve) => c.on('notification', (n) => { seen.push(n.payload); resolve(); }));
  const notices = [];
  c.on('notice', (n) => notices.push(n.message));
  await c.query('LISTEN npg_news');
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("SELECT pg_notify('npg_news', $1)", ['hello']);
  await other.end();
  await arrived;
  eq(seen, ['hello']);
  await c.query('DROP TABLE IF EXISTS npg_never');
  eq(notices, ['table "npg_never" does not exist, skipping']);
});

await check('pg: a pool serves many', async () => {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  const got = await Promise.all([...Array(20).keys()].map((i) => pool.query('SELECT $1::int + 1 AS v', [i])));
  eq(got.map((r) => r.rows[0].v), [...Array(20).keys()].map((i) => i + 1));
  await pool.end();
});

await check('pg: a statement times out', async () => {
  const c = new pg.Client({ connectionString: url, statement_timeout: 300 });
  await c.connect();
  await assert.rejects(c.query('SELECT pg_sleep(30)'), (e) => e.code === '57014');
  await c.end();
});

async function withPostgres(run) {
  const sql = postgres(url, { onnotice: () => {}, max: 2 });
  try { await run(sql); } finally { await sql.end({ timeout: 2 }); }
}

await check('postgres.js: values go both ways', () => withPostgres(async (sql) => {
  const at = new Date('2026-11-21T01:02:03.456Z');
  const [row] = await sql`SELECT ${5}::int AS a, ${'ž'}::text AS b, ${at}::timestamptz AS c,
    ${sql.json({ x: [1] })}::jsonb AS d, ${[1, 2]}::int[] AS e, ${true}::bool AS f, ${null}::text AS g`;
  eq({ ...row }, { a: 5, b: 'ž', c: at, d: { x: [1] }, e: [1, 2], f: true, g: null });
}));

await check('postgres.js: rows go in and transactions nest', () => withPostgres(async (sql) => {
  await sql`DROP TABLE IF EXISTS pjs_rows`;
  await sql`CREATE TABLE pjs_rows (id int PRIMARY KEY, v text, t timestamptz, a int[])`;
  const rows = [...Array(50).keys()].map((id) => ({ id, v: `v${id}`, t: new Date(0), a: [id] }));
  await sql`INSERT INTO pjs_rows ${sql(rows)}`;
  eq((await sql`SELECT count(*)::int AS n FROM pjs_rows WHERE id IN ${sql([1, 2, 99])}`)[0].n, 2);
  eq((await sql`SELECT count(*)::int AS n FROM pjs_rows WHERE id = ANY(${[1, 2, 99]})`)[0].n, 2);
  await sql`UPDATE pjs_rows SET ${sql({ v: 'new' }, 'v')} WHERE id = ${3}`;
  await sql.begin(async (tx) => {
    await tx`DELETE FROM pjs_rows WHERE id = 4`;
    await tx.savepoint(async (sp) => { await sp`DELETE FROM pjs_rows`; throw new Error('back'); }).catch(() => {});
  });
  eq((await sql`SELECT count(*)::int AS n FROM pjs_rows`)[0].n, 49);
  await assert.rejects(sql`INSERT INTO pjs_rows (id) VALUES (1)`, (e) => e.code === '23505');
  const seen = [];
  await sql`SELECT id FROM pjs_rows ORDER BY id`.cursor(20, (part) => { seen.push(part.length); });
  eq(seen, [20, 20, 9]);
  eq((await sql`SELECT * FROM pjs_rows`.describe()).columns.map((c) => c.name), ['id', 'v', 't', 'a']);
}));

await check('postgres.js: notifications arrive', () => withPostgres(async (sql) => {
  const arrived = new Promise((resolve) => { sql.listen('pjs_news', resolve).then(() => sql.notify('pjs_news', 'hi')); });
  eq(await arrived, 'hi');
}));

await check('the past takes a parameter', async (c) => {
  if (!(await c.query('SELECT version()')).rows[0].version.includes('Chronos')) return;
  await c.query('DROP TABLE IF EXISTS npg_past');
  await c.query('CREATE TABLE npg_past (id int PRIMARY KEY, v text)');
  await c.query("INSERT INTO npg_past VALUES (1, 'old')");
  await new Promise((resolve) => setTimeout(resolve, 5));
  const { rows: [{ before }] } = await c.query('SELECT clock_timestamp() AS before');
  await new Promise((resolve) => setTimeout(resolve, 5));
  await c.query("UPDATE npg_past SET v = 'new'");
  eq((await c.query('SELECT v FROM npg_past FOR SYSTEM_TIME AS OF $1', [before])).rows, [{ v: 'old' }]);
  await withPostgres(async (sql) => {
    eq([...(await sql`SELECT v FROM npg_past FOR SYSTEM_TIME AS OF ${before}`)], [{ v: 'old' }]);
  });
});

console.log(`${count - failed} of ${count} checks passed`);
process.exit(failed ? 1 : 0);
