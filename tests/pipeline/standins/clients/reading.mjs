// What a tool does that knows ClickHouse by its Node client: folder of the client, url and table.
import { createRequire } from 'node:module';

const [folder, url, table] = process.argv.slice(2);
const { createClient } = createRequire(`${folder}/`)('@clickhouse/client');
const client = createClient({ url, log: { level: 127 } });
const asked = await client.query({
  query: `SELECT a, s, t, n FROM ${table} WHERE a < {most:UInt64} ORDER BY a`,
  query_params: { most: 2 },
  format: 'JSONEachRow',
});
for (const row of await asked.json()) console.log(row.a, row.s, row.t, row.n);
const many = await client.query({ query: 'SELECT number FROM numbers(20000)', format: 'JSONCompactEachRow' });
let count = 0;
for await (const rows of many.stream()) count += rows.length;
console.log('count', count);
try {
  await client.command({ query: `DROP TABLE ${table}` });
  console.log('dropped');
} catch (refused) {
  console.log('refused', refused.message.includes('read-only'));
}
await client.close();
