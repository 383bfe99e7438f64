//! What a client asks for: one payload with sequence id 0 becomes a [`Command`].

use crate::{Malformed, Reader};

/// First byte of a command payload. Source: `my_command.h` of MySQL 9.7; of MariaDB's own only bulk execution is served.
pub mod com {
    #![allow(missing_docs, reason = "the names are the server's own")]
    pub const SLEEP: u8 = 0x00;
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const CREATE_DB: u8 = 0x05;
    pub const DROP_DB: u8 = 0x06;
    pub const REFRESH: u8 = 0x07;
    pub const SHUTDOWN: u8 = 0x08;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0A;
    pub const CONNECT: u8 = 0x0B;
    pub const PROCESS_KILL: u8 = 0x0C;
    pub const DEBUG: u8 = 0x0D;
    pub const PING: u8 = 0x0E;
    pub const CHANGE_USER: u8 = 0x11;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const TABLE_DUMP: u8 = 0x13;
    pub const REGISTER_SLAVE: u8 = 0x15;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1A;
    pub const SET_OPTION: u8 = 0x1B;
    pub const STMT_FETCH: u8 = 0x1C;
    pub const BINLOG_DUMP_GTID: u8 = 0x1E;
    pub const RESET_CONNECTION: u8 = 0x1F;
    pub const CLONE: u8 = 0x20;
    pub const STMT_BULK_EXECUTE: u8 = 0xFA;
}

/// A command of a client. Borrowed from the bytes it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Ends the session.
    Quit,
    /// Changes the default database.
    InitDb(&'a [u8]),
    /// One or more statements as text.
    Query(&'a [u8]),
    /// Columns of a table (deprecated, still sent by old clients).
    FieldList {
        /// Table name.
        table: &'a [u8],
        /// LIKE pattern for columns.
        wildcard: &'a [u8],
    },
    /// Server status as one line of text.
    Statistics,
    /// Is somebody there?
    Ping,
    /// Logs in anew on the same connection; see the login module for the payload.
    ChangeUser(&'a [u8]),
    /// Prepares a statement.
    StmtPrepare(&'a [u8]),
    /// Executes a prepared statement.
    StmtExecute(StmtExecute<'a>),
    /// MariaDB: executes a prepared statement once for each of many rows of parameters.
    StmtBulkExecute(u32),
    /// Sends a piece of a parameter; has no answer.
    StmtSendLongData {
        /// Statement.
        statement: u32,
        /// Parameter number, from 0.
        parameter: u16,
        /// The piece.
        data: &'a [u8],
    },
    /// Forgets a prepared statement; has no answer.
    StmtClose(u32),
    /// Drops long data and cursor of a prepared statement.
    StmtReset(u32),
    /// Rows of an open cursor.
    StmtFetch {
        /// Statement.
        statement: u32,
        /// Rows wanted.
        rows: u32,
    },
    /// Switches multi-statements: 0 on, 1 off.
    SetOption(u16),
    /// Forgets all state of the session, keeps its user.
    ResetConnection,
    /// Ends the connection with this id.
    ProcessKill(u32),
    /// A command that Weir does not serve (replication, clone, shutdown, ...).
    Unserved(u8),
}

/// COM_STMT_EXECUTE, as far as a gateway looks into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StmtExecute<'a> {
    /// Statement; `u32::MAX` is MariaDB's "the last one prepared".
    pub statement: u32,
    /// Cursor flags: 0 none, 1 read only, 8 parameter count available (query attributes).
    pub flags: u8,
    /// Always 1.
    pub iterations: u32,
    /// NULL bitmap, new-parameters flag, types and values.
    pub parameters: &'a [u8],
}

impl<'a> Command<'a> {
    /// Reads a command payload.
    ///
    /// # Errors
    /// The payload is empty or too short for its command.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        Ok(match r.u8("command byte")? {
            com::QUIT => Self::Quit,
            com::INIT_DB => Self::InitDb(r.rest()),
            com::QUERY => Self::Query(r.rest()),
            com::FIELD_LIST => {
                let table = r.nul_bytes("COM_FIELD_LIST table")?;
                Self::FieldList { table, wildcard: r.rest() }
            }
            com::STATISTICS => Self::Statistics,
            com::PING => Self::Ping,
            com::CHANGE_USER => Self::ChangeUser(r.rest()),
            com::STMT_PREPARE => Self::StmtPrepare(r.rest()),
            com::STMT_EXECUTE => Self::StmtExecute(StmtExecute {
                statement: r.u32("statement id")?,
                flags: r.u8("cursor flags")?,
                iterations: r.u32("iteration count")?,
                parameters: r.rest(),
            }),
            com::STMT_BULK_EXECUTE => {
                let id = r.u32("statement id")?;
                r.u16("flags")?;
                Self::StmtBulkExecute(id)
            }
            com::STMT_SEND_LONG_DATA => Self::StmtSendLongData {
                statement: r.u32("statement id")?,
                parameter: r.u16("parameter number")?,
                data: r.rest(),
            },
            com::STMT_CLOSE => Self::StmtClose(r.u32("statement id")?),
            com::STMT_RESET => Self::StmtReset(r.u32("statement id")?),
            com::STMT_FETCH => {
                Self::StmtFetch { statement: r.u32("statement id")?, rows: r.u32("row count")? }
            }
            com::SET_OPTION => Self::SetOption(r.u16("option")?),
            com::RESET_CONNECTION => Self::ResetConnection,
            com::PROCESS_KILL => Self::ProcessKill(r.u32("connection id")?),
            other => Self::Unserved(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_fixed_command_is_malformed_and_never_panics() {
        let execute = [com::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0];
        let fetch = [com::STMT_FETCH, 1, 0, 0, 0, 9, 0, 0, 0];
        for whole in [
            &execute[..],
            &fetch,
            &[com::STMT_CLOSE, 1, 0, 0, 0],
            &[com::SET_OPTION, 0, 0],
            &[com::PROCESS_KILL, 1, 0, 0, 0],
        ] {
            assert!(Command::parse(whole).is_ok());
            for cut in 0..whole.len() {
                assert!(Command::parse(&whole[..cut]).is_err(), "{whole:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_command_that_is_not_served_keeps_its_number() {
        assert_eq!(Command::parse(&[com::BINLOG_DUMP, 1, 2]), Ok(Command::Unserved(com::BINLOG_DUMP)));
        assert_eq!(Command::parse(&[0xEE]), Ok(Command::Unserved(0xEE)));
    }
}
