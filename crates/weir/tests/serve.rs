//! The binary itself: starts, stops, reloads, and what it says when it cannot.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

#[allow(dead_code, reason = "the demo uses all of it")]
#[path = "../src/demo/client.rs"]
mod client;

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use client::Client;
use rustix::process::Signal;
use support::{Folder, SERVERS_DOWN, Weir, command, free_port, replace, run};

fn login(weir: &Weir, password: &str) -> anyhow::Result<Client> {
    block_on(Client::connect(&weir.clients.to_string(), "app", password))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

#[test]
fn with_its_servers_down_it_serves_logins_and_answers_statements_with_a_clear_error() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    assert_eq!(weir.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(weir.get("/readyz"), (200, "ready\n".to_owned()));
    let mut client = login(&weir, "secret").unwrap();
    for _ in 0..3 {
        let error = format!("{:#}", block_on(client.query("SELECT a FROM t")).unwrap_err());
        assert!(error.contains("error 1429") && error.contains("127.0.0.1:"), "{error}");
    }
    let wrong = format!("{:#}", login(&weir, "wrong").err().unwrap());
    assert!(wrong.contains("1045"), "{wrong}");
    let (status, metrics) = weir.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.ends_with("# EOF\n"));
    for line in [
        // what a statement is depends on what the server is, and that was never seen
        "weir_statements_total{namespace=\"shop\",kind=\"other\"} 3\n",
        "weir_statement_errors_total{namespace=\"shop\",kind=\"other\"} 3\n",
        "weir_instance_up{namespace=\"shop\",instance=\"127.0.0.1:1\",role=\"primary\"} 0\n",
        "weir_sessions{namespace=\"shop\",phase=\"idle\"} 1\n",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    assert_eq!(weir.get("/nowhere").0, 404);
}

#[test]
fn before_a_server_was_reached_it_greets_as_its_slice_is_declared() {
    for (declared, expected) in [
        ("", "MySQL 8.4.0"),
        ("flavour = \"mysql\"\n", "MySQL 8.4.0"),
        ("flavour = \"mariadb\"\n", "MariaDB 10.11.0-MariaDB"),
    ] {
        let folder = Folder::new(&SERVERS_DOWN.replace("primary =", &format!("{declared}primary =")));
        let weir = Weir::start(&folder);
        let client = login(&weir, "secret").unwrap();
        assert_eq!(format!("{} {}", client.version.flavour, client.version.text), expected);
    }
}

#[test]
fn term_ends_idle_sessions_with_a_word_and_then_the_process_with_status_0() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    let mut client = login(&weir, "secret").unwrap();
    weir.signal(Signal::TERM);
    weir.wait_for("draining");
    let error = format!("{:#}", block_on(client.query("SELECT 1")).unwrap_err());
    assert!(!error.contains("1429"), "the session ended before the statement: {error}");
    let (status, log) = weir.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("all sessions have ended"), "{log}");
}

#[test]
fn while_it_drains_it_is_not_ready_and_lets_nobody_in_and_the_deadline_holds() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    // a client that never says anything: it is let in to log in, and cannot be told to hurry
    let silent = TcpStream::connect(weir.clients).unwrap();
    let waiting = Instant::now();
    while !weir.get("/metrics").1.contains("phase=\"login\"} 1") {
        assert!(waiting.elapsed() < support::PATIENCE);
    }
    weir.signal(Signal::TERM);
    let start = Instant::now();
    weir.wait_for("draining");
    assert_eq!(weir.get("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(weir.get("/healthz").0, 200);
    assert!(login(&weir, "secret").is_err());
    let (status, log) = weir.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("weir ends"), "{log}");
    assert!(start.elapsed() < Duration::from_secs(20), "{log}");
    drop(silent);
}

#[test]
fn int_ends_it_at_once() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    let _client = login(&weir, "secret").unwrap();
    let start = Instant::now();
    weir.signal(Signal::INT);
    let (status, log) = weir.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(start.elapsed() < Duration::from_secs(5), "{log}");
}

#[test]
fn hangup_takes_what_is_valid_and_keeps_the_last_good_version_of_what_is_not() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    let broken = SERVERS_DOWN.replace("[pool]", "[pol]").replace("\"app\"", "\"broken\"");
    folder.namespace("shop", &broken);
    folder.namespace("new", &SERVERS_DOWN.replace("\"secret\" }]", "\"other\" }]"));
    weir.signal(Signal::HUP);
    weir.wait_for("namespace new added");
    weir.wait_for("stays as it was");
    let log = weir.log();
    assert!(log.contains("shop.toml:4:") && log.contains("pol"), "the line is named: {log}");
    assert!(login(&weir, "secret").is_ok(), "the last good version serves");
    assert!(login(&weir, "other").is_ok(), "what is valid serves");
    let metrics = weir.get("/metrics").1;
    assert!(metrics.contains("weir_config_last_reload_successful 0\n"), "{metrics}");
    folder.namespace("shop", &SERVERS_DOWN.replace("\"secret\" }]", "\"changed\" }]"));
    weir.signal(Signal::HUP);
    weir.wait_for("namespace shop changed");
    weir.wait_for("version=3");
    assert!(login(&weir, "changed").is_ok());
    assert!(login(&weir, "secret").is_err());
    assert!(!weir.log().contains("\"secret\""), "no password in the log");
}

