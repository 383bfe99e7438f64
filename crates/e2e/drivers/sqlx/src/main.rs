//! Facts seen through sqlx: `raw_sql` is its text protocol, `query` its prepared statements.

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::types::time::{Date, PrimitiveDateTime};
use sqlx::types::BigDecimal;
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Either, Executor, Row, TypeInfo};

type Failure = Box<dyn Error + Send + Sync>;
type Answer<T> = Result<T, Failure>;

#[tokio::main]
async fn main() -> Answer<()> {
    if variable("DRIVER_ACTION") == "facts" { facts().await } else { logins().await }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn options() -> Answer<MySqlConnectOptions> {
    options_with(&variable("DRIVER_TLS"))
}

fn options_with(tls: &str) -> Answer<MySqlConnectOptions> {
    let options = MySqlConnectOptions::new()
        .host(&variable("DRIVER_HOST"))
        .port(variable("DRIVER_PORT").parse()?)
        .username(&variable("DRIVER_USER"))
        .password(&variable("DRIVER_PASSWORD"))
        .database(&variable("DRIVER_DATABASE"));
    Ok(match tls {
        "off" => options.ssl_mode(MySqlSslMode::Disabled),
        "required" => options.ssl_mode(MySqlSslMode::Required),
        "verify" => options.ssl_mode(MySqlSslMode::VerifyCa).ssl_ca(variable("DRIVER_CA")),
        _ => options,
    })
}

async fn connect() -> Answer<MySqlConnection> {
    Ok(options()?.connect().await?)
}

fn fact(name: &str, text: impl AsRef<str>) {
    println!("{name} = {}", text.as_ref().replace('\n', "\\n").replace('\r', "\\r"));
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        _ if bytes.len() > 300 => format!("{} bytes sha256 {}", bytes.len(), hash(bytes)),
        Ok(text) if !text.contains(char::is_control) => format!("{text:?}"),
        _ => hex(bytes),
    }
}

fn error_facts(name: &str, error: &sqlx::Error) {
    match error {
        sqlx::Error::Database(told) => match told.try_downcast_ref::<MySqlDatabaseError>() {
            Some(told) => fact(
                name,
                format!("{} {} {} ({:?})", told.number(), told.code().unwrap_or_default(), told.message(), error_kind(error)),
            ),
            None => fact(name, told.to_string()),
        },
        other => fact(name, other.to_string()),
    }
}

fn error_kind(error: &sqlx::Error) -> Option<sqlx::error::ErrorKind> {
    error.as_database_error().map(|told| told.kind())
}

/// Tries each login of DRIVER_LOGINS: lines of name, user, password and TLS, separated by tabs.
async fn logins() -> Answer<()> {
    for line in variable("DRIVER_LOGINS").lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [name, user, password, tls] = parts.as_slice() else { continue };
        let name = format!("login.{name}");
        match options_with(tls)?.username(user).password(password).connect().await {
            Ok(mut connection) => {
                let one: i64 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await?;
                fact(&name, one.to_string());
                connection.close().await?;
            }
            Err(sqlx::Error::Database(told)) => {
                let told = told.downcast_ref::<MySqlDatabaseError>();
                fact(&name, format!("{} {}", told.number(), told.code().unwrap_or_default()));
            }
            Err(other) => fact(&name, other.to_string()),
        }
    }
    Ok(())
}

struct Line {
    kind: String,
    how: String,
    name: String,
    sql: String,
}

fn statements() -> Answer<Vec<Line>> {
    let text = std::fs::read_to_string(variable("DRIVER_STATEMENTS"))?;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('\t').collect();
        let [kind, how, server, name, sql] = parts.as_slice() else { continue };
        if *server == "any" || *server == variable("DRIVER_SERVER") {
            found.push(Line {
                kind: (*kind).to_owned(),
                how: (*how).to_owned(),
                name: (*name).to_owned(),
                sql: sql.replace("{database}", &variable("DRIVER_DATABASE")),
            });
        }
    }
    Ok(found)
}

/// The bytes as they came, and what sqlx takes them for.
fn row_facts(name: &str, row: &MySqlRow) {
    for column in row.columns() {
        let at = column.ordinal();
        let value = row.try_get_unchecked::<Option<Vec<u8>>, _>(at);
        let value = match value {
            Ok(Some(bytes)) => shown(&bytes),
            Ok(None) => "NULL".to_owned(),
            Err(error) => error.to_string(),
        };
        fact(&format!("{name}.value"), format!("{} {} {value}", column.name(), column.type_info().name()));
    }
}

