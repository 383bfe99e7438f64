//! Where statements go, and which are refused, by facts of the session.

use std::time::Duration;

use weir_catalog::{
    namespace::{AllowedDatabases, Limits, Namespace, PoolSettings, SessionSettings},
    user::UserAccess,
};
use weir_plan::{Facts, Plan, Refusal, Target, plan};
use weir_sql::{ClientCharset, Dialect, Flavour, ShowWeir, Statement, analyze};

const SPLIT: Facts = Facts {
    access: UserAccess::ReadWrite,
    admin: false,
    split: true,
    has_replicas: true,
    in_transaction: false,
    on_replica: false,
    begun: None,
    known_write: false,
    local_files: true,
    flavour: Flavour::MySql,
};

/// In a transaction that no server has seen.
const BEGUN: Facts = Facts { in_transaction: true, begun: Some(Target::Primary), ..SPLIT };
const BEGUN_ON_REPLICA: Facts = Facts { begun: Some(Target::Replica), ..BEGUN };

fn namespace(allowed: AllowedDatabases) -> Namespace {
    let second = Duration::from_secs(1);
    Namespace {
        name: "shop".into(),
        users: Vec::new(),
        server_accounts: None,
        allowed_databases: allowed,
        allowed_clients: Vec::new(),
        slices: Vec::new(),
        pool: PoolSettings {
            capacity: 1,
            min_idle: 0,
            idle_timeout: second,
            max_age: second,
            checkout_timeout: second,
            max_waiters: 1,
            connect_timeout: second,
            pin_warning: second,
        },
        session: SessionSettings {
            idle_timeout: second,
            idle_in_transaction_timeout: second,
            client_write_timeout: second,
            charset: None,
            collation: None,
        },
        limits: Limits { client_connections: 1, result_rows: None, max_allowed_packet: 1 << 20 },
        slow_statement: None,
        local_infile: false,
    }
}

fn decide(sql: &str, facts: Facts, allowed: AllowedDatabases) -> Plan {
    let dialect = Dialect {
        flavour: Flavour::MySql,
        version: 90_704,
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };
    let mut statement = Statement::new();
    analyze(sql.as_bytes(), &dialect, &mut statement);
    plan(&statement, facts, &namespace(allowed))
}

#[test]
fn reads_leave_the_primary_only_where_nothing_speaks_against_it() {
    let primary = Plan::Forward(Target::Primary);
    let replica = Plan::Forward(Target::Replica);
    for (sql, facts, wanted) in [
        ("SELECT 1", SPLIT, &replica),
        ("SELECT * FROM t WHERE id = 5", SPLIT, &replica),
        ("SELECT 1", Facts { split: false, ..SPLIT }, &primary),
        ("SELECT 1", Facts { has_replicas: false, ..SPLIT }, &primary),
        ("SELECT 1", Facts { in_transaction: true, ..SPLIT }, &primary),
        ("SELECT 1", Facts { known_write: true, ..SPLIT }, &primary),
        ("/* weir: primary */ SELECT 1", SPLIT, &primary),
        ("/*master*/ SELECT 1", SPLIT, &primary),
        ("SELECT * FROM t FOR UPDATE", SPLIT, &primary),
        ("SELECT @@port", SPLIT, &primary),
        ("/* weir: replica */ SELECT @@port", SPLIT, &replica),
        ("SELECT unknown_function(1)", SPLIT, &primary),
        ("/* weir: replica */ SELECT unknown_function(1)", SPLIT, &replica),
        ("/* weir: replica */ INSERT INTO t VALUES (1)", SPLIT, &primary),
        ("/* weir: replica */ SELECT GET_LOCK('a', 1)", SPLIT, &primary),
        ("/* weir: replica */ SELECT 1", Facts { in_transaction: true, ..SPLIT }, &primary),
        ("START TRANSACTION READ ONLY", SPLIT, &primary),
        ("/* weir: replica */ START TRANSACTION READ ONLY", SPLIT, &replica),
        ("/* weir: replica */ START TRANSACTION", SPLIT, &primary),
        ("START TRANSACTION", SPLIT, &primary),
        ("BEGIN", SPLIT, &primary),
        ("SELECT 1; INSERT INTO t VALUES (1)", SPLIT, &primary),
        ("SELECT 1", BEGUN, &primary),
        ("SELECT 1", BEGUN_ON_REPLICA, &replica),
        ("SELECT @@port", BEGUN_ON_REPLICA, &replica),
        ("INSERT INTO t VALUES (1)", BEGUN_ON_REPLICA, &replica),
        ("/* weir: primary */ SELECT 1", BEGUN_ON_REPLICA, &primary),
        ("SELECT 1", Facts { has_replicas: false, ..BEGUN_ON_REPLICA }, &primary),
        // what could not stay on a replica chooses the primary
        ("SET @a = 1", BEGUN_ON_REPLICA, &primary),
        ("CALL p()", BEGUN_ON_REPLICA, &primary),
        ("BEGIN", BEGUN_ON_REPLICA, &primary),
        ("COMMIT; INSERT INTO t VALUES (1)", BEGUN_ON_REPLICA, &primary),
        ("COMMIT AND CHAIN", BEGUN_ON_REPLICA, &replica),
        ("SHOW TABLES", SPLIT, &primary),
        ("something new", SPLIT, &primary),
    ] {
        assert_eq!(&decide(sql, facts, AllowedDatabases::All), wanted, "{sql} {facts:?}");
    }
}

