//! What routines and triggers have left on a connection, which no text and no tracker tells: the server is asked.
//!
//! What it cannot tell for certain counts as left. Each flavour tells in its own way, and only for its own connection;
//! facts about both are in `crates/e2e/tests/facts.rs`.

use bitflags::bitflags;
use weir_wire::{
    Malformed, packet_with, query_attributes::query_head, response_end::Expect, server_version::Flavour,
};

use tokio::io::AsyncWriteExt;

use crate::{
    connection::{Connection, ConnectionError, Reply},
    user_variable::from_hex,
};

/// Most user variables that are read.
const MOST_VARIABLES: usize = 1000;

bitflags! {
    /// What may be left.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Remnants: u8 {
        /// Locks by GET_LOCK.
        const USER_LOCKS       = 1 << 0;
        /// Any other lock that outlives its transaction.
        const OTHER_LOCKS      = 1 << 1;
        /// Temporary tables.
        const TEMPORARY_TABLES = 1 << 2;
        /// Statements that were prepared as text.
        const PREPARED         = 1 << 3;
        /// Another role or resource group than that of the login.
        const ROLE             = 1 << 4;
        /// More user variables than are read.
        const MORE_VARIABLES   = 1 << 5;
    }
}

/// A user variable that is on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In lower case.
    pub name: Box<[u8]>,
    /// It was never assigned, or was taken away.
    pub is_null: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Remains {
    /// What may be left.
    pub remnants: Remnants,
    /// All user variables.
    pub user_variables: Vec<Found>,
    /// Session-state records that came with the answers: at MySQL of a statement that failed, and told none itself.
    pub tracked: Vec<u8>,
}

/// The answer to one question; `None` if the server refused it.
type Answered = Option<Reply>;

/// Locks: are those of this connection seen at all, all that outlive a transaction, those of GET_LOCK.
const LOCKS_MYSQL: &str = "SELECT COUNT(*),IFNULL(SUM(LOCK_DURATION='EXPLICIT'),0),\
    IFNULL(SUM(LOCK_DURATION='EXPLICIT' AND OBJECT_TYPE='USER LEVEL LOCK'),0),\
    (SELECT SUM(VARIABLE_VALUE) FROM performance_schema.global_status WHERE VARIABLE_NAME IN \
    ('Performance_schema_metadata_lock_lost','Performance_schema_prepared_statements_lost')) \
    FROM performance_schema.metadata_locks WHERE OWNER_THREAD_ID=PS_CURRENT_THREAD_ID() LIMIT 1";

const VARIABLES_MYSQL: &str = "SELECT HEX(VARIABLE_NAME),VARIABLE_VALUE IS NULL \
    FROM performance_schema.user_variables_by_thread WHERE THREAD_ID=PS_CURRENT_THREAD_ID() LIMIT 1001";

const PREPARED_MYSQL: &str = "SELECT COUNT(*) FROM performance_schema.prepared_statements_instances \
    WHERE OWNER_THREAD_ID=PS_CURRENT_THREAD_ID() AND STATEMENT_NAME IS NOT NULL LIMIT 1";

/// No table at all was created since the last reset: none of whatever engine is temporary.
const TABLES_MYSQL: &str = "SHOW SESSION STATUS LIKE 'Com_create_table'";

const ROLE_MYSQL: &str = "SELECT CURRENT_ROLE()='NONE' AND @@GLOBAL.activate_all_roles_on_login=0 AND NOT EXISTS \
    (SELECT 1 FROM information_schema.APPLICABLE_ROLES WHERE IS_DEFAULT='YES'),\
    (SELECT RESOURCE_GROUP='USR_default' FROM performance_schema.threads WHERE THREAD_ID=PS_CURRENT_THREAD_ID()) \
    LIMIT 1";

const VARIABLES_MARIADB: &str =
    "SELECT HEX(VARIABLE_NAME),VARIABLE_VALUE IS NULL FROM information_schema.USER_VARIABLES LIMIT 1001";

const PREPARED_MARIADB: &str = "SELECT SUM(VARIABLE_VALUE) FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME='Com_prepare_sql' LIMIT 1";

const TABLES_MARIADB: &str = "SELECT 'created',SUM(VARIABLE_VALUE) FROM information_schema.SESSION_STATUS \
    WHERE VARIABLE_NAME IN ('Com_create_temporary_table','Com_create_sequence') LIMIT 1";

const ROLE_MARIADB: &str = "SELECT CURRENT_ROLE() IS NULL AND NOT EXISTS \
    (SELECT 1 FROM information_schema.APPLICABLE_ROLES WHERE IS_DEFAULT='YES'),1 LIMIT 1";

