//! An application cannot tell that its backend connection changes: sessions in turn on a pool of one connection see, byte
//! for byte, what they see at the server itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Login, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::capability::Capabilities;

on_both_servers!(what_travels_is_there_on_the_next_connection, every_session_variable_travels);

const SCHEMA: &str = "
    CREATE TABLE few (id INT PRIMARY KEY AUTO_INCREMENT, k INT);
    INSERT INTO few (k) VALUES (1), (2), (3);
    CREATE FUNCTION seen() RETURNS TEXT READS SQL DATA RETURN CONCAT_WS(',', @a, @b);
    CREATE VIEW shows AS SELECT seen() AS v";

/// What travels with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    DefaultDatabase,
    Charset,
    SqlMode,
    TimeZone,
    Autocommit,
    Isolation,
    FrozenClock,
    OtherVariables,
    UserVariableTypes,
    UserVariablesAssignedByQueries,
    UserVariablesInViews,
    UserVariablesOfPreparedStatements,
    LastInsertId,
    RowCount,
    FoundRows,
    Warnings,
    Diagnostics,
    PreparedTexts,
    WhatPreparedTextsDo,
    StateOfPreparedTexts,
    DatabaseOfPreparedTexts,
    PreparedTextsFromVariables,
    PreparedTextsInTransactions,
    Roles,
    ResourceGroup,
}

const ITEMS: [Item; 25] = [
    Item::DefaultDatabase,
    Item::Charset,
    Item::SqlMode,
    Item::TimeZone,
    Item::Autocommit,
    Item::Isolation,
    Item::FrozenClock,
    Item::OtherVariables,
    Item::UserVariableTypes,
    Item::UserVariablesAssignedByQueries,
    Item::UserVariablesInViews,
    Item::UserVariablesOfPreparedStatements,
    Item::LastInsertId,
    Item::RowCount,
    Item::FoundRows,
    Item::Warnings,
    Item::Diagnostics,
    Item::PreparedTexts,
    Item::WhatPreparedTextsDo,
    Item::StateOfPreparedTexts,
    Item::DatabaseOfPreparedTexts,
    Item::PreparedTextsFromVariables,
    Item::PreparedTextsInTransactions,
    Item::Roles,
    Item::ResourceGroup,
];

