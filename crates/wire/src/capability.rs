//! Capability flags and status flags.

use bitflags::bitflags;

bitflags! {
    /// What client and server agree on at login. Source: `mysql_com.h` of MySQL 9.7 and MariaDB 10.11.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Capabilities: u32 {
        /// MySQL: always set. MariaDB clears it in its greeting to say that extended capabilities follow (`CLIENT_MYSQL`).
        const LONG_PASSWORD = 1;
        /// `affected_rows` counts rows found, not rows changed.
        const FOUND_ROWS = 1 << 1;
        /// Column flags have two bytes.
        const LONG_FLAG = 1 << 2;
        /// A database may be named at login.
        const CONNECT_WITH_DB = 1 << 3;
        /// `db.table.column` is refused.
        const NO_SCHEMA = 1 << 4;
        /// zlib compression.
        const COMPRESS = 1 << 5;
        /// No meaning left.
        const ODBC = 1 << 6;
        /// LOAD DATA LOCAL.
        const LOCAL_FILES = 1 << 7;
        /// Spaces before `(` of a function call: `sql_mode` IGNORE_SPACE.
        const IGNORE_SPACE = 1 << 8;
        /// The 4.1 protocol; nothing older is served.
        const PROTOCOL_41 = 1 << 9;
        /// `wait_timeout` starts as `interactive_timeout`.
        const INTERACTIVE = 1 << 10;
        /// TLS.
        const SSL = 1 << 11;
        /// No meaning left.
        const IGNORE_SIGPIPE = 1 << 12;
        /// Status flags in OK packets.
        const TRANSACTIONS = 1 << 13;
        /// No meaning left.
        const RESERVED = 1 << 14;
        /// 20-byte scrambles.
        const SECURE_CONNECTION = 1 << 15;
        /// Several statements in one COM_QUERY.
        const MULTI_STATEMENTS = 1 << 16;
        /// Several results of one COM_QUERY.
        const MULTI_RESULTS = 1 << 17;
        /// Several results of one COM_STMT_EXECUTE.
        const PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins.
        const PLUGIN_AUTH = 1 << 19;
        /// Connection attributes.
        const CONNECT_ATTRS = 1 << 20;
        /// Authentication answers longer than 255 bytes.
        const PLUGIN_AUTH_LENENC = 1 << 21;
        /// The client can handle the expired-password sandbox.
        const CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        /// Session-state records in OK packets; `info` becomes length-encoded.
        const SESSION_TRACK = 1 << 23;
        /// OK instead of EOF packets.
        const DEPRECATE_EOF = 1 << 24;
        /// Result-set metadata may be left out.
        const OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// zstd compression.
        const ZSTD = 1 << 26;
        /// Query attributes.
        const QUERY_ATTRIBUTES = 1 << 27;
        /// Several authentication factors.
        const MULTI_FACTOR_AUTHENTICATION = 1 << 28;
        /// Reserved for extensions.
        const CAPABILITY_EXTENSION = 1 << 29;
        /// The client verifies the server's certificate (client-side flag).
        const SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// The client keeps its options after a failed login (client-side flag).
        const REMEMBER_OPTIONS = 1 << 31;
    }
}

bitflags! {
    /// Server status in OK and EOF packets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Status: u16 {
        /// A transaction is open.
        const IN_TRANS = 0x0001;
        /// autocommit is on.
        const AUTOCOMMIT = 0x0002;
        /// Another result follows.
        const MORE_RESULTS = 0x0008;
        /// A good index was not used.
        const NO_GOOD_INDEX_USED = 0x0010;
        /// No index was used.
        const NO_INDEX_USED = 0x0020;
        /// A cursor was opened.
        const CURSOR_EXISTS = 0x0040;
        /// The cursor has no more rows.
        const LAST_ROW_SENT = 0x0080;
        /// A database was dropped.
        const DB_DROPPED = 0x0100;
        /// sql_mode has NO_BACKSLASH_ESCAPES.
        const NO_BACKSLASH_ESCAPES = 0x0200;
        /// Metadata of a re-prepared statement changed.
        const METADATA_CHANGED = 0x0400;
        /// The statement was slow by the server's own measure.
        const QUERY_WAS_SLOW = 0x0800;
        /// This result holds OUT parameters.
        const PS_OUT_PARAMS = 0x1000;
        /// The open transaction is read only.
        const IN_TRANS_READONLY = 0x2000;
        /// Session-state records follow.
        const SESSION_STATE_CHANGED = 0x4000;
        /// MariaDB: ANSI_QUOTES. Kept so that unknown bits survive a round trip.
        const ANSI_QUOTES = 0x8000;
    }
}