#[test]
fn hangup_takes_settings_that_may_change_and_names_those_that_wait_for_the_next_start() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    let file = folder.path("weir.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(weir.get("/metrics").1.contains("weir_client_connections_limit 10000\n"));

    // a comment moves everything; nothing has changed for all that
    replace(&file, &format!("# moved\n{before}"));
    weir.signal(Signal::HUP);
    weir.wait_for("no namespace changed");
    assert!(!weir.log().contains("next start"), "{}", weir.log());

    let changed = before
        .replace("login_timeout = \"60s\"", "client_connections = 1\nlogin_timeout = \"500ms\"")
        + "bytes_in_flight = \"5MiB\"\n[log]\nlevel = \"debug\"\n[workers]\ncount = 3\n";
    replace(&file, &changed.replace("[[listeners]]", "[[listeners]]\ntls = \"off\""));
    weir.signal(Signal::HUP);
    weir.wait_for("key=\"workers.count\"");
    weir.wait_for("key=\"listeners\"");
    weir.wait_for("key=\"limits.bytes_in_flight\"");
    let start = Instant::now();
    while !weir.get("/metrics").1.contains("weir_client_connections_limit 1\n") {
        assert!(start.elapsed() < support::PATIENCE, "{}", weir.log());
    }
    // the new limits hold: one client, which has half a second to log in
    let mut silent = TcpStream::connect(weir.clients).unwrap();
    while !weir.get("/metrics").1.contains("weir_client_connections 1\n") {
        assert!(start.elapsed() < support::PATIENCE, "{}", weir.log());
    }
    let refused = format!("{:#}", login(&weir, "secret").err().unwrap());
    assert!(refused.contains("1040"), "{refused}");
    silent.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let cut = std::io::Read::read_to_end(&mut silent, &mut Vec::new()).unwrap();
    assert!(cut > 0 && start.elapsed() < support::PATIENCE);
    weir.wait_for("DEBUG");

    replace(&file, &format!("drain_timeuot = \"1s\"\n{before}"));
    weir.signal(Signal::HUP);
    weir.wait_for("the settings stay as they were");
    let log = weir.log();
    assert!(log.contains("weir.toml:1:") && log.contains("drain_timeout"), "the line is named: {log}");
    let metrics = weir.get("/metrics").1;
    assert!(metrics.contains("weir_config_last_reload_successful 0\n"), "{metrics}");
    assert!(metrics.contains("weir_client_connections_limit 1\n"), "{metrics}");
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    folder.namespace("shop", &SERVERS_DOWN.replace("\"secret\" }]", "\"changed\" }]"));
    weir.wait_for("namespace shop changed");
    weir.wait_for("version=2");
    assert!(login(&weir, "changed").is_ok());
}

#[test]
fn a_broken_certificate_or_key_keeps_the_one_before_and_says_why() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    replace(&folder.path("data/server-cert.pem"), "no certificate");
    replace(&folder.path("data/private_key.pem"), "no key");
    weir.signal(Signal::HUP);
    weir.wait_for("the RSA key was not taken");
    weir.wait_for("the TLS certificate was not taken");
    let log = weir.log();
    assert!(log.contains("server-cert.pem") && log.contains("private_key.pem"), "{log}");
    assert!(login(&weir, "secret").is_ok(), "passwords are still taken under the RSA key before");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let folder = Folder::new(SERVERS_DOWN);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (clients, http) in [(address, free_port()), (free_port(), address)] {
        let (status, log) = run(&mut command(&folder, clients, http));
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("cannot listen on {address}")), "{log}");
    }
}

#[test]
fn a_port_that_another_weir_serves_is_not_shared_with_it() {
    let folder = Folder::new(SERVERS_DOWN);
    let weir = Weir::start(&folder);
    let other = Folder::new(SERVERS_DOWN);
    let (status, log) = run(&mut command(&other, weir.clients, free_port()));
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("cannot listen on {}", weir.clients)), "{log}");
}

#[test]
fn without_any_valid_namespace_it_runs_but_is_not_ready_until_one_comes() {
    let folder = Folder::new("allowed_databases = 7\n");
    let weir = Weir::start(&folder);
    assert_eq!(weir.get("/healthz").0, 200);
    assert_eq!(weir.get("/readyz"), (503, "no namespace is loaded\n".to_owned()));
    assert!(weir.log().contains("shop.toml:1:"), "{}", weir.log());
    folder.namespace("shop", SERVERS_DOWN);
    weir.signal(Signal::HUP);
    weir.wait_for("namespace shop added");
    weir.wait_for("version=2");
    assert_eq!(weir.get("/readyz").0, 200);
}