#[test]
fn nothing_may_hold_a_session_to_a_replica() {
    let on_replica = Facts { in_transaction: true, on_replica: true, ..SPLIT };
    for sql in [
        "SET @a = 1",
        "SELECT @a := 1",
        "SET time_zone = '+00:00'",
        "SELECT GET_LOCK('a', 1)",
        "CREATE TEMPORARY TABLE x (i INT)",
        "PREPARE s FROM 'SELECT 1'",
        "CALL p()",
        "SELECT 1; SET @a = 1",
    ] {
        let refused = Plan::Refuse(Refusal::OnReplica);
        assert_eq!(decide(sql, on_replica, AllowedDatabases::All), refused, "{sql}");
        assert_eq!(decide(sql, SPLIT, AllowedDatabases::All), Plan::Forward(Target::Primary), "{sql}");
    }
    for sql in ["SELECT 1", "COMMIT", "INSERT INTO t VALUES (1)", "USE x"] {
        assert!(matches!(decide(sql, on_replica, AllowedDatabases::All), Plan::Forward(_)), "{sql}");
    }
}

#[test]
fn a_read_only_user_may_not_do_what_the_server_would_not_stop() {
    let reader = Facts { access: UserAccess::ReadOnly, ..SPLIT };
    for sql in [
        "SET GLOBAL max_connections = 1",
        "FLUSH TABLES",
        "ANALYZE TABLE t",
        "SET SESSION TRANSACTION READ WRITE",
        "START TRANSACTION READ WRITE",
        "SET transaction_read_only = 0",
        "SELECT 1; FLUSH TABLES",
        "CALL frees(); INSERT INTO t VALUES (1)",
        "PREPARE s FROM @text; EXECUTE s; INSERT INTO t VALUES (1)",
    ] {
        assert_eq!(decide(sql, reader, AllowedDatabases::All), Plan::Refuse(Refusal::ReadOnlyUser), "{sql}");
        assert_ne!(decide(sql, SPLIT, AllowedDatabases::All), Plan::Refuse(Refusal::ReadOnlyUser), "{sql}");
    }
    // the server stops these itself, with its own error
    for sql in ["INSERT INTO t VALUES (1)", "CREATE TABLE x (i INT)", "UPDATE t SET a = 1", "CALL frees()"] {
        assert_eq!(decide(sql, reader, AllowedDatabases::All), Plan::Forward(Target::Primary), "{sql}");
    }
}

#[test]
fn a_database_that_is_not_allowed_is_refused_wherever_it_stands() {
    let shop = || AllowedDatabases::Only(vec!["shop".into(), "information_schema".into()]);
    for sql in [
        "SELECT * FROM secret.t",
        "SELECT * FROM t JOIN secret.u USING (id)",
        "INSERT INTO secret.t VALUES (1)",
        "USE secret",
        "SHOW TABLES FROM secret",
        "SELECT 1 /*!50000 FROM secret.t */",
        "SELECT 1; SELECT * FROM secret.t",
        "SHOW COLUMNS FROM t FROM secret",
    ] {
        assert_eq!(decide(sql, SPLIT, shop()), Plan::Refuse(Refusal::Database(b"secret".to_vec())), "{sql}");
    }
    for sql in ["SELECT * FROM shop.t", "SELECT t.secret FROM t", "SELECT * FROM INFORMATION_SCHEMA.TABLES"] {
        assert!(matches!(decide(sql, SPLIT, shop()), Plan::Forward(_)), "{sql}");
    }
    assert_eq!(decide("SELECT 'cut off", SPLIT, shop()), Plan::Refuse(Refusal::Unreadable));
    assert_eq!(decide("SHOW DATABASES", SPLIT, shop()), Plan::ForwardDatabases);
    for sql in ["SELECT 1; SHOW DATABASES", "SHOW SCHEMAS; SELECT 1", "SELECT 1 /*!; SHOW DATABASES */"] {
        assert_eq!(decide(sql, SPLIT, shop()), Plan::Refuse(Refusal::NotAlone("SHOW DATABASES")), "{sql}");
        assert!(matches!(decide(sql, SPLIT, AllowedDatabases::All), Plan::Forward(_)), "{sql}");
    }
    assert_eq!(decide("SHOW DATABASES", SPLIT, AllowedDatabases::All), Plan::Forward(Target::Primary));
}

