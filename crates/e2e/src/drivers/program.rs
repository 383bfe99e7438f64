//! The programs: one row a driver and a way to set it.

use std::process;

use anyhow::{Context, Result, bail};

use super::install;
use super::run::{Endpoint, Outcome, Tls, run};
use super::tap::Command;

/// A driver, set in one way.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The driver; several rows may share it.
    pub driver: &'static str,
    /// How it is set, as its program reads it from the environment.
    pub variant: &'static str,
    /// What the facts are printed over. `Off` where the relay is to see the commands.
    pub tls: Tls,
    /// Commands that must be seen on the wire, so that a setting which does nothing is noticed.
    pub sends: &'static [Command],
    /// Which logins it cannot do, with the reason.
    pub cannot: Cannot,
    start: fn() -> Result<process::Command>,
}

/// What a driver cannot do at a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cannot {
    /// It can do everything.
    Nothing,
    /// It never asks for the server's RSA key, so that a first login needs TLS.
    Rsa,
    /// It computes the fast path's proof wrongly: every login is a full one.
    FastPath,
}

/// Every program. The command-line clients are apart.
pub const PROGRAMS: [Program; 11] = [
    Program {
        driver: "pymysql",
        variant: "default",
        tls: Tls::Off,
        sends: &[Command::Query, Command::InitDb, Command::Ping],
        cannot: Cannot::Nothing,
        start: || install::python("pymysql_facts.py"),
    },
    Program {
        driver: "mysql_connector_python",
        variant: "default",
        tls: Tls::Default,
        sends: &[],
        cannot: Cannot::Rsa,
        start: || install::python("mysql_connector_facts.py"),
    },
    Program {
        driver: "mysql_connector_python",
        variant: "pure",
        tls: Tls::Off,
        sends: &[
            Command::Prepare,
            Command::Execute,
            Command::LongData,
            Command::Reset,
            Command::Close,
            Command::ResetConnection,
            Command::ChangeUser,
            Command::Statistics,
            Command::InitDb,
        ],
        cannot: Cannot::Rsa,
        start: || install::python("mysql_connector_facts.py"),
    },
    Program {
        driver: "mysql2",
        variant: "default",
        tls: Tls::Default,
        sends: &[Command::Query, Command::Prepare, Command::Execute, Command::ChangeUser, Command::Ping],
        cannot: Cannot::Nothing,
        start: || install::node("facts.js"),
    },
    Program {
        driver: "go_sql_driver",
        variant: "default",
        tls: Tls::Default,
        sends: &[Command::Prepare, Command::Execute, Command::Close, Command::Ping],
        cannot: Cannot::Nothing,
        start: install::go,
    },
    Program {
        driver: "go_sql_driver",
        variant: "interpolate",
        tls: Tls::Required,
        sends: &[],
        cannot: Cannot::Nothing,
        start: install::go,
    },
    Program {
        driver: "connector_j",
        variant: "connector-j",
        tls: Tls::Default,
        sends: &[],
        cannot: Cannot::Nothing,
        start: install::java,
    },
    Program {
        driver: "connector_j",
        variant: "connector-j-cursor",
        tls: Tls::Off,
        sends: &[Command::Prepare, Command::Execute, Command::Fetch, Command::ChangeUser],
        cannot: Cannot::Nothing,
        start: install::java,
    },
    Program {
        driver: "mariadb_connector_j",
        variant: "mariadb",
        tls: Tls::Default,
        sends: &[Command::Query, Command::Ping],
        cannot: Cannot::Nothing,
        start: install::java,
    },
    Program {
        driver: "mariadb_connector_j",
        variant: "mariadb-cursor",
        tls: Tls::Off,
        // and COM_RESET_CONNECTION, but to MariaDB only
        sends: &[Command::Prepare, Command::Execute, Command::Close],
        cannot: Cannot::Nothing,
        start: install::java,
    },
    Program {
        driver: "sqlx",
        variant: "default",
        tls: Tls::Off,
        sends: &[Command::Prepare, Command::Execute, Command::Close, Command::Query, Command::Ping],
        cannot: Cannot::Nothing,
        start: install::sqlx,
    },
];

/// What every driver's facts must hold: part of the fact's name, and what its value says.
const FACTS: [(&str, &str); 15] = [
    ("null.", ""),
    ("decimal_65_30.", "99999999999999999999999999999999999.999999999999999999999999999999"),
    ("json.", "ключ"),
    ("datetime_6.", "9999"),
    ("u64_max.", "18446744073709551615"),
    ("blob_17m", "17829632"),
    ("two_results", "last"),
    ("two_results.error", "no_such_column"),
    ("procedure", "20"),
    ("duplicate_key", "1062"),
    ("duplicate_key", "23000"),
    ("transaction.after", ""),
    ("ping", ""),
    ("big_result", "50000"),
    ("parameters.", "🦀"),
];

impl Program {
    /// What it is called in messages.
    pub fn name(&self) -> String {
        format!("{} ({})", self.driver, self.variant)
    }

    /// The facts that the driver sees at an endpoint.
    ///
    /// # Errors
    /// It cannot be installed, fails, or misses what every driver must show.
    pub fn facts(&self, endpoint: &Endpoint) -> Result<Outcome> {
        let mut command = self.command()?;
        command.env("DRIVER_ACTION", "facts").env("DRIVER_TLS", self.tls.word());
        let outcome = run(&mut command, endpoint)?;
        self.check(&outcome).with_context(|| format!("at {}", endpoint.address))?;
        Ok(outcome)
    }

    pub(super) fn command(&self) -> Result<process::Command> {
        let mut command = (self.start)()?;
        command
            .env("DRIVER_VARIANT", self.variant)
            .env("DRIVER_STATEMENTS", install::statements())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        Ok(command)
    }

    fn check(&self, outcome: &Outcome) -> Result<()> {
        for (name, value) in FACTS {
            let holds = |line: &&String| {
                line.split_once(" = ").is_some_and(|(fact, said)| fact.contains(name) && said.contains(value))
            };
            if outcome.lines.iter().find(holds).is_none() {
                bail!("{} shows no `{name}` that says `{value}`", self.name());
            }
        }
        let refused = |line: &&String| line.contains(".unexpected = ") && !line.starts_with("local_infile");
        if let Some(line) = outcome.lines.iter().find(refused) {
            bail!("{} was refused: {line}", self.name());
        }
        for command in self.sends {
            if !outcome.seen.iter().any(|seen| seen.commands.contains_key(command)) {
                bail!("{} never sent {command:?}", self.name());
            }
        }
        Ok(())
    }
}
