//! Drivers' own tests come to the same through the gateway as directly: with the accounts of the server as users, so
//! that they can be run as they are. A few of them in every run, all with WEIR_SUITES=whole.

use anyhow::{Result, ensure};
use weir_e2e::drivers::{Extent, Site, Suite};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, Weir};
use weir_testkit::{Cluster, Flavour, say, shared};

on_both_servers!(pymysqls_own_tests);

/// Tests that come to something else through the gateway, and why.
const ALLOWED: [(&str, &str); 0] = [];

fn check(cluster: &'static Cluster, suite: Suite, name: &str) -> Result<()> {
    let extent = Extent::wanted();
    let site = Site::create(cluster, name)?;
    for number in ["1", "2"] {
        let database = format!("{}{number}", site.database);
        cluster.sql(
            0,
            &format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} CHARACTER SET utf8mb4"),
        )?;
    }
    let primary = cluster.primary()?.port;
    let namespace = Namespace::at("suites", primary, &[]).users_of_server();
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let direct = suite.run(&site.direct()?, extent)?;
    let through = suite.run(&site.endpoint(weir.port(), weir.folder().join("data/ca.pem")), extent)?;
    let tests = direct.keys().chain(through.keys().filter(|test| !direct.contains_key(*test)));
    let differ: Vec<String> = tests
        .filter(|test| direct.get(*test) != through.get(*test))
        .filter(|test| !ALLOWED.iter().any(|(allowed, _)| allowed == test))
        .map(|test| {
            format!("{test}: {:?} directly, {:?} through the gateway", direct.get(test), through.get(test))
        })
        .collect();
    let passed = direct.values().filter(|outcome| *outcome == "ok").count();
    say(format!("{suite:?} on {}: {} tests, {passed} of them pass", cluster.flavour(), direct.len()));
    ensure!(differ.is_empty(), "{}\n{}", differ.join("\n"), weir.log());
    ensure!(passed * 2 > direct.len(), "most tests fail already without the gateway");
    for number in ["1", "2"] {
        cluster.sql(0, &format!("DROP DATABASE {}{number}", site.database))?;
    }
    weir.stop()
}

fn pymysqls_own_tests(cluster: &'static Cluster) -> Result<()> {
    check(cluster, Suite::PyMySql, "suite_pymysql")
}

// most of a short run is Django's own start
#[test]
fn djangos_own_tests() -> Result<()> {
    let flavours: &[Flavour] = match Extent::wanted() {
        Extent::Short => &[Flavour::MySql],
        Extent::Whole => &Flavour::ALL,
    };
    flavours.iter().try_for_each(|flavour| check(shared(*flavour)?, Suite::Django, "suite_django"))
}