/// Statements of the session; another one has the connection after each. What stands behind two semicolons runs in the
/// transaction of what stands before them.
fn statements(item: Item, flavour: Flavour) -> Vec<&'static str> {
    let mysql = flavour == Flavour::MySql;
    match item {
        Item::DefaultDatabase => {
            vec![
                "USE information_schema",
                "SELECT DATABASE()",
                "SELECT 1 FROM few",
                "USE {db}",
                "SELECT k FROM few",
            ]
        }
        Item::Charset => vec![
            "SET NAMES latin1",
            "SELECT @@character_set_client, @@collation_connection, CHARSET('a'), 'a'",
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SELECT @@character_set_client, @@collation_connection, COLLATION('a'), 'ä'",
            "SET character_set_results = NULL",
            "SELECT 'ä', @@character_set_results",
        ],
        Item::SqlMode => vec![
            "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'",
            "SELECT \"k\" || 'x' FROM few",
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
            "SELECT 'a\\', \"b\"",
            "SET sql_mode = DEFAULT",
            "SELECT 'a\\'b', \"b\", @@sql_mode",
        ],
        Item::TimeZone => vec!["SET time_zone = '-09:30'", "SELECT @@time_zone, FROM_UNIXTIME(0)"],
        Item::Autocommit => vec![
            "SET autocommit = 0",
            "SELECT @@autocommit",
            "INSERT INTO few (k) VALUES (100);; ROLLBACK",
            "SELECT COUNT(*) FROM few;; COMMIT",
            "SET autocommit = 1",
            "SELECT @@autocommit",
        ],
        Item::Isolation if mysql => vec![
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SELECT @@transaction_isolation",
            "SET SESSION TRANSACTION READ ONLY",
            "INSERT INTO few (k) VALUES (1)",
            "SET SESSION TRANSACTION READ WRITE",
        ],
        Item::Isolation => vec![
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SELECT @@tx_isolation",
            "SET SESSION TRANSACTION READ ONLY",
            "INSERT INTO few (k) VALUES (1)",
            "SET SESSION TRANSACTION READ WRITE",
        ],
        Item::FrozenClock => vec![
            "SET timestamp = 1000000000.5",
            "SELECT NOW(6), @@timestamp",
            "SELECT UNIX_TIMESTAMP()",
            "SET timestamp = DEFAULT",
            "SELECT @@timestamp > 1500000000, NOW() > '2020-01-01'",
            "SET timestamp = 0",
            "SELECT @@timestamp > 1500000000",
        ],
        Item::OtherVariables => vec![
            "SET sort_buffer_size = 300000, max_sort_length = 64, default_storage_engine = 'MEMORY'",
            "SELECT @@sort_buffer_size, @@max_sort_length, @@default_storage_engine",
            "SET optimizer_switch = 'index_merge=off', long_query_time = 7.5",
            "SELECT @@optimizer_switch, @@long_query_time",
            "SET big_tables = ON, low_priority_updates = 1",
            "SELECT @@big_tables, @@low_priority_updates",
            "SET sort_buffer_size = DEFAULT, big_tables = DEFAULT",
            "SELECT @@sort_buffer_size, @@big_tables, @@max_sort_length",
        ],
        Item::UserVariableTypes => vec![
            "SET @a = 5, @b = -1, @c = 18446744073709551615",
            "SELECT @a, @b, @c, @a + @b",
            "SET @d = 1.50, @e = 1e100, @f = 0.1e0, @g = CAST(1 AS DECIMAL(65,30))",
            "SELECT @d, @e, @f, @g, @d * 3",
            "SET @h = 'it''s', @i = _latin1 x'E4', @j = x'00FF', @k = 'ä' COLLATE utf8mb4_bin, @l = ''",
            "SELECT @h, @i, HEX(@i), CHARSET(@i), @j, @k, COLLATION(@k), @l",
            "SET @m = NULL, @n = 1, @o = 'x', @p = 1.5, @q = 1e0",
            "SET @n = NULL, @o = NULL, @p = NULL, @q = NULL",
            "SELECT @m, @n, @o, @p, @q, @never",
            "SET @r = NOW(), @s = (SELECT COUNT(*) FROM few), @t = TRUE",
            "SELECT @s, @t, @r IS NOT NULL, CHARSET(@r)",
            "SET @u = ST_GeomFromText('POINT(1 2)', 4326)",
            "SELECT @u, ST_AsText(@u)",
            "SET @v = REPEAT('long', 5000)",
            "SELECT LENGTH(@v), MD5(@v)",
            "SELECT @A, @`a`, @'A'",
            // the other session's, which this one never had
            "SELECT @z",
            "SELECT @z IS NULL, CHARSET(@z)",
        ],
        Item::UserVariablesAssignedByQueries => vec![
            "SELECT @a := 1",
            "SELECT @a := @a + 1 FROM few",
            "SELECT @a",
            "SELECT COUNT(*), MAX(k) FROM few INTO @n, @m",
            "SELECT @n, @m",
            "UPDATE few SET k = (@last := k) ORDER BY id",
            "SELECT @last",
            "SET @x = @last + 1, @y := @x",
            "SELECT @x, @y",
            "SELECT nosuch INTO @x FROM few",
            "SELECT @x",
        ],
        Item::UserVariablesInViews => {
            vec![
                "SET @a = 'one', @b = 2",
                "SELECT v FROM shows",
                "SET @a = NULL",
                "SELECT v FROM shows",
                "SELECT seen()",
            ]
        }
        Item::UserVariablesOfPreparedStatements => vec!["SET @a = 7"],
        Item::LastInsertId => vec![
            "INSERT INTO few (k) VALUES (10)",
            "SELECT LAST_INSERT_ID()",
            "SELECT LAST_INSERT_ID(77)",
            "SELECT LAST_INSERT_ID() + 1",
            "SET last_insert_id = 5",
            "SELECT @@last_insert_id, @@identity",
            "DELETE FROM few WHERE id > 3",
        ],
        Item::RowCount => {
            vec![
                "UPDATE few SET k = k + 1",
                "SELECT ROW_COUNT()",
                "SELECT 1",
                "SELECT ROW_COUNT()",
                "UPDATE few SET k = k + 1",
                "SELECT ROW_COUNT() + 1, 'ROW_COUNT()', row_count ( ) * 2, Row_Count() AS named, CONCAT(ROW_COUNT(), 'x')",
                "SELECT ROW_COUNT() + 1",
                "UPDATE few SET k = k + 1 WHERE id > 1",
                "SET @n = ROW_COUNT()",
                "SELECT @n",
                "DELETE FROM few WHERE id = 3",
                "INSERT INTO few (k) VALUES (ROW_COUNT()), (ROW_COUNT() + 10)",
                "SELECT k, ROW_COUNT() FROM few",
                "DO ROW_COUNT()",
                "SELECT ROW_COUNT() IN (0), COALESCE(ROW_COUNT(), 1), -ROW_COUNT()",
            ]
        }
        Item::FoundRows => vec![
            "SELECT SQL_CALC_FOUND_ROWS k FROM few LIMIT 1",
            "SELECT FOUND_ROWS()",
            "SELECT SQL_CALC_FOUND_ROWS k FROM few LIMIT 1",
            "SELECT FOUND_ROWS() + 1, FOUND_ROWS() f, ROW_COUNT()",
            "SELECT k FROM few",
            "SET @n = FOUND_ROWS()",
            "SELECT @n, FOUND_ROWS() IS NULL",
        ],
        Item::Warnings => vec!["SELECT CAST('x' AS SIGNED)", "SHOW WARNINGS", "SELECT nosuch", "SHOW ERRORS"],
        Item::Diagnostics => vec![
            "SELECT CAST('x' AS SIGNED)",
            "GET DIAGNOSTICS @n = NUMBER",
            "SELECT @n",
            "INSERT INTO few VALUES (1, 1)",
            "GET DIAGNOSTICS CONDITION 1 @state = RETURNED_SQLSTATE, @text = MESSAGE_TEXT",
            "SELECT @state, @text",
        ],
        Item::PreparedTexts => vec![
            "PREPARE s FROM",
            "EXECUTE s",
            "PREPARE s FROM 'SELECT k, ? AS p FROM few WHERE id = 1'",
            "SELECT ROW_COUNT()",
            "SET @p = 5",
            "EXECUTE s USING @p",
            "/* a comment */ execute S using @`p` -- another",
            "SELECT ROW_COUNT()",
            "EXECUTE s",
            "SHOW WARNINGS",
            "EXECUTE s USING @p, @p",
            // it replaces the one before
            "Prepare `S` From \"SELECT 'it''s', \\\"two\\\", '\\\\\\\\'\"",
            "EXECUTE s",
            "PREPARE t FROM 'SELECT ''a'",
            "SHOW WARNINGS",
            // one that fails drops the one before
            "PREPARE s FROM 'SELECT nosuch FROM few'",
            "SHOW ERRORS",
            "EXECUTE s",
            "PREPARE s FROM 'SELECT 1'",
            "PREPARE s FROM 'SELEC 1'",
            "SHOW ERRORS",
            "SELECT ROW_COUNT()",
            "EXECUTE s",
            "SHOW ERRORS",
            "DEALLOCATE PREPARE s",
            "PREPARE s FROM 'SELECT 2'",
            "EXECUTE s",
            "DEALLOCATE PREPARE s",
            "SELECT ROW_COUNT()",
            "EXECUTE s",
            "PREPARE s FROM ''",
            "PREPARE s FROM 'SELECT 1; SELECT 2'",
            "PREPARE s FROM 'PREPARE t FROM ''SELECT 1'''",
            "PREPARE s1 FROM 'SELECT 1'",
            "PREPARE s_2 FROM 'SELECT 2'",
            "EXECUTE s1",
            "EXECUTE s_2",
            "DROP PREPARE s1",
            "EXECUTE s1",
            "EXECUTE s_2",
            // the other session's
            "EXECUTE theirs",
            "DEALLOCATE PREPARE theirs",
        ],
        Item::WhatPreparedTextsDo => vec![
            "PREPARE s FROM 'INSERT INTO few (k) VALUES (?)'",
            "SET @p = 5",
            "EXECUTE s USING @p",
            "SELECT LAST_INSERT_ID()",
            "PREPARE i FROM 'SELECT LAST_INSERT_ID()'",
            "EXECUTE s USING @p",
            "EXECUTE i",
            "PREPARE s FROM 'DELETE FROM few WHERE id > 3'",
            "EXECUTE s",
            "SELECT ROW_COUNT()",
            "PREPARE s FROM 'SELECT COUNT(*), MAX(k) INTO @n, @m FROM few'",
            "EXECUTE s",
            "SELECT @n, @m",
            "PREPARE s FROM 'SET @q = ?'",
            "EXECUTE s USING @n",
            "SELECT @q",
            "PREPARE s FROM 'SELECT @a := @a + 1'",
            "SET @a = 1",
            "EXECUTE s",
            "EXECUTE s",
            "SELECT @a",
            "PREPARE s FROM 'SELECT SQL_CALC_FOUND_ROWS k FROM few LIMIT 1'",
            "EXECUTE s",
            "SELECT FOUND_ROWS()",
            "PREPARE s FROM 'UPDATE few SET k = k + 1'",
            "EXECUTE s",
            "SELECT ROW_COUNT()",
            "PREPARE s FROM 'SELECT CAST(? AS SIGNED)'",
            "SET @p = 'x'",
            "EXECUTE s USING @p",
            "SHOW WARNINGS",
            "PREPARE s FROM 'SET sql_mode = ''ANSI'''",
            "EXECUTE s",
            "SELECT @@sql_mode",
            "SET sql_mode = DEFAULT",
            "PREPARE c FROM 'CREATE TABLE gone (x INT)'",
            "EXECUTE c",
            "PREPARE s FROM 'SELECT x FROM gone'",
            "EXECUTE s",
            "DROP TABLE gone",
            "EXECUTE s",
            "SHOW ERRORS",
            "EXECUTE c",
            "EXECUTE c",
            "INSERT INTO gone VALUES (1)",
            "EXECUTE s",
            "ALTER TABLE gone MODIFY x VARCHAR(9)",
            "EXECUTE s",
            "DROP TABLE gone",
        ],
        Item::StateOfPreparedTexts => vec![
            "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'",
            "PREPARE s FROM 'SELECT \"k\" || 1 FROM few'",
            "SET sql_mode = DEFAULT",
            "EXECUTE s",
            "SELECT \"k\"",
            "SET time_zone = '+05:00'",
            "PREPARE t FROM 'SELECT FROM_UNIXTIME(0), @@time_zone'",
            "SET time_zone = '-05:00'",
            "EXECUTE t",
            "SET NAMES latin1",
            "PREPARE l FROM 'SELECT ''ä'', HEX(''ä'')'",
            "SET NAMES utf8mb4",
            "EXECUTE l",
            "EXECUTE t",
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
            "PREPARE b FROM 'SELECT ''\\'''",
            "SET sql_mode = DEFAULT",
            "EXECUTE b",
        ],
        Item::DatabaseOfPreparedTexts => vec![
            "PREPARE s FROM 'SELECT k, DATABASE() FROM few'",
            "USE information_schema",
            "EXECUTE s",
            "SELECT DATABASE()",
            "PREPARE t FROM 'SELECT COUNT(*) > 0 FROM schemata'",
            "USE {db}",
            "EXECUTE t",
            "EXECUTE s",
            "SELECT DATABASE()",
        ],
        Item::PreparedTextsFromVariables => {
            let mut statements = vec![
                "SET @sql = 'SELECT k FROM few WHERE id = ?', @p = 2",
                "PREPARE s FROM @sql",
                "SET @sql = NULL",
                "EXECUTE s USING @p",
                "PREPARE s FROM @sql",
                "EXECUTE s USING @p",
                "PREPARE s FROM @never",
                "SET @sql = CONCAT('SELECT ''a\\\\b'', \"q''\"\n, ', 1)",
                "prepare s from @`SQL`",
                "EXECUTE s",
                "SELECT 'SELECT 7' INTO @sql",
                "PREPARE s FROM @sql",
                "EXECUTE s",
                "SET @sql = _latin1 'SELECT 8'",
                "PREPARE s FROM @sql",
                "EXECUTE s",
                "SET @sql = x'53454C4543542039'",
                "PREPARE s FROM @sql",
                "EXECUTE s",
                "SET @sql = 10",
                "PREPARE s FROM @sql",
                "EXECUTE s",
            ];
            if !mysql {
                statements.extend([
                    "EXECUTE IMMEDIATE 'SELECT ? + 1' USING 4",
                    "EXECUTE IMMEDIATE 'SELECT k INTO @k FROM few WHERE id = 1'",
                    "SELECT @k",
                    "SET @sql = 'SELECT @k + ?'",
                    "EXECUTE IMMEDIATE @sql USING @p",
                    "PREPARE s FROM 'SELECT ?, ?'",
                    "EXECUTE s USING @p + 1, CONCAT('a', 'b')",
                ]);
            }
            statements
        }
        Item::PreparedTextsInTransactions => vec![
            "PREPARE c FROM 'SELECT COUNT(*) FROM few'",
            "PREPARE i FROM 'INSERT INTO few (k) VALUES (1)'",
            "BEGIN;; EXECUTE i;; EXECUTE c;; ROLLBACK",
            "EXECUTE c",
            "BEGIN;; PREPARE t FROM 'SELECT MAX(k) FROM few';; EXECUTE i;; EXECUTE t;; DEALLOCATE PREPARE t;; ROLLBACK",
            "EXECUTE t",
            "SET autocommit = 0",
            "EXECUTE i;; SELECT COUNT(*) FROM few;; EXECUTE c;; ROLLBACK",
            "EXECUTE c;; COMMIT",
            "SET autocommit = 1",
            "EXECUTE c",
        ],
        Item::Roles if mysql => vec![
            "SELECT CURRENT_ROLE()",
            "SET ROLE e2e_travels_one",
            "SELECT CURRENT_ROLE()",
            "SET ROLE e2e_travels_one, `e2e_travels_two`@'%'",
            "SELECT CURRENT_ROLE()",
            "SET ROLE NONE",
            "SELECT CURRENT_ROLE()",
            "SET ROLE ALL",
            "SELECT CURRENT_ROLE()",
            "SET ROLE ALL EXCEPT e2e_travels_one",
            "SELECT CURRENT_ROLE()",
            "BEGIN;; SET ROLE e2e_travels_two;; SELECT CURRENT_ROLE();; COMMIT",
            "SELECT CURRENT_ROLE()",
            "SET ROLE DEFAULT",
            "SELECT CURRENT_ROLE()",
        ],
        Item::Roles => vec![
            "SELECT CURRENT_ROLE()",
            "SET ROLE e2e_travels_one",
            "SELECT CURRENT_ROLE()",
            "SET ROLE 'e2e_travels_two'",
            "SELECT CURRENT_ROLE(), @@in_transaction",
            "SET ROLE e2e_nosuch",
            "SHOW ERRORS",
            "SELECT CURRENT_ROLE()",
            "SET ROLE NONE",
            "SELECT CURRENT_ROLE()",
            "BEGIN;; SET ROLE e2e_travels_two;; SELECT CURRENT_ROLE();; COMMIT",
            "SELECT CURRENT_ROLE()",
        ],
        Item::ResourceGroup if mysql => vec![
            "SET RESOURCE GROUP e2e_travels",
            IN_GROUP,
            "SET RESOURCE GROUP e2e_nosuch",
            "SHOW ERRORS",
            IN_GROUP,
            "SET RESOURCE GROUP USR_default",
            IN_GROUP,
        ],
        Item::ResourceGroup => Vec::new(),
    }
}

