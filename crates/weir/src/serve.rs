//! `weir serve`: a gateway from its settings, until a signal ends it.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    assemble::{Assembled, Drained, Parts, shown_address},
    cli::serve::{key_places, process_limits},
    http,
    namespaces::Namespaces,
    settings::InForce,
    status::Status,
    telemetry::Level,
};

/// How often it is looked whether a namespace's file changed.
const POLL: Duration = Duration::from_secs(5);
/// A session that has just seen the namespaces before may still ask their pools for a connection.
const POOL_GRACE: Duration = Duration::from_secs(5);

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Service {
    /// What the gateway is made of.
    pub parts: Parts,
    /// Where the namespaces come from.
    pub namespaces: Namespaces,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` is nowhere.
    pub http: Option<SocketAddr>,
    /// The settings that all of this is made of.
    pub in_force: InForce,
    /// How much is logged.
    pub level: Level,
}

impl Service {
    /// Serves until TERM or INT.
    ///
    /// # Errors
    /// It cannot start: an address is taken, a key cannot be used.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let control = runtime::Builder::new_current_thread().enable_all().build();
        control.context("no event loop")?.block_on(self.serve())
    }

    async fn serve(mut self) -> Result<ExitCode> {
        // first, so that a signal during the start is not lost
        let mut signals = Signals::catch()?;
        let status = Arc::new(Status::new(SystemTime::now()));
        raise_file_limit(self.parts.limits.client_connections);
        let http = match self.http {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = self.parts.workers, "weir starts");
        let loaded = self.namespaces.load()?;
        status.reloaded(loaded.whole);
        let mut assembled = Assembled::start(self.parts.clone(), loaded.snapshot)?;
        for address in &assembled.addresses {
            tracing::info!(address = shown_address(address), "listening for clients");
        }
        if let Some(listener) = http {
            let address = listener.local_addr().context("the HTTP listener has no address")?;
            tracing::info!(%address, "serving /metrics, /healthz and /readyz");
            tokio::spawn(http::serve(listener, Arc::clone(&assembled.gateway), Arc::clone(&status)));
        }
        let count = assembled.gateway.tenants().1.by_name.len();
        tracing::info!(count, "namespaces in force");

        let end = self.follow(&mut assembled, &status, &mut signals).await;
        match end {
            End::Drain => drain(&assembled, self.in_force.settings().drain_timeout, &mut signals).await,
            End::Now => {
                tracing::info!("interrupted: sessions are cut off");
                assembled.cut_off().await;
            }
        }
        assembled.stop();
        tracing::info!("weir ends");
        Ok(ExitCode::SUCCESS)
    }

    /// Takes over changes of configuration, until a signal tells to end.
    async fn follow(&mut self, assembled: &mut Assembled, status: &Status, signals: &mut Signals) -> End {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.tick().await;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return End::Drain,
                _ = signals.interrupt.recv() => return End::Now,
                _ = signals.hangup.recv() => {
                    tracing::info!("hangup: reading settings, namespaces, certificate and keys again");
                    let settings = self.resettle(assembled);
                    let keys = assembled.reload_keys();
                    let namespaces = self.reload(assembled);
                    status.reloaded(settings && keys && namespaces);
                }
                _ = poll.tick() => {
                    if self.namespaces.have_changed() {
                        tracing::info!("files of namespaces changed: reading them again");
                        let namespaces = self.reload(assembled);
                        status.reloaded(namespaces);
                    }
                }
            }
        }
    }

    /// Reads the settings again and gives them to whom they concern. Returns whether they are valid.
    fn resettle(&mut self, assembled: &mut Assembled) -> bool {
        let whole = self.in_force.reread();
        let settings = self.in_force.settings();
        assembled.gateway.set_limits(process_limits(settings));
        assembled.set_keys(key_places(settings));
        match self.level.set(&settings.log_level) {
            Ok(()) => whole,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the log level stays as it was");
                false
            }
        }
    }

    /// Reads the namespaces again. Returns whether nothing had to be refused.
    fn reload(&mut self, assembled: &Assembled) -> bool {
        let in_force = self.namespaces.reload();
        let version = in_force.snapshot.version;
        if version == assembled.gateway.version() {
            tracing::info!("no namespace changed");
            return in_force.whole;
        }
        match assembled.publish(in_force.snapshot) {
            Ok(old_pools) => {
                tokio::spawn(async move {
                    tokio::time::sleep(POOL_GRACE).await;
                    old_pools.iter().for_each(|pool| pool.close());
                });
                tracing::info!(version, "namespaces in force");
                in_force.whole
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "namespaces were not taken; those before stay in force");
                false
            }
        }
    }
}

enum End {
    /// TERM: sessions may finish.
    Drain,
    /// INT.
    Now,
}

async fn drain(assembled: &Assembled, limit: Duration, signals: &mut Signals) {
    tracing::info!(?limit, sessions = assembled.gateway.connections(), "draining: no new logins");
    tokio::select! {
        drained = assembled.drain(limit) => match drained {
            Drained::Quietly => tracing::info!("all sessions have ended"),
            Drained::CutOff(left) => tracing::warn!(sessions = left, "the deadline is over: sessions were cut off"),
        },
        _ = signals.interrupt.recv() => {
            tracing::warn!("interrupted while draining: sessions are cut off");
            assembled.cut_off().await;
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }
}

/// A client takes one file, and so does a connection to a server. The soft limit is a leftover of `select`, which Weir
/// does not use: it is raised to the hard one.
fn raise_file_limit(client_connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if (client_connections as u64) >= files {
        tracing::warn!(
            files,
            client_connections,
            "this process may not open enough files for as many clients as it is allowed to have"
        );
    }
}
