//! Every driver sees through the gateway what it sees directly: one test a driver and server.

use anyhow::{Result, ensure};
use weir_e2e::drivers::{
    Allowed, CommandLine, Endpoint, PROGRAMS, Program, Site, differences, dump_and_restore, logins,
};
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Flavour, say, shared};

/// Facts that may differ between the two paths.
const ALLOWED: [Allowed; 0] = [];

/// Drivers that log in to a gateway whose users are the server's own.
const WITH_ACCOUNTS_OF_THE_SERVER: [&str; 2] = ["go_sql_driver", "connector_j"];

/// A gateway for a driver's programs. Everything goes to the primary: programs read what they just wrote.
fn gateway_for(driver: &str, site: &Site) -> Result<Weir> {
    if !WITH_ACCOUNTS_OF_THE_SERVER.contains(&driver) {
        return gateway(site);
    }
    let primary = site.cluster.primary()?.port;
    let namespace = Namespace::at("drivers", primary, &[]).users_of_server().set("local_infile", true);
    start(site, namespace)
}

/// A gateway that knows the site's accounts by what the server stores of their passwords.
fn gateway(site: &Site) -> Result<Weir> {
    let plugin = match site.cluster.flavour() {
        Flavour::MySql => "caching_sha2_password",
        Flavour::MariaDb => "mysql_native_password",
    };
    let users = site.accounts().map(|account| User {
        verifier: Some(account.verifier.clone()),
        plugin: Some(plugin.to_owned()),
        ..User::new(&account.user, &account.password).without_split()
    });
    let namespace =
        Namespace::on(site.cluster, "drivers")?.users_are(users.to_vec()).set("local_infile", true);
    start(site, namespace)
}

fn start(site: &Site, namespace: Namespace) -> Result<Weir> {
    site.cluster.sql(0, "SET GLOBAL local_infile = ON")?;
    Weir::start(&Options::of(vec![namespace]).greeting(site.cluster.version()))
}

fn endpoint(site: &Site, weir: &Weir) -> Endpoint {
    site.endpoint(weir.port(), weir.folder().join("data/ca.pem"))
}

/// Runs all programs of a driver on both paths.
fn check(driver: &str, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, driver)?;
    let programs: Vec<&Program> = PROGRAMS.iter().filter(|program| program.driver == driver).collect();
    assert!(!programs.is_empty(), "no program for {driver}");
    let mut differences = Vec::new();
    for program in programs {
        // neither the server nor the gateway has met the accounts before
        let weir = gateway_for(driver, &site)?;
        let (direct, through) = (site.direct()?, endpoint(&site, &weir));
        site.forget_logins()?;
        let first = logins(program, &site, &direct)?;
        let second = logins(program, &site, &through)?;
        differences.extend(compare(&program.name(), "logins", &first.lines, &second.lines));
        site.empty()?;
        let first = program.facts(&direct)?;
        site.empty()?;
        let second = program.facts(&through)?;
        differences.extend(compare(&program.name(), "facts", &first.lines, &second.lines));
        say(format!(
            "{} on {flavour}: {} facts, {:.1} s directly, {:.1} s through the gateway",
            program.name(),
            first.lines.len(),
            first.took.as_secs_f32(),
            second.took.as_secs_f32()
        ));
    }
    none(&differences)
}

/// What differs, under what it was found in; nothing if all is equal.
fn compare(program: &str, what: &str, direct: &[String], through: &[String]) -> Option<String> {
    let found = differences(program, direct, through, &ALLOWED);
    (!found.is_empty()).then(|| format!("{what} of {program} differ:\n{}", found.join("\n")))
}

fn none(differences: &[String]) -> Result<()> {
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn check_command_line(client: CommandLine, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, &format!("cli_{}", client.name()))?;
    let weir = gateway(&site)?;
    let (direct, through) = (site.direct()?, endpoint(&site, &weir));
    let first = client.logins(&site, &direct)?;
    let second = client.logins(&site, &through)?;
    let mut differences = Vec::from_iter(compare(client.name(), "logins", &first.lines, &second.lines));
    let first = client.facts(&site, &direct)?;
    site.empty()?;
    let second = client.facts(&site, &through)?;
    differences.extend(compare(client.name(), "facts", &first.lines, &second.lines));
    none(&differences)
}

fn check_dump(client: CommandLine, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, "dump")?;
    let weir = gateway(&site)?;
    dump_and_restore(client, &site, &site.direct()?, &endpoint(&site, &weir))
}

#[test]
fn pymysql_sees_mysql_alike() -> Result<()> {
    check("pymysql", Flavour::MySql)
}

#[test]
fn pymysql_sees_mariadb_alike() -> Result<()> {
    check("pymysql", Flavour::MariaDb)
}

#[test]
fn mysql_connector_python_sees_mysql_alike() -> Result<()> {
    check("mysql_connector_python", Flavour::MySql)
}

#[test]
fn mysql_connector_python_sees_mariadb_alike() -> Result<()> {
    check("mysql_connector_python", Flavour::MariaDb)
}

#[test]
fn mysql2_sees_mysql_alike() -> Result<()> {
    check("mysql2", Flavour::MySql)
}

#[test]
fn mysql2_sees_mariadb_alike() -> Result<()> {
    check("mysql2", Flavour::MariaDb)
}

#[test]
fn go_sql_driver_sees_mysql_alike() -> Result<()> {
    check("go_sql_driver", Flavour::MySql)
}

#[test]
fn go_sql_driver_sees_mariadb_alike() -> Result<()> {
    check("go_sql_driver", Flavour::MariaDb)
}

#[test]
fn connector_j_sees_mysql_alike() -> Result<()> {
    check("connector_j", Flavour::MySql)
}

#[test]
fn connector_j_sees_mariadb_alike() -> Result<()> {
    check("connector_j", Flavour::MariaDb)
}

#[test]
fn mariadb_connector_j_sees_mysql_alike() -> Result<()> {
    check("mariadb_connector_j", Flavour::MySql)
}

#[test]
fn mariadb_connector_j_sees_mariadb_alike() -> Result<()> {
    check("mariadb_connector_j", Flavour::MariaDb)
}

#[test]
fn sqlx_sees_mysql_alike() -> Result<()> {
    check("sqlx", Flavour::MySql)
}

#[test]
fn sqlx_sees_mariadb_alike() -> Result<()> {
    check("sqlx", Flavour::MariaDb)
}

#[test]
fn mysql_client_sees_mysql_alike() -> Result<()> {
    check_command_line(CommandLine::MySql, Flavour::MySql)
}

#[test]
fn mysql_client_sees_mariadb_alike() -> Result<()> {
    check_command_line(CommandLine::MySql, Flavour::MariaDb)
}

#[test]
fn mariadb_client_sees_mysql_alike() -> Result<()> {
    check_command_line(CommandLine::MariaDb, Flavour::MySql)
}

#[test]
fn mariadb_client_sees_mariadb_alike() -> Result<()> {
    check_command_line(CommandLine::MariaDb, Flavour::MariaDb)
}

#[test]
fn mysqldump_writes_and_restores_mysql_alike() -> Result<()> {
    check_dump(CommandLine::MySql, Flavour::MySql)
}

#[test]
fn mariadb_dump_writes_and_restores_mariadb_alike() -> Result<()> {
    check_dump(CommandLine::MariaDb, Flavour::MariaDb)
}
