//! What operators set: TLS to servers, PROXY headers, health checks, servers that are down, an orderly end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use weir_e2e::client::{Client, Failure, Login};
use weir_e2e::fault::Relay;
use weir_e2e::on_both_servers;
use weir_e2e::pair::Databases;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};

on_both_servers!(
    tls_to_servers,
    proxy_headers,
    a_health_check_is_no_error,
    term_lets_transactions_end,
    refused_logins_leave_nothing,
);

const PATIENCE: Duration = Duration::from_secs(10);

/// Everything goes to the primary.
fn options(cluster: &Cluster) -> Result<Options> {
    Ok(Options::on(cluster)?.users(vec![User::of(cluster).without_split()]))
}

fn list(items: &[&str]) -> toml::Value {
    toml::Value::Array(items.iter().map(|item| (*item).into()).collect())
}

fn tls_to_servers(cluster: &'static Cluster) -> Result<()> {
    let primary = cluster.primary()?;
    let own = weir_testkit::tls::certificates()?.ca;
    // MySQL has made its certificate itself: signed by its own authority, and without a SAN
    let made = primary.folder.join("data/ca.pem");
    let has_san = cluster.flavour() == Flavour::MariaDb;
    let right = if has_san { own } else { made };
    let other = {
        // the authority of some Weir, which has signed none of these
        let weir = Weir::start(&options(cluster)?)?;
        let copy = std::env::temp_dir().join(format!("weir-e2e-ca-{}-{has_san}.pem", std::process::id()));
        std::fs::copy(weir.certificate().with_file_name("ca.pem"), &copy)?;
        copy
    };
    let elsewhere = Relay::start_at(Ipv4Addr::new(127, 0, 0, 2), primary.port)?;
    let here = primary.address();
    let there = format!("127.0.0.2:{}", elsewhere.port());
    let no_san = "subject alternative name";
    for (mode, ca, address, expected) in [
        ("off", None, &here, Ok(false)),
        ("preferred", None, &here, Ok(true)),
        ("required", None, &here, Ok(true)),
        ("verify-ca", Some(&right), &here, Ok(true)),
        ("verify-ca", Some(&right), &there, Ok(true)),
        ("verify-ca", Some(&other), &here, Err("issuer")),
        ("verify-identity", Some(&right), &here, if has_san { Ok(true) } else { Err(no_san) }),
        ("verify-identity", Some(&right), &there, Err(if has_san { "127.0.0.2" } else { no_san })),
        ("verify-identity", Some(&other), &here, Err("issuer")),
    ] {
        let what = format!("{mode}, {ca:?}, {address}");
        let mut options = options(cluster)?
            .set("slices.0.tls.mode", mode)
            .set("slices.0.primary.address", address.clone())
            .set("slices.0.replicas", toml::Value::Array(Vec::new()));
        options.greets_with = None;
        if let Some(ca) = ca {
            options = options.set("slices.0.tls.ca", ca.display().to_string());
        }
        let weir = Weir::start(&options).with_context(|| what.clone())?;
        let mut client = weir.client().with_context(|| what.clone())?;
        let cipher = client.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
        match (cipher, expected) {
            (Ok(rows), Ok(encrypted)) => {
                let is = rows[0][1].as_deref().is_some_and(|cipher| !cipher.is_empty());
                ensure!(is == encrypted, "{what}: {rows:?}");
            }
            (Err(failure), Err(why)) => {
                ensure!(failure.number() == Some(1429), "{what}: {failure}");
                let text = failure.to_string().to_lowercase();
                ensure!(text.contains(why), "{what}: {failure}");
                ensure!(weir.log().contains("a server cannot be used"), "{what}: nothing is logged");
            }
            (got, _) => anyhow::bail!("{what}: {got:?} instead of {expected:?}"),
        }
    }
    std::fs::remove_file(other)?;
    Ok(())
}

/// A PROXY header of version 2 for TCP over IPv4.
fn version_2(source: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &source[..], &[127, 0, 0, 1], &[0x30, 0x39, 0x0c, 0xea]].concat()
}

