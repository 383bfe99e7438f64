//! Statements prepared as text: what executing them does to routing, guards, pins, and what happens to those that do not
//! travel. That answers are the server's is compared in `multiplexing`, that nothing leaks in `leaks`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_e2e::client::{Client, Login};
use weir_e2e::on_both_servers;
use weir_e2e::pair::Databases;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};

on_both_servers!(
    an_execution_goes_where_its_statement_belongs,
    an_execution_is_guarded_as_its_statement,
    an_execution_pins_what_its_statement_pins,
    what_does_not_travel_stays_with_its_connection,
    a_transaction_is_not_ended_by_what_is_prepared_in_it,
    a_connection_with_many_names_is_reset,
    names_of_sessions_that_left_are_taken_away,
    roles_that_were_revoked_are_no_longer_used,
);

const PATIENCE: Duration = Duration::from_secs(20);

const SCHEMA: &str = "
    CREATE TABLE few (id INT PRIMARY KEY AUTO_INCREMENT, k INT);
    INSERT INTO few (k) VALUES (1), (2), (3);
    CREATE PROCEDURE adds() INSERT INTO few (k) VALUES (9)";

struct Rig<'c> {
    databases: Databases<'c>,
    weir: Weir,
}

impl<'c> Rig<'c> {
    fn start(cluster: &'c Cluster, topic: &str, options: &Options) -> Result<Rig<'c>> {
        let databases = Databases::create(cluster, topic)?;
        databases.prepare(SCHEMA)?;
        cluster.wait_for_replicas(PATIENCE)?;
        Ok(Rig { databases, weir: Weir::start(options)? })
    }

    fn client(&self, user: &str, password: &str) -> Result<Client> {
        Ok(self.weir.connect(&Login::new(user, password).database(&self.databases.weir))?)
    }

    fn session(&self) -> Result<Client> {
        self.client(SERVICE.user, SERVICE.password)
    }

    fn pins(&self, reason: &str) -> Result<f64> {
        Ok(self.weir.metrics()?.sum("weir_pins_total", &[("reason", reason)]))
    }
}

fn one_connection(cluster: &Cluster) -> Result<Options> {
    Ok(Options::on(cluster)?
        .users(vec![User::of(cluster).without_split()])
        .set("pool.capacity", 1)
        .set("pool.checkout_timeout", "500ms"))
}

fn an_execution_goes_where_its_statement_belongs(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_split", &Options::on(cluster)?)?;
    let mut client = rig.session()?;
    let primary = cluster.value(0, "SELECT @@server_id")?;
    let server_id = "SELECT COUNT(*) FROM few WHERE id = @@server_id";
    for (text, using, on_replica) in [
        ("SELECT k FROM few", "", true),
        ("SELECT k FROM few WHERE id = ?", "USING @p", false),
        ("SELECT k FROM few FOR UPDATE", "", false),
        ("INSERT INTO few (k) VALUES (7)", "", false),
        ("SELECT k INTO @x FROM few LIMIT 1", "", false),
        (server_id, "", false),
    ] {
        client.run("SET @p = 1")?;
        client.run(&format!("PREPARE s FROM '{text}'"))?;
        let before = to_replicas(&rig.weir)?;
        client.run(&format!("EXECUTE s {using}"))?;
        let sent = to_replicas(&rig.weir)? - before;
        ensure!((sent > 0.0) == on_replica, "{text} {using}: {sent} statements went to replicas");
    }
    client.run(&format!("PREPARE w FROM 'SELECT {primary} = @@server_id'"))?;
    ensure!(client.value("EXECUTE w")? == "1", "what differs by server ran elsewhere");
    // a replica that has not got the table yet
    client.run("CREATE TABLE late (x INT)")?;
    client.run("PREPARE s FROM 'SELECT COUNT(*) FROM late'")?;
    ensure!(client.value("EXECUTE s")? == "0");
    // in a transaction there
    client.run("/* weir: replica */ START TRANSACTION READ ONLY")?;
    client.run("PREPARE r FROM 'SELECT MAX(k) FROM few'")?;
    client.run("EXECUTE r")?;
    let insert = "PREPARE i FROM 'INSERT INTO few (k) VALUES (8)'";
    ensure!(client.query(insert)?.error_number() == 1792, "a replica writes");
    client.run("COMMIT")?;
    client.run(insert)?;
    client.run("EXECUTE i")?;
    ensure!(rig.weir.metrics()?.sum("weir_pins_total", &[]) == 0.0, "something pins");
    rig.weir.stop()
}

fn to_replicas(weir: &Weir) -> Result<f64> {
    Ok(weir.metrics()?.sum("weir_statements_to_replica_total", &[]))
}

fn an_execution_is_guarded_as_its_statement(cluster: &'static Cluster) -> Result<()> {
    let users = vec![User { read_only: true, ..User::new("reader", "r") }, User::of(cluster).without_split()];
    let options = Options::on(cluster)?.users(users);
    let mut rig = Rig::start(cluster, "texts_guard", &options)?;
    let mut reader = rig.client("reader", "r")?;
    for (sql, error) in [
        ("PREPARE s FROM 'SELECT COUNT(*) FROM few'", 0),
        ("EXECUTE s", 0),
        ("PREPARE s FROM 'INSERT INTO few (k) VALUES (9)'", 1792),
        ("EXECUTE s", 1243),
        ("PREPARE s FROM 'CALL adds()'", 0),
        ("EXECUTE s", 1792),
        ("PREPARE s FROM 'SET GLOBAL max_connections = 400'", 1290),
        ("SET @sql = 'SET GLOBAL max_connections = 400'", 0),
        ("PREPARE s FROM @sql", 1290),
        ("PREPARE s FROM 'SET SESSION TRANSACTION READ WRITE'", 1290),
    ] {
        ensure!(reader.query(sql)?.error_number() == error, "{sql}: not {error}");
    }
    reader.quit()?;
    let own = rig.databases.weir.clone();
    rig.weir.stop()?;
    let allowed = toml::Value::Array(vec![own.into()]);
    let options = Options::on(cluster)?.set("allowed_databases", allowed);
    rig.weir = Weir::start(&options)?;
    let mut client = rig.session()?;
    for (sql, error) in [
        ("PREPARE s FROM 'SELECT COUNT(*) FROM few'", 0),
        ("EXECUTE s", 0),
        ("PREPARE s FROM 'SELECT COUNT(*) FROM mysql.user'", 1044),
        ("SET @sql = 'SELECT COUNT(*) FROM mysql.user'", 0),
        ("PREPARE s FROM @sql", 1044),
        ("SELECT CONCAT('SELECT COUNT(*) FROM my', 'sql.user') INTO @sql", 0),
        ("PREPARE s FROM @sql", 1044),
        // what was refused never came to the server
        ("EXECUTE s", 0),
    ] {
        ensure!(client.query(sql)?.error_number() == error, "{sql}: not {error}");
    }
    rig.weir.stop()
}

fn an_execution_pins_what_its_statement_pins(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_pins", &one_connection(cluster)?)?;
    for (text, reason) in [
        ("CREATE TEMPORARY TABLE tmp (x INT)", "temporary_table"),
        ("SELECT GET_LOCK('e2e texts', 0)", "user_lock"),
        ("SET insert_id = 5000", "session_variable"),
    ] {
        let (mut client, mut other) = (rig.session()?, rig.session()?);
        client.run(&format!("PREPARE p FROM \"{text}\""))?;
        other.run("SELECT 1")?;
        let (before, all) = (rig.pins(reason)?, rig.weir.metrics()?.sum("weir_pins_total", &[]));
        client.run("EXECUTE p")?;
        ensure!(rig.pins(reason)? == before + 1.0, "{text} does not pin {reason}");
        ensure!(rig.weir.metrics()?.sum("weir_pins_total", &[]) == all + 1.0, "{text} pins more than that");
        ensure!(other.query("SELECT 1")?.error_number() == 1203, "{text}: the connection was given on");
        client.quit()?;
        rig.weir.wait_for("it is given back", PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
        other.run("SELECT 1")?;
    }
    rig.weir.stop()
}

fn what_does_not_travel_stays_with_its_connection(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_stay", &one_connection(cluster)?)?;
    let expression = ("PREPARE s FROM CONCAT('SELECT', ' 42')", "EXECUTE s", "42");
    let mut rows = vec![
        ("PREPARE `s s` FROM 'SELECT 42'", "EXECUTE `s s`", "42"),
        ("PREPARE s FROM 'SELECT 41'; SELECT 1", "EXECUTE s", "41"),
        ("PREPARE s FROM 'SELECT ROW_COUNT()'", "EXECUTE s", "0"),
        ("SET @t = 'SELECT ''ä'''", "SELECT 1", "1"),
    ];
    if cluster.flavour() == Flavour::MariaDb {
        rows.push(expression);
    }
    for (prepare, execute, value) in rows {
        let mut client = rig.weir.connect(
            &Login::new(SERVICE.user, SERVICE.password)
                .database(&rig.databases.weir)
                .with(weir_wire::capability::Capabilities::MULTI_STATEMENTS),
        )?;
        let mut other = rig.session()?;
        other.run("PREPARE s FROM 'SELECT ''theirs'''")?;
        client.run("PREPARE kept FROM 'SELECT ''kept'''")?;
        let before = rig.pins("text_prepare")?;
        client.run(prepare)?;
        if prepare.starts_with("SET") {
            client.run("PREPARE s FROM @t")?;
        }
        ensure!(rig.pins("text_prepare")? == before + 1.0, "{prepare} does not pin");
        ensure!(client.value(execute)? == value, "{execute}");
        ensure!(client.value("EXECUTE kept")? == "kept", "{prepare}: those before are gone");
        ensure!(other.query("EXECUTE s")?.error_number() == 1203, "{prepare}: it was given on");
        ensure!(client.reset()?.error().is_none());
        ensure!(other.value("EXECUTE s")? == "theirs", "{prepare}");
        ensure!(client.query("EXECUTE kept")?.error_number() == 1243, "a reset leaves something");
    }
    // more of them than travel
    let mut client = rig.session()?;
    let before = rig.pins("text_prepare")?;
    for n in 0..=128 {
        ensure!(rig.pins("text_prepare")? == before, "{n} pin");
        client.run(&format!("PREPARE many_{n} FROM 'SELECT {n}'"))?;
    }
    ensure!(rig.pins("text_prepare")? == before + 1.0, "any number travels");
    for n in [0, 64, 127, 128] {
        ensure!(client.value(&format!("EXECUTE many_{n}"))? == n.to_string());
    }
    client.quit()?;
    rig.weir.stop()
}

// To prepare something on a connection, its state becomes that in which the text was read: not autocommit, which commits.
fn a_transaction_is_not_ended_by_what_is_prepared_in_it(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_open", &one_connection(cluster)?)?;
    let (mut client, mut other) = (rig.session()?, rig.session()?);
    client.run("PREPARE c FROM 'SELECT COUNT(*) FROM few'")?;
    let id = client.prepare("SELECT COUNT(*) FROM few WHERE id > ?")?.id;
    client.run("SET autocommit = 0, sql_mode = 'ANSI'")?;
    other.run("DO 1")?;
    ensure!(other.reset()?.error().is_none());
    // the connection that has them goes to another session, with a name of its own
    other.run("PREPARE c FROM 'SELECT ''theirs'''")?;
    client.run("INSERT INTO few (k) VALUES (10)")?;
    ensure!(client.value("EXECUTE c")? == "4");
    let counted = client.execute(id, &[weir_e2e::client::Parameter::Int(0)])?;
    ensure!(counted.error().is_none());
    client.run("ROLLBACK")?;
    ensure!(client.value("SELECT COUNT(*) FROM few")? == "3", "it was committed on the way");
    client.run("COMMIT")?;
    ensure!(other.value("EXECUTE c")? == "theirs");
    rig.weir.stop()
}

fn a_connection_with_many_names_is_reset(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_many", &one_connection(cluster)?)?;
    for n in 0..5 {
        let mut client = rig.session()?;
        for m in 0..40 {
            client.run(&format!("PREPARE n_{n}_{m} FROM 'SELECT {m}'"))?;
        }
        client.quit()?;
    }
    rig.weir.wait_for("it is back", PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
    ensure!(rig.weir.metrics()?.sum("weir_pool_resets_total", &[]) >= 1.0, "names heap up");
    rig.weir.stop()
}

fn names_of_sessions_that_left_are_taken_away(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "texts_left", &one_connection(cluster)?)?;
    let (mut client, mut other) = (rig.session()?, rig.session()?);
    client.run("PREPARE kept FROM 'SELECT 1'")?;
    client.run("PREPARE gone FROM 'SELECT 2'")?;
    let mut gone = rig.session()?;
    gone.run("PREPARE gone_too FROM 'SELECT 3'")?;
    client.run("DEALLOCATE PREPARE gone")?;
    // of the only connection: it is asked when it has rested
    let mut taken_away = || -> Result<u32> {
        let rows = other.rows("SHOW SESSION STATUS LIKE 'Com_dealloc_sql'")?;
        Ok(rows[0][1].as_deref().unwrap_or_default().parse()?)
    };
    let before = taken_away()?;
    gone.quit()?;
    let deadline = std::time::Instant::now() + PATIENCE;
    while taken_away()? == before {
        ensure!(std::time::Instant::now() < deadline, "what nobody can execute any more stays");
        std::thread::sleep(Duration::from_millis(2500));
    }
    ensure!(taken_away()? == before + 1, "more than that was taken away");
    ensure!(client.value("EXECUTE kept")? == "1");
    client.quit()?;
    other.quit()?;
    rig.weir.stop()
}

fn roles_that_were_revoked_are_no_longer_used(cluster: &'static Cluster) -> Result<()> {
    let (account, role) =
        (format!("role_{}", std::process::id()), format!("e2e_role_{}", std::process::id()));
    let rig = {
        cluster.sql(
            0,
            &format!(
                "CREATE USER '{account}'@'%' IDENTIFIED BY 'one'; GRANT SELECT ON *.* TO '{account}'@'%'; \
                 CREATE ROLE {role}; GRANT INSERT ON *.* TO {role}; GRANT {role} TO '{account}'@'%'"
            ),
        )?;
        let options = one_connection(cluster)?
            .set("slices.0.account.user", account.clone())
            .set("slices.0.account.password", "one")
            .set("slices.0.replicas", toml::Value::Array(Vec::new()));
        Rig::start(cluster, "texts_roles", &options)?
    };
    let (mut client, mut other) = (rig.session()?, rig.session()?);
    let insert = "INSERT INTO few (k) VALUES (11)";
    ensure!(client.query(insert)?.error_number() == 1142);
    client.run(&format!("SET ROLE {role}"))?;
    client.run(insert)?;
    ensure!(other.query(insert)?.error_number() == 1142, "another session has the role");
    client.run(insert)?;
    // as at the servers, a reset leaves the roles
    ensure!(client.reset()?.error().is_none());
    other.run("SELECT 1")?;
    client.run(insert)?;
    ensure!(other.query(insert)?.error_number() == 1142, "another session has the role");
    other.run("SELECT 1")?;
    cluster.sql(0, &format!("REVOKE {role} FROM '{account}'@'%'"))?;
    let refused = client.query("SELECT 1")?.error_number();
    ensure!([3530, 1959].contains(&refused), "the session goes on without its role: {refused}");
    ensure!(client.query("SELECT 1")?.error_number() == refused);
    other.run("SELECT 1")?;
    client.run("SET ROLE NONE")?;
    ensure!(client.query(insert)?.error_number() == 1142);
    client.run("SELECT 1")?;
    cluster.sql(0, &format!("GRANT {role} TO '{account}'@'%'"))?;
    client.run(&format!("SET ROLE {role}"))?;
    ensure!(client.query("SET ROLE e2e_nosuch")?.error_number() == refused);
    other.run("SELECT 1")?;
    client.run(insert)?;
    ensure!(rig.weir.metrics()?.sum("weir_pins_total", &[]) == 0.0, "something pins");
    rig.weir.stop()?;
    cluster.sql(0, &format!("DROP USER '{account}'@'%'; DROP ROLE {role}"))?;
    Ok(())
}