/// The resource group of the thread that runs it.
const IN_GROUP: &str =
    "SELECT RESOURCE_GROUP FROM performance_schema.threads WHERE THREAD_ID = PS_CURRENT_THREAD_ID()";

/// To execute a text that was prepared in another database, the servers change there and back. Their trackers tell that at
/// the end of the answer, which an EOF cannot: there is only a flag then, and MySQL says it again in the next OK. Weir's
/// client gets neither.
fn is_told_late(item: Item, eof: bool) -> bool {
    eof && item == Item::DatabaseOfPreparedTexts
}

/// Roles and resource groups that both accounts may use.
fn create_rights(cluster: &Cluster, account: &str) -> Result<()> {
    let sql = match cluster.flavour() {
        Flavour::MySql => format!(
            "CREATE ROLE IF NOT EXISTS e2e_travels_one, e2e_travels_two; \
             GRANT e2e_travels_one, e2e_travels_two TO '{account}'@'%', '{0}'@'%'; \
             GRANT RESOURCE_GROUP_USER ON *.* TO '{account}'@'%', '{0}'@'%'",
            SERVICE.user
        ),
        Flavour::MariaDb => format!(
            "CREATE ROLE IF NOT EXISTS e2e_travels_one, e2e_travels_two; \
             GRANT e2e_travels_one TO '{account}'@'%'; GRANT e2e_travels_one TO '{0}'@'%'; \
             GRANT e2e_travels_two TO '{account}'@'%'; GRANT e2e_travels_two TO '{0}'@'%'",
            SERVICE.user
        ),
    };
    cluster.sql(0, &sql)?;
    if cluster.flavour() == Flavour::MySql {
        let known = "SELECT COUNT(*) FROM information_schema.resource_groups WHERE resource_group_name = 'e2e_travels'";
        if cluster.value(0, known)? == "0" {
            cluster.sql(0, "CREATE RESOURCE GROUP e2e_travels TYPE = USER")?;
        }
    }
    Ok(())
}