fn proxy_headers(cluster: &'static Cluster) -> Result<()> {
    let behind = |trusted: &str| -> Result<Weir> {
        Weir::start(
            &options(cluster)?
                .process("listeners.0.proxy_protocol_from", list(&[trusted]))
                .set("allowed_clients", list(&["192.0.2.0/24"])),
        )
    };
    let with = |weir: &Weir, preamble: &[u8]| -> Result<String, Failure> {
        let login = Login { preamble: preamble.to_vec(), ..Login::new(SERVICE.user, SERVICE.password) };
        weir.connect(&login)?.value("SELECT 'in'")
    };
    let one = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 3306\r\n";
    let weir = behind("127.0.0.0/8")?;
    for (what, preamble) in [("version 1", one.to_vec()), ("version 2", version_2([192, 0, 2, 7]))] {
        ensure!(with(&weir, &preamble).with_context(|| what)? == "in", "{what}");
    }
    // the address that the header names is the one that counts
    let strangers = [
        ("version 1", b"PROXY TCP4 198.51.100.1 127.0.0.1 12345 3306\r\n".to_vec()),
        ("version 2", version_2([198, 51, 100, 1])),
    ];
    for (what, preamble) in strangers {
        let refused = with(&weir, &preamble);
        ensure!(refused.as_ref().is_err_and(|e| e.number() == Some(1045)), "{what}: {refused:?}");
        let text = refused.unwrap_err().to_string();
        ensure!(text.contains("'198.51.100.1'"), "{what}: {text}");
    }
    // a header that is none ends the connection
    for preamble in [&b"PROXY TCP4 nonsense\r\n"[..], b"PROXY", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut login = Login::new(SERVICE.user, SERVICE.password);
        login.preamble = preamble.to_vec();
        login.patience = Duration::from_secs(15);
        let refused = weir.connect(&login);
        ensure!(refused.as_ref().is_err_and(Failure::is_lost), "{}: {refused:?}", preamble.escape_ascii());
    }
    weir.wait_for("nothing is left", PATIENCE, |m| m.sum("weir_client_connections", &[]) == 0.0)?;

    // from an address that is not trusted the header is no header, and the address is the connection's
    let weir = behind("10.0.0.0/8")?;
    for (what, preamble) in [("version 1", one.to_vec()), ("version 2", version_2([192, 0, 2, 7]))] {
        ensure!(with(&weir, &preamble).is_err(), "{what} from an address that is not trusted");
    }
    let refused = with(&weir, b"");
    ensure!(refused.as_ref().is_err_and(|e| e.number() == Some(1045)), "{refused:?}");
    Ok(())
}

fn a_health_check_is_no_error(cluster: &'static Cluster) -> Result<()> {
    for trusted in [None, Some("127.0.0.0/8")] {
        let mut options = options(cluster)?;
        if let Some(trusted) = trusted {
            options = options.process("listeners.0.proxy_protocol_from", list(&[trusted]));
        }
        options
            .settings
            .insert("log".to_owned(), toml::Table::from_iter([("level".to_owned(), "warn".into())]).into());
        let weir = Weir::start(&options)?;
        let before = weir.log();
        for number in 0..50 {
            let socket = TcpStream::connect(("127.0.0.1", weir.port()))?;
            if number % 2 == 0 {
                // as load balancers do: with a reset
                rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            }
        }
        let metrics =
            weir.wait_for("all are gone", PATIENCE, |m| m.sum("weir_client_connections", &[]) == 0.0)?;
        ensure!(metrics.sum("weir_statement_errors_total", &[]) == 0.0);
        ensure!(weir.log() == before, "{}", weir.log());
    }
    Ok(())
}

