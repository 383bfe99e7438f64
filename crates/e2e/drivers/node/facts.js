// Facts seen through Node's mysql2. Node finds the package by NODE_PATH, which only `require` reads.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const { Readable } = require('node:stream');
const mysql = require('mysql2/promise');

const env = process.env;
const where = { server: env.DRIVER_SERVER, database: env.DRIVER_DATABASE };

/** mysql2 takes no TLS unless it is asked to. */
function tlsSettings(tls) {
  if (tls === 'required') return { ssl: { rejectUnauthorized: false } };
  if (tls === 'verify') return { ssl: { ca: fs.readFileSync(env.DRIVER_CA), rejectUnauthorized: true } };
  return {};
}

function settings(extra = {}) {
  return {
    host: env.DRIVER_HOST,
    port: Number(env.DRIVER_PORT),
    user: env.DRIVER_USER,
    password: env.DRIVER_PASSWORD,
    database: where.database,
    supportBigNumbers: true,
    jsonStrings: true,
    ...tlsSettings(env.DRIVER_TLS),
    ...extra,
  };
}

const connect = (extra) => mysql.createConnection(settings(extra));

const hash = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

function shown(value) {
  if (Buffer.isBuffer(value)) {
    return value.length > 200 ? `Buffer of ${value.length} sha256 ${hash(value)}` : `Buffer ${value.toString('hex')}`;
  }
  if (value instanceof Date) return `Date ${Number.isNaN(value.valueOf()) ? 'invalid' : value.toISOString()}`;
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`;
  if (typeof value === 'string') {
    return value.length > 400 ? `string of ${value.length} sha256 ${hash(value)}` : `string ${JSON.stringify(value)}`;
  }
  if (value !== null && typeof value === 'object') {
    return `{${Object.entries(value).map(([key, inner]) => `${key}: ${shown(inner)}`).join(', ')}}`;
  }
  return `${value === null ? 'null' : typeof value} ${String(value)}`;
}

function fact(name, ...values) {
  const text = values.map(shown).join(' | ');
  process.stdout.write(`${name} = ${text}`.replaceAll('\r', '\\r').replaceAll('\n', '\\n') + '\n');
}

const errorFacts = (name, error) => fact(name, error.code, error.errno, error.sqlState, error.sqlMessage);

const columnsOf = (fields) =>
  fields.map((f) => ({
    schema: f.schema, table: f.table, orgTable: f.orgTable, name: f.name, orgName: f.orgName,
    charset: f.characterSet, length: f.columnLength, type: f.columnType, flags: f.flags, decimals: f.decimals,
  }));

// Without "session state changed": MySQL sets it at BEGIN and COMMIT for a client that tracks nothing of the kind.
const SESSION_STATE_CHANGED = 0x4000;

const headerOf = (header) => ({
  affected: header.affectedRows, changed: header.changedRows, id: header.insertId, info: header.info,
  warnings: header.warningStatus, status: header.serverStatus & ~SESSION_STATE_CHANGED,
});

async function* statements() {
  const text = fs.readFileSync(env.DRIVER_STATEMENTS, 'utf8');
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [kind, how, server, name, sql] = line.split('\t');
    if (server === 'any' || server === where.server) {
      yield { kind, how, name, sql: sql.replaceAll('{database}', where.database) };
    }
  }
}

/** Runs one statement by `query` (text) or `execute` (prepared) and prints what came. */
async function run(connection, call, kind, name, sql, values) {
  try {
    const [rows, fields] = await connection[call]({ sql, values, rowsAsArray: true });
    if (fields === undefined) {
      fact(name, headerOf(rows));
      return;
    }
    columnsOf(fields).forEach((column) => fact(`${name}.column`, column));
    rows.forEach((row) => fact(`${name}.row`, row));
    fact(`${name}.count`, rows.length);
  } catch (error) {
    errorFacts(kind === 'fail' ? name : `${name}.unexpected`, error);
  }
}

/** Tries each login of DRIVER_LOGINS: lines of name, user, password and TLS, separated by tabs. */
async function logins() {
  for (const line of env.DRIVER_LOGINS.split('\n')) {
    if (line === '') continue;
    const [name, user, password, tls] = line.split('\t');
    try {
      const connection = await connect({ user, password, ...tlsSettings(tls) });
      const [rows] = await connection.query('SELECT 1');
      fact(`login.${name}`, rows);
      await connection.end();
    } catch (error) {
      fact(`login.${name}`, error.code, error.errno, error.sqlState);
    }
  }
}

async function parameters(connection) {
  await connection.query('DROP TABLE IF EXISTS parameters');
  await connection.query(
    'CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT,' +
      ' e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)',
  );
  const values = [
    null, '12345678901234567890123456789012345.123456789012345678901234567890', 18446744073709551615n,
    -9223372036854775808n, 1.5, 'crab 🦀 \'quoted\' "twice" back\\slash %s ?', Buffer.from([...Array(256).keys()]),
    new Date(Date.UTC(2024, 1, 29, 23, 59, 59, 123)), '2024-02-29', '-30:00:00.000001', true,
  ];
  const sql = `INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (${values.map(() => '?').join(',')})`;
  await run(connection, 'query', 'run', 'parameters.text_insert', sql, values);
  await run(connection, 'execute', 'run', 'parameters.prepared_insert', sql, values);
  for (const call of ['query', 'execute']) {
    await run(connection, call, 'query', `parameters.${call}`, 'SELECT * FROM parameters WHERE id IN (?, ?) ORDER BY id', [1, 2]);
  }
  const [strings] = await connection.query({ sql: 'SELECT * FROM parameters', dateStrings: true });
  fact('parameters.date_strings', strings);
  const [nested] = await connection.query({ sql: 'SELECT a.id, b.id FROM parameters a JOIN parameters b USING (id)', nestTables: '_' });
  fact('parameters.nested', nested);
  const bulk = Array.from({ length: 500 }, (_, i) => [`bulk ${i}`]);
  const [inserted] = await connection.query('INSERT INTO parameters (f) VALUES ?', [bulk]);
  fact('parameters.bulk', headerOf(inserted));
  const named = await connect({ namedPlaceholders: true });
  const [found] = await named.execute('SELECT :b AS b, :a AS a', { a: 'first', b: 'second 🦀' });
  fact('parameters.named', found);
  await named.end();
}

async function preparedManyTimes(connection) {
  const statement = await connection.prepare("SELECT ? * 2 AS n, CONCAT(?, '🦀') AS t");
  let total = 0;
  for (let i = 0; i < 1000; i += 1) {
    const [rows] = await statement.execute([i, String(i)]);
    total += Number(rows[0].n) + rows[0].t.length;
  }
  fact('prepared.executed_1000', total);
  await statement.close();
  // two statements without waiting: mysql2 queues commands, it does not pipeline them
  const both = await Promise.all([connection.execute('SELECT ? AS a', [1]), connection.query('SELECT 2 AS b')]);
  fact('prepared.queued', both.map(([rows]) => rows));
  const open = [];
  for (let i = 0; i < 20; i += 1) open.push(await connection.prepare(`SELECT ${i} AS i, ? AS v`));
  const found = [];
  for (const one of open.reverse()) found.push((await one.execute([7]))[0]);
  fact('prepared.twenty_open', found);
  for (const one of open) await one.close();
  const ids = Array.from({ length: 1000 }, (_, i) => i);
  const [count] = await connection.execute(`SELECT COUNT(*) AS n FROM parameters WHERE id IN (${ids.map(() => '?').join(',')})`, ids);
  fact('prepared.thousand_parameters', count);
  await connection.query('DROP TABLE IF EXISTS changing');
  await connection.query('CREATE TABLE changing (id INT PRIMARY KEY)');
  await connection.query('INSERT INTO changing VALUES (1)');
  await run(connection, 'execute', 'query', 'prepared.before_ddl', 'SELECT * FROM changing WHERE id = ?', [1]);
  await connection.query("ALTER TABLE changing ADD COLUMN v VARCHAR(10) DEFAULT 'new'");
  await run(connection, 'execute', 'query', 'prepared.after_ddl', 'SELECT * FROM changing WHERE id = ?', [1]);
}

/** 17 MiB that no compressor and no escape leaves alone. */
function bigValue() {
  const blocks = [];
  for (let i = 0; i < 2048; i += 1) blocks.push(crypto.createHash('sha256').update(String(i)).digest());
  blocks.push(Buffer.from([...Array(256).keys()]));
  const block = Buffer.concat(blocks);
  return Buffer.alloc((Math.floor((17 * 1024 * 1024) / block.length) + 1) * block.length, block);
}

async function bigBlob(connection) {
  const value = bigValue();
  await connection.query('DROP TABLE IF EXISTS blobs');
  await connection.query('CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)');
  await run(connection, 'query', 'run', 'blob_17m.text_insert', 'INSERT INTO blobs VALUES (1, ?)', [value]);
  await run(connection, 'execute', 'run', 'blob_17m.prepared_insert', 'INSERT INTO blobs VALUES (2, ?)', [value]);
  for (const call of ['query', 'execute']) {
    const [rows] = await connection[call]('SELECT id, b, LENGTH(b) AS n, SHA2(b, 256) AS h FROM blobs ORDER BY id');
    for (const row of rows) fact('blob_17m', call, row.id, row.b.length, row.n, row.h === hash(value), row.b.equals(value));
  }
}

async function twoResults() {
  const connection = await connect({ multipleStatements: true });
  const [results, fields] = await connection.query("SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; DO 1; SELECT 'last' AS c");
  results.forEach((rows, i) => fact(`two_results.${i}`, Array.isArray(rows) ? rows : headerOf(rows), fields[i] ? columnsOf(fields[i]) : null));
  await run(connection, 'query', 'fail', 'two_results.error', 'SELECT 1; SELECT no_such_column; SELECT 3');
  await run(connection, 'query', 'query', 'two_results.after_error', "SELECT 'still usable' AS a");
  await connection.end();
  const plain = await connect();
  await run(plain, 'query', 'fail', 'two_results.not_asked', 'SELECT 1; SELECT 2');
  await plain.end();
}

async function procedure(connection) {
  await connection.query('DROP PROCEDURE IF EXISTS two_sets');
  await connection.query(
    'CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN' +
      " SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END",
  );
  await connection.query('SET @c = 3');
  for (const [call, sql, values] of [
    ['query', 'CALL two_sets(?, @b, @c)', [20]],
    ['execute', 'CALL two_sets(?, @b, @c)', [30]],
  ]) {
    const [results] = await connection[call](sql, values);
    results.forEach((rows, i) => fact(`procedure.${call}.${i}`, Array.isArray(rows) ? rows : headerOf(rows)));
    const [out] = await connection.query('SELECT @b, @c');
    fact(`procedure.${call}.out`, out);
  }
  await connection.query('DROP PROCEDURE IF EXISTS failing');
  await connection.query(
    "CREATE PROCEDURE failing() BEGIN SELECT 1; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no', MYSQL_ERRNO = 5001; END",
  );
  await run(connection, 'query', 'fail', 'procedure.signal', 'CALL failing()');
  await run(connection, 'query', 'query', 'procedure.after_signal', "SELECT 'usable' AS a");
}

async function transactions(connection) {
  await connection.query('DROP TABLE IF EXISTS accounts');
  await connection.query('CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)');
  await connection.beginTransaction();
  await run(connection, 'execute', 'run', 'transaction.insert', 'INSERT INTO accounts VALUES (?, ?)', [1, 100]);
  await connection.commit();
  await connection.beginTransaction();
  await run(connection, 'execute', 'run', 'transaction.second', 'INSERT INTO accounts VALUES (?, ?)', [2, 200]);
  await run(connection, 'query', 'query', 'transaction.inside', 'SELECT COUNT(*) FROM accounts');
  await connection.rollback();
  await run(connection, 'execute', 'query', 'transaction.after', 'SELECT * FROM accounts');
  // mysql2 asks for FOUND_ROWS unless told not to
  await run(connection, 'query', 'run', 'found_rows', 'UPDATE accounts SET amount = amount WHERE id = 1');
  await run(connection, 'execute', 'run', 'found_rows.prepared', 'UPDATE accounts SET amount = amount WHERE id = 1');
  const plain = await connect({ flags: ['-FOUND_ROWS'] });
  await run(plain, 'query', 'run', 'affected_rows', 'UPDATE accounts SET amount = amount WHERE id = 1');
  await run(plain, 'execute', 'run', 'affected_rows.prepared', 'UPDATE accounts SET amount = amount WHERE id = 1');
  await plain.end();
}

async function sessionAtConnect() {
  const connection = await connect({
    charset: 'UTF8MB4_UNICODE_CI', timezone: '+05:30', connectAttributes: { application: 'weir-drivers 🦀' },
  });
  await run(connection, 'query', 'query', 'connect.session', 'SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results, @@collation_connection');
  await run(connection, 'execute', 'query', 'connect.time_zone', 'SELECT TIMESTAMP(\'2024-02-29 12:00:00\') AS t');
  await run(connection, 'query', 'run', 'connect.set_time_zone', "SET time_zone = '+05:30'");
  await run(connection, 'query', 'query', 'connect.epoch', 'SELECT FROM_UNIXTIME(0)');
  await connection.end();
}

const state = 'SELECT @mark, @@group_concat_max_len, @@time_zone, DATABASE(), @@character_set_client, @@collation_connection';

async function resetAndChangeUser() {
  const connection = await connect();
  await connection.query("SET @mark = 'set before', group_concat_max_len = 77, time_zone = '+03:00'");
  await run(connection, 'execute', 'query', 'change_user.before', state);
  await connection.changeUser({ user: env.DRIVER_USER, password: env.DRIVER_PASSWORD, database: 'information_schema' });
  await run(connection, 'query', 'query', 'change_user', state);
  await run(connection, 'execute', 'query', 'change_user.prepared_again', state);
  if (typeof connection.connection.reset === 'function') {
    await connection.query("SET @mark = 'before reset', group_concat_max_len = 78");
    await connection.reset();
    await run(connection, 'execute', 'query', 'reset', state);
  }
  try {
    await connection.changeUser({ user: env.DRIVER_USER, password: `${env.DRIVER_PASSWORD}x`, database: where.database });
    fact('change_user.wrong', 'no error');
  } catch (error) {
    fact('change_user.wrong', error.code, error.errno, error.sqlState);
  }
  connection.destroy();
}

async function pools() {
  const pool = mysql.createPool(settings({ connectionLimit: 4 }));
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => pool.execute('SELECT ? + 0 AS i', [i])));
  fact('pool', answers.map(([rows]) => Number(rows[0].i)));
  await pool.end();
}

async function manyRows(connection) {
  await connection.query('DROP TABLE IF EXISTS many');
  await connection.query('CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)');
  const depth = where.server === 'mysql' ? 'cte_max_recursion_depth' : 'max_recursive_iterations';
  await connection.query(`SET SESSION ${depth} = 100000`);
  await connection.query(
    'INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000)' +
      ' SELECT i, SHA2(i, 224), i / 7 FROM n',
  );
  for (const call of ['query', 'execute']) {
    const digest = crypto.createHash('sha256');
    let rows = 0;
    const stream = connection.connection[call]('SELECT * FROM many ORDER BY id').stream({ highWaterMark: 100 });
    for await (const row of stream) {
      digest.update(JSON.stringify(row));
      rows += 1;
    }
    fact(`big_result.${call}`, rows, digest.digest('hex'));
  }
}

async function loadDataLocal(connection) {
  await connection.query('DROP TABLE IF EXISTS loaded');
  await connection.query('CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)');
  const lines = Array.from({ length: 20000 }, (_, i) => `${i},crab 🦀 ${i}\n`);
  try {
    const [header] = await connection.query({
      sql: "LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','",
      infileStreamFactory: () => Readable.from([Buffer.from(lines.join(''))]),
    });
    fact('local_infile', headerOf(header));
  } catch (error) {
    errorFacts('local_infile', error);
  }
  await run(connection, 'query', 'query', 'local_infile.read', 'SELECT COUNT(*), SUM(id), MAX(v) FROM loaded');
}

async function facts() {
  const connection = await connect();
  for (const call of ['query', 'execute']) {
    for await (const { kind, how, name, sql } of statements()) {
      const prepared = call === 'execute' && how === 'both';
      await run(connection, prepared ? 'execute' : 'query', kind, `${call}.${name}`, sql);
    }
  }
  await parameters(connection);
  await preparedManyTimes(connection);
  await bigBlob(connection);
  await twoResults();
  await procedure(connection);
  await transactions(connection);
  await sessionAtConnect();
  await resetAndChangeUser();
  await connection.ping();
  fact('ping', 'ok');
  await pools();
  await manyRows(connection);
  await loadDataLocal(connection);
  await connection.end();
}

(env.DRIVER_ACTION === 'facts' ? facts() : logins()).catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
