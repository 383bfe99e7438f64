//! Servers count connections that end in the middle of a login, and block a host that has made too many of them
//! (`max_connect_errors`). A gateway is one host to them: whatever its clients do, it must not be counted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use weir_e2e::client::{Client, Endpoint, Login, Tls};
use weir_e2e::fault::Relay;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};
use weir_wire::command::com;

/// Servers neither count nor block 127.0.0.1.
const SEEN_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(10);

fn server(flavour: Flavour) -> Result<Cluster> {
    let mut options = weir_testkit::Options::new(flavour, format!("errors-{flavour}"));
    options.replicas = 0;
    // hosts are counted by those that look up their names alone
    options.extra_arguments =
        ["--skip-name-resolve=OFF", "--max-connect-errors=5", "--performance-schema=ON"]
            .map(str::to_owned)
            .to_vec();
    Cluster::start(&options)
}

/// How many interrupted logins the server holds against the host.
fn held_against(cluster: &Cluster) -> Result<u64> {
    let sql =
        format!("SELECT SUM(SUM_CONNECT_ERRORS) FROM performance_schema.host_cache WHERE IP = '{SEEN_AT}'");
    Ok(cluster.value(0, &sql)?.parse()?)
}

/// A Weir whose connections live for a moment, so that it dials all the time.
fn weir(cluster: &Cluster, relay: &Relay, further: &[(&str, &str)]) -> Result<Weir> {
    let namespace =
        Namespace::at("app", relay.port(), &[]).users_are(vec![User::of(cluster).without_split()]);
    let namespace = namespace.set("pool.min_idle", 0).set("pool.idle_timeout", "1s");
    let namespace = further.iter().fold(namespace, |namespace, (path, value)| namespace.set(path, *value));
    let options = Options::of(vec![namespace]);
    // those with a further setting may never see the server
    Weir::start(&if further.is_empty() { options.greeting(cluster.version()) } else { options })
}

/// Clients of every bad kind, and some that only leave early.
fn misbehave(weir: &Weir) -> Result<()> {
    let good = weir.login();
    for _ in 0..30 {
        let address = (Ipv4Addr::LOCALHOST, weir.port());
        drop(TcpStream::connect(address)?);
        TcpStream::connect(address)?.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        for wrong in [Login::new("nobody", "x"), Login { password: "wrong".into(), ..good.clone() }] {
            ensure!(weir.connect(&wrong).is_err_and(|failure| failure.number() == Some(1045)));
        }
        ensure!(weir.connect(&good.clone().database("nosuch")).is_err());
        let mut leaves: Vec<Client> = (0..6).map(|_| weir.connect(&good)).collect::<Result<_, _>>()?;
        for (number, client) in leaves.iter_mut().enumerate() {
            client.send(&[&[com::QUERY], format!("SELECT SLEEP(0.0{number})").as_bytes()].concat())?;
        }
    }
    Ok(())
}

fn a_gateway_is_never_counted(flavour: Flavour) -> Result<()> {
    let cluster = server(flavour)?;
    let relay = Relay::start_between(Ipv4Addr::LOCALHOST, SEEN_AT, cluster.primary()?.port)?;

    let busy = weir(&cluster, &relay, &[])?;
    for _ in 0..3 {
        misbehave(&busy)?;
        // the connections that were there have been closed
        // but for the one that asks whether the server is there
        busy.wait_for("the pool has shrunk", PATIENCE, |m| m.sum("weir_pool_open", &[]) <= 1.0)?;
    }
    let dialed = busy.metrics()?.sum("weir_pool_dials_total", &[]);
    ensure!(dialed >= 12.0, "only {dialed} connections were opened");
    ensure!(held_against(&cluster)? == 0, "by clients that misbehave: {}", held_against(&cluster)?);

    // processes that end while they log in
    for signal in [Signal::TERM, Signal::INT].into_iter().cycle().take(8) {
        let mut ending = weir(&cluster, &relay, &[])?;
        let mut clients: Vec<Client> = (0..8).map(|_| ending.client()).collect::<Result<_, _>>()?;
        for client in &mut clients {
            client.send(&[&[com::QUERY], "DO SLEEP(0.01)".as_bytes()].concat())?;
        }
        ending.signal(signal)?;
        drop(clients);
        ending.wait_for_end(PATIENCE)?;
    }
    ensure!(held_against(&cluster)? == 0, "by processes that end: {}", held_against(&cluster)?);

    // accounts and certificates that do not fit
    let other = busy.folder().join("data/ca.pem").display().to_string();
    let rows: [(&str, &[(&str, &str)]); 3] = [
        ("the wrong password", &[("slices.0.account.password", "wrong")]),
        (
            "an authority that is not the server's",
            &[("slices.0.tls.mode", "verify-ca"), ("slices.0.tls.ca", &other)],
        ),
        ("a server that is not asked for TLS", &[("slices.0.tls.mode", "off")]),
    ];
    for (what, further) in rows {
        let weir = weir(&cluster, &relay, further)?;
        for _ in 0..8 {
            let asked = weir.client().and_then(|mut client| client.value("SELECT 1"));
            ensure!(asked.is_err() != what.starts_with("a server"), "{what}: {asked:?}");
        }
        ensure!(held_against(&cluster)? == 0, "by {what}: {}", held_against(&cluster)?);
    }

    // who is counted is blocked, so the server did count; a login in between would make it forget
    busy.stop()?;
    for _ in 0..8 {
        let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
        stranger.set_read_timeout(Some(PATIENCE))?;
        let greeted = stranger.read(&mut [0; 1])?;
        stranger.shutdown(Shutdown::Both)?;
        if greeted == 0 {
            break;
        }
    }
    let login = Login::new(SERVICE.user, SERVICE.password).tls(Tls::Encrypted);
    let begun = Instant::now();
    loop {
        let blocked = Client::connect(&Endpoint::port(relay.port()), &login);
        if blocked.as_ref().is_err_and(|failure| failure.number() == Some(1129)) {
            break;
        }
        let counted = held_against(&cluster)?;
        ensure!(begun.elapsed() < PATIENCE && blocked.is_err(), "{blocked:?}, counted {counted}");
    }
    cluster.stop()
}

#[test]
fn a_gateway_is_never_counted_by_mysql() -> Result<()> {
    a_gateway_is_never_counted(Flavour::MySql)
}

#[test]
fn a_gateway_is_never_counted_by_mariadb() -> Result<()> {
    a_gateway_is_never_counted(Flavour::MariaDb)
}
