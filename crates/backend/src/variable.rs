//! Session variables that no [`State`](crate::state::State) names unless a session has set them: which of them travel,
//! and how their values are written.
//!
//! The trackers report values without a type. A server shows the type itself, in the column of `SELECT @@x`: it is asked
//! once for each variable that some session sets, so that every version's and every plugin's variables travel.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use weir_wire::{response::column_type, server_version::Flavour};

use crate::{
    connection::{Connection, ConnectionError},
    state::quote,
};

/// What a reported change of a variable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported<'a> {
    /// The variable of this name has the reported value.
    Value(&'a [u8]),
    /// The reported value follows from this variable, which must be read.
    Reads(&'static str),
    /// It may be frozen, or run again with the clock: `timestamp`.
    Clock,
    /// It is the connection's, and no other can be given it.
    Stays,
}

/// Variables that count or stand for something on the connection itself, that work for one statement only, or that
/// change what the server sends.
const STAY: [&[u8]; 20] = [
    b"insert_id",
    b"rand_seed1",
    b"rand_seed2",
    b"gtid_next",
    b"gtid_seq_no",
    b"original_commit_timestamp",
    b"immediate_server_version",
    b"original_server_version",
    b"default_master_connection",
    b"max_relay_log_size",
    b"sql_slave_skip_counter",
    // a time in the session's time zone, which changes with it
    b"system_versioning_asof",
    b"resultset_metadata",
    b"profiling",
    b"character_set_database",
    b"collation_database",
    b"debug",
    b"debug_dbug",
    b"debug_sync",
    b"tcp_nodelay",
];

/// What a variable of one server is beside another one. Source: each settable variable of both servers was set, and all
/// were read.
enum Beside {
    /// Another name of it, with the same value.
    Same(&'static str),
    /// A part of it, or the same in other words.
    Part(&'static str),
}

fn beside(name: &[u8], flavour: Flavour) -> Option<Beside> {
    use Beside::{Part, Same};
    Some(match (flavour, name) {
        (_, b"character_set_server") => Part("collation_server"),
        (Flavour::MySql, b"pseudo_slave_mode") => Same("pseudo_replica_mode"),
        (Flavour::MySql, _) => return None,
        (Flavour::MariaDb, name) => match name {
            b"storage_engine" => Same("default_storage_engine"),
            b"log_slow_query_time" => Same("long_query_time"),
            b"log_slow_min_examined_row_limit" => Same("min_examined_row_limit"),
            b"log_slow_query" => Same("slow_query_log"),
            b"tmp_memory_table_size" => Same("tmp_table_size"),
            b"log_slow_admin_statements" | b"log_slow_slave_statements" => {
                Part("log_slow_disabled_statements")
            }
            b"log_queries_not_using_indexes" => Part("log_slow_filter"),
            b"old" => Part("old_mode"),
            b"old_alter_table" => Part("alter_algorithm"),
            b"wsrep_causal_reads" => Part("wsrep_sync_wait"),
            _ => return None,
        },
    })
}

/// What a reported change of `name` (lower case) means at a server of `flavour`.
#[must_use]
pub fn reported(name: &[u8], flavour: Flavour) -> Reported<'_> {
    if name == b"timestamp" {
        return Reported::Clock;
    }
    if STAY.contains(&name) {
        return Reported::Stays;
    }
    match beside(name, flavour) {
        Some(Beside::Same(one)) => Reported::Value(one.as_bytes()),
        Some(Beside::Part(whole)) => Reported::Reads(whole),
        None => Reported::Value(name),
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

/// What a server said of its variables. It learns with each that is set.
#[derive(Debug, Default)]
pub struct Kinds {
    known: Mutex<HashMap<Box<[u8]>, Kind>>,
}

impl Kinds {
    fn get(&self, name: &[u8]) -> Option<Kind> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// The value of a variable as SET takes it: from what the trackers reported if that is enough, else from the
    /// connection. The connection runs statements for it.
    ///
    /// # Errors
    /// The server refused to show it, or the connection failed.
    pub async fn literal(
        &self,
        connection: &mut Connection,
        name: &[u8],
        reported: Option<&[u8]>,
    ) -> Result<Vec<u8>, ConnectionError> {
        // empty may be NULL
        if let (Some(kind), Some(value @ [_, ..])) = (self.get(name), reported) {
            return Ok(written(kind, value));
        }
        let reply = connection.query(&format!("SELECT @@SESSION.{}", String::from_utf8_lossy(name))).await?;
        let text = reply.columns()?.first().is_some_and(|column| column.kind == column_type::VAR_STRING);
        let kind = if text { Kind::Text } else { Kind::Number };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), kind);
        let value = reply.rows()?.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(value.map_or_else(|| b"NULL".to_vec(), |value| written(kind, &value)))
    }
}

/// A number as it is, unless it is none.
fn written(kind: Kind, value: &[u8]) -> Vec<u8> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_');
    if kind == Kind::Number && value.iter().all(plain) {
        return value.to_vec();
    }
    let mut out = Vec::with_capacity(value.len() + 2);
    quote(value, &mut out);
    out
}

/// `timestamp` as SET takes it: its value while it is frozen, else `None`. A clock that runs shows two values.
///
/// # Errors
/// The connection failed.
pub async fn frozen_clock(connection: &mut Connection) -> Result<Option<Vec<u8>>, ConnectionError> {
    let mut shown = Vec::new();
    for _ in 0..2 {
        let rows = connection.query("SELECT @@SESSION.timestamp").await?.rows()?;
        shown.push(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten());
    }
    Ok(match shown.as_slice() {
        [Some(first), Some(second)] if first == second => Some(first.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_names_is_one_variable() {
        let of = |name| [Flavour::MySql, Flavour::MariaDb].map(|flavour| reported(name, flavour));
        let engine: &[u8] = b"storage_engine";
        assert_eq!(of(engine), [Reported::Value(engine), Reported::Value(b"default_storage_engine")]);
        assert_eq!(of(b"old_alter_table")[1], Reported::Reads("alter_algorithm"));
        assert_eq!(of(b"insert_id"), [Reported::Stays; 2]);
    }

    #[test]
    fn only_a_number_stands_bare() {
        assert_eq!(written(Kind::Number, b"-1.5e3"), b"-1.5e3");
        assert_eq!(written(Kind::Number, b"OFF"), b"OFF");
        assert_eq!(written(Kind::Number, b"1,x=2"), b"'1,x=2'");
        assert_eq!(written(Kind::Text, b"12"), b"'12'");
    }
}
