//! MySQL error numbers that Weir itself sends or acts upon, with their SQLSTATEs.

/// An error number and the SQLSTATE that the servers send with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// MySQL error number.
    pub number: u16,
    /// SQLSTATE, five ASCII characters.
    pub sqlstate: [u8; 5],
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $state:literal;)*) => {
        $($(#[$doc])* pub const $name: ErrorCode = ErrorCode { number: $number, sqlstate: *$state };)*
    };
}

codes! {
    /// Too many connections.
    CON_COUNT = 1040 b"08004";
    /// Bad handshake.
    HANDSHAKE = 1043 b"08S01";
    /// Access denied to a database.
    DB_ACCESS_DENIED = 1044 b"42000";
    /// Access denied for user.
    ACCESS_DENIED = 1045 b"28000";
    /// No database selected.
    NO_DB = 1046 b"3D000";
    /// Unknown command.
    UNKNOWN_COM = 1047 b"08S01";
    /// Unknown database.
    BAD_DB = 1049 b"42000";
    /// Server shutdown in progress.
    SERVER_SHUTDOWN = 1053 b"08S01";
    /// Unknown thread id.
    NO_SUCH_THREAD = 1094 b"HY000";
    /// The SELECT would examine or return too many rows.
    TOO_BIG_SELECT = 1104 b"42000";
    /// Unknown error; the last resort.
    UNKNOWN = 1105 b"HY000";
    /// Malformed packet.
    MALFORMED_PACKET = 1835 b"HY000";
    /// Packet larger than `max_allowed_packet`.
    NET_PACKET_TOO_LARGE = 1153 b"08S01";
    /// Packets out of order.
    NET_PACKETS_OUT_OF_ORDER = 1156 b"08S01";
    /// Too many user connections: nobody gave a connection back in time.
    TOO_MANY_USER_CONNECTIONS = 1203 b"42000";
    /// Access denied; a privilege is needed.
    SPECIFIC_ACCESS_DENIED = 1227 b"42000";
    /// Unknown prepared statement.
    UNKNOWN_STMT_HANDLER = 1243 b"HY000";
    /// The client does not support the authentication protocol.
    NOT_SUPPORTED_AUTH_MODE = 1251 b"08004";
    /// The server runs with an option so that it cannot execute this statement (`--read-only`).
    OPTION_PREVENTS_STATEMENT = 1290 b"HY000";
    /// The statement was interrupted.
    QUERY_INTERRUPTED = 1317 b"70100";
    /// A server that stands behind this one cannot be reached.
    CONNECT_TO_FOREIGN_DATA_SOURCE = 1429 b"HY000";
    /// Prepared statement needs to be re-prepared.
    NEED_REPREPARE = 1615 b"HY000";
    /// A write in a read-only transaction.
    CANT_EXECUTE_IN_READ_ONLY_TRANSACTION = 1792 b"25006";
    /// The server runs in read-only mode.
    READ_ONLY_MODE = 1836 b"HY000";
    /// Connection lost while a statement ran. A client-side number that clients know best for this.
    SERVER_LOST = 2013 b"HY000";
    /// TLS is demanded (`require_secure_transport`).
    SECURE_TRANSPORT_REQUIRED = 3159 b"HY000";
    /// The client was disconnected because of inactivity.
    CLIENT_INTERACTION_TIMEOUT = 4031 b"HY000";
}
