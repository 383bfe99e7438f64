//! Logins: every plugin, every path, every transport, every way to be refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Endpoint, Login, Proof, Tls};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, instance};
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::auth::{AuthPlugin, Verifier};
use weir_wire::capability::Capabilities;

on_both_servers!(
    every_plugin_on_every_path,
    refusals_are_the_servers_own,
    tls_modes_of_a_listener,
    a_unix_socket_is_secure,
    user_and_password_decide_the_namespace,
    two_matches_are_none,
    allowed_client_addresses,
    read_only_users,
    a_slow_login_ends,
    greetings_name_the_server,
);

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

fn user(name: &str, password: &str, plugin: &str, verifier: Option<Verifier>) -> User {
    let mut user = User::new(name, password);
    user.plugin = Some(plugin.to_owned());
    user.verifier = verifier.and_then(|verifier| verifier.to_text());
    user
}

/// Users by how their password is kept.
fn users() -> Vec<User> {
    let salt = *b"01234567890123456789";
    vec![
        user("native_plain", "n1", NATIVE, None),
        user("native_hash", "n2", NATIVE, Some(Verifier::native_of(b"n2"))),
        user("sha2_plain", "s1", SHA2, None),
        user("sha2_double", "s2", SHA2, Some(Verifier::sha2_double_of(b"s2"))),
        user("sha2_crypt", "s3", SHA2, Some(Verifier::sha2_crypt_of(b"s3", salt))),
        user("empty_native", "", NATIVE, None),
        user("empty_sha2", "", SHA2, None),
        user("long", &"pässwörd ".repeat(20), SHA2, None),
    ]
}

fn every_plugin_on_every_path(cluster: &'static Cluster) -> Result<()> {
    let options = Options { unix_socket: true, ..Options::on(cluster)?.users(users()) };
    for user in users() {
        for first in [None, Some(AuthPlugin::Native), Some(AuthPlugin::CachingSha2)] {
            // each path with a gateway that has not seen the user yet
            let weir = Weir::start(&options)?;
            for (path, endpoint, tls) in [
                ("plain", weir.endpoint(), Tls::Off),
                ("TLS", weir.endpoint(), Tls::Encrypted),
                ("socket", weir.socket(), Tls::Off),
            ] {
                let what = format!("{} by {first:?} over {path}", user.name);
                let login =
                    Login { plugin: first, ..Login::new(&user.name, &user.password) }.tls(tls.clone());
                let mut client = Client::connect(&endpoint, &login).with_context(|| what.clone())?;
                ensure!(client.value("SELECT 1")? == "1", "{what}");
                let again = Client::connect(&endpoint, &login).with_context(|| what.clone())?;
                let wanted: &[Proof] = match (user.name.as_str(), path) {
                    ("empty_native" | "empty_sha2", _) => &[Proof::None],
                    ("native_plain" | "native_hash", _) => &[Proof::Native],
                    // its verifier cannot check a scramble before it has seen the password once
                    ("sha2_crypt", "plain") => &[Proof::FullRsa],
                    ("sha2_crypt", _) => &[Proof::FastPath, Proof::FullSecure],
                    _ => &[Proof::FastPath],
                };
                ensure!(wanted.contains(&client.proof), "{what}: {:?}", client.proof);
                let fast = if client.proof == Proof::Native || client.proof == Proof::None {
                    client.proof
                } else {
                    Proof::FastPath
                };
                ensure!(again.proof == fast, "{what}, again: {:?}", again.proof);
                let wrong = Login { password: b"wrong".to_vec(), ..login.clone() };
                let refused = Client::connect(&endpoint, &wrong);
                ensure!(
                    refused.as_ref().is_err_and(|e| e.number() == Some(1045)),
                    "{what}, wrong password: {refused:?}"
                );
            }
            // full authentication on the other transports
            let weir = Weir::start(&options)?;
            if user.name == "sha2_crypt" {
                for (endpoint, tls) in [(weir.endpoint(), Tls::Encrypted), (weir.socket(), Tls::Off)] {
                    let weir = Weir::start(&options)?;
                    let endpoint =
                        if matches!(endpoint, Endpoint::Unix(_)) { weir.socket() } else { weir.endpoint() };
                    let client =
                        Client::connect(&endpoint, &Login::new(&user.name, &user.password).tls(tls))?;
                    ensure!(client.proof == Proof::FullSecure, "{:?}", client.proof);
                }
            }
        }
    }
    Ok(())
}