/// The server's ids of the connections of one account.
fn threads(cluster: &Cluster, account: &str) -> Result<Vec<String>> {
    let sql = format!("SELECT id FROM information_schema.processlist WHERE user = '{account}' ORDER BY id");
    Ok(cluster.sql(0, &sql)?.into_iter().flatten().flatten().collect())
}

/// A Weir with one connection to the primary, by an account of its own.
struct One<'c> {
    cluster: &'c Cluster,
    account: String,
    weir: Weir,
}

impl<'c> One<'c> {
    fn start(cluster: &'c Cluster, topic: &str) -> Result<One<'c>> {
        let account = format!("one_{topic}_{}", std::process::id());
        cluster.sql(
            0,
            &format!("CREATE USER '{account}'@'%' IDENTIFIED BY 'one'; GRANT ALL ON *.* TO '{account}'@'%'"),
        )?;
        let options = Options::on(cluster)?
            .users(vec![User::of(cluster).without_split()])
            .set("slices.0.account.user", account.clone())
            .set("slices.0.account.password", "one")
            .set("slices.0.replicas", toml::Value::Array(Vec::new()))
            .set("pool.capacity", 1)
            .set("pool.idle_timeout", "1h");
        create_rights(cluster, &account)?;
        let weir = Weir::start(&options)?;
        Ok(One { cluster, account, weir })
    }

    /// Another session, which sets what the first has, to other values.
    fn intruder(&self, databases: &Databases<'_>) -> Result<Intruder> {
        let login = Login::new(SERVICE.user, SERVICE.password).database(&databases.weir);
        let mut client = self.weir.connect(&login)?;
        client.run("SET sql_mode = 'ANSI', time_zone = '+03:00', @a = 'the other', @z = 26, sort_buffer_size = 40000")?;
        client.run("PREPARE s FROM 'SELECT ''of the other'''")?;
        client.run("PREPARE theirs FROM 'SELECT 1'")?;
        Ok(Intruder { client, turns: 0 })
    }
}

struct Intruder {
    client: Client,
    turns: u32,
}

impl Intruder {
    /// Takes the connection and finds its own.
    fn turn(&mut self) -> Result<()> {
        self.turns += 1;
        let seen = self
            .client
            .rows("SELECT @a, @z, @@time_zone, @@sort_buffer_size, \"id\" FROM few WHERE id = 1")?;
        let text = format!("{seen:?}");
        ensure!(
            text == r#"[[Some("the other"), Some("26"), Some("+03:00"), Some("40000"), Some("1")]]"#,
            "the other session sees {text}"
        );
        let executed = self.client.value("EXECUTE s")?;
        ensure!(executed == "of the other", "the other session executes {executed}");
        Ok(())
    }
}

fn what_travels_is_there_on_the_next_connection(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "travels")?;
    let mut differences = Vec::new();
    for eof in [false, true] {
        let flavour = cluster.flavour();
        for item in ITEMS {
            if statements(item, flavour).is_empty() || is_told_late(item, eof) {
                continue;
            }
            let databases = Databases::create(cluster, "travels")?;
            databases.prepare(SCHEMA)?;
            let mut login = weir_e2e::pair::direct_login();
            login.capabilities.set(Capabilities::DEPRECATE_EOF, !eof);
            let mut pair = Pair::connect(&one.weir, &databases, &login, &format!("{item:?}, EOF {eof}"))?;
            let mut intruder = one.intruder(&databases)?;
            let before = threads(cluster, &one.account)?;
            ensure!(before.len() == 1, "a pool of one has {before:?}");
            for sql in statements(item, flavour) {
                sql.split(";; ").try_for_each(|sql| pair.query(sql).map(|_| ()))?;
                intruder.turn().with_context(|| format!("{item:?}: {sql}"))?;
            }
            if item == Item::UserVariablesOfPreparedStatements {
                prepared(&mut pair, &mut intruder)?;
            }
            ensure!(
                threads(cluster, &one.account)? == before,
                "{item:?}: the connection was changed for another"
            );
            ensure!(intruder.turns > 0 && pair.compared() > 0);
            differences.extend(pair.into_differences());
        }
    }
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let metrics = one.weir.metrics()?;
    let (ahead, apart) =
        (metrics.sum("weir_states_ahead_total", &[]), metrics.sum("weir_state_round_trips_total", &[]));
    ensure!(ahead > 4.0 * apart, "{ahead} states were set on the way, {apart} in a round trip of their own");
    let pinned = metrics.sum("weir_pins_total", &[]);
    // a statement in a transaction is no pin
    ensure!(pinned == 0.0, "{pinned} pins");
    drop(one.weir);
    one.cluster.sql(0, &format!("DROP USER '{}'@'%'", one.account))?;
    Ok(())
}