/// Runs a text and prints all that comes, results and rows in order.
async fn run(connection: &mut MySqlConnection, kind: &str, name: &str, sql: &str, prepared: bool) {
    let ended = {
        let sql = AssertSqlSafe(sql.to_owned());
        let mut stream = if prepared {
            connection.fetch_many(sqlx::query(sql))
        } else {
            sqlx::raw_sql(sql).fetch_many(connection)
        };
        loop {
            match stream.try_next().await {
                Ok(Some(Either::Left(done))) => {
                    fact(name, format!("{} rows affected, id {}", done.rows_affected(), done.last_insert_id()));
                }
                Ok(Some(Either::Right(row))) => row_facts(name, &row),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        }
    };
    match ended {
        Some(error) if kind == "fail" => error_facts(name, &error),
        Some(error) => error_facts(&format!("{name}.unexpected"), &error),
        None => {}
    }
}

async fn exec(connection: &mut MySqlConnection, sql: &'static str) -> Answer<()> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

async fn parameters(connection: &mut MySqlConnection) -> Answer<()> {
    exec(connection, "DROP TABLE IF EXISTS parameters").await?;
    exec(
        connection,
        "CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT, \
         e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)",
    )
    .await?;
    let decimal: BigDecimal = "12345678901234567890123456789012345.123456789012345678901234567890".parse()?;
    let date = Date::from_ordinal_date(2024, 60)?;
    let moment = PrimitiveDateTime::new(date, sqlx::types::time::Time::from_hms_micro(23, 59, 59, 123_456)?);
    let every: Vec<u8> = (0..=255).collect();
    let done = sqlx::query("INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (?,?,?,?,?,?,?,?,?,?,?)")
        .bind(None::<i32>)
        .bind(&decimal)
        .bind(u64::MAX)
        .bind(i64::MIN)
        .bind(1.5_f64)
        .bind("crab 🦀 'quoted' \"twice\" back\\slash %s ?")
        .bind(&every)
        .bind(moment)
        .bind(date)
        .bind("-30:00:00.000001")
        .bind(true)
        .execute(&mut *connection)
        .await?;
    fact("parameters.insert", format!("{} {}", done.rows_affected(), done.last_insert_id()));
    let row = sqlx::query("SELECT * FROM parameters WHERE id = ?").bind(1).fetch_one(&mut *connection).await?;
    row_facts("parameters.read", &row);
    fact("parameters.typed", format!(
        "{:?} {} {} {} {} {} {} {:?} {:?} {}",
        row.try_get::<Option<i32>, _>("a")?,
        row.try_get::<BigDecimal, _>("b")?,
        row.try_get::<u64, _>("c")?,
        row.try_get::<i64, _>("d")?,
        row.try_get::<f64, _>("e")?,
        row.try_get::<String, _>("f")?,
        hash(&row.try_get::<Vec<u8>, _>("g")?),
        row.try_get::<PrimitiveDateTime, _>("h")?,
        row.try_get::<Date, _>("i")?,
        row.try_get::<bool, _>("k")?,
    ));
    Ok(())
}

async fn prepared_many_times(connection: &mut MySqlConnection) -> Answer<()> {
    let mut total = 0;
    for i in 0..1000_i64 {
        let (number, text): (i64, String) = sqlx::query_as("SELECT CAST(? * 2 AS SIGNED), CONCAT(?, '🦀')")
            .bind(i)
            .bind(i.to_string())
            .fetch_one(&mut *connection)
            .await?;
        total += number + text.len() as i64;
    }
    fact("prepared.executed_1000", total.to_string());
    // more than the 100 statements that sqlx keeps: the oldest are closed
    for i in 0..150_i64 {
        let sql = AssertSqlSafe(format!("SELECT {i}, CAST(? AS SIGNED)"));
        let (a, b): (i64, i64) = sqlx::query_as(sql).bind(i * i).fetch_one(&mut *connection).await?;
        if i % 50 == 0 {
            fact("prepared.many_statements", format!("{a} {b}"));
        }
    }
    fact("prepared.cached", connection.cached_statements_size().to_string());
    connection.clear_cached_statements().await?;
    exec(connection, "DROP TABLE IF EXISTS changing; CREATE TABLE changing (id INT PRIMARY KEY); INSERT INTO changing VALUES (1)").await?;
    run(connection, "query", "prepared.before_ddl", "SELECT * FROM changing WHERE id = 1", true).await;
    exec(connection, "ALTER TABLE changing ADD COLUMN v VARCHAR(10) DEFAULT 'new'").await?;
    run(connection, "fail", "prepared.after_ddl", "SELECT * FROM changing WHERE id = 1", true).await;
    Ok(())
}

/// 17 MiB that no compressor leaves small and no pattern repeats early in.
fn big_value() -> Vec<u8> {
    let mut block = Vec::new();
    for i in 0..2048 {
        block.extend(Sha256::digest(i.to_string()));
    }
    block.extend(0..=255_u8);
    let mut value = Vec::new();
    while value.len() < 17 << 20 {
        value.extend(&block);
    }
    value
}

async fn big_blob(connection: &mut MySqlConnection) -> Answer<()> {
    let value = big_value();
    exec(connection, "DROP TABLE IF EXISTS blobs; CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)").await?;
    let done = sqlx::query("INSERT INTO blobs VALUES (?, ?)").bind(1).bind(&value).execute(&mut *connection).await?;
    fact("blob_17m.insert", done.rows_affected().to_string());
    for prepared in [false, true] {
        // with the blob in front, sqlx (0.9) takes a text row of 16 MiB or more, whose first byte is 0xfe, for the end
        let sql = "SELECT LENGTH(b), SHA2(b, 256), b FROM blobs";
        let row = if prepared {
            sqlx::query(sql).fetch_one(&mut *connection).await?
        } else {
            sqlx::raw_sql(sql).fetch_one(&mut *connection).await?
        };
        let digest: String = row.try_get(1)?;
        let read: Vec<u8> = row.try_get(2)?;
        fact("blob_17m", format!("{prepared} {} {} {}", read.len(), digest == hash(&value), read == value));
    }
    Ok(())
}

async fn two_results(connection: &mut MySqlConnection) -> Answer<()> {
    run(connection, "query", "two_results", "SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; DO 1; SELECT 'last'", false).await;
    run(connection, "fail", "two_results.error", "SELECT 1; SELECT no_such_column; SELECT 3", false).await;
    run(connection, "query", "two_results.after_error", "SELECT 'still usable'", false).await;
    run(connection, "fail", "two_results.prepared", "SELECT 1; SELECT 2", true).await;
    exec(connection, "DROP PROCEDURE IF EXISTS two_sets").await?;
    exec(
        connection,
        "CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN \
         SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END",
    )
    .await?;
    exec(connection, "SET @c = 3").await?;
    run(connection, "query", "procedure.text", "CALL two_sets(20, @b, @c)", false).await;
    run(connection, "query", "procedure.out", "SELECT @b, @c", false).await;
    Ok(())
}

async fn transactions(connection: &mut MySqlConnection) -> Answer<()> {
    exec(connection, "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)").await?;
    let mut transaction = connection.begin().await?;
    run(&mut transaction, "run", "transaction.insert", "INSERT INTO accounts VALUES (1, 100)", true).await;
    transaction.commit().await?;
    let mut transaction = connection.begin().await?;
    run(&mut transaction, "run", "transaction.second", "INSERT INTO accounts VALUES (2, 200)", true).await;
    let mut nested = transaction.begin().await?;
    run(&mut nested, "run", "transaction.third", "INSERT INTO accounts VALUES (3, 300)", true).await;
    nested.rollback().await?;
    run(&mut transaction, "query", "transaction.inside", "SELECT COUNT(*) FROM accounts", true).await;
    transaction.rollback().await?;
    run(connection, "query", "transaction.after", "SELECT * FROM accounts", true).await;
    // dropped without an end, it is rolled back before the connection's next use
    let mut dropped = connection.begin().await?;
    run(&mut dropped, "run", "transaction.dropped", "INSERT INTO accounts VALUES (4, 400)", true).await;
    drop(dropped);
    run(connection, "query", "transaction.after_dropped", "SELECT COUNT(*) FROM accounts", true).await;
    let mut read_only = connection.begin_with("START TRANSACTION READ ONLY").await?;
    run(&mut read_only, "fail", "transaction.read_only", "INSERT INTO accounts VALUES (9, 9)", true).await;
    read_only.rollback().await?;
    for (name, prepared) in [("found_rows", false), ("found_rows.prepared", true)] {
        run(connection, "run", name, "UPDATE accounts SET amount = amount WHERE id = 1", prepared).await;
    }
    Ok(())
}

async fn session_at_connect() -> Answer<()> {
    let state = "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results, @@collation_connection";
    let mut plain = connect().await?;
    run(&mut plain, "query", "connect.default_session", state, true).await;
    plain.close().await?;
    let chosen = options()?
        .charset("utf8mb4")
        .collation("utf8mb4_unicode_ci")
        .timezone(Some("+05:30".to_owned()))
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .statement_cache_capacity(0);
    let mut connection = chosen.connect().await?;
    run(&mut connection, "query", "connect.session", state, true).await;
    run(&mut connection, "query", "connect.time_zone", "SELECT FROM_UNIXTIME(0)", false).await;
    connection.ping().await?;
    fact("ping", "ok");
    connection.close().await?;
    Ok(())
}

async fn pool() -> Answer<()> {
    let pool = MySqlPoolOptions::new().max_connections(4).connect_with(options()?).await?;
    let mut running = Vec::new();
    for i in 0..40_i64 {
        let pool = pool.clone();
        running.push(tokio::spawn(async move {
            sqlx::query_scalar::<_, i64>("SELECT CAST(? AS SIGNED)").bind(i).fetch_one(&pool).await
        }));
    }
    let mut total = 0;
    for one in running {
        total += one.await??;
    }
    fact("pool", total.to_string());
    pool.close().await;
    Ok(())
}

async fn many_rows(connection: &mut MySqlConnection) -> Answer<()> {
    exec(connection, "DROP TABLE IF EXISTS many; CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)").await?;
    let depth = if variable("DRIVER_SERVER") == "mysql" { "cte_max_recursion_depth" } else { "max_recursive_iterations" };
    sqlx::raw_sql(AssertSqlSafe(format!("SET SESSION {depth} = 100000"))).execute(&mut *connection).await?;
    exec(
        connection,
        "INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT i, SHA2(i, 224), i / 7 FROM n",
    )
    .await?;
    for prepared in [false, true] {
        let sql = "SELECT * FROM many ORDER BY id";
        let (mut rows, mut digest) = (0, Sha256::new());
        {
            let mut stream =
                if prepared { sqlx::query(sql).fetch(&mut *connection) } else { sqlx::raw_sql(sql).fetch(&mut *connection) };
            while let Some(row) = stream.try_next().await? {
                digest.update(row.try_get_unchecked::<Vec<u8>, _>(1)?);
                digest.update(row.try_get::<f64, _>(2)?.to_le_bytes());
                rows += 1;
            }
        }
        fact("big_result", format!("{prepared} {rows} {}", hex(&digest.finalize())));
    }
    // a stream dropped in the middle: sqlx reads the rest before the next command
    {
        let mut stream = sqlx::query("SELECT * FROM many ORDER BY id").fetch(&mut *connection);
        fact("big_result.first", stream.try_next().await?.is_some().to_string());
    }
    run(connection, "query", "big_result.after_abandoned", "SELECT COUNT(*), SUM(id) FROM many", true).await;
    Ok(())
}

async fn facts() -> Answer<()> {
    let began = Instant::now();
    let mut connection = connect().await?;
    for prepared in [false, true] {
        for line in statements()? {
            let name = format!("{}.{}", if prepared { "prepared" } else { "text" }, line.name);
            run(&mut connection, &line.kind, &name, &line.sql, prepared && line.how == "both").await;
        }
    }
    parameters(&mut connection).await?;
    prepared_many_times(&mut connection).await?;
    big_blob(&mut connection).await?;
    two_results(&mut connection).await?;
    transactions(&mut connection).await?;
    session_at_connect().await?;
    pool().await?;
    many_rows(&mut connection).await?;
    connection.close().await?;
    fact("in_time", (began.elapsed() < Duration::from_secs(60)).to_string());
    Ok(())
}
