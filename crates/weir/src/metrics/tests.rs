//! A scrape is read as Prometheus would read it.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use weir_backend::state::Interner;
use weir_catalog::{namespace::Namespace, snapshot::Snapshot, surroundings::Imagined};
use weir_gateway::{
    Gateway, GatewayNumber, ProcessLimits,
    build::{Materials, build},
    metrics::KINDS,
    session::{login::LoginKeys, pin::REASONS},
};
use weir_wire::auth::rsa::RsaKeyPair;

use super::*;

const SHOP: &str = r#"
allowed_databases = ["*"]
users = [{ name = "app", password = "secret" }]
[[slices]]
name = "main"
primary = { address = "192.0.2.1:3306" }
replicas = [{ address = "192.0.2.2:3306" }, { address = "[2001:db8::3]:3306" }]
account = { user = "weir", password = "secret" }
"#;

fn gateway() -> Arc<Gateway> {
    let admitted = Namespace::admit(SHOP, Path::new("shop.toml"), &Imagined::default()).unwrap();
    let snapshot = Arc::new(Snapshot::build(7, vec![admitted]).unwrap());
    let materials = Materials {
        workers: 2,
        states: Arc::new(Interner::default()),
        zone: None,
        identities: Arc::default(),
    };
    let built = build(snapshot, None, &materials).unwrap();
    let limits = ProcessLimits {
        client_connections: 100,
        bytes_in_flight: 1 << 20,
        login_timeout: Duration::from_secs(1),
    };
    let keys = LoginKeys::new(Arc::new(RsaKeyPair::generate().unwrap()));
    Arc::new(Gateway::new(GatewayNumber::default(), limits, keys, 2, materials.states, built.tenants))
}

fn scrape(gateway: &Arc<Gateway>) -> Scrape {
    let status = Arc::new(Status::new(SystemTime::now()));
    status.reloaded(true);
    status.reloaded(false);
    Scrape::parse(&Metrics::new(Arc::clone(gateway), status).render().unwrap())
}

/// What a page says, once every rule of the format that matters to Prometheus was found to hold.
struct Scrape {
    /// By name and labels, as they stand in the page.
    samples: BTreeMap<String, f64>,
    families: HashSet<String>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let mut scrape = Self { samples: BTreeMap::new(), families: HashSet::new() };
        let body = text.strip_suffix("# EOF\n").expect("the page ends");
        let (mut family, mut kind) = (String::new(), String::new());
        for line in body.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["#", "HELP", name, ref help @ ..] => {
                    assert!(scrape.families.insert(name.to_owned()), "{name} is declared twice");
                    assert!(help.concat().ends_with('.'), "{name} has a help text that is a sentence");
                    name.clone_into(&mut family);
                }
                ["#", "TYPE", name, of] => {
                    assert_eq!(name, family);
                    of.clone_into(&mut kind);
                }
                _ => scrape.sample(line, &family, &kind),
            }
        }
        scrape
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().expect(line);
        let suffix = name.strip_prefix(family).expect("a sample belongs to the family before it");
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("{other} is no type"),
        };
        assert!(suffixes.contains(&suffix), "{line} is no sample of a {kind}");
        let again = self.samples.insert(series.to_owned(), value.parse().expect(line));
        assert!(again.is_none(), "{series} is there twice");
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }
}

#[test]
fn a_scrape_shows_what_the_workers_counted_as_sums() {
    let gateway = gateway();
    let (_, tenants) = gateway.tenants();
    let shop = &tenants.by_name["shop"];
    let select = KINDS.iter().find(|(_, name)| *name == "select").unwrap().0;
    shop.counters(0).answered(select, Duration::from_micros(60), false);
    shop.counters(1).answered(select, Duration::from_micros(300_000_000), true);
    shop.counters(1).to_replica.store(2, Ordering::Relaxed);
    shop.counters(0).bytes_out.store(1000, Ordering::Relaxed);
    let lock = REASONS.iter().position(|reason| *reason == "user_lock").unwrap();
    shop.counters(0).pins[lock].store(3, Ordering::Relaxed);
    let scrape = scrape(&gateway);
    let select = "namespace=\"shop\",kind=\"select\"";
    let replica = "namespace=\"shop\",instance=\"[2001:db8::3]:3306\",role=\"replica\"";
    for (series, expected) in [
        (format!("weir_statements_total{{{select}}}"), 2.0),
        (format!("weir_statement_errors_total{{{select}}}"), 1.0),
        (format!("weir_statement_duration_seconds_sum{{{select}}}"), 300.00006),
        (format!("weir_statement_duration_seconds_count{{{select}}}"), 2.0),
        (format!("weir_statement_duration_seconds_bucket{{le=\"0.00005\",{select}}}"), 0.0),
        (format!("weir_statement_duration_seconds_bucket{{le=\"0.0001\",{select}}}"), 1.0),
        (format!("weir_statement_duration_seconds_bucket{{le=\"100.0\",{select}}}"), 1.0),
        (format!("weir_statement_duration_seconds_bucket{{le=\"+Inf\",{select}}}"), 2.0),
        ("weir_statements_to_replica_total{namespace=\"shop\"}".into(), 2.0),
        ("weir_client_sent_bytes_total{namespace=\"shop\"}".into(), 1000.0),
        ("weir_pins_total{namespace=\"shop\",reason=\"user_lock\"}".into(), 3.0),
        ("weir_sessions{namespace=\"shop\",phase=\"idle\"}".into(), 0.0),
        ("weir_sessions{namespace=\"\",phase=\"login\"}".into(), 0.0),
        (format!("weir_instance_up{{{replica}}}"), 1.0),
        (format!("weir_pool_checkouts_total{{{replica}}}"), 0.0),
        ("weir_client_connections_limit".into(), 100.0),
        ("weir_config_version".into(), 7.0),
        ("weir_config_reloads_total".into(), 2.0),
        ("weir_config_reload_errors_total".into(), 1.0),
        ("weir_config_last_reload_successful".into(), 0.0),
        (format!("weir_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(scrape.value(&series), Some(expected), "{series}");
    }
    let kinds = scrape.samples.keys().filter(|series| series.starts_with("weir_statements_total{")).count();
    assert_eq!(kinds, 1, "kinds of which there was no statement are left out");
}

#[test]
fn a_scrape_shows_what_the_process_uses() {
    let gateway = gateway();
    let scrape = scrape(&gateway);
    for (series, least) in [
        ("process_cpu_seconds_total", 1e-6),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 3.0),
        ("process_max_fds", 3.0),
        ("process_start_time_seconds", 1.7e9),
    ] {
        let value = scrape.value(series);
        assert!(value.is_some_and(|value| value >= least), "{series} {value:?}");
    }
}

#[test]
fn a_client_that_logs_in_is_counted_until_it_leaves() {
    let gateway = gateway();
    let worker = Arc::clone(&gateway.workers[0]);
    let handle = gateway.admit(&worker).unwrap();
    let login = "weir_sessions{namespace=\"\",phase=\"login\"}";
    assert_eq!(scrape(&gateway).value(login), Some(1.0));
    gateway.forget(&handle, &worker);
    assert_eq!(scrape(&gateway).value(login), Some(0.0));
    assert_eq!(scrape(&gateway).value("weir_client_connections"), Some(0.0));
}