/// A name that no account has. MySQL hides that behind a plugin which it chooses at random, once for each name: one
/// for which it chose what the client speaks.
fn unknown_user(cluster: &Cluster) -> Result<String> {
    let direct = instance(cluster, 0)?;
    (0..100)
        .map(|number| format!("nobody{number}"))
        .find(|name| {
            Client::connect(&direct, &Login::new(name, "x")).is_err_and(|e| e.number() == Some(1045))
        })
        .context("the server asks for a plugin that the client does not speak, whatever the name")
}

fn refusals_are_the_servers_own(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "login")?;
    let weir = Weir::start(&Options::on(cluster)?)?;
    let right = Login::new(SERVICE.user, SERVICE.password);
    let nobody = unknown_user(cluster)?;
    let mut differences = Vec::new();
    for (what, login) in [
        ("right", right.clone()),
        ("wrong password", Login::new(SERVICE.user, "wrong")),
        ("no password", Login::new(SERVICE.user, "")),
        ("unknown user", Login::new(&nobody, "x")),
        ("unknown user, no password", Login::new(&nobody, "")),
        ("unknown database", right.clone().database("nosuchdb")),
        ("empty database", right.clone().database("")),
        ("a database", right.clone().database(&databases.direct)),
        ("wrong password and unknown database", Login::new(SERVICE.user, "x").database("nosuchdb")),
        ("odd database", right.clone().database("no`such'db")),
        (
            "old protocol flags",
            right.clone().without(Capabilities::PLUGIN_AUTH | Capabilities::PLUGIN_AUTH_LENENC),
        ),
        (
            "attributes",
            Login {
                attributes: vec![("program_name".into(), "e2e".into()), ("_pid".into(), "1".into())],
                ..right.clone()
            },
        ),
        ("huge attributes", Login { attributes: vec![("a".into(), "x".repeat(60_000))], ..right }),
    ] {
        let seen = |endpoint: &Endpoint| match Client::connect(endpoint, &login) {
            Ok(mut client) => {
                format!("in, {:?}", client.value("SELECT DATABASE()").map_err(|e| e.to_string()))
            }
            Err(failure) => failure.to_string(),
        };
        let (expected, got) = (seen(&instance(cluster, 0)?), seen(&weir.endpoint()));
        if expected != got {
            differences.push(format!("{what}:\n  server {expected}\n  weir   {got}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    weir.wait_for("sessions have ended", Duration::from_secs(5), |m| {
        m.sum("weir_client_connections", &[]) == 0.0
    })?;
    Ok(())
}

fn tls_modes_of_a_listener(cluster: &'static Cluster) -> Result<()> {
    let login = Login::new(SERVICE.user, SERVICE.password);
    for (mode, plain, encrypted) in
        [("off", true, false), ("preferred", true, true), ("required", false, true)]
    {
        let weir = Weir::start(&Options {
            unix_socket: true,
            ..Options::on(cluster)?.process("listeners.0.tls", mode)
        })?;
        match weir.connect(&login) {
            Ok(_) => ensure!(plain, "{mode} lets a plain client in"),
            Err(failure) => {
                ensure!(!plain, "{mode}: {failure}");
                ensure!(failure.number() == Some(3159), "{mode}: {failure}");
            }
        }
        let over_tls = weir.connect(&login.clone().tls(Tls::Encrypted));
        ensure!(over_tls.is_ok() == encrypted, "{mode}, over TLS: {over_tls:?}");
        if let Ok(mut client) = over_tls {
            ensure!(client.value("SELECT REPEAT('x', 100000)")?.len() == 100_000);
            ensure!(
                client.value(&format!("SELECT LENGTH('{}')", "y".repeat(3 << 20)))? == (3 << 20).to_string()
            );
            client.quit()?;
        }
        // a socket is secure as it is
        Client::connect(&weir.socket(), &login).with_context(|| format!("{mode}, over the socket"))?;
    }
    Ok(())
}

fn a_unix_socket_is_secure(cluster: &'static Cluster) -> Result<()> {
    let only_far = toml::Value::Array(vec!["192.0.2.0/24".into()]);
    let options = Options { unix_socket: true, ..Options::on(cluster)? }.set("allowed_clients", only_far);
    let weir = Weir::start(&options)?;
    let login = Login::new(SERVICE.user, SERVICE.password);
    let mut client = Client::connect(&weir.socket(), &login)?;
    ensure!(client.value("SELECT 1")? == "1");
    let refused = weir.connect(&login);
    ensure!(
        refused.as_ref().is_err_and(|e| e.number() == Some(1045)),
        "an address that is not allowed: {refused:?}"
    );
    weir.stop()
}

fn user_and_password_decide_the_namespace(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "tenants")?;
    let [one, two] = databases.names();
    let plugin = if cluster.flavour() == Flavour::MariaDb { NATIVE } else { SHA2 };
    let only = |name: &str| toml::Value::Array(vec![name.into()]);
    let tenant = |name: &str, password: &str, database: &str| -> Result<Namespace> {
        Ok(Namespace::on(cluster, name)?
            .users_are(vec![user("app", password, plugin, None).without_split()])
            .set("allowed_databases", only(database)))
    };
    let namespaces = vec![tenant("one", "p1", one)?, tenant("two", "p2", two)?];
    let weir = Weir::start(&Options::of(namespaces).greeting(cluster.version()))?;
    for (password, own, other) in [("p1", one, two), ("p2", two, one)] {
        let mut client = weir.connect(&Login::new("app", password).database(own))?;
        ensure!(client.value("SELECT DATABASE()")? == own);
        ensure!(client.query(format!("USE `{other}`"))?.error_number() == 1044);
        ensure!([1044, 1142].contains(&client.query(format!("SELECT * FROM `{other}`.t"))?.error_number()));
        let seen: Vec<String> = client.rows("SHOW DATABASES")?.into_iter().flatten().flatten().collect();
        ensure!(seen.contains(&own.to_owned()) && !seen.contains(&other.to_owned()), "{seen:?}");
        ensure!(
            seen.iter().any(|name| name == "information_schema") && !seen.iter().any(|name| name == "mysql"),
            "{seen:?}"
        );
        let refused = weir.connect(&Login::new("app", password).database(other));
        ensure!(refused.as_ref().is_err_and(|e| e.number() == Some(1044)), "{refused:?}");
    }
    let refused = weir.connect(&Login::new("app", "p3"));
    ensure!(refused.as_ref().is_err_and(|e| e.number() == Some(1045)), "{refused:?}");
    Ok(())
}

