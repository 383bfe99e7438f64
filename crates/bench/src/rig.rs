//! Everything that stands while a table is measured: servers with data, HAProxy, Weir.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;
use weir_testkit::{Cluster, Options, SERVICE};

use crate::arguments::Plan;
use crate::data;
use crate::generator::job::Target;
use crate::haproxy::HaProxy;
use crate::weir::{Weir, WeirTls};
use crate::workload::Workload;

/// The three ways from a client to a server, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    HaProxy,
    Weir,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Direct, Way::HaProxy, Way::Weir];

    /// Its name in the table and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::HaProxy => "haproxy",
            Way::Weir => "weir",
        }
    }
}

/// A primary with one replica, and the data on both. One replica, because its copy of every write takes its share of
/// the same cores.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    folder: TempDir,
    interrupted: Arc<AtomicBool>,
}

/// Connections to a server beside those of measured clients.
const SPARE_CONNECTIONS: u32 = 100;

impl Rig {
    /// Starts the servers and fills the tables.
    pub(crate) fn start(plan: &Plan) -> Result<Rig> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot handle signals")?;
        }
        let mut options = Options::new(plan.server, format!("bench-{}", plan.server));
        options.replicas = 1;
        // Clients of the direct way and of HAProxy's are logged in at the same time.
        options.max_connections = 2 * plan.most_clients() + SPARE_CONNECTIONS;
        options.extra_arguments = vec!["--max-allowed-packet=64M".to_owned()];
        let cluster = Cluster::start(&options)?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let rig = Rig { cluster, folder, interrupted };
        data::create(&rig.cluster)?;
        rig.check()?;
        Ok(rig)
    }

    /// An error once somebody asked this program to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// The folder for configuration and logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process ids of all servers.
    pub(crate) fn servers(&self) -> Result<Vec<u32>> {
        let instances = self.cluster.instances();
        let pids = instances.iter().map(|instance| instance.process.as_ref().map(|process| process.pid));
        pids.collect::<Option<_>>().context("a server does not run")
    }
}

/// The two proxies in front of the rig's servers.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub(crate) haproxy: HaProxy,
    pub(crate) weir: Weir,
}

impl Proxies {
    pub(crate) fn start(rig: &Rig, plan: &Plan) -> Result<Proxies> {
        Ok(Proxies {
            haproxy: HaProxy::start(&rig.cluster, rig.folder())?,
            weir: Weir::start(&plan.weir, &rig.cluster, rig.folder(), WeirTls::Off)?,
        })
    }

    /// The end of what Weir wrote, for whoever has to find out what went wrong.
    pub(crate) fn log(&self) -> String {
        self.weir.program.log_tail()
    }

    /// Where clients of a workload log in on each of [`Way::ALL`]. Reads of all three are served by the replica,
    /// transactions by the primary: Weir finds that out by itself, the others are told.
    pub(crate) fn targets(&self, rig: &Rig, workload: Workload) -> Result<Vec<Target>> {
        let server = if workload.is_read() { rig.cluster.instance(1)? } else { rig.cluster.primary()? };
        let haproxy = if workload.is_read() { self.haproxy.reads } else { self.haproxy.writes };
        let target = |way: Way, port: u16, proxy: Option<u32>| Target {
            name: way.name().to_owned(),
            address: format!("127.0.0.1:{port}"),
            user: SERVICE.user.to_owned(),
            password: SERVICE.password.to_owned(),
            proxy,
        };
        Ok(vec![
            target(Way::Direct, server.port, None),
            target(Way::HaProxy, haproxy, Some(self.haproxy.program.pid())),
            self.weir.target(),
        ])
    }
}