/// Statements prepared as such, which read and assign variables.
fn prepared(pair: &mut Pair, intruder: &mut Intruder) -> Result<()> {
    let reads = pair.prepare("SELECT @a + ?, k FROM few WHERE id = ?")?.context("it can be prepared")?;
    let assigns = pair.prepare("SET @a = ?")?.context("it can be prepared")?;
    let adds = pair.prepare("SELECT @a := @a + ?")?.context("it can be prepared")?;
    for (ids, parameters) in [
        (reads, vec![Parameter::Int(1), Parameter::Int(2)]),
        (assigns, vec![Parameter::Text("12".to_owned())]),
        (reads, vec![Parameter::Int(2), Parameter::Int(1)]),
        (adds, vec![Parameter::Double(0.5)]),
        (reads, vec![Parameter::Null, Parameter::Int(3)]),
        (assigns, vec![Parameter::Null]),
        (reads, vec![Parameter::Int(2), Parameter::Int(1)]),
    ] {
        intruder.turn()?;
        pair.same_with(ids, "execute", |client, id| client.execute(id, &parameters))?;
    }
    Ok(())
}

/// Variables that keep a session's connection, and why.
const STAY: [(&str, &str); 15] = [
    ("character_set_database", "changes with the default database, in both directions"),
    ("collation_database", "changes with the default database, in both directions"),
    ("insert_id", "is used up by the next INSERT, which no tracker shows"),
    ("default_master_connection", "names what later statements administrate"),
    ("max_relay_log_size", "is that of default_master_connection"),
    ("sql_slave_skip_counter", "is that of default_master_connection"),
    ("system_versioning_asof", "is a time in the session's time zone, which changes with it"),
    ("profiling", "what it collects is the connection's"),
    ("original_commit_timestamp", "is for one transaction of an applier"),
    ("immediate_server_version", "is for one transaction of an applier"),
    ("original_server_version", "is for one transaction of an applier"),
    ("gtid_seq_no", "is used up by the next transaction"),
    ("rand_seed1", "RAND() goes on from it"),
    ("rand_seed2", "RAND() goes on from it"),
    ("tcp_nodelay", "is the connection's own"),
];

