// How node-postgres and postgres.js connect encrypted and prove a password. Run with the server's
// port and the password of the role chronos; NODE_EXTRA_CA_CERTS names its authority.

import { createRequire } from 'node:module';
import assert from 'node:assert/strict';

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const pg = require('pg');
const postgres = require('postgres');

const [port, password] = process.argv.slice(2);
const where = { host: 'localhost', port: Number(port), user: 'chronos', database: 'chronos' };
let failed = 0;

async function check(name, run) {
  try {
    await run();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
}

await check('node-postgres verifies the server', async () => {
  for (const enableChannelBinding of [false, true]) {
    const client = new pg.Client({ ...where, password, ssl: true, enableChannelBinding });
    await client.connect();
    const { rows } = await client.query('SELECT current_user AS who');
    assert.equal(rows[0].who, 'chronos');
    await client.end();
  }
});

await check('node-postgres is refused with a wrong password', async () => {
  const client = new pg.Client({ ...where, password: 'wrong', ssl: true });
  await assert.rejects(client.connect(), { code: '28P01' });
});

await check('postgres.js verifies the server', async () => {
  const sql = postgres({ ...where, password, ssl: 'verify-full' });
  const [row] = await sql`SELECT 41 + 1 AS n`;
  assert.equal(row.n, 42);
  await sql.end();
});

process.exit(failed ? 1 : 0);