/// Two verifiers that nobody can compare: that the password is the same shows at login only.
fn two_matches_are_none(cluster: &'static Cluster) -> Result<()> {
    let crypt = |salt: &[u8; 20]| Some(Verifier::sha2_crypt_of(b"same", *salt));
    let tenant = |name: &str, salt: &[u8; 20]| -> Result<Namespace> {
        Ok(Namespace::on(cluster, name)?.users_are(vec![user("app", "same", SHA2, crypt(salt))]))
    };
    let namespaces = vec![tenant("one", b"aaaaaaaaaaaaaaaaaaaa")?, tenant("two", b"bbbbbbbbbbbbbbbbbbbb")?];
    let weir = Weir::start(&Options::of(namespaces).greeting(cluster.version()))?;
    for _ in 0..2 {
        let refused = weir.connect(&Login::new("app", "same"));
        ensure!(refused.as_ref().is_err_and(|e| e.number() == Some(1045)), "{refused:?}");
    }
    ensure!(weir.log().contains("several namespaces"), "the log names the namespaces");
    Ok(())
}

fn allowed_client_addresses(cluster: &'static Cluster) -> Result<()> {
    for (nets, allowed) in [
        (vec!["127.0.0.0/8"], true),
        (vec!["127.0.0.1"], true),
        (vec!["192.0.2.0/24", "127.0.0.1/32"], true),
        (vec!["::1", "192.0.2.1"], false),
        (vec!["10.0.0.0/8"], false),
    ] {
        let list = toml::Value::Array(nets.iter().map(|net| (*net).into()).collect());
        let weir = Weir::start(&Options::on(cluster)?.set("allowed_clients", list))?;
        let outcome = weir.client();
        match outcome {
            Ok(_) => ensure!(allowed, "{nets:?} lets 127.0.0.1 in"),
            Err(failure) => ensure!(!allowed && failure.number() == Some(1045), "{nets:?}: {failure}"),
        }
    }
    Ok(())
}

