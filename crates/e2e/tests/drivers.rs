//! Every driver sees through the gateway what it sees directly: one test a driver and server.

use std::path::PathBuf;

use anyhow::{Result, bail};
use weir_e2e::drivers::{
    Allowed, CommandLine, Endpoint, PROGRAMS, Program, Site, differences, dump_and_restore, logins,
};
use weir_testkit::{Flavour, say, shared};

/// Facts that may differ between the two paths.
const ALLOWED: [Allowed; 0] = [];

/// What stands between drivers and the primary.
struct Gateway {
    port: u16,
    ca: PathBuf,
}

impl Gateway {
    /// A listener that knows the site's accounts and lets them see every database, all on the primary.
    fn start(site: &Site) -> Result<Gateway> {
        let direct = site.direct()?;
        Ok(Gateway { port: direct.address.port(), ca: direct.ca })
    }

    fn endpoint(&self, site: &Site) -> Endpoint {
        site.endpoint(self.port, self.ca.clone())
    }
}

/// Runs all programs of a driver on both paths.
fn check(driver: &str, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, driver)?;
    let programs: Vec<&Program> = PROGRAMS.iter().filter(|program| program.driver == driver).collect();
    assert!(!programs.is_empty(), "no program for {driver}");
    for program in programs {
        // neither the server nor the gateway has met the accounts before
        let gateway = Gateway::start(&site)?;
        let (direct, through) = (site.direct()?, gateway.endpoint(&site));
        site.forget_logins()?;
        let first = logins(program, &site, &direct)?;
        site.forget_logins()?;
        let second = logins(program, &site, &through)?;
        compare(&program.name(), "logins", &first.lines, &second.lines)?;
        site.empty()?;
        let first = program.facts(&direct)?;
        site.empty()?;
        let second = program.facts(&through)?;
        compare(&program.name(), "facts", &first.lines, &second.lines)?;
        say(format!(
            "{} on {flavour}: {} facts, {:.1} s directly, {:.1} s through the gateway",
            program.name(),
            first.lines.len(),
            first.took.as_secs_f32(),
            second.took.as_secs_f32()
        ));
    }
    Ok(())
}

fn compare(program: &str, what: &str, direct: &[String], through: &[String]) -> Result<()> {
    let found = differences(program, direct, through, &ALLOWED);
    if !found.is_empty() {
        bail!("{what} of {program} differ:\n{}", found.join("\n"));
    }
    Ok(())
}

fn check_command_line(client: CommandLine, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, &format!("cli_{}", client.name()))?;
    let gateway = Gateway::start(&site)?;
    let (direct, through) = (site.direct()?, gateway.endpoint(&site));
    let first = client.logins(&site, &direct)?;
    site.forget_logins()?;
    let second = client.logins(&site, &through)?;
    compare(client.name(), "logins", &first.lines, &second.lines)?;
    let first = client.facts(&site, &direct)?;
    site.empty()?;
    let second = client.facts(&site, &through)?;
    compare(client.name(), "facts", &first.lines, &second.lines)
}

fn check_dump(client: CommandLine, flavour: Flavour) -> Result<()> {
    let site = Site::create(shared(flavour)?, "dump")?;
    let gateway = Gateway::start(&site)?;
    dump_and_restore(client, &site, &site.direct()?, &gateway.endpoint(&site))
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