/// Variables that the server itself says can be set, each with another value than it has.
fn settable(cluster: &Cluster, client: &mut Client) -> Result<Vec<(String, String)>> {
    let names = client.rows("SHOW SESSION VARIABLES")?;
    let mut found = Vec::new();
    for name in names.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
        // Weir's own, or the subject of other tests; and what may take a server down or its disk
        let skip = name.starts_with("session_track_")
            || ["pseudo_thread_id", "max_session_mem_used", "resultset_metadata", "gtid_next", "timestamp"]
                .contains(&name.as_str());
        if skip || client.value(&format!("SELECT @@SESSION.{name} IS NULL")).is_err() {
            continue;
        }
        let now = client.rows(&format!("SELECT @@SESSION.{name}"))?;
        for value in candidates(now[0][0].as_deref()) {
            let set = client.query(format!("SET SESSION {name} = {value}"))?;
            let changed = set.error().is_none() && client.rows(&format!("SELECT @@SESSION.{name}"))? != now;
            client.reset()?;
            if changed {
                found.push((name, value));
                break;
            }
        }
    }
    let least = if cluster.flavour() == Flavour::MySql { 120 } else { 150 };
    ensure!(found.len() >= least, "only {} variables can be set: {found:?}", found.len());
    Ok(found)
}