#[test]
fn kill_is_never_forwarded() {
    for sql in ["KILL 5", "KILL QUERY 5", "KILL CONNECTION 5", "SELECT 1; KILL 5"] {
        assert_eq!(decide(sql, SPLIT, AllowedDatabases::All), Plan::Kill, "{sql}");
    }
}

#[test]
fn a_local_file_is_loaded_only_where_namespace_and_client_both_allow_it() {
    let dialect = Dialect {
        flavour: Flavour::MySql,
        version: 90_704,
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };
    let decide = |sql: &str, facts: Facts, local_infile: bool| {
        let mut statement = Statement::new();
        analyze(sql.as_bytes(), &dialect, &mut statement);
        plan(&statement, facts, &Namespace { local_infile, ..namespace(AllowedDatabases::All) })
    };
    let cannot = Facts { local_files: false, ..SPLIT };
    let mariadb = Facts { flavour: Flavour::MariaDb, ..cannot };
    for sql in ["LOAD DATA LOCAL INFILE 'x' INTO TABLE t", "SELECT 1; LOAD XML LOCAL INFILE 'x' INTO TABLE t"]
    {
        let refused = |flavour| Plan::Refuse(Refusal::LocalFile(flavour));
        assert_eq!(decide(sql, SPLIT, false), refused(Flavour::MySql), "{sql}");
        assert_eq!(decide(sql, cannot, true), refused(Flavour::MySql), "{sql}");
        assert_eq!(decide(sql, mariadb, true), refused(Flavour::MariaDb), "{sql}");
        assert_eq!(decide(sql, SPLIT, true), Plan::Forward(Target::Primary), "{sql}");
    }
    let of_the_server = "LOAD DATA INFILE 'x' INTO TABLE local";
    assert_eq!(decide(of_the_server, cannot, false), Plan::Forward(Target::Primary));
}

#[test]
fn what_weir_tells_of_itself_is_for_admins() {
    let admin = Facts { admin: true, ..SPLIT };
    let all = AllowedDatabases::All;
    for (sql, what) in [("SHOW WEIR SESSIONS", ShowWeir::Sessions), ("SHOW WEIR PINS", ShowWeir::Pins)] {
        assert_eq!(decide(sql, admin, all.clone()), Plan::ShowWeir(what), "{sql}");
        assert_eq!(decide(sql, SPLIT, all.clone()), Plan::Refuse(Refusal::NotAdmin), "{sql}");
    }
    assert_eq!(decide("SHOW WEIR TABLES", admin, all.clone()), Plan::Refuse(Refusal::NotShown));
    let two = decide("SELECT 1; SHOW WEIR PINS", admin, all);
    assert_eq!(two, Plan::Refuse(Refusal::NotAlone("SHOW WEIR")));
}

#[test]
fn a_list_of_processes_is_put_together_here() {
    let all = AllowedDatabases::All;
    assert_eq!(decide("SHOW FULL PROCESSLIST", SPLIT, all.clone()), Plan::ForwardProcesslist);
    let two = decide("SHOW PROCESSLIST; SELECT 1", SPLIT, all);
    assert_eq!(two, Plan::Refuse(Refusal::NotAlone("SHOW PROCESSLIST")));
}

#[test]
fn a_hint_pins_to_the_primary() {
    let all = AllowedDatabases::All;
    let read = decide("SELECT 1 /* weir: pin */", SPLIT, all.clone());
    assert_eq!(read, Plan::Forward(Target::Primary));
    let on_replica = Facts { on_replica: true, ..SPLIT };
    let there = decide("SELECT 1 /* weir: pin */", on_replica, all);
    assert_eq!(there, Plan::Refuse(Refusal::OnReplica));
}
