//! What the gateway's code takes for granted about the servers, asked of the servers themselves. A server that behaves
//! otherwise one day fails here first, under the name of what no longer holds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_catalog::account::{Account, Origin, Proof, Transport, pick};
use weir_e2e::client::{Client, Expect, Login};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, direct_login, instance};
use weir_testkit::{Cluster, Flavour};
use weir_wire::capability::Capabilities;
use weir_wire::command::com;
use weir_wire::error_code::sqlstate_of;
use weir_wire::response::{Record, Records};

on_both_servers!(
    questions_about_the_statement_before_leave_each_other_alone,
    found_rows_is_set_by_what_the_gateway_counts,
    warnings_have_the_sqlstate_of_their_number,
    a_variable_set_by_a_trigger_is_told_as_a_change_of_state,
    pipelined_commands_are_independent,
    a_failed_routine_tells_its_changes_with_the_next_answer,
    what_routines_create_and_prepare_is_counted_until_a_reset,
    a_count_that_is_put_in_has_the_type_of_its_function,
    a_reset_keeps_the_database_and_drops_the_trackers,
    set_option_outlives_a_reset,
    a_connection_that_is_killed_while_idle_is_readable,
    a_read_only_session_may_not_write,
    prepare_leaves_row_count_alone,
    a_prepare_that_fails_has_dropped_the_statement_of_its_name,
    names_of_prepared_texts_are_the_same_in_any_case,
    a_text_is_executed_in_the_database_in_which_it_was_prepared,
    a_reset_drops_prepared_texts_and_keeps_roles,
    a_client_is_taken_for_the_account_with_the_most_specific_host,
    a_sum_over_the_tables_of_accounts_changes_with_every_account,
);

/// A session with trackers as the gateway sets them, and with what it is told.
fn tracked(cluster: &'static Cluster) -> Result<Client> {
    let login = direct_login().with(Capabilities::SESSION_TRACK | Capabilities::MULTI_STATEMENTS);
    let mut client = Client::connect(&instance(cluster, 0)?, &login)?;
    client.run("SET SESSION session_track_system_variables='*', SESSION session_track_state_change=ON")?;
    Ok(client)
}

fn plain(cluster: &'static Cluster) -> Result<Client> {
    Ok(Client::connect(&instance(cluster, 0)?, &direct_login().with(Capabilities::MULTI_STATEMENTS))?)
}

/// Does the answer say that something without a name has changed?
fn tells_state_change(client: &mut Client, sql: &str) -> Result<bool> {
    let answer = client.run(sql)?;
    let ok = weir_wire::response::OkPacket::parse(&answer.packets[0].payload, client.flags())?;
    let records: Result<Vec<Record>, _> = Records::new(ok.session_state).collect();
    Ok(records?.iter().any(|record| matches!(record, Record::StateChange)))
}

// `backend/left.rs` asks in this order.
fn questions_about_the_statement_before_leave_each_other_alone(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_questions")?;
    databases.prepare("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")?;
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    client.run("INSERT INTO t (v) VALUES (1), (2), (3), (4)")?;
    client.run("SELECT SQL_CALC_FOUND_ROWS id, CAST('x' AS SIGNED) FROM t LIMIT 2")?;
    let conditions = client.rows("SHOW WARNINGS")?;
    assert!(conditions.iter().any(|row| row[1].as_deref() == Some("1292")), "{conditions:?}");
    assert_eq!(client.value("SELECT FOUND_ROWS()")?, "4");
    assert_eq!(client.value("SELECT LAST_INSERT_ID()")?, "1");
    Ok(())
}

// `session/diagnostics.rs` counts FOUND_ROWS() so.
fn found_rows_is_set_by_what_the_gateway_counts(cluster: &'static Cluster) -> Result<()> {
    const THREE: &str = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3";
    let mysql = cluster.flavour() == Flavour::MySql;
    let mut client = plain(cluster)?;
    for (sql, rows) in [
        ("SHOW VARIABLES LIKE 'autocommit'", "1"),
        ("SELECT 1 FROM DUAL WHERE 0", "0"),
        ("SET @a = 1", "3"),
        ("DO 0", if mysql { "1" } else { "3" }),
        ("EXPLAIN SELECT 1", if mysql { "3" } else { "0" }),
    ] {
        client.run(THREE)?;
        client.run(sql)?;
        assert_eq!(client.value("SELECT FOUND_ROWS()")?, rows, "{sql}");
    }
    client.run(THREE)?;
    assert_ne!(client.query("SELECT nosuch")?.error_number(), 0);
    assert_eq!(client.value("SELECT FOUND_ROWS()")?, "3", "an error leaves it as it was");
    Ok(())
}