/// Values to try, until one is accepted and changes something.
fn candidates(now: Option<&str>) -> Vec<String> {
    let number = now.and_then(|now| now.parse::<f64>().ok());
    let mut list = Vec::new();
    if let Some(number) = number {
        let others =
            [1.0 - number, number - 1.0, number + 1.0, number * 2.0, 1.0, 2.0, 100.0, 2000.0, 1024.0];
        list.extend(others.iter().filter(|n| **n >= 0.0).map(|n| format!("{n:.0}")));
    }
    let words = [
        "ON",
        "OFF",
        "utf8mb3",
        "latin1",
        "latin1_bin",
        "MyISAM",
        "READ-COMMITTED",
        "SERIALIZABLE",
        "MINIMAL",
        "STATEMENT",
        "+01:00",
        "de_DE",
        "FORCE",
        "NONE",
        "FULL",
        "NO",
        "LOW",
        "mrr=on",
        "EXTENDED",
        "DEMAND",
        "IDEMPOTENT",
        "enabled=on",
        "JSON",
        "TREE",
        "ERROR",
        "STRICT",
        "aes-256-ecb",
        "ANSI_QUOTES",
        "never",
        "preferably",
        "COPY",
        "UTF8_IS_UTF8MB3",
        "SINGLE_PREC_HB",
        "query_plan",
        "filesort",
        "sp",
        "2020-01-01",
        "1,2",
    ];
    list.extend(words.map(|word| format!("'{word}'")));
    list
}