fn term_lets_transactions_end(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "drain")?;
    databases.prepare("CREATE TABLE t (id INT)")?;
    let login = Login::new(SERVICE.user, SERVICE.password).database(&databases.weir);
    let mut weir = Weir::start(&options(cluster)?.process("drain_timeout", "20s"))?;
    let mut idle = weir.connect(&login)?;
    idle.value("SELECT 1")?;
    let mut busy = weir.connect(&login)?;
    busy.run("BEGIN")?;
    busy.run("INSERT INTO t VALUES (1)")?;
    weir.signal(Signal::TERM)?;
    let begun = Instant::now();
    while weir.get("/readyz")?.0 != 503 {
        ensure!(begun.elapsed() < PATIENCE, "still ready");
    }
    ensure!(weir.get("/healthz")?.0 == 200);
    // who idles ends at once, who is in a transaction may go on
    let farewell = idle.read_to_close()?;
    ensure!(farewell.is_empty() || farewell.get(4) == Some(&0xff), "{}", farewell.escape_ascii());
    ensure!(weir.connect(&login).is_err(), "a login while it drains");
    busy.run("INSERT INTO t VALUES (2)")?;
    ensure!(busy.value("SELECT COUNT(*) FROM t")? == "2");
    busy.run("COMMIT")?;
    busy.read_to_close()?;
    ensure!(weir.wait_for_end(PATIENCE)?.success());
    ensure!(cluster.value(0, &format!("SELECT COUNT(*) FROM `{}`.t", databases.weir))? == "2");

    // the deadline holds
    let mut weir = Weir::start(&options(cluster)?.process("drain_timeout", "500ms"))?;
    let mut busy = weir.connect(&login)?;
    busy.run("BEGIN")?;
    busy.run("INSERT INTO t VALUES (3)")?;
    weir.signal(Signal::TERM)?;
    let begun = Instant::now();
    busy.read_to_close()?;
    ensure!(weir.wait_for_end(PATIENCE)?.success());
    ensure!(begun.elapsed() >= Duration::from_millis(450), "it did not wait: {:?}", begun.elapsed());
    let count = || cluster.value(0, &format!("SELECT COUNT(*) FROM `{}`.t", databases.weir));
    while count()? != "2" {
        ensure!(begun.elapsed() < PATIENCE, "the transaction was not rolled back");
    }
    Ok(())
}

fn refused_logins_leave_nothing(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&options(cluster)?)?;
    weir.client()?.value("SELECT 1")?;
    let at_rest = || weir.wait_for("rest", PATIENCE, |m| m.sum("weir_client_connections", &[]) == 0.0);
    let files = || -> Result<usize> { Ok(std::fs::read_dir(format!("/proc/{}/fd", weir.pid()))?.count()) };
    at_rest()?;
    let before = files()?;
    let right = Login::new(SERVICE.user, SERVICE.password);
    for _ in 0..20 {
        for (login, number) in [
            (Login::new(SERVICE.user, "wrong"), 1045),
            (Login::new(SERVICE.user, ""), 1045),
            (Login::new("nobody", "wrong"), 1045),
            (right.clone().database("no_such_database"), 1049),
        ] {
            let refused = weir.connect(&login).err().context("a login that is none came through")?;
            ensure!(refused.number() == Some(number), "{refused}");
        }
    }
    at_rest()?;
    let begun = Instant::now();
    while files()? > before + 1 {
        ensure!(begun.elapsed() < PATIENCE, "{} open files, {before} before", files()?);
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(weir.client()?.value("SELECT 1")? == "1");
    weir.wait_for("nothing is held", PATIENCE, |m| m.sum("weir_pool_in_use", &[]) == 0.0)?;
    Ok(())
}

/// Down at the start: clients are let in and told; up again: they are served.
fn down_at_the_start(flavour: Flavour) -> Result<()> {
    let mut servers = weir_testkit::Options::new(flavour, format!("down-{flavour}"));
    servers.replicas = 0;
    let cluster = Cluster::start(&servers)?;
    cluster.stop_instance(0)?;
    let mut options = options(&cluster)?;
    options.greets_with = None;
    let weir = Weir::start(&options)?;
    let mut client: Client = weir.client()?;
    for _ in 0..3 {
        let error = client.query("SELECT 1 FROM mysql.user")?.error().context("nobody can have answered")?;
        ensure!(error.number == 1429 && error.message.contains("127.0.0.1"), "{error}");
    }
    cluster.restart_instance(0)?;
    let begun = Instant::now();
    let count = loop {
        match client.value("SELECT COUNT(*) FROM mysql.user") {
            Ok(count) => break count,
            Err(failure) => {
                ensure!(failure.number() == Some(1429), "{failure}");
                ensure!(begun.elapsed() < PATIENCE, "{failure}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    ensure!(count.parse::<u32>()? > 0);
    // and is greeted as the server is
    let version = weir.client()?.greeting.version;
    ensure!(
        String::from_utf8_lossy(&version).contains(cluster.version()),
        "{} and {}",
        version.escape_ascii(),
        cluster.version()
    );
    Ok(())
}

#[test]
fn mysql_down_at_the_start() -> Result<()> {
    down_at_the_start(Flavour::MySql)
}

#[test]
fn mariadb_down_at_the_start() -> Result<()> {
    down_at_the_start(Flavour::MariaDb)
}
