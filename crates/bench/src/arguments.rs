//! What is to be measured.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use weir_testkit::Flavour;

use crate::workload::Workload;

/// Measures Weir beside a direct connection and HAProxy in TCP mode, in one run on real servers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub(crate) struct Arguments {
    /// `mysql` or `mariadb`.
    #[arg(long, default_value_t = Flavour::MySql)]
    server: Flavour,
    /// A short form to see that everything works; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these: point_select, point_select_prepared, point_select_eof, rows_100, blob_16m, read_write,
    /// clean_sessions, dirty_sessions, idle.
    #[arg(long, value_name = "WORKLOAD,…", value_delimiter = ',')]
    only: Vec<Part>,
    /// Numbers of clients; blob_16m takes those up to 16.
    #[arg(long, value_name = "NUMBER,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: Vec<u32>,
    /// Interleaved repetitions of each cell.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: Option<u32>,
    /// Measured time of each repetition, such as 1.2.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Idle clients whose memory is measured.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=8_000))]
    idle_clients: Option<u32>,
    /// The `weir` program to measure; `cargo xtask bench` gives the release build.
    #[arg(long, value_name = "FILE")]
    weir: PathBuf,
}

/// A workload, or the memory of idle clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Load(Workload),
    Idle,
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Part> {
        match Workload::ALL.into_iter().find(|workload| workload.name() == name) {
            Some(workload) => Ok(Part::Load(workload)),
            None if name == "idle" => Ok(Part::Idle),
            None => {
                let known: Vec<&str> = Workload::ALL.iter().map(|workload| workload.name()).collect();
                bail!("there are {} and idle", known.join(", "))
            }
        }
    }
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse()?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (0.1..=60.0).contains(&seconds) => Ok(time),
        _ => bail!("0.1 to 60 seconds"),
    }
}

/// Everything a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) server: Flavour,
    pub(crate) is_quick: bool,
    pub(crate) weir: PathBuf,
    pub(crate) json: Option<PathBuf>,
    /// Workloads with their numbers of clients, in the order of the table.
    pub(crate) cells: Vec<(Workload, u32)>,
    pub(crate) repetitions: u32,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    pub(crate) idle: Option<IdlePlan>,
}

/// The memory of idle clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdlePlan {
    pub(crate) clients: u32,
    /// From the first look to the second.
    pub(crate) wait: Duration,
}

/// More clients than this would only wait for the same 16 MiB.
const MOST_BLOB_CLIENTS: u32 = 16;

impl Plan {
    /// What the arguments ask for.
    pub(crate) fn of(arguments: Arguments) -> Plan {
        let quick = arguments.quick;
        let repetitions = if quick { 3 } else { 5 };
        let measure = Duration::from_millis(if quick { 400 } else { 1_200 });
        let measure = arguments.seconds.unwrap_or(measure);
        let is_wanted = |part: Part| arguments.only.is_empty() || arguments.only.contains(&part);
        let mut cells = Vec::new();
        for workload in Workload::ALL.into_iter().filter(|workload| is_wanted(Part::Load(*workload))) {
            cells.extend(clients_of(workload, &arguments).into_iter().map(|clients| (workload, clients)));
        }
        let idle = IdlePlan {
            clients: arguments.idle_clients.unwrap_or(if quick { 500 } else { 8_000 }),
            wait: Duration::from_secs(if quick { 5 } else { 60 }),
        };
        Plan {
            server: arguments.server,
            is_quick: quick,
            weir: arguments.weir,
            json: arguments.json,
            cells,
            repetitions: arguments.repetitions.unwrap_or(repetitions),
            warm_up: measure / 4,
            measure,
            idle: is_wanted(Part::Idle).then_some(idle),
        }
    }

    /// The most clients that a cell has.
    pub(crate) fn most_clients(&self) -> u32 {
        self.cells.iter().map(|(_, clients)| *clients).max().unwrap_or(0)
    }
}

fn clients_of(workload: Workload, arguments: &Arguments) -> Vec<u32> {
    let is_blob = workload == Workload::Blob16m;
    let default: &[u32] = match (workload, arguments.quick) {
        (Workload::Blob16m, true) => &[1],
        (Workload::Blob16m, false) => &[1, MOST_BLOB_CLIENTS],
        // with fewer each has a connection of its own
        (Workload::CleanSessions | Workload::DirtySessions, true) => &[64],
        (Workload::CleanSessions | Workload::DirtySessions, false) => &[64, 256],
        (_, true) => &[16, 64],
        (_, false) => &[1, 16, 64, 256],
    };
    if arguments.clients.is_empty() {
        return default.to_vec();
    }
    let mut list = arguments.clients.clone();
    if is_blob {
        list.retain(|clients| *clients <= MOST_BLOB_CLIENTS);
        if list.is_empty() {
            list.push(MOST_BLOB_CLIENTS);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Plan {
        let line = format!("bench --weir=/x {line}");
        Plan::of(Arguments::try_parse_from(line.split_whitespace()).unwrap())
    }

    #[test]
    fn a_full_run_has_what_the_table_must_show() {
        let full = plan("");
        assert_eq!(full.cells.len(), 5 * 4 + 2 + 2 * 2);
        assert_eq!((full.repetitions, full.most_clients()), (5, 256));
        assert_eq!(full.idle, Some(IdlePlan { clients: 8_000, wait: Duration::from_secs(60) }));
    }

    #[test]
    fn a_quick_run_measures_for_less_than_a_minute() {
        let quick = plan("--quick");
        let each = (quick.warm_up + quick.measure) * quick.repetitions * 3;
        let cells = u32::try_from(quick.cells.len()).unwrap();
        assert!(each * cells < Duration::from_secs(60));
        assert!(Workload::ALL.iter().all(|workload| quick.cells.iter().any(|(each, _)| each == workload)));
    }

    #[test]
    fn only_names_what_is_measured() {
        let some = plan("--only rows_100,blob_16m --clients 4,32 --repetitions 7 --seconds 0.5");
        let cells = [(Workload::Rows100, 4), (Workload::Rows100, 32), (Workload::Blob16m, 4)];
        assert_eq!(some.cells, cells);
        assert_eq!((some.repetitions, some.measure, some.idle), (7, Duration::from_millis(500), None));
        assert_eq!(plan("--only idle --idle-clients 9").idle.map(|idle| idle.clients), Some(9));
        assert!(plan("--only idle").cells.is_empty());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["--only nothing", "--clients 0", "--seconds 0", "--seconds x", "--server oracle"] {
            let line = format!("bench --weir=/x {line}");
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