fn every_session_variable_travels(cluster: &'static Cluster) -> Result<()> {
    let one = One::start(cluster, "variables")?;
    let databases = Databases::create(cluster, "variables")?;
    databases.prepare(SCHEMA)?;
    let mut pair = Pair::connect(&one.weir, &databases, &weir_e2e::pair::direct_login(), "variables")?;
    let variables = settable(cluster, &mut pair.direct)?;
    let mut intruder = one.intruder(&databases)?;
    let pins = || -> Result<f64> { Ok(one.weir.metrics()?.sum("weir_pins_total", &[])) };
    for (name, value) in &variables {
        if STAY.iter().any(|(stays, _)| stays == name) {
            let before = pins()?;
            pair.query(&format!("SET SESSION {name} = {value}"))?;
            ensure!(pins()? > before, "{name} neither travels nor pins");
            pair.query(&format!("SELECT @@SESSION.{name}"))?;
            pair.same("reset", Client::reset)?;
            continue;
        }
        for sql in [
            format!("SET SESSION {name} = {value}"),
            format!("SELECT @@SESSION.{name}"),
            format!("SET SESSION {name} = DEFAULT"),
            format!("SELECT @@SESSION.{name}"),
        ] {
            pair.query(&sql)?;
            intruder.turn().with_context(|| sql.clone())?;
        }
        pair.same("reset", Client::reset)?;
    }
    weir_testkit::say(format!("{} variables were set, read and given back", variables.len()));
    let differences = pair.into_differences();
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    drop(one.weir);
    one.cluster.sql(0, &format!("DROP USER '{}'@'%'", one.account))?;
    Ok(())
}
