//! Drivers' own tests, as their registries have them, against an endpoint: what each test came to.

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::install::{self, Suites, sources, suites};
use super::run::{Endpoint, output_of};

/// How long a whole suite may take.
const PATIENCE: Duration = Duration::from_secs(1200);
/// If this is `whole` in the environment, all tests run instead of a few.
const EXTENT: &str = "WEIR_SUITES";

/// Other people's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// PyMySQL's.
    PyMySql,
    /// Those of Django's database backend.
    Django,
    /// mysql_async's.
    MySqlAsync,
}

/// How many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What fits into a test run.
    Short,
    /// All of PyMySQL and mysql_async, and all of Django's that are about the database.
    Whole,
}

impl Extent {
    /// As the environment says.
    #[must_use]
    pub fn wanted() -> Extent {
        match env::var_os(EXTENT).is_some_and(|value| value == "whole") {
            true => Extent::Whole,
            false => Extent::Short,
        }
    }
}

impl Suite {
    /// Runs them with the endpoint's account, which may do everything; databases have names that begin with the
    /// endpoint's. Outcomes by test.
    ///
    /// # Errors
    /// They cannot be fetched or run, or there are none.
    pub fn run(self, endpoint: &Endpoint, extent: Extent) -> Result<BTreeMap<String, String>> {
        let mut command = match self {
            Suite::PyMySql => pymysql(&suites()?, endpoint, extent),
            Suite::Django => django(&suites()?, endpoint, extent)?,
            Suite::MySqlAsync => install::mysql_async(&url(endpoint))?,
        };
        // tests that fail make it end with a failure
        let (printed, errors) = output_of(command.stdin(Stdio::null()), PATIENCE)?;
        let printed = String::from_utf8_lossy(&printed);
        let outcomes: BTreeMap<String, String> = printed
            .lines()
            .filter_map(|line| match line.strip_prefix("outcome ") {
                Some(outcome) => outcome.split_once(' '),
                // as Rust's own tests tell
                None => line.strip_prefix("test ")?.split_once(" ... "),
            })
            .map(|(test, outcome)| (test.to_owned(), outcome.to_owned()))
            .collect();
        ensure!(!outcomes.is_empty(), "no test ran: {printed}{}", String::from_utf8_lossy(&errors));
        Ok(outcomes)
    }
}

fn pymysql(suites: &Suites, endpoint: &Endpoint, extent: Extent) -> Command {
    let modules: &[&str] = match extent {
        Extent::Short => {
            &["test_DictCursor", "test_SSCursor", "test_connection", "test_cursor", "test_nextset"]
        }
        Extent::Whole => &[],
    };
    let mut command = python(suites);
    command
        .arg(sources("suites").join("pymysql_suite.py"))
        .args([&suites.driver, &suites.pymysql])
        .arg(endpoint.address.port().to_string())
        .args([&endpoint.user, &endpoint.password, &endpoint.database])
        .args(modules);
    command
}

fn django(suites: &Suites, endpoint: &Endpoint, extent: Extent) -> Result<Command> {
    let labels: &[&str] = match extent {
        Extent::Short => &["basic"],
        Extent::Whole => {
            &["backends", "basic", "transactions", "lookup", "queries", "aggregation", "select_for_update"]
        }
    };
    let paths = [&sources("suites"), &suites.django, &suites.packages, &suites.driver];
    let mut command = python(suites);
    command
        .current_dir(suites.django.join("tests"))
        .env("PYTHONPATH", env::join_paths(paths).context("a folder's name has a colon")?)
        .env("SUITE_PORT", endpoint.address.port().to_string())
        .env("SUITE_USER", &endpoint.user)
        .env("SUITE_PASSWORD", &endpoint.password)
        .env("SUITE_DATABASE", &endpoint.database)
        .args(["-W", "ignore", "runtests.py", "--settings=django_settings", "--parallel=1", "--noinput"])
        .args(labels);
    Ok(command)
}

fn python(suites: &Suites) -> Command {
    let mut command = Command::new(&suites.python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONIOENCODING", "utf-8");
    command
}

/// The endpoint as a URL, in which a password stands encoded.
fn url(endpoint: &Endpoint) -> String {
    let encoded = |text: &str| -> String {
        let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let (user, password) = (encoded(&endpoint.user), encoded(&endpoint.password));
    // by itself it would ask for the server's Unix socket and go on there, past the gateway
    format!("mysql://{user}:{password}@{}/{}?prefer_socket=false", endpoint.address, endpoint.database)
}
