//! Drivers' own tests come to the same through the gateway as directly: with the accounts of the server as users, so
//! that they can be run as they are. A few of them in every run, all with WEIR_SUITES=whole, and then once more after a
//! restart of the server.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use weir_e2e::drivers::{Extent, Site, Suite};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, Weir};
use weir_testkit::{Cluster, Flavour, say, shared};

on_both_servers!(pymysqls_own_tests);

/// Tests that come to something else through the gateway, and why.
const ALLOWED: [(&str, &str); 1] = [(
    "conn::pool::test::should_reconnect",
    "its first half logs in by the server's Unix socket, past the gateway, which then does not know whom it is to kill",
)];

fn check(shared: &'static Cluster, suite: Suite) -> Result<()> {
    match Extent::wanted() {
        Extent::Short => compare(shared, suite, Extent::Short, false),
        Extent::Whole => {
            let flavour = shared.flavour();
            let mut own = weir_testkit::Options::new(flavour, format!("{}-{suite:?}", flavour.name()));
            own.replicas = 0;
            let cluster = Cluster::start(&own)?;
            compare(&cluster, suite, Extent::Whole, true)?;
            cluster.stop()
        }
    }
}

fn compare(cluster: &Cluster, suite: Suite, extent: Extent, restart: bool) -> Result<()> {
    let site = Site::create(cluster, &format!("suite_{suite:?}").to_lowercase())?;
    for number in ["1", "2"] {
        let database = format!("{}{number}", site.database);
        cluster.sql(
            0,
            &format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} CHARACTER SET utf8mb4"),
        )?;
    }
    let namespace = Namespace::at("suites", cluster.primary()?.port, &[]).users_of_server();
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let endpoint = site.endpoint(weir.port(), weir.folder().join("data/ca.pem"));
    let direct = suite.run(&site.direct()?, extent)?;
    let passed = direct.values().filter(|outcome| *outcome == "ok").count();
    say(format!("{suite:?} on {}: {} tests, {passed} of them pass", cluster.flavour(), direct.len()));
    ensure!(passed * 2 > direct.len(), "most tests fail already without the gateway");
    alike(&direct, &suite.run(&endpoint, extent)?, &weir)?;
    if restart {
        // the gateway goes on, with accounts of which the server has no password in its cache
        cluster.restart_instance(0)?;
        alike(&direct, &suite.run(&endpoint, extent)?, &weir)?;
    }
    for number in ["1", "2"] {
        cluster.sql(0, &format!("DROP DATABASE {}{number}", site.database))?;
    }
    weir.stop()
}

/// Did each test come to the same?
fn alike(direct: &BTreeMap<String, String>, through: &BTreeMap<String, String>, weir: &Weir) -> Result<()> {
    let tests = direct.keys().chain(through.keys().filter(|test| !direct.contains_key(*test)));
    let differ: Vec<String> = tests
        .filter(|test| direct.get(*test) != through.get(*test))
        .filter(|test| !ALLOWED.iter().any(|(allowed, _)| allowed == test))
        .map(|test| {
            format!("{test}: {:?} directly, {:?} through the gateway", direct.get(test), through.get(test))
        })
        .collect();
    ensure!(differ.is_empty(), "{}\n{}", differ.join("\n"), weir.log());
    Ok(())
}

fn pymysqls_own_tests(cluster: &'static Cluster) -> Result<()> {
    check(cluster, Suite::PyMySql)
}

// those that take long before their first test runs: most of a short run is Django's own start
#[test]
fn suites_that_start_slowly() -> Result<()> {
    let suites: &[(Suite, &[Flavour])] = match Extent::wanted() {
        Extent::Short => &[(Suite::Django, &[Flavour::MySql])],
        Extent::Whole => &[(Suite::Django, &Flavour::ALL), (Suite::MySqlAsync, &Flavour::ALL)],
    };
    for (suite, flavours) in suites {
        for flavour in *flavours {
            check(shared(*flavour)?, *suite)?;
        }
    }
    Ok(())
}
