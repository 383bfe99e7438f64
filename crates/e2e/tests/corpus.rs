//! Every statement of the corpus (`testdata/sql-corpus.json`) through Weir: answer or error number is the server's own.
//! Two servers that nobody else uses, alike but for their data folders, run the same statements in the same order: one
//! asked directly, one through Weir. So no statement is too dangerous to be run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_e2e::client::{Answer, Client, Cursor, Endpoint, Failure, Login, Outcome};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE, workspace};
use weir_wire::capability::Capabilities;

/// What the statements name.
const SCHEMA: &str = "
    CREATE DATABASE zz; USE zz;
    CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(20), c INT, name VARCHAR(20), KEY (a));
    INSERT INTO t (a, b, c, name) VALUES (1, 'x', 10, 'n'), (2, 'y', 20, NULL), (3, 'z', NULL, 'o');
    CREATE TABLE u (id INT PRIMARY KEY, a INT); INSERT INTO u VALUES (1, 1), (2, 3);
    CREATE DATABASE db1; CREATE TABLE db1.t (a INT, b INT, c INT)";

/// Threads that a `KILL` of the corpus must not hit: numbers up to this one are used up beforehand.
const USED_UP: usize = 20;

/// Statements whose rows differ between any two servers, or between two moments; the rest of their answer is compared.
/// Named by their beginnings.
const ROWS_DIFFER: &[(&str, &str)] = &[
    ("SHOW PROCESSLIST", "threads of the moment"),
    ("SHOW FULL PROCESSLIST", "threads of the moment"),
    ("SHOW GLOBAL STATUS", "counters"),
    ("SHOW STATUS", "counters"),
    ("SHOW SESSION STATUS", "counters"),
    ("SHOW ENGINE", "state of the moment"),
    ("SHOW BINARY LOG", "positions"),
    ("SHOW MASTER", "positions"),
    ("SHOW BINLOG", "positions"),
    ("SHOW REPLICA", "positions"),
    ("SHOW SLAVE", "positions"),
    ("SHOW VARIABLES", "folders and ports"),
    ("SHOW GLOBAL VARIABLES", "folders and ports"),
    ("SHOW OPEN TABLES", "what was opened so far"),
    ("SHOW TABLE STATUS", "times"),
    ("SHOW TRIGGERS", "times"),
    ("SHOW EVENTS", "times"),
    ("SHOW PROCEDURE STATUS", "times"),
    ("SHOW FUNCTION STATUS", "times"),
    ("SHOW PROFILE", "times"),
    ("SHOW INDEX", "estimates"),
    ("SHOW KEYS", "estimates"),
    ("SELECT CURRENT_TIMESTAMP", "the time"),
    ("SELECT NOW", "the time"),
    ("SELECT UUID", "new each time"),
    ("SELECT RAND", "new each time"),
    ("EXPLAIN ANALYZE", "times"),
    ("EXPLAIN", "estimates"),
    ("ANALYZE", "times"),
    ("DESC", "estimates"),
    ("XA RECOVER", "what others prepared"),
];

/// Statements of which not even the number of columns is compared.
const ERRORS_ONLY: &[(&str, &str)] = &[("SHOW PROFILES", "times")];

/// A client library's own number for a connection that ended.
const SERVER_LOST: u16 = 2013;

/// What must come last, since nothing answers after it.
const LAST: &[&str] = &["RESTART", "SHUTDOWN"];

fn corpus() -> Result<Vec<(u64, String)>> {
    let path = workspace().join("testdata/sql-corpus.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let list: Vec<Value> = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let entries: Vec<(u64, String)> = list
        .iter()
        .filter_map(|entry| Some((entry.get("id")?.as_u64()?, entry.get("sql")?.as_str()?.to_owned())))
        .collect();
    ensure!(
        entries.len() == list.len() && entries.len() > 250,
        "{} statements of {}",
        entries.len(),
        list.len()
    );
    let last = |(_, sql): &(u64, String)| LAST.contains(&sql.as_str());
    let (mut end, most): (Vec<_>, Vec<_>) = entries.into_iter().partition(last);
    end.sort_by_key(|(_, sql)| LAST.iter().position(|known| known == sql));
    Ok(most.into_iter().chain(end).collect())
}

fn server(flavour: Flavour, name: &str) -> Result<Cluster> {
    let mut options = weir_testkit::Options::new(flavour, format!("corpus-{name}-{flavour}"));
    options.replicas = 0;
    let cluster = Cluster::start(&options)?;
    cluster.sql(0, SCHEMA)?;
    Ok(cluster)
}

fn begins_with(list: &[(&str, &str)], sql: &str) -> bool {
    let sql = sql.trim_start().to_ascii_uppercase();
    list.iter().any(|(start, _)| sql.starts_with(start))
}

/// An answer as text, without what differs by nature.
fn shown(sql: &str, answer: &Result<Answer, Failure>) -> Result<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::Refused(error)) => return Ok(format!("error {}", error.number)),
        // Weir says what a client's library would say
        Err(failure) if failure.is_lost() => return Ok(format!("error {SERVER_LOST}")),
        Err(failure) => return Ok(failure.to_string()),
    };
    if begins_with(ERRORS_ONLY, sql) {
        return Ok(format!("error {}", answer.error_number()));
    }
    let mut text = String::new();
    let outcomes = answer.outcomes()?.len();
    for outcome in answer.outcomes()? {
        text.push_str(&match outcome {
            Outcome::Err { error, rows_before } => {
                if outcomes == 1 && rows_before == 0 {
                    return Ok(format!("error {}", error.number));
                }
                format!("error {} after {rows_before} rows; ", error.number)
            }
            Outcome::Ok { affected, insert_id, warnings, .. } => {
                format!("ok, {affected} rows, id {insert_id}, {warnings} warnings; ")
            }
            Outcome::Rows { columns, .. } if begins_with(ROWS_DIFFER, sql) || sql.contains("RAND()") => {
                format!("columns {columns:?}; ")
            }
            Outcome::Rows { columns, rows, warnings, .. } => {
                let rows: Vec<String> = rows.iter().map(|row| row.escape_ascii().to_string()).collect();
                format!("columns {columns:?}, {warnings} warnings, rows {rows:?}; ")
            }
        });
    }
    Ok(text)
}

