//! Workers: threads, each with an event loop of its own.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::runtime::{Builder, Handle as Runtime};
use weir_backend::{Accounts, Pool, follow_accounts, probe_forever};

use crate::{
    gateway::Gateway,
    listener::{Bound, Listener, accept_forever},
    worker::TICK,
};

/// Pools are swept once in so many ticks.
const SWEEP_EVERY: u32 = 10;
/// Unused buffers are halved once in so many ticks.
const SHRINK_EVERY: u32 = 100;
/// Threads for password checks, for each worker.
const SLOW_THREADS: usize = 4;

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    runtimes: Arc<[Runtime]>,
    threads: Vec<JoinHandle<()>>,
    stop: tokio::sync::watch::Sender<bool>,
}

/// Logins at servers have this long to end when the process does.
const LAST_LOGINS: Duration = Duration::from_secs(2);

/// Starts one thread for each worker of the gateway.
///
/// # Errors
/// The system gives no thread or no event loop.
pub fn start_workers(gateway: &Arc<Gateway>) -> io::Result<Workers> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut runtimes = Vec::new();
    let mut threads = Vec::new();
    for worker in &gateway.workers {
        let (sender, receiver) = mpsc::channel();
        let (gateway, worker, mut stopped) = (Arc::clone(gateway), Arc::clone(worker), stopped.clone());
        let thread =
            std::thread::Builder::new().name(format!("weir-worker-{}", worker.id)).spawn(move || {
                let built =
                    Builder::new_current_thread().enable_all().max_blocking_threads(SLOW_THREADS).build();
                let runtime = match built {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        // nobody listening means that the start was given up already
                        let _told = sender.send(Err(error)).is_ok();
                        return;
                    }
                };
                let _told = sender.send(Ok(runtime.handle().clone())).is_ok();
                runtime.block_on(async move {
                    tokio::select! {
                        () = housekeeping(gateway, worker.id) => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                });
                // sessions that are left end with their event loop
                runtime.shutdown_timeout(Duration::from_millis(200));
            })?;
        let runtime = receiver.recv().map_err(|_| io::Error::other("a worker did not start"))??;
        runtimes.push(runtime);
        threads.push(thread);
    }
    Ok(Workers { runtimes: runtimes.into(), threads, stop })
}

impl Workers {
    /// Accepts clients on every worker.
    pub fn listen(&self, gateway: &Arc<Gateway>, listener: &Arc<Listener>, bound: Vec<Bound>) {
        for (worker, bound) in bound.into_iter().enumerate() {
            let Some(runtime) = self.runtimes.get(worker) else { continue };
            let (gateway, listener) = (Arc::clone(gateway), Arc::clone(listener));
            let runtimes = Arc::clone(&self.runtimes);
            runtime.spawn(async move {
                if let Err(error) = accept_forever(gateway, listener, bound, worker, runtimes).await {
                    tracing::error!(%error, "a listener ended");
                }
            });
        }
    }

    /// Watches over the health of pools.
    pub fn probe(&self, pools: &[Arc<Pool>]) {
        for (i, pool) in pools.iter().enumerate() {
            let worker = i % self.runtimes.len().max(1);
            if let Some(runtime) = self.runtimes.get(worker) {
                runtime.spawn(probe_forever(Arc::clone(pool), worker));
            }
        }
    }

    /// Reads accounts of servers, and sees when they change.
    pub fn follow(&self, accounts: &[Arc<Accounts>]) {
        for (i, accounts) in accounts.iter().enumerate() {
            if let Some(runtime) = self.runtimes.get(i % self.runtimes.len().max(1)) {
                runtime.spawn(follow_accounts(Arc::clone(accounts)));
            }
        }
    }

    /// Ends all workers and waits for them.
    pub fn stop(self) {
        // a login that is broken off would be held against this host
        weir_backend::end_logins(LAST_LOGINS);
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// The worker's clock, and what is done once in a while.
async fn housekeeping(gateway: Arc<Gateway>, worker: usize) {
    let Some(own) = gateway.workers.get(worker).cloned() else { return };
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let tick = own.advance();
        if worker == 0 {
            gateway.sweep_sessions();
        }
        if tick % SWEEP_EVERY == 0 {
            let (_, tenants) = gateway.tenants();
            let now = std::time::Instant::now();
            for pool in tenants.by_name.values().flat_map(|t| t.pools()) {
                pool.sweep(worker, now);
            }
        }
        if tick % SHRINK_EVERY == 0 {
            own.shrink();
        }
    }
}