impl Connection {
    /// Asks the server what is left on the connection; one round trip.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn ask_for_remains(&mut self) -> Result<Remains, ConnectionError> {
        let texts: &[&str] = match self.server().version.flavour {
            Flavour::MySql => &[VARIABLES_MYSQL, PREPARED_MYSQL, TABLES_MYSQL, ROLE_MYSQL, LOCKS_MYSQL],
            // it does not tell which locks a connection has
            Flavour::MariaDb => &[VARIABLES_MARIADB, PREPARED_MARIADB, TABLES_MARIADB, ROLE_MARIADB],
        };
        let (answers, tracked) = self.ask_all(texts).await?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().flatten();
        let (variables, prepared, tables, role, locks) = (next(), next(), next(), next(), next());
        let mut remnants = locks_of(locks);
        remnants.set(Remnants::PREPARED, numbers_in(prepared) != Some(vec![0]));
        remnants.set(Remnants::TEMPORARY_TABLES, last_number_in(tables) != Some(0));
        remnants.set(Remnants::ROLE, numbers_in(role) != Some(vec![1, 1]));
        let user_variables = variables.and_then(|reply| variables_in(&reply));
        remnants.set(Remnants::MORE_VARIABLES, user_variables.is_none());
        Ok(Remains { remnants, user_variables: user_variables.unwrap_or_default(), tracked })
    }

    /// Are these tables, each `` `database`.`table` ``, temporary ones of this connection? One round trip.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn are_temporary(&mut self, tables: &[Box<str>]) -> Result<Vec<bool>, ConnectionError> {
        let texts: Vec<String> = tables.iter().map(|table| format!("SHOW CREATE TABLE {table}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.refusals(&texts).await?.0.into_iter().map(|answer| may_be_temporary(&answer)).collect())
    }

    /// The answers to texts of Weir's own, and the session-state records that came; one round trip. What the server
    /// refuses is no error here.
    async fn ask_all(&mut self, texts: &[&str]) -> Result<(Vec<Answered>, Vec<u8>), ConnectionError> {
        let (answers, tracked) = self.refusals(texts).await?;
        Ok((answers.into_iter().map(Result::ok).collect(), tracked))
    }

    /// The same, with the numbers of the errors.
    #[allow(clippy::type_complexity, reason = "the answers, and what came with all of them")]
    async fn refusals(
        &mut self,
        texts: &[&str],
    ) -> Result<(Vec<Result<Reply, u16>>, Vec<u8>), ConnectionError> {
        let mut out = Vec::new();
        let questions = self.write_left(&mut out);
        for text in texts {
            packet_with(&mut out, 0, |w| {
                w.bytes(query_head(self.class().query_attributes)).bytes(text.as_bytes());
            });
        }
        self.exchange_begins();
        self.stream().write_all(&out).await?;
        self.stream().flush().await?;
        let mut tracked = self.read_left(questions).await?;
        let mut answers = Vec::with_capacity(texts.len());
        for _ in texts {
            answers.push(match self.read_reply(Expect::Results).await {
                Ok(mut reply) => {
                    tracked.append(&mut reply.tracked);
                    Ok(reply)
                }
                Err(ConnectionError::Server { code, .. }) => Err(code.number),
                Err(error) => return Err(error),
            });
        }
        self.exchange_ended();
        Ok((answers, tracked))
    }
}

fn may_be_temporary(answer: &Result<Reply, u16>) -> bool {
    /// Table doesn't exist, unknown database.
    const GONE: [u16; 2] = [1146, 1049];
    let reply = match answer {
        Ok(reply) => reply,
        Err(number) => return !GONE.contains(number),
    };
    let rows = reply.rows().unwrap_or_default();
    let text = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref).unwrap_or_default();
    // a table of the same name that was hidden, or a view
    !text.starts_with(b"CREATE ") || text.starts_with(b"CREATE TEMPORARY ")
}

fn locks_of(answer: Answered) -> Remnants {
    let all = Remnants::USER_LOCKS | Remnants::OTHER_LOCKS;
    match numbers_in(answer).as_deref() {
        // seen at all, and none was too many to be seen
        Some([seen, explicit, user, 0]) if *seen > 0 => {
            let mut remnants = Remnants::empty();
            remnants.set(Remnants::USER_LOCKS, *user != 0);
            remnants.set(Remnants::OTHER_LOCKS, explicit != user);
            remnants
        }
        _ => all,
    }
}

/// The numbers of the only row.
fn numbers_in(answer: Answered) -> Option<Vec<u64>> {
    let rows = answer?.rows().ok()?;
    let [row] = rows.as_slice() else { return None };
    row.iter().map(|value| number(value.as_deref()?)).collect()
}