/// A client that logs in again when its session is gone.
struct Asking {
    endpoint: Endpoint,
    login: Login,
    client: Option<Client>,
}

impl Asking {
    fn new(endpoint: Endpoint, login: Login) -> Result<Asking> {
        for _ in 0..USED_UP {
            Client::connect(&endpoint, &login)?.quit()?;
        }
        Ok(Asking { endpoint, login, client: None })
    }

    fn ask(&mut self, act: &dyn Fn(&mut Client) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.endpoint, &self.login)?,
        };
        let answer = act(&mut client);
        if !matches!(&answer, Err(failure) if !matches!(failure, Failure::Refused(_))) {
            self.client = Some(client);
        }
        answer
    }

    fn new_session(&mut self) {
        self.client = None;
    }
}

fn every_statement_is_answered_alike(flavour: Flavour) -> Result<()> {
    let [direct, behind] = [server(flavour, "direct")?, server(flavour, "weir")?];
    let options =
        Options::on(&behind)?.users(vec![User::of(&behind).without_split()]).set("pool.capacity", 4);
    let weir = Weir::start(&options)?;
    let login =
        Login::new(SERVICE.user, SERVICE.password).database("zz").with(Capabilities::MULTI_STATEMENTS);
    let mut at_server = Asking::new(Endpoint::port(direct.primary()?.port), login.clone())?;
    let mut through = Asking::new(weir.endpoint(), login)?;
    let mut differences = Vec::new();
    let statements = corpus()?;
    let mut compare = |at_server: &mut Asking,
                       through: &mut Asking,
                       id: u64,
                       what: &str,
                       sql: &str,
                       act: &dyn Fn(&mut Client) -> Result<Answer, Failure>|
     -> Result<()> {
        let expected = shown(sql, &at_server.ask(act))?;
        let got = shown(sql, &through.ask(act))?;
        if expected != got {
            let cut = |text: &str| text.chars().take(300).collect::<String>();
            differences.push(format!(
                "{id} {what}: {sql}\n    server {}\n    weir   {}",
                cut(&expected),
                cut(&got)
            ));
        }
        // one that lost its session has lost its state: so does the other. RELEASE ends a session behind its answer.
        let ended = sql.ends_with("RELEASE");
        if ended || at_server.client.is_some() != through.client.is_some() {
            at_server.new_session();
            through.new_session();
        }
        Ok(())
    };
    for (id, sql) in statements.iter().filter(|(_, sql)| !LAST.contains(&sql.as_str())) {
        compare(&mut at_server, &mut through, *id, "text", sql, &|c| c.query(sql))?;
    }
    at_server.new_session();
    through.new_session();
    for (id, sql) in statements.iter().filter(|(_, sql)| !LAST.contains(&sql.as_str())) {
        compare(&mut at_server, &mut through, *id, "prepared", sql, &|c| {
            let prepared = c.prepare(sql)?;
            if prepared.parameters > 0 {
                // the answer to PREPARE is compared, but for its id
                let mut answer = prepared.answer;
                answer.packets[0].payload[1..5].fill(0);
                c.close_statement(prepared.id)?;
                let text: Vec<String> =
                    answer.packets.iter().map(|p| p.payload.escape_ascii().to_string()).collect();
                return c.query(format!("SELECT '{}'", text.join(" ").replace(['\'', '\\'], "")));
            }
            let answer = c.execute_with(prepared.id, &[], Cursor::None, weir_e2e::client::Bind::New)?;
            c.close_statement(prepared.id)?;
            Ok(answer)
        })?;
    }
    for (id, sql) in statements.iter().filter(|(_, sql)| LAST.contains(&sql.as_str())) {
        compare(&mut at_server, &mut through, *id, "text", sql, &|c| c.query(sql))?;
    }
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}

#[test]
fn mysql_every_statement_is_answered_alike() -> Result<()> {
    every_statement_is_answered_alike(Flavour::MySql)
}

#[test]
fn mariadb_every_statement_is_answered_alike() -> Result<()> {
    every_statement_is_answered_alike(Flavour::MariaDb)
}
