//! Everything that a session can see of itself and of what another may have left: the same questions in the same
//! order, so that two sessions can be compared.

use std::collections::BTreeMap;

use weir_testkit::Flavour;
use weir_wire::capability::Status;

use crate::client::{Client, Failure, Outcome};

/// What a session saw, by question.
pub type Observed = BTreeMap<String, String>;

/// Variables whose values differ between any two connections, or from one moment to the next.
const VOLATILE: &[&str] = &[
    "timestamp",
    "pseudo_thread_id",
    "statement_id",
    "rand_seed1",
    "rand_seed2",
    "gtid_executed",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_slave_pos",
    "last_gtid",
    "gtid_seq_no",
    "innodb_buffer_pool_load_incremental",
];

/// About the statement before: each is asked first in turn, since it answers for itself from then on.
pub const OF_THE_STATEMENT_BEFORE: &[&str] = &[
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "SHOW ERRORS",
    "SELECT @@warning_count, @@error_count",
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT LAST_INSERT_ID(), @@last_insert_id, @@identity",
    "GET DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT; SELECT @n, @r",
    // of the next transaction; the server looks at its transactions at most ten times a second
    "DELETE FROM {db}.few WHERE k = -1",
    "BEGIN; SELECT COUNT(*) FROM {db}.shadowed; DO SLEEP(0.11); \
     SELECT trx_isolation_level, trx_is_read_only FROM information_schema.innodb_trx; ROLLBACK",
];

const OF_THE_SESSION: &[&str] = &[
    "SELECT DATABASE()",
    "SELECT CURRENT_ROLE()",
    "SELECT @a, @b, @c, @d, @e",
    "SELECT @@in_transaction",
    "SELECT COUNT(*) FROM {db}.few WHERE k BETWEEN 50 AND 60",
    "SELECT * FROM {db}.shadowed",
    "SELECT * FROM {db}.tmp",
    "HANDLER h READ FIRST",
    "EXECUTE s",
    "EXECUTE s USING @a",
    "SELECT IS_FREE_LOCK('{db} lock'), IS_USED_LOCK('{db} lock') IS NULL",
    "SELECT 1 + 1 AS \"x\", 'a' || 'b', 1/3, NOW() > '2020-01-01', UNIX_TIMESTAMP() > 1500000000",
    "SELECT HEX('ä'), CHARSET('a'), COLLATION('a')",
    "SELECT COUNT(*) FROM few WHERE k < 0",
    "SHOW PROFILES",
    "SELECT HEX(WEIGHT_STRING('a'))",
    "SELECT @@session.transaction_isolation, @@session.transaction_read_only",
    "SELECT @@session.tx_isolation, @@session.tx_read_only",
];

/// Asked last, since they end transactions, and since a session of Weir's keeps its connection from such a name on.
const LAST: &[&str] = &["CREATE TABLE IF NOT EXISTS {db}.few (x INT)", "EXECUTE `ś`"];

const OF_MYSQL: &[&str] = &[
    "SELECT RESOURCE_GROUP FROM performance_schema.threads WHERE PROCESSLIST_ID = CONNECTION_ID()",
    // a variable that was taken away is NULL
    "SELECT VARIABLE_NAME FROM performance_schema.user_variables_by_thread v \
     JOIN performance_schema.threads t USING (THREAD_ID) \
     WHERE t.PROCESSLIST_ID = CONNECTION_ID() AND VARIABLE_VALUE IS NOT NULL AND VARIABLE_NAME NOT IN ('n', 'r')",
    "SELECT OBJECT_TYPE, OBJECT_NAME, LOCK_TYPE FROM performance_schema.metadata_locks l \
     JOIN performance_schema.threads t ON t.THREAD_ID = l.OWNER_THREAD_ID \
     WHERE t.PROCESSLIST_ID = CONNECTION_ID() AND LOCK_DURATION = 'EXPLICIT' ORDER BY 1, 2",
];
const OF_MARIADB: &[&str] = &[
    "SELECT VARIABLE_NAME FROM information_schema.USER_VARIABLES \
     WHERE VARIABLE_VALUE IS NOT NULL AND VARIABLE_NAME NOT IN ('n', 'r')",
    "BACKUP STAGE END",
];

/// What `client` sees. `{db}` in questions is `database`; of the questions about the statement before, number `first` is
/// asked first and no other.
///
/// # Errors
/// The connection is lost. An error of the server is something seen.
pub fn observe(
    client: &mut Client,
    flavour: Flavour,
    database: &str,
    first: usize,
) -> Result<Observed, Failure> {
    let mut seen = Observed::new();
    let of_server = if flavour == Flavour::MySql { OF_MYSQL } else { OF_MARIADB };
    let first = OF_THE_STATEMENT_BEFORE.get(first..=first).unwrap_or_default();
    for question in first.iter().chain(OF_THE_SESSION) {
        seen.insert((*question).to_owned(), ask(client, question, database)?);
    }
    // MySQL raises this one also for clients that cannot be told what changed
    let status = client.query("SELECT DATABASE()")?.status() - Status::SESSION_STATE_CHANGED;
    seen.insert("status".to_owned(), format!("{status:?}"));
    let variables = client.query("SHOW SESSION VARIABLES")?;
    match variables.error() {
        Some(error) => {
            drop(seen.insert("SHOW SESSION VARIABLES".to_owned(), format!("error {}", error.number)));
        }
        None => {
            for row in variables.rows()? {
                let mut values = row.into_iter().map(Option::unwrap_or_default);
                let (name, value) = (values.next().unwrap_or_default(), values.next().unwrap_or_default());
                if !VOLATILE.contains(&name.as_str()) {
                    seen.insert(format!("@@{name}"), value.replace(database, "{db}"));
                }
            }
        }
    }
    for question in of_server.iter().chain(LAST) {
        seen.insert((*question).to_owned(), ask(client, question, database)?);
    }
    Ok(seen)
}

fn ask(client: &mut Client, question: &str, database: &str) -> Result<String, Failure> {
    let answer = client.query(question.replace("{db}", database))?;
    let mut text = String::new();
    for outcome in answer.outcomes()? {
        text.push_str(&match outcome {
            Outcome::Err { error, .. } => format!("error {}; ", error.number),
            Outcome::Ok { .. } => "ok; ".to_owned(),
            // times differ
            Outcome::Rows { rows, .. } if question == "SHOW PROFILES" => format!("{} rows; ", rows.len()),
            Outcome::Rows { rows, .. } => {
                let rows: Vec<String> = rows.iter().map(|row| row.escape_ascii().to_string()).collect();
                format!("{}; ", rows.join(" / ")).replace(database, "{db}")
            }
        });
    }
    Ok(text)
}

/// What `got` has otherwise than `expected`, for people.
#[must_use]
pub fn differences(expected: &Observed, got: &Observed) -> Vec<String> {
    let mut different = Vec::new();
    for (question, wanted) in expected {
        let seen = got.get(question).map_or("nothing", String::as_str);
        if seen != wanted {
            different.push(format!("{question}: {seen} instead of {wanted}"));
        }
    }
    different.extend(
        got.keys().filter(|question| !expected.contains_key(*question)).map(|q| format!("{q} was seen")),
    );
    different
}
