//! Real servers: what a cluster promises, on both.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::time::{Duration, Instant};

use weir_testkit::sql::ServerError;
use weir_testkit::{Cluster, Flavour, Options, SERVICE, Set, fetch, tool};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a text through the fetched command-line client, over TCP as the service account.
fn by_client(flavour: Flavour, port: u16, arguments: &[&str]) -> Result<String, String> {
    let mut client = tool(flavour.name()).unwrap();
    client.args(["--host=127.0.0.1", "--batch", "--skip-column-names", "--connect-timeout=10"]);
    client.arg(format!("--port={port}")).arg(format!("--user={}", SERVICE.user)).args(arguments);
    let output = client.env("MYSQL_PWD", SERVICE.password).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn error_number(result: anyhow::Result<Vec<weir_testkit::sql::Row>>) -> Option<u16> {
    result.err()?.downcast_ref::<ServerError>().map(|error| error.number)
}

fn replicates_and_survives_the_death_of_a_replica(flavour: Flavour) {
    let cluster = Cluster::start(&Options::new(flavour, format!("selftest-{flavour}"))).unwrap();
    let primary = cluster.primary().unwrap();
    assert_eq!(cluster.replicas().len(), 2);
    cluster.sql(0, "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v TEXT)").unwrap();
    cluster.sql(0, "INSERT INTO d.t VALUES (1, 'one'), (2, NULL)").unwrap();
    cluster.wait_for_replicas(PATIENCE).unwrap();
    let expected = vec![vec![Some("1".to_owned()), Some("one".to_owned())], vec![Some("2".to_owned()), None]];
    for index in 0..3 {
        assert_eq!(
            cluster.sql(index, "SELECT * FROM d.t ORDER BY id").unwrap(),
            expected,
            "instance {index}"
        );
    }
    let equal = cluster.checksums("d.t").unwrap();
    assert!(equal.iter().all(|checksum| *checksum == equal[0]), "{equal:?}");

    // The service account reaches every server over TCP, with TLS, and writes on none but the primary.
    let over_tls = by_client(flavour, primary.port, &["-e", "SHOW STATUS LIKE 'Ssl_cipher'"]).unwrap();
    assert!(over_tls.contains("TLS_"), "{over_tls}");
    let refused = by_client(flavour, cluster.replicas()[0].port, &["-e", "INSERT INTO d.t VALUES (3, '')"]);
    assert!(refused.as_ref().is_err_and(|text| text.contains("1290")), "{refused:?}");

    // A difference on one replica shows in the checksums.
    let writable =
        "SET GLOBAL read_only=OFF; SET SESSION sql_log_bin=0; UPDATE d.t SET v='altered' WHERE id=2";
    cluster.sql(2, writable).unwrap();
    let altered = cluster.checksums("d.t").unwrap();
    assert!(altered[0] == altered[1] && altered[0] != altered[2], "{altered:?}");

    // A replica that was killed comes back on its port, and catches up by itself.
    let before = cluster.instance(1).unwrap();
    cluster.kill_instance(1).unwrap();
    assert!(!cluster.instance(1).unwrap().is_running() && cluster.client(1).is_err());
    cluster.sql(0, "INSERT INTO d.t VALUES (4, 'meanwhile')").unwrap();
    cluster.restart_instance(1).unwrap();
    let after = cluster.instance(1).unwrap();
    assert!(after.is_running() && after.port == before.port && after.process != before.process);
    cluster.wait_for_replicas(PATIENCE).unwrap();
    assert_eq!(cluster.value(1, "SELECT v FROM d.t WHERE id=4").unwrap(), "meanwhile");

    // The name is taken while this process holds it; another may look on.
    assert!(Cluster::start(&Options::new(flavour, cluster.name())).is_err());
    let seen = Cluster::attach(&cluster.name()).unwrap().unwrap();
    assert_eq!(seen.primary().unwrap().port, primary.port);
    drop(seen);
    assert_eq!(error_number(cluster.sql(0, "SELECT * FROM d.nosuch")), Some(1146));

    let (name, processes) = (cluster.name(), cluster.instances());
    cluster.stop().unwrap();
    assert!(processes.iter().all(|instance| !instance.is_running() && !instance.folder.exists()));
    assert!(Cluster::attach(&name).unwrap().is_none());
}

#[test]
fn mysql_replicates_and_survives_the_death_of_a_replica() {
    replicates_and_survives_the_death_of_a_replica(Flavour::MySql);
}

#[test]
fn mariadb_replicates_and_survives_the_death_of_a_replica() {
    replicates_and_survives_the_death_of_a_replica(Flavour::MariaDb);
}

#[test]
fn says_why_a_server_does_not_start() {
    let mut options = Options::new(Flavour::MariaDb, "selftest-broken");
    options.replicas = 0;
    options.extra_arguments = vec!["--no-such-option=1".to_owned()];
    let error = Cluster::start(&options).unwrap_err();
    assert!(error.to_string().contains("no-such-option"), "{error:#}");
}

#[test]
fn a_second_fetch_is_at_once() {
    fetch(Set::MariaDb).unwrap();
    let begun = Instant::now();
    fetch(Set::MariaDb).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}