/// A read-only user's statements run read-only at the server; what that does not stop is refused by its text.
fn read_only_users(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "readonly")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1); \
         CREATE PROCEDURE writes() INSERT INTO t VALUES (9); \
         CREATE PROCEDURE frees() SET SESSION TRANSACTION READ WRITE; \
         CREATE PROCEDURE frees_the_next() SET TRANSACTION READ WRITE; \
         CREATE PROCEDURE begins() START TRANSACTION READ WRITE",
    )?;
    let failing = [
        ("frees_and_fails", "SET SESSION TRANSACTION READ WRITE"),
        ("begins_and_fails", "START TRANSACTION READ WRITE"),
    ];
    for (name, free) in failing {
        databases
            .prepare(&format!("CREATE PROCEDURE {name}() BEGIN {free}; SIGNAL SQLSTATE '45000'; END"))?;
    }
    cluster.wait_for_replicas(Duration::from_secs(30))?;
    let mut reader = User::of(cluster);
    reader.read_only = true;
    for split in [true, false] {
        reader.split = split;
        let weir = Weir::start(&Options::on(cluster)?.users(vec![reader.clone()]))?;
        let login = weir.login().database(&databases.weir).with(Capabilities::MULTI_STATEMENTS);
        let mut client = weir.connect(&login)?;
        ensure!(client.value("SELECT COUNT(*) FROM t")? == "1");
        client.run("BEGIN; SELECT * FROM t; COMMIT")?;
        client.run("SET @a = 1; SELECT @a")?;
        for sql in [
            "INSERT INTO t VALUES (2)",
            "UPDATE t SET id = 3",
            "DELETE FROM t",
            "REPLACE INTO t VALUES (1)",
            "CREATE TABLE u (x INT)",
            "DROP TABLE t",
            "TRUNCATE t",
            "ALTER TABLE t ADD x INT",
            "CREATE TABLE u SELECT 1",
            "CALL writes()",
            "CALL frees(); INSERT INTO t VALUES (10)",
            "BEGIN; INSERT INTO t VALUES (3); COMMIT",
            "START TRANSACTION READ WRITE; INSERT INTO t VALUES (3); COMMIT",
            "SET SESSION transaction_read_only = 0; INSERT INTO t VALUES (4)",
            "SET @@transaction_read_only = 0",
            "SET SESSION TRANSACTION READ WRITE; INSERT INTO t VALUES (5)",
            "SET TRANSACTION READ WRITE; INSERT INTO t VALUES (5)",
            "SELECT 1; DELETE FROM t",
            "PREPARE s FROM 'DELETE FROM t'; EXECUTE s",
            "SET GLOBAL max_connections = 400",
            "SET @@global.max_connections = 400",
            "FLUSH TABLES",
            "FLUSH PRIVILEGES",
            "ANALYZE TABLE t",
            "OPTIMIZE TABLE t",
            "GRANT SELECT ON *.* TO weir",
            "CREATE USER nobody",
            "KILL 1",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "LOCK TABLES t WRITE; INSERT INTO t VALUES (6)",
            "SELECT * FROM t FOR UPDATE; INSERT INTO t VALUES (7)",
            "SELECT 1 INTO OUTFILE '/tmp/e2e-never'",
            "SHUTDOWN",
            "RESET QUERY CACHE",
        ] {
            let answer = client.query(sql).with_context(|| format!("split {split}: {sql}"))?;
            ensure!(answer.error().is_some(), "split {split}: a read-only user may {sql}: {answer:?}");
            client.run("ROLLBACK").ok();
            client.run("UNLOCK TABLES").ok();
        }
        // what a routine frees is not free for the statement behind it
        for routine in ["frees", "frees_the_next", "frees_and_fails", "begins", "begins_and_fails"] {
            let mut client = weir.connect(&login)?;
            client.run(&format!("CALL {routine}()")).ok();
            let outcome = client.query("INSERT INTO t VALUES (8)");
            let refused = outcome.as_ref().map_or(true, |answer| answer.error().is_some());
            ensure!(refused, "split {split}: after CALL {routine}() a read-only user may write");
        }
        client.run("CALL frees()")?;
        ensure!(client.value("SELECT COUNT(*) FROM t")? == "1");
        for sql in ["INSERT INTO t VALUES (8)", "SET GLOBAL max_connections = 400", "DELETE FROM t"] {
            let outcome = client.prepare(sql).and_then(|prepared| client.execute(prepared.id, &[]));
            let refused = outcome.as_ref().map_or_else(|e| e.number().is_some(), |a| a.error().is_some());
            ensure!(refused, "split {split}: a read-only user may prepare and execute {sql}");
        }
        ensure!(cluster.value(0, &format!("SELECT GROUP_CONCAT(id) FROM `{}`.t", databases.weir))? == "1");
    }
    Ok(())
}

