//! HAProxy in TCP mode: a relay that understands nothing, which is what Weir's cost is held against.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use weir_testkit::Cluster;

use crate::program::{Program, free_port};

/// A running HAProxy with one port for each server.
#[derive(Debug)]
pub(crate) struct HaProxy {
    pub(crate) program: Program,
    /// Leads to the replica.
    pub(crate) reads: u16,
    /// Leads to the primary.
    pub(crate) writes: u16,
}

impl HaProxy {
    /// Starts it in front of the cluster's primary and its first replica.
    pub(crate) fn start(cluster: &Cluster, folder: &Path) -> Result<HaProxy> {
        let (reads, writes) = (free_port()?, free_port()?);
        let threads = std::thread::available_parallelism().context("cannot count cores")?.get();
        let text = config(threads, [(reads, cluster.instance(1)?.port), (writes, cluster.primary()?.port)]);
        let path = folder.join("haproxy.cfg");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = weir_testkit::tool("haproxy")?;
        // In the foreground, one process.
        command.arg("-db").arg("-f").arg(&path);
        Ok(HaProxy { program: Program::start("haproxy", command, folder, reads)?, reads, writes })
    }
}

/// What it says of itself: `HAProxy version 2.6.12-1+deb12u3`.
pub(crate) fn version() -> Result<String> {
    let output = weir_testkit::tool("haproxy")?.arg("-v").output().context("cannot run haproxy")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// A thread for each core, as Weir has; no logging, no checks, nothing that costs by statement.
fn config(threads: usize, ports: [(u16, u16); 2]) -> String {
    let mut text = format!(
        "global\n  maxconn 8000\n  nbthread {threads}\n\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\n"
    );
    for (listen, server) in ports {
        text.push_str(&format!(
            "\nlisten to_{server}\n  bind 127.0.0.1:{listen}\n  server only 127.0.0.1:{server}\n"
        ));
    }
    text
}
