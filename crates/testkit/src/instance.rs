//! One server of a cluster: what it is, where it listens and keeps its files.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::arguments::Tls;
use crate::home::make_folder;
use crate::process::ProcessId;
use crate::server::{Flavour, Programs};

/// What a server is in its cluster when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Replicates from the primary, read-only.
    Replica,
}

/// One server process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// `primary`, `replica1`, `replica2` …
    pub name: String,
    /// Its role at the start; tests that promote keep count themselves.
    pub role: Role,
    /// Its `server_id`.
    pub server_id: u32,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Holds `data/`, `files/` (secure_file_priv) and `error.log`.
    pub folder: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The process, once it was started.
    pub process: Option<ProcessId>,
}

impl Instance {
    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(ProcessId::is_alive)
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.join("error.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
    }
}

/// How to start a cluster. `Options::new`, then change what differs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which server.
    pub flavour: Flavour,
    /// Names the folder `.weir/run/<name>`; two clusters that run at once need two names.
    pub name: String,
    /// How many replicas.
    pub replicas: usize,
    /// `max_connections` of each instance.
    pub max_connections: u32,
    /// Which certificate the servers offer.
    pub tls: Tls,
    /// Where the server program comes from.
    pub programs: Programs,
    /// Further options for every instance, as `--name=value`; they win over testkit's own.
    pub extra_arguments: Vec<String>,
}

impl Options {
    /// Two replicas and 500 connections each.
    pub fn new(flavour: Flavour, name: impl Into<String>) -> Options {
        Options {
            flavour,
            name: name.into(),
            replicas: 2,
            max_connections: 500,
            tls: Tls::default(),
            programs: Programs::default(),
            extra_arguments: Vec::new(),
        }
    }
}

/// Ports that nobody listens on, all different since they are held at the same time.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)).context("no port is free"))
        .collect::<Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr().context("no port is free")?.port())).collect()
}

/// A Unix socket's path holds at most 107 bytes (unix(7)): a clone that lies deep gets one in the temporary
/// folder, in a folder that only this user may enter.
pub(crate) fn socket_path(folder: &Path) -> Result<PathBuf> {
    const LONGEST: usize = 100;
    let beside = folder.join("sql.sock");
    if beside.as_os_str().len() <= LONGEST {
        return Ok(beside);
    }
    let text = folder.display().to_string();
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let private = std::env::temp_dir().join(format!("weir-{}", rustix::process::geteuid().as_raw()));
    make_folder(&private)?;
    fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .with_context(|| format!("{} belongs to somebody else", private.display()))?;
    Ok(private.join(format!("{hash:016x}.sock")))
}
