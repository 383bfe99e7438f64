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
    /// You are not owner of thread.
    KILL_DENIED = 1095 b"HY000";
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
    /// The server has as many prepared statements as it takes.
    MAX_PREPARED_STMT_COUNT_REACHED = 1461 b"42000";
    /// Prepared statement needs to be re-prepared.
    NEED_REPREPARE = 1615 b"HY000";
    /// A write in a read-only transaction.
    CANT_EXECUTE_IN_READ_ONLY_TRANSACTION = 1792 b"25006";
    /// The server runs in read-only mode.
    READ_ONLY_MODE = 1836 b"HY000";
    /// The connection was killed (MariaDB's number, which MySQL does not have).
    CONNECTION_KILLED = 1927 b"70100";
    /// Connection lost while a statement ran. A client-side number that clients know best for this.
    SERVER_LOST = 2013 b"HY000";
    /// TLS is demanded (`require_secure_transport`).
    SECURE_TRANSPORT_REQUIRED = 3159 b"HY000";
    /// The client was disconnected because of inactivity.
    CLIENT_INTERACTION_TIMEOUT = 4031 b"HY000";
}

/// The SQLSTATE that a server gives to an error or a warning of this number. Source:
/// `performance_schema.events_errors_summary_global_by_error` of MySQL 9.7; MariaDB gives the same to numbers that both
/// know.
#[must_use]
pub fn sqlstate_of(number: u16) -> [u8; 5] {
    STATES.iter().find(|(_, numbers)| numbers.binary_search(&number).is_ok()).map_or(*b"HY000", |(s, _)| **s)
}

/// Numbers by SQLSTATE, ascending; all others have `HY000`.
#[rustfmt::skip]
const STATES: &[(&[u8; 5], &[u16])] = &[
    (b"01000", &[1249, 1261, 1262, 1265, 1311, 1642, 3519, 3565, 3751]),
    (b"01S00", &[3713]),
    (b"01S01", &[3715]),
    (b"02000", &[1329, 1643]),
    (b"08004", &[1040, 1251]),
    (b"08S01", &[1042, 1043, 1047, 1053, 1080, 1081, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160,
        1161, 1184, 1189, 1190, 1218, 3068]),
    (b"0A000", &[1312, 1314, 1335, 1336, 1415, 1845, 1846]),
    (b"0K000", &[1645]),
    (b"0Z002", &[3004]),
    (b"20000", &[1339]),
    (b"21000", &[1222, 1241, 1242]),
    (b"21S01", &[1058, 1136]),
    (b"22001", &[1406, 3907]),
    (b"22003", &[1264, 1416, 1690, 3155, 3669, 3706, 3752, 3904]),
    (b"22004", &[1138, 1263]),
    (b"22007", &[1292, 1367]),
    (b"22008", &[1441]),
    (b"22012", &[1365]),
    (b"22018", &[3156, 3903]),
    (b"2201E", &[3020]),
    (b"22023", &[3037, 3558, 3559, 3560, 3561, 3562, 3563, 3564, 3727]),
    (b"22032", &[3140, 3141, 3144, 3145, 3146, 3147, 3150, 3151, 3157, 3158, 3853]),
    (b"22034", &[3967]),
    (b"22035", &[3665, 3966]),
    (b"2203F", &[3666]),
    (b"22S00", &[3520, 3618, 3682, 3704, 3705, 3726, 3741, 3742, 3743, 3744]),
    (b"22S01", &[3516, 4032]),
    (b"22S02", &[3616, 3731]),
    (b"22S03", &[3617, 3732]),
    (b"22S04", &[4033]),
    (b"22S05", &[4034]),
    (b"23000", &[1022, 1048, 1052, 1062, 1169, 1216, 1217, 1451, 1452, 1557, 1586, 1761, 1762, 1859, 3673]),
    (b"24000", &[1325, 1326]),
    (b"25000", &[1179, 1207]),
    (b"25001", &[1568]),
    (b"25006", &[1792]),
    (b"28000", &[1045, 1698, 1873]),
    (b"2F003", &[1303]),
    (b"2F005", &[1321]),
    (b"35000", &[1758]),
    (b"3D000", &[1046]),
    (b"40000", &[3101]),
    (b"40001", &[1213]),
    (b"42000", &[1044, 1049, 1055, 1056, 1057, 1059, 1061, 1063, 1064, 1065, 1066, 1067, 1068, 1069, 1070,
        1071, 1072, 1073, 1074, 1075, 1083, 1084, 1090, 1091, 1101, 1102, 1103, 1104, 1106, 1107, 1110,
        1112, 1113, 1115, 1118, 1120, 1121, 1131, 1132, 1133, 1139, 1140, 1141, 1142, 1143, 1144, 1145,
        1147, 1148, 1149, 1162, 1163, 1164, 1166, 1167, 1170, 1171, 1172, 1173, 1176, 1177, 1178, 1203,
        1211, 1226, 1227, 1230, 1231, 1232, 1234, 1235, 1239, 1248, 1250, 1252, 1253, 1280, 1281, 1286,
        1304, 1305, 1308, 1309, 1310, 1313, 1315, 1316, 1318, 1319, 1320, 1322, 1323, 1324, 1327, 1330,
        1331, 1332, 1333, 1337, 1338, 1370, 1403, 1407, 1410, 1413, 1414, 1425, 1426, 1427, 1437, 1439,
        1453, 1458, 1460, 1461, 1463, 1582, 1583, 1584, 1630, 1641, 1687, 1701, 3057, 3061, 3119, 3131,
        3143, 3148, 3149, 3152, 3153, 3154, 3165, 3202, 3630, 3667, 3670, 3753, 3948, 3999, 4048]),
    (b"42S01", &[1050]),
    (b"42S02", &[1051, 1109, 1146]),
    (b"42S12", &[1082]),
    (b"42S21", &[1060]),
    (b"42S22", &[1054, 1247]),
    (b"42Y07", &[3503]),
    (b"70100", &[1317]),
    (b"HY001", &[1037, 1038]),
    (b"SR000", &[3714]),
    (b"SR001", &[3521, 3548]),
    (b"SR002", &[3517, 3736, 3737, 3738, 3739, 3740]),
    (b"SR003", &[3518]),
    (b"SR004", &[3712]),
    (b"SR005", &[3716]),
    (b"SR006", &[3708, 3709, 3710, 3711, 3717, 3718]),
    (b"SU001", &[3882, 3902]),
    (b"XA100", &[1402]),
    (b"XA102", &[1614]),
    (b"XA106", &[1613]),
    (b"XAE03", &[1401]),
    (b"XAE04", &[1397]),
    (b"XAE05", &[1398]),
    (b"XAE07", &[1399]),
    (b"XAE08", &[1440]),
    (b"XAE09", &[1400]),
];