fn a_slow_login_ends(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?.process("limits.login_timeout", "300ms"))?;
    let mut silent = std::net::TcpStream::connect(("127.0.0.1", weir.port()))?;
    silent.set_read_timeout(Some(Duration::from_secs(5)))?;
    let begun = std::time::Instant::now();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut silent, &mut rest)?;
    let took = begun.elapsed();
    ensure!(took > Duration::from_millis(200) && took < Duration::from_secs(3), "{took:?}");
    weir.wait_for("it is forgotten", Duration::from_secs(5), |m| {
        m.sum("weir_client_connections", &[]) == 0.0
    })?;
    Ok(())
}

fn greetings_name_the_server(cluster: &'static Cluster) -> Result<()> {
    let direct = Client::connect(&instance(cluster, 0)?, &Login::new(SERVICE.user, SERVICE.password))?;
    let weir = Weir::start(&Options::on(cluster)?)?;
    let through = weir.client()?;
    ensure!(
        direct.greeting.version == through.greeting.version,
        "{} and {}",
        direct.greeting.version.escape_ascii(),
        through.greeting.version.escape_ascii()
    );
    ensure!(direct.greeting.plugin == through.greeting.plugin);
    ensure!(direct.greeting.collation == through.greeting.collation);
    ensure!(direct.greeting.status == through.greeting.status);
    let not_offered = Capabilities::COMPRESS
        | Capabilities::LOCAL_FILES
        | Capabilities::ZSTD
        | Capabilities::QUERY_ATTRIBUTES
        | Capabilities::OPTIONAL_RESULTSET_METADATA
        | Capabilities::MULTI_FACTOR_AUTHENTICATION
        | Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS
        | Capabilities::CAPABILITY_EXTENSION
        | Capabilities::SSL_VERIFY_SERVER_CERT
        | Capabilities::REMEMBER_OPTIONS;
    let missing = direct.greeting.capabilities - through.greeting.capabilities - not_offered;
    let more = through.greeting.capabilities - direct.greeting.capabilities;
    ensure!(missing.is_empty() && more.is_empty(), "missing {missing:?}, more {more:?}");
    Ok(())
}