/// The number in the last column of the only row.
fn last_number_in(answer: Answered) -> Option<u64> {
    let rows = answer?.rows().ok()?;
    let [row] = rows.as_slice() else { return None };
    number(row.last()?.as_deref()?)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse::<f64>().ok().filter(|n| *n >= 0.0).map(|n| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, perhaps written as a decimal"
        )]
        let n = n.ceil() as u64;
        n
    })
}

/// `None` if they are too many, or cannot be read.
fn variables_in(reply: &Reply) -> Option<Vec<Found>> {
    let rows = reply.rows().ok().filter(|rows| rows.len() <= MOST_VARIABLES)?;
    rows.iter().map(|row| found(row).ok()).collect()
}

fn found(row: &[Option<Vec<u8>>]) -> Result<Found, Malformed> {
    let malformed = || Malformed { what: "list of user variables", at: 0 };
    let [Some(hex), Some(is_null)] = row else { return Err(malformed()) };
    let name = from_hex(hex).ok_or_else(malformed)?.to_ascii_lowercase().into();
    match is_null.as_slice() {
        b"0" => Ok(Found { name, is_null: false }),
        b"1" => Ok(Found { name, is_null: true }),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::{
        response::{OkPacket, ResultSet, column_type},
        response_end::{BACKEND_FLAGS, Summary},
    };

    fn reply(rows: &[&[Option<&str>]]) -> Reply {
        let column = weir_wire::response::Column {
            schema: b"",
            table: b"",
            org_table: b"",
            name: b"n",
            org_name: b"",
            charset: 45,
            length: 80,
            kind: column_type::VAR_STRING,
            flags: 0,
            decimals: 0,
        };
        let columns = vec![column; rows.first().map_or(1, |row| row.len())];
        let mut bytes = Vec::new();
        let mut set = ResultSet::begin(&mut bytes, 1, BACKEND_FLAGS, &columns, &OkPacket::default());
        for row in rows {
            set.row(row.iter().map(|value| value.map(str::as_bytes)));
        }
        set.end(&OkPacket::default());
        let summary = Summary { rows: rows.len() as u64, has_rows: true, ..Summary::default() };
        Reply { bytes, summary, tracked: Vec::new() }
    }

    #[test]
    fn what_the_server_does_not_tell_may_be_there() {
        let locks = |row: [&str; 4]| locks_of(Some(reply(&[&row.map(Some)])));
        let both = Remnants::USER_LOCKS | Remnants::OTHER_LOCKS;
        assert_eq!(locks(["3", "0", "0", "0"]), Remnants::empty());
        assert_eq!(locks(["3", "1", "1", "0"]), Remnants::USER_LOCKS);
        assert_eq!(locks(["3", "2", "1", "0"]), both);
        assert_eq!(locks(["3", "1", "0", "0"]), Remnants::OTHER_LOCKS);
        assert_eq!(locks(["0", "0", "0", "0"]), both, "locks are not instrumented");
        assert_eq!(locks(["3", "0", "0", "1"]), both, "some were not seen");
        assert_eq!(locks_of(None), both);
        assert_eq!(numbers_in(Some(reply(&[&[None]]))), None);
        assert_eq!(last_number_in(Some(reply(&[&[Some("Com_create_table"), Some("0")]]))), Some(0));
        assert_eq!(last_number_in(Some(reply(&[]))), None);
    }

    #[test]
    fn names_come_as_hex_and_are_lower_case() {
        let read = variables_in(&reply(&[&[Some("4162"), Some("0")], &[Some("C3A4"), Some("1")]]));
        let name = |bytes: &[u8], is_null| Found { name: bytes.into(), is_null };
        assert_eq!(read, Some(vec![name(b"ab", false), name("ä".as_bytes(), true)]));
        assert_eq!(variables_in(&reply(&[&[Some("4"), Some("0")]])), None);
        assert_eq!(variables_in(&reply(&[&[Some("41"), Some("x")]])), None);
    }

    #[test]
    fn only_a_table_that_is_not_temporary_is_surely_none() {
        let shown = |text: &str| may_be_temporary(&Ok(reply(&[&[Some("t"), Some(text)]])));
        assert!(shown("CREATE TEMPORARY TABLE `t` (\n"));
        assert!(!shown("CREATE TABLE `t` (\n"));
        assert!(shown("C\0R\0E\0"), "in a charset that is not read");
        assert!(!may_be_temporary(&Err(1146)) && may_be_temporary(&Err(1142)));
    }
}
