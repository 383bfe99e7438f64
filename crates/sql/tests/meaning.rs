//! What texts do: the rows of `data/meaning.txt`, and tables for what has few cases.

mod support;

use support::{MARIADB, MYSQL, Seen, joined, seen};
use weir_sql::{Access, ClientCharset, Dialect, Effects, Hint, Kill, ShowWeir, TransactionStep};

fn names(effects: Effects) -> String {
    if effects.is_empty() {
        return "-".to_owned();
    }
    let mut names: Vec<_> = effects.iter_names().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.join(" | ")
}

fn sorted(effects: &str) -> String {
    let mut names: Vec<_> = effects.split(" | ").collect();
    names.sort_unstable();
    names.join(" | ")
}

#[test]
fn access_kind_and_effects_are_those_of_the_table() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in support::rows(include_str!("data/meaning.txt")) {
        let [dialect, access, kind, effects, sql] = row[..] else {
            panic!("a row needs five columns: {row:?}")
        };
        let sql = sql.replace('␤', "\n");
        let expected = format!("{access} {kind} {}", sorted(effects));
        for dialect in support::dialects_of(dialect) {
            count += 1;
            let found = seen(sql.as_bytes(), dialect);
            let access = if found.access == Access::Read { "read" } else { "write" };
            let found = format!("{access} {:?} {}", found.kind, names(found.effects));
            if found != expected {
                wrong.push(format!(
                    "{:?}: {sql}\n    expected {expected}\n    found    {found}",
                    dialect.flavour
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn check<T: PartialEq + std::fmt::Debug>(rows: &[(&str, T)], read: impl Fn(&Seen) -> T) {
    for (sql, expected) in rows {
        for dialect in [MYSQL, MARIADB] {
            assert_eq!(read(&seen(sql.as_bytes(), &dialect)), *expected, "{sql} ({:?})", dialect.flavour);
        }
    }
}

#[test]
fn a_hint_may_stand_anywhere_and_the_primary_wins() {
    check(
        &[
            ("/* weir: primary */ SELECT 1", Some(Hint::Primary)),
            ("SELECT /*weir:replica*/ 1", Some(Hint::Replica)),
            ("SELECT 1 /* WEIR : REPLICA */", Some(Hint::Replica)),
            ("/*master*/SELECT 1", Some(Hint::Primary)),
            ("/* weir: replica */ SELECT 1 /* master */", Some(Hint::Primary)),
            ("/* weir: primary */ SELECT 1 /* weir: replica */", Some(Hint::Primary)),
            ("/*slave*/ SELECT 1", None),
            ("/*! master */ SELECT 1", None),
            ("SELECT '/* weir: primary */'", None),
            ("SELECT 1 -- /* weir: primary */", None),
            ("/*+ weir: primary */ SELECT 1", None),
            ("SELECT 1; /* weir: replica */ SELECT 2", Some(Hint::Replica)),
        ],
        |seen| seen.hint,
    );
    let long = format!("/* weir: primary {} */ SELECT 1", " ".repeat(300));
    assert_eq!(seen(long.as_bytes(), &MYSQL).hint, None);
}

#[test]
fn a_replica_hint_makes_a_read_only_of_what_is_not_known_to_write() {
    check(
        &[
            ("/* weir: replica */ SELECT f()", Access::Read),
            ("/* weir: replica */ SELECT db.f()", Access::Read),
            ("/* weir: replica */ SELECT @@server_id", Access::Read),
            ("/* weir: replica */ SELECT VERSION()", Access::Read),
            ("/* weir: replica */ SHOW STATUS", Access::Read),
            ("/* weir: replica */ SHOW TABLES", Access::Read),
            ("/* weir: replica */ DESCRIBE t", Access::Read),
            ("/* weir: replica */ SELECT * FROM information_schema.tables", Access::Read),
            ("/* weir: replica */ SHOW WARNINGS", Access::Write),
            ("/* weir: replica */ SELECT * FROM t FOR UPDATE", Access::Write),
            ("/* weir: replica */ SELECT f() FROM t FOR UPDATE", Access::Write),
            ("/* weir: replica */ SELECT @x", Access::Write),
            ("/* weir: replica */ SELECT @x := 1", Access::Write),
            ("/* weir: replica */ SELECT 1 INTO @x", Access::Write),
            ("/* weir: replica */ SELECT GET_LOCK('a', 1)", Access::Write),
            ("/* weir: replica */ SELECT LAST_INSERT_ID()", Access::Write),
            ("/* weir: replica */ SELECT @@last_insert_id", Access::Write),
            ("/* weir: replica */ INSERT INTO t VALUES (1)", Access::Write),
            ("/* weir: replica */ SELECT 1; DELETE FROM t", Access::Write),
            ("/* weir: replica */ CALL p()", Access::Write),
            ("/* weir: replica */ FROBNICATE", Access::Write),
            ("/* weir: replica */ SELECT 'a", Access::Write),
            ("/* weir: replica */ SET @a = 1", Access::Write),
            ("/* weir: replica */ BEGIN", Access::Write),
            ("/* weir: primary */ SELECT 1", Access::Read),
        ],
        |seen| seen.access,
    );
}

#[test]
fn release_ends_the_session_unless_it_says_no() {
    check(
        &[
            ("COMMIT RELEASE", true),
            ("COMMIT WORK RELEASE", true),
            ("COMMIT AND NO CHAIN RELEASE", true),
            ("ROLLBACK RELEASE", true),
            ("rollback and no chain /* x */ release;", true),
            ("BEGIN; COMMIT RELEASE", true),
            ("COMMIT", false),
            ("COMMIT NO RELEASE", false),
            ("COMMIT AND CHAIN NO RELEASE", false),
            ("ROLLBACK WORK AND CHAIN NO RELEASE", false),
            ("ROLLBACK TO SAVEPOINT x", false),
            ("RELEASE SAVEPOINT x", false),
            ("CREATE PROCEDURE p() COMMIT RELEASE", false),
        ],
        |seen| seen.effects.contains(Effects::RELEASE),
    );
}

#[test]
fn the_last_transaction_step_counts() {
    use TransactionStep as T;
    check(
        &[
            ("BEGIN", T::Begin),
            ("BEGIN WORK", T::Begin),
            ("begin;", T::Begin),
            ("START TRANSACTION", T::Begin),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT", T::Begin),
            ("START TRANSACTION READ ONLY", T::BeginReadOnly),
            ("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT", T::BeginReadOnly),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", T::BeginReadOnly),
            ("START TRANSACTION READ WRITE", T::Begin),
            ("START /*! TRANSACTION */ READ ONLY", T::BeginReadOnly),
            ("COMMIT", T::Commit),
            ("COMMIT AND CHAIN", T::Commit),
            ("ROLLBACK", T::Rollback),
            ("ROLLBACK WORK AND CHAIN RELEASE", T::Rollback),
            ("ROLLBACK TO x", T::None),
            ("ROLLBACK WORK TO SAVEPOINT x", T::None),
            ("SAVEPOINT begin", T::None),
            ("START REPLICA", T::None),
            ("SELECT 1", T::None),
            ("BEGIN; SELECT 1; COMMIT", T::Commit),
            ("COMMIT; BEGIN; SELECT 1", T::Begin),
            ("BEGIN NOT ATOMIC COMMIT; END", T::Commit),
            ("CREATE PROCEDURE p() BEGIN COMMIT; END", T::None),
            ("CREATE PROCEDURE p() COMMIT", T::None),
            ("CREATE PROCEDURE p() BEGIN SELECT 1; END; BEGIN", T::Begin),
        ],
        |seen| seen.transaction,
    );
}

#[test]
fn statements_are_counted_where_the_server_splits() {
    check(
        &[
            ("", 0),
            (" ; ;; ", 0),
            ("/* a */ -- b", 0),
            ("SELECT 1", 1),
            ("SELECT 1;", 1),
            ("SELECT 1;;", 1),
            ("SELECT 1; SELECT 2", 2),
            ("SELECT ';'; SELECT \";\" /* ; */ -- ;\n; SELECT `;`", 3),
            ("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", 1),
            ("CREATE PROCEDURE p() BEGIN SELECT 1; END; SELECT 2", 2),
            ("CREATE PROCEDURE p() SELECT 1; SELECT 2", 2),
            ("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1; END; SELECT 1", 2),
            ("BEGIN; SELECT 1; COMMIT", 3),
            ("BEGIN NOT ATOMIC SELECT 1; BEGIN SELECT 2; END; END; SELECT 3", 2),
            ("IF 1 THEN SELECT 1; ELSE SELECT 2; END IF; SELECT 3", 2),
            ("SELECT IF(1, 2, 3); SELECT 1", 2),
            ("SELECT CASE WHEN 1 THEN 2 END; SELECT 1", 2),
            ("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN SELECT 1; SELECT 2; END; SELECT 3", 2),
            ("CREATE FUNCTION f() RETURNS INT BEGIN DECLARE a INT; SET a = 1; RETURN a; END; SELECT f()", 2),
        ],
        |seen| seen.statements,
    );
}

#[test]
fn kill_gives_its_id_only_when_it_is_a_plain_number() {
    let connection = |id| Some(Kill { id, query_only: false, soft: false });
    let query = |id| Some(Kill { id, query_only: true, soft: false });
    let soft = |id, query_only| Some(Kill { id, query_only, soft: true });
    check(
        &[
            ("KILL 5", connection(Some(5))),
            ("KILL CONNECTION 5", connection(Some(5))),
            ("kill query 18446744073709551615", query(Some(u64::MAX))),
            ("KILL QUERY 18446744073709551616", query(None)),
            ("KILL HARD QUERY 5", query(Some(5))),
            ("KILL SOFT CONNECTION 5;", soft(Some(5), false)),
            ("KILL SOFT QUERY 5", soft(Some(5), true)),
            ("KILL QUERY ID 5", query(None)),
            ("KILL USER x", connection(None)),
            ("KILL @a", connection(None)),
            ("KILL 5 + 1", connection(None)),
            ("KILL -5", connection(None)),
            ("KILL (5)", connection(None)),
            ("KILL 5.5", connection(None)),
            ("KILL 0x5", connection(None)),
            ("KILL CONNECTION_ID()", connection(None)),
            ("SELECT 1; KILL 5", connection(Some(5))),
            ("SELECT 1", None),
        ],
        |seen| seen.kill,
    );
}

#[test]
fn show_weir_is_a_statement_of_its_own() {
    check(
        &[
            ("SHOW WEIR SESSIONS", Some(ShowWeir::Sessions)),
            (" show /* all */ weir Pools ;", Some(ShowWeir::Pools)),
            ("SHOW WEIR PREPARED", Some(ShowWeir::Prepared)),
            ("SHOW WEIR PINS", Some(ShowWeir::Pins)),
            ("SELECT 1; SHOW WEIR PINS", Some(ShowWeir::Pins)),
            ("SHOW WEIR", Some(ShowWeir::Unknown)),
            ("SHOW WEIR tables", Some(ShowWeir::Unknown)),
            ("SHOW WEIR PINS LIKE 'a'", Some(ShowWeir::Unknown)),
            ("SHOW WEIR PINS SESSIONS", Some(ShowWeir::Unknown)),
            ("SHOW TABLES FROM weir", None),
            ("SHOW STATUS LIKE 'weir'", None),
            ("SELECT weir FROM sessions", None),
        ],
        |seen| seen.weir,
    );
}

#[test]
fn use_gives_the_last_database_it_names() {
    check(
        &[
            ("USE a", Some("a")),
            ("USE `a``b`", Some("a`b")),
            ("use A;", Some("A")),
            ("USE a; USE b", Some("b")),
            ("USE/**/a", Some("a")),
            ("SELECT 1", None),
            ("SELECT * FROM a.b USE INDEX (c)", None),
        ]
        .map(|(sql, database)| (sql, database.map(str::to_owned))),
        |seen| seen.used.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
    );
}

#[test]
fn assigned_variables_are_those_of_the_session() {
    check(
        &[
            ("SET NAMES utf8mb4", "names"),
            ("SET NAMES 'utf8mb4' COLLATE utf8mb4_bin, SQL_MODE = ''", "names sql_mode"),
            ("SET CHARACTER SET utf8mb4", "character set"),
            ("SET a = 1, @@session.B = 2, @x = 3, GLOBAL c = 4, @@global.d = 5, LOCAL e = 6", "a b e"),
            ("SET @@a = 1, @@local.`B` := 2, `c` = 3", "a b c"),
            ("SET GLOBAL a = 1, b = 2", "b"),
            ("SET a = (SELECT b = 1, c FROM t), d = 2", "a d"),
            ("SET a = CONCAT(b, c), d = 1", "a d"),
            ("SET x.y = 1", "x.y"),
            ("SET SESSION TRANSACTION READ ONLY", "transaction"),
            ("SET TRANSACTION READ ONLY", ""),
            ("SET PASSWORD = 'x'", ""),
            ("SET ROLE a", ""),
            ("SET a = 1; SET b = 2", "a b"),
            ("UPDATE t SET a = 1", ""),
            ("CREATE PROCEDURE p() SET a = 1", ""),
        ]
        .map(|(sql, variables)| (sql, variables.to_owned())),
        |seen| joined(&seen.variables),
    );
}

#[test]
fn quotes_mean_what_the_sql_mode_says() {
    let ansi = Dialect { ansi_quotes: true, ..MYSQL };
    let raw = Dialect { no_backslash_escapes: true, ..MYSQL };
    let rows: &[(&str, &Dialect, &str)] = &[
        (r#"SELECT * FROM "secret"."t""#, &ansi, "secret"),
        (r#"SELECT * FROM "sec""ret".t"#, &ansi, "sec\"ret"),
        (r#"SELECT * FROM "a\".b -- ""#, &ansi, "a\\"),
        (r#"SELECT '"' FROM secret.t -- '"#, &ansi, "secret"),
        (r#"USE "secret""#, &ansi, "secret"),
        (r"SELECT 'a\' FROM secret.t -- '", &raw, "secret"),
        (r"SELECT 'a\\' FROM secret.t -- '", &raw, "secret"),
        (r"SELECT 'a''\' FROM secret.t -- '", &raw, "secret"),
        (r#"SELECT "a\" FROM secret.t -- ""#, &raw, "secret"),
        (r"SELECT 'a\' FROM secret.t -- '", &MYSQL, ""),
    ];
    for (sql, dialect, expected) in rows {
        assert_eq!(joined(&seen(sql.as_bytes(), dialect).databases), *expected, "{sql}");
    }
}

#[test]
fn characters_of_the_client_charset_hide_no_quotes() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("gbk", b"SELECT '\xbf\x5c' FROM secret.t -- '", "secret"),
        ("utf8mb4", b"SELECT '\xbf\x5c' FROM secret.t -- '", ""),
        ("gbk", b"SELECT '\xbf\x27' FROM secret.t -- '", ""),
        ("gbk", b"SELECT '\\\xbf\x5c' FROM secret.t -- '", ""),
        ("gbk", b"SELECT `\xbf\x60` FROM secret.t -- `", "secret"),
        ("sjis", b"SELECT '\x83\x5c' FROM secret.t -- '", "secret"),
        ("cp932", b"SELECT '\x83\x5c' FROM secret.t -- '", "secret"),
        ("big5", b"SELECT '\xa5\x5c' FROM secret.t -- '", "secret"),
        ("big5", b"SELECT '\x81\x5c' FROM secret.t -- '", ""),
        ("gb18030", b"SELECT '\xbf\x5c' FROM secret.t -- '", "secret"),
        ("gb18030", b"SELECT '\x81\x30\x81\x30' FROM secret.t -- '", "secret"),
        ("latin1", b"SELECT 1\xa0FROM\xa0secret.t", "secret"),
        ("utf8mb4", b"SELECT 1\xa0FROM\xa0secret.t", ""),
        ("cp866", b"SELECT 1\xffFROM\xffsecret.t", "secret"),
        ("koi8r", b"SELECT 1\xa0FROM\xa0secret.t", ""),
        ("latin7", b"SELECT 1 --\x81'\n FROM secret.t -- '", "secret"),
        ("latin1", b"SELECT 1 --\x81'\n FROM secret.t -- '", ""),
        ("utf8mb4", "SELECT * FROM `名`.`表`".as_bytes(), "名"),
        ("utf8mb4", "SELECT * FROM 名.表".as_bytes(), "名"),
    ];
    for (charset, sql, expected) in rows {
        for base in [MYSQL, MARIADB] {
            let dialect = Dialect { charset: ClientCharset::of_name(charset.as_bytes()), ..base };
            let found = joined(&seen(sql, &dialect).databases);
            assert_eq!(found, *expected, "{charset} {:?}", String::from_utf8_lossy(sql));
        }
    }
}

#[test]
fn version_comments_depend_on_the_version() {
    let rows: &[(u32, &str, bool)] = &[
        (50_744, "/*!50744 FOR UPDATE */", true),
        (50_744, "/*!50745 FOR UPDATE */", false),
        (50_744, "/*!100000 FOR UPDATE */", true),
        (90_704, "/*!100000 FOR UPDATE */", false),
        (90_704, "/*!90704 FOR UPDATE */", true),
        (90_704, "/*!90704FOR UPDATE*/", true),
        (90_704, "/*!90705 FOR UPDATE */", false),
        (260_700, "/*!100000 FOR UPDATE */", true),
        (260_700, "/*!260701 FOR UPDATE */", false),
    ];
    for (version, comment, executed) in rows {
        let dialect = Dialect { version: *version, ..MYSQL };
        let access = seen(format!("SELECT * FROM t {comment}").as_bytes(), &dialect).access;
        assert_eq!(access == Access::Write, *executed, "{comment} at {version}");
    }
}

#[test]
fn a_zero_byte_ends_nothing_that_the_servers_go_on_with() {
    for sql in [&b"SELECT 1 AS `a\0` FROM secret.t"[..], b"SELECT `a\0, secret.t -- `"] {
        assert!(seen(sql, &MYSQL).effects.contains(Effects::UNREADABLE), "{sql:?}");
    }
    assert_eq!(joined(&seen(b"SELECT 'a\0b' FROM secret.t\0", &MYSQL).databases), "secret");
}

#[test]
fn nesting_beyond_the_limit_is_unreadable() {
    let deep = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
    let fine = seen(deep(1900).as_bytes(), &MYSQL);
    assert_eq!((fine.access, fine.effects), (Access::Read, Effects::empty()));
    let lost = seen(deep(2100).as_bytes(), &MYSQL);
    assert_eq!((lost.access, lost.effects), (Access::Write, Effects::UNREADABLE));
}

#[test]
fn more_databases_than_the_limit_are_unreadable() {
    let many = |count: usize| (0..count).map(|i| format!("d{i}.t")).collect::<Vec<_>>().join(", ");
    let fine = seen(format!("SELECT * FROM {}", many(1024)).as_bytes(), &MYSQL);
    assert_eq!((fine.databases.len(), fine.effects), (1024, Effects::empty()));
    let lost = seen(format!("SELECT * FROM {}", many(1025)).as_bytes(), &MYSQL);
    assert_eq!((lost.access, lost.effects), (Access::Write, Effects::UNREADABLE));
}

#[test]
fn every_statement_of_the_corpus_is_readable_and_means_what_its_row_says() {
    let corpus = support::corpus();
    let rows: Vec<_> = support::rows(include_str!("data/corpus.txt")).collect();
    assert_eq!(rows.len(), corpus.len());
    let mut wrong = Vec::new();
    for (entry, row) in corpus.iter().zip(rows) {
        let [id, access, kind, databases, effects] = row[..] else {
            panic!("five columns are needed: {row:?}")
        };
        assert_eq!(id, entry.id.to_string());
        let expected = format!("{access} {kind} [{databases}] {}", sorted(effects));
        let found = seen(entry.sql.as_bytes(), &MYSQL);
        let access = if found.access == Access::Read { "read" } else { "write" };
        let databases = if found.databases.is_empty() { "-".to_owned() } else { joined(&found.databases) };
        let found = format!("{access} {:?} [{databases}] {}", found.kind, names(found.effects));
        if found != expected {
            wrong.push(format!("{id}: {}\n    expected {expected}\n    found    {found}", entry.sql));
        }
        for dialect in [MYSQL, MARIADB] {
            let effects = seen(entry.sql.as_bytes(), &dialect).effects;
            assert!(!effects.contains(Effects::UNREADABLE), "{} with {dialect:?}", entry.sql);
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_a_text_may_end_is_told() {
    use weir_sql::{Signals, Statement, analyze};
    for (sql, signals) in [
        ("SELECT RELEASE_LOCK('a')", Signals::RELEASES_USER_LOCK),
        ("DO 1; DO release_all_locks()", Signals::RELEASES_USER_LOCK),
        ("SELECT IS_FREE_LOCK('a'), IS_USED_LOCK('a')", Signals::empty()),
        ("HANDLER h CLOSE", Signals::CLOSES_HANDLER),
        ("HANDLER h READ FIRST", Signals::empty()),
        ("DROP TEMPORARY TABLE t", Signals::DROPS),
        ("DROP DATABASE d", Signals::DROPS),
        ("ALTER TABLE t RENAME TO u", Signals::RENAMES),
        ("RENAME TABLE t TO u", Signals::RENAMES),
        ("TRUNCATE TABLE t", Signals::empty()),
        ("XA COMMIT 'x' ONE PHASE", Signals::ENDS_XA),
        ("xa rollback 'x'", Signals::ENDS_XA),
        ("XA PREPARE 'commit'", Signals::empty()),
        ("UNLOCK INSTANCE", Signals::BACKUP_UNLOCK),
        ("UNLOCK TABLES", Signals::empty()),
        ("BACKUP UNLOCK", Signals::BACKUP_UNLOCK),
        ("BACKUP LOCK t", Signals::empty()),
        ("BACKUP STAGE START", Signals::BACKUP_STAGE),
        ("BACKUP STAGE END", Signals::BACKUP_STAGE_END),
        ("CREATE PROCEDURE p() BEGIN DROP TABLE t; DO RELEASE_LOCK('a'); END", Signals::empty()),
    ] {
        for dialect in [MYSQL, MARIADB] {
            let mut statement = Statement::new();
            analyze(sql.as_bytes(), &dialect, &mut statement);
            assert_eq!(statement.signals, signals, "{sql} ({:?})", dialect.flavour);
        }
    }
}

#[test]
fn temporary_tables_are_named() {
    use weir_sql::{Statement, analyze};
    for (sql, expected) in [
        ("CREATE TEMPORARY TABLE t (a INT)", "t"),
        ("create temporary table if not exists `d``b` . `t``u` (a INT)", "d`b.t`u"),
        ("CREATE TEMPORARY TABLE d.t SELECT x.a FROM x.y", "d.t"),
        ("CREATE TEMPORARY TABLE d.t LIKE e.u", "d.t"),
        ("CREATE TEMPORARY TABLE a (i INT); CREATE TEMPORARY TABLE b.c (i INT)", "a b.c"),
        ("CREATE TABLE t (a INT)", ""),
        ("DROP TEMPORARY TABLE t", ""),
        ("CREATE PROCEDURE p() CREATE TEMPORARY TABLE t (a INT)", ""),
    ] {
        for dialect in [MYSQL, MARIADB] {
            let mut statement = Statement::new();
            analyze(sql.as_bytes(), &dialect, &mut statement);
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let names = statement.temporary_tables().map(|(database, name)| match database {
                Some(database) => format!("{}.{}", text(database), text(name)),
                None => text(name),
            });
            assert_eq!(names.collect::<Vec<_>>().join(" "), expected, "{sql} ({:?})", dialect.flavour);
        }
    }
}