fn warnings_have_the_sqlstate_of_their_number(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_states")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2) NOT NULL); INSERT INTO t VALUES (1, 'a')",
    )?;
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    for sql in [
        "SELECT CAST('x' AS SIGNED)",
        "SELECT 1/0",
        "DROP TABLE IF EXISTS nosuch",
        "CREATE TABLE IF NOT EXISTS t (id INT)",
        "INSERT IGNORE INTO t VALUES (1, 'b')",
        "INSERT IGNORE INTO t VALUES (2, 'too long')",
        "INSERT IGNORE INTO t VALUES (3, NULL)",
        "SELECT nosuch",
        "SELECT * FROM nosuch",
    ] {
        client.query(sql)?;
        client.run("GET DIAGNOSTICS CONDITION 1 @s = RETURNED_SQLSTATE, @n = MYSQL_ERRNO")?;
        let number: u16 = client.value("SELECT @n")?.parse()?;
        let state = client.value("SELECT @s")?;
        assert_eq!(state.as_bytes(), sqlstate_of(number), "{sql}: {number}");
    }
    Ok(())
}

fn a_variable_set_by_a_trigger_is_told_as_a_change_of_state(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_trigger")?;
    databases.prepare(
        "CREATE TABLE t (id INT); CREATE TABLE u (id INT); \
         CREATE TRIGGER sets BEFORE INSERT ON t FOR EACH ROW SET @by_trigger = NEW.id",
    )?;
    let mut client = tracked(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    assert!(tells_state_change(&mut client, "INSERT INTO t VALUES (1)")?);
    assert!(tells_state_change(&mut client, "SET @by_hand = 1")?);
    assert!(!tells_state_change(&mut client, "INSERT INTO u VALUES (1)")?, "else every write would pin");
    Ok(())
}

// `session/causes.rs` takes them over from the answers to its questions; MariaDB never tells them.
fn a_failed_routine_tells_its_changes_with_the_next_answer(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_failed")?;
    databases.prepare(
        "CREATE PROCEDURE fails() BEGIN SET @a = 1, sort_buffer_size = 300000; \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'on purpose'; END",
    )?;
    let mut client = tracked(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    assert_eq!(client.query("CALL fails()")?.error_number(), 1644);
    let answer = client.run("DO 1")?;
    let ok = weir_wire::response::OkPacket::parse(&answer.packets[0].payload, client.flags())?;
    let records: Vec<Record> = Records::new(ok.session_state).collect::<Result<_, _>>()?;
    let tells = |wanted: &[u8]| {
        records.iter().any(|record| matches!(record, Record::SystemVariable { name, .. } if *name == wanted))
    };
    ensure!(tells(b"sort_buffer_size") == (cluster.flavour() == Flavour::MySql), "{records:?}");
    assert_eq!(client.value("SELECT @@sort_buffer_size")?, "300000", "it has changed all the same");
    Ok(())
}

// `backend/remains.rs` takes a counter of 0 for a proof that there is none.
fn what_routines_create_and_prepare_is_counted_until_a_reset(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_counted")?;
    databases.prepare(
        "CREATE PROCEDURE makes() BEGIN CREATE TEMPORARY TABLE made (a INT); PREPARE made FROM 'SELECT 1'; END; \
         CREATE FUNCTION makes_too() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN \
         CREATE TEMPORARY TABLE made_too (a INT) ENGINE = MEMORY; RETURN 1; END",
    )?;
    let mysql = cluster.flavour() == Flavour::MySql;
    let counter = if mysql { "Com_create_table" } else { "Com_create_temporary_table" };
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    let count = |client: &mut Client, name: &str| -> Result<u64> {
        let rows = client.rows(&format!("SHOW SESSION STATUS LIKE '{name}'"))?;
        Ok(rows[0][1].as_deref().unwrap_or_default().parse()?)
    };
    for (sql, made, prepared) in [("CALL makes()", 1, 1), ("SELECT makes_too()", 1, 0)] {
        assert_eq!((count(&mut client, counter)?, count(&mut client, "Com_prepare_sql")?), (0, 0));
        client.run(sql)?;
        assert_eq!(
            (count(&mut client, counter)?, count(&mut client, "Com_prepare_sql")?),
            (made, prepared),
            "{sql}"
        );
        ensure!(client.reset()?.error().is_none());
    }
    Ok(())
}

// `session/diagnostics/put_in.rs` puts counts in so.
fn a_count_that_is_put_in_has_the_type_of_its_function(cluster: &'static Cluster) -> Result<()> {
    let mut client = plain(cluster)?;
    // what they are behind a SELECT of one row: the type of -ROW_COUNT() depends on its value
    for (function, value) in [("ROW_COUNT()", -1), ("FOUND_ROWS()", 1)] {
        for expression in
            ["{}", "{} + 1", "-{}", "CONCAT({}, 'x')", "{} * 1.5", "COALESCE({}, 0)", "({} = 1)", "{} / 3"]
        {
            let mut answers = Vec::new();
            for call in [function.to_owned(), format!("IF(0,{function},{value}  )")] {
                client.run("SELECT 1")?;
                let answer = client.run(&format!("SELECT {} AS n", expression.replace("{}", &call)))?;
                answers.push(answer.packets.into_iter().map(|p| p.payload).collect::<Vec<_>>());
            }
            assert_eq!(answers[0], answers[1], "{expression} of {function}");
        }
    }
    Ok(())
}

// Why `Connection::become_state` is never written together with the statement.
fn pipelined_commands_are_independent(cluster: &'static Cluster) -> Result<()> {
    let mut client = plain(cluster)?;
    let mut both = Vec::new();
    for sql in ["SET nosuch_variable = 1", "SELECT 'ran'"] {
        weir_wire::packet_with(&mut both, 0, |w| {
            w.u8(com::QUERY).bytes(sql.as_bytes());
        });
    }
    client.send_bytes(&both)?;
    assert_eq!(client.read_answer(Expect::Results)?.error_number(), 1193);
    assert_eq!(client.read_answer(Expect::Results)?.rows()?[0][0].as_deref(), Some("ran"));
    Ok(())
}

// `Connection::prepare_for_use` arms the trackers again in the same write as the reset.
fn a_reset_keeps_the_database_and_drops_the_trackers(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_reset")?;
    let database = databases.names()[0];
    let mut client = tracked(cluster)?;
    client.run(&format!("USE `{database}`"))?;
    client.run("SET @a = 1, sql_mode = 'ANSI'")?;
    ensure!(client.reset()?.error().is_none(), "the reset failed");
    assert_eq!(client.value("SELECT DATABASE()")?, database);
    assert_eq!(client.value("SELECT @@session_track_state_change")?, "0");
    assert_eq!(client.value("SELECT @a IS NULL")?, "1");
    assert!(!client.value("SELECT @@sql_mode")?.contains("ANSI"));
    Ok(())
}

fn set_option_outlives_a_reset(cluster: &'static Cluster) -> Result<()> {
    let mut client = plain(cluster)?;
    client.set_option(1)?;
    ensure!(client.reset()?.error().is_none(), "the reset failed");
    assert_eq!(client.query("SELECT 1; SELECT 2")?.error_number(), 1064);
    Ok(())
}

// A pooled connection that is readable before anything was written to it is dead.
fn a_connection_that_is_killed_while_idle_is_readable(cluster: &'static Cluster) -> Result<()> {
    let mut idle = plain(cluster)?;
    idle.run("SELECT 1")?;
    cluster.sql(0, &format!("KILL {}", idle.id()))?;
    idle.set_patience(Duration::from_secs(10))?;
    // a last word, or the end alone: it never looks like an answer to what was not asked
    let words = idle.read_to_close()?;
    if let Some((header, payload)) = weir_wire::framer::first_packet(&words) {
        assert_eq!((header.sequence, payload.first()), (0, Some(&0xFF)), "{}", words.escape_ascii());
    }
    Ok(())
}

// What guards replicas, and read-only users.
fn a_read_only_session_may_not_write(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_read_only")?;
    databases.prepare("CREATE TABLE t (id INT)")?;
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    client.run("SET SESSION TRANSACTION READ ONLY")?;
    for sql in ["INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE TABLE u (id INT)"] {
        assert_eq!(client.query(sql)?.error_number(), 1792, "{sql}");
    }
    client.run("SELECT * FROM t")?;
    Ok(())
}

fn prepare_leaves_row_count_alone(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_prepare")?;
    databases.prepare("CREATE TABLE t (id INT)")?;
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    client.run("INSERT INTO t VALUES (1), (2), (3)")?;
    client.prepare("SELECT 1")?;
    assert_eq!(client.value("SELECT ROW_COUNT()")?, "3");
    Ok(())
}

// `session/texts.rs` drops it, too, and asks what became of it.
fn a_prepare_that_fails_has_dropped_the_statement_of_its_name(cluster: &'static Cluster) -> Result<()> {
    const UNKNOWN: u16 = 1243;
    let mut client = plain(cluster)?;
    for failing in [
        "PREPARE s FROM 'SELEC'",
        "PREPARE s FROM 'SELECT nosuch'",
        "PREPARE s FROM @never",
        "PREPARE s FROM ''",
    ] {
        client.run("PREPARE s FROM 'SELECT 1'")?;
        assert_ne!(client.query(failing)?.error_number(), 0, "{failing}");
        assert_eq!(client.query("EXECUTE s")?.error_number(), UNKNOWN, "{failing}");
    }
    client.run("PREPARE s FROM 'SELECT 1'")?;
    for no_prepare in ["PREPARE s FROM", "PREPARE s 'SELECT 1'", "PREPARE s FROM 'SELECT 1"] {
        assert_eq!(client.query(no_prepare)?.error_number(), 1064, "{no_prepare}");
        assert_eq!(client.value("EXECUTE s")?, "1", "{no_prepare}");
    }
    Ok(())
}

// `weir_sql::Detail` gives them in lower case.
fn names_of_prepared_texts_are_the_same_in_any_case(cluster: &'static Cluster) -> Result<()> {
    let mut client = plain(cluster)?;
    client.run("PREPARE Name_1$ FROM 'SELECT 1'")?;
    client.run("PREPARE nAME_1$ FROM 'SELECT 2'")?;
    assert_eq!(client.value("EXECUTE `NAME_1$`")?, "2");
    client.run("DEALLOCATE PREPARE name_1$")?;
    assert_eq!(client.query("EXECUTE Name_1$")?.error_number(), 1243);
    Ok(())
}

fn a_text_is_executed_in_the_database_in_which_it_was_prepared(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "facts_texts")?;
    databases.prepare("CREATE TABLE t (id INT); INSERT INTO t VALUES (1)")?;
    let mut client = plain(cluster)?;
    client.run(&format!("USE `{}`", databases.names()[0]))?;
    client.run("PREPARE s FROM 'SELECT id FROM t'")?;
    client.run("USE information_schema")?;
    assert_eq!(client.value("EXECUTE s")?, "1");
    assert_eq!(client.value("SELECT DATABASE()")?, "information_schema");
    Ok(())
}

// `Connection::prepare_for_use` asks which are active.
fn a_reset_drops_prepared_texts_and_keeps_roles(cluster: &'static Cluster) -> Result<()> {
    let role = format!("facts{}_role", std::process::id());
    let account = format!("'facts{}_of_role'@'%'", std::process::id());
    let _dropped = Dropped(cluster, vec![account.clone()]);
    cluster.sql(
        0,
        &format!("CREATE ROLE {role}; CREATE USER {account} IDENTIFIED BY 'p'; GRANT {role} TO {account}"),
    )?;
    let login = Login::new(&format!("facts{}_of_role", std::process::id()), "p");
    let mut client = Client::connect(&instance(cluster, 0)?, &login)?;
    client.run("PREPARE s FROM 'SELECT 1'")?;
    client.run(&format!("SET ROLE {role}"))?;
    ensure!(client.reset()?.error().is_none(), "the reset failed");
    assert_eq!(client.query("EXECUTE s")?.error_number(), 1243);
    assert!(client.value("SELECT CURRENT_ROLE()")?.contains(&role));
    cluster.sql(0, &format!("DROP ROLE {role}"))?;
    Ok(())
}

/// Drops users when a fact is established, or is not.
struct Dropped(&'static Cluster, Vec<String>);

impl Drop for Dropped {
    fn drop(&mut self) {
        for user in &self.1 {
            if let Err(error) = self.0.sql(0, &format!("DROP USER IF EXISTS {user}")) {
                weir_testkit::say(format!("{user} was not dropped: {error:#}"));
            }
        }
    }
}

// `catalog/src/account.rs` picks as the servers do.
fn a_client_is_taken_for_the_account_with_the_most_specific_host(cluster: &'static Cluster) -> Result<()> {
    let flavour = match cluster.flavour() {
        Flavour::MySql => weir_wire::server_version::Flavour::MySql,
        Flavour::MariaDb => weir_wire::server_version::Flavour::MariaDb,
    };
    let names = cluster.value(0, "SELECT @@GLOBAL.skip_name_resolve")? == "0";
    let address = "127.0.0.1".parse().ok();
    let origin = Origin { address, names, flavour };
    let sets: &[&[&str]] = &[
        &["%", "127.%", "127.0.%"],
        &["%", "localhost"],
        &["127.0.0.1", "127.0.0.%"],
        &["127.0.0.0/255.255.255.0", "127.0.0.%", "%"],
        &["127.0.0.0/255.255.255.0", "127.0.0.1"],
        &["127.0.0.0/24", "127.0.0.%"],
        &["_27.0.0.1", "127%"],
        &["127.%", "%.0.0.1"],
        &["12%", "1_7%"],
        &["%0.0.1", "%"],
        &["127.0.0._", "127.0.0.%"],
    ];
    for (number, hosts) in sets.iter().enumerate() {
        let user = format!("facts{}_{number}", std::process::id());
        let quoted: Vec<String> = hosts.iter().map(|host| format!("'{user}'@'{host}'")).collect();
        let _dropped = Dropped(cluster, quoted.clone());
        for account in &quoted {
            cluster.sql(0, &format!("CREATE USER {account} IDENTIFIED BY 'p'"))?;
        }
        let accounts: Vec<Account> = hosts
            .iter()
            .map(|host| Account {
                user: user.clone(),
                host: (*host).to_owned(),
                proof: Proof::Unsupported(String::new()),
                transport: Transport::Any,
                version: 0,
            })
            .collect();
        let mut client = Client::connect(&instance(cluster, 0)?, &Login::new(&user, "p"))?;
        let theirs = client.value("SELECT CURRENT_USER()")?;
        let ours = pick(&accounts, &user, &origin).map(Account::current_user);
        ensure!(ours.as_deref() == Some(theirs.as_str()), "{hosts:?}: {ours:?}, the server takes {theirs}");
    }
    Ok(())
}

// `backend/accounts/read.rs` looks at the sum to see whether an account has changed.
fn a_sum_over_the_tables_of_accounts_changes_with_every_account(cluster: &'static Cluster) -> Result<()> {
    let account = format!("'facts{}_sum'@'%'", std::process::id());
    let _dropped = Dropped(cluster, vec![account.clone()]);
    let sql = match cluster.flavour() {
        Flavour::MySql => {
            "CHECKSUM TABLE mysql.user,mysql.global_grants,mysql.default_roles,mysql.role_edges"
        }
        Flavour::MariaDb => "CHECKSUM TABLE mysql.global_priv,mysql.roles_mapping",
    };
    let mut client = plain(cluster)?;
    let mut before = client.rows(sql)?;
    for change in [
        format!("CREATE USER {account} IDENTIFIED BY 'p'"),
        format!("ALTER USER {account} ACCOUNT LOCK"),
        format!("ALTER USER {account} ACCOUNT UNLOCK"),
        format!("ALTER USER {account} IDENTIFIED BY 'q'"),
        format!("ALTER USER {account} PASSWORD EXPIRE"),
        format!("ALTER USER {account} REQUIRE SSL"),
        format!("GRANT PROCESS ON *.* TO {account}"),
        format!("REVOKE PROCESS ON *.* FROM {account}"),
        format!("DROP USER {account}"),
    ] {
        cluster.sql(0, &change)?;
        let after = client.rows(sql)?;
        ensure!(after != before, "{change} shows in no sum");
        before = after;
    }
    Ok(())
}
