//! What the measuring process and its load generator say to each other: one JSON value a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// Where clients log in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    /// `direct`, `haproxy` or `weir`.
    pub(crate) name: String,
    /// `127.0.0.1:<port>`.
    pub(crate) address: String,
    pub(crate) user: String,
    pub(crate) password: String,
    /// The proxy's process.
    pub(crate) proxy: Option<u32>,
}

/// The first line to a generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Clients in a closed loop. It logs in to every target and waits for [`Command::Run`].
    Load { workload: Workload, clients: u32, rows: u32, targets: Vec<Target>, servers: Vec<u32> },
    /// Clients that do little and stay: logs in, runs a 100-row select and a prepared statement on each, and waits
    /// for [`Command::Check`]. TLS is on if the authority's certificate is given.
    Idle { clients: u32, rows: u32, target: Target, authority: Option<PathBuf> },
}

/// A later line to a generator. It ends when its input does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Load one target for a while.
    Run { target: usize, warm_up_ms: u64, measure_ms: u64 },
    /// See whether every idle client still gets an answer.
    Check,
}

/// A line from a generator, one for the job and one for each command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// All clients are logged in.
    Ready,
    /// The run is over.
    Measured(Measured),
    /// Every idle client got its answer.
    Alive,
    /// There is no going on.
    Failed(String),
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Statements answered rightly in the measured time.
    pub(crate) statements: u64,
    /// Length of the measured time in seconds.
    pub(crate) seconds: f64,
    /// Latency of a statement, microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Latency of a whole transaction, microseconds; 0 where a statement is all there is.
    pub(crate) transaction_p50_us: f64,
    pub(crate) transaction_p99_us: f64,
    /// CPU time in the measured time, microseconds, of the proxy's process and of all servers'.
    pub(crate) proxy_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    /// Errors, wrong answers and lost connections, warm-up included.
    pub(crate) errors: u64,
    /// What the first error was.
    pub(crate) first_error: Option<String>,
}
