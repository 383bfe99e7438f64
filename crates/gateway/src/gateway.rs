//! What all sessions share: namespaces, workers, the list of sessions, budgets.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use weir_backend::{
    Definition, Definitions,
    state::{self, Interner, State},
};

use crate::{
    handle::{Handle, Phase, Signal},
    id::{GatewayNumber, SessionIds},
    in_flight::InFlight,
    session::login::LoginKeys,
    tenant::Tenants,
    worker::{TICK, Worker},
};

/// A session that only keeps things on its connection, as temporary tables, is ended by a drain once it has sent nothing
/// for so many ticks: who works with them sends sooner.
const REST: u32 = 10;

/// Upper bounds of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Client connections at once, all namespaces together; one more gets 1040.
    pub client_connections: usize,
    /// Bytes of large requests and answers held at once.
    pub bytes_in_flight: usize,
    /// How long a login may take.
    pub login_timeout: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub struct Gateway {
    limits: ArcSwap<ProcessLimits>,
    /// Keys and caches of logins.
    pub keys: LoginKeys,
    /// One for each core.
    pub workers: Vec<Arc<Worker>>,
    version: AtomicU64,
    tenants: ArcSwap<Tenants>,
    states: Arc<Interner<State>>,
    definitions: Definitions,
    sessions: Mutex<HashMap<u32, Arc<Handle>>>,
    connections: AtomicUsize,
    ids: SessionIds,
    /// What large requests and answers may take.
    pub in_flight: InFlight,
    draining: AtomicBool,
    pub(crate) census_turn: tokio::sync::Mutex<()>,
}

impl Gateway {
    /// A gateway without clients.
    #[must_use]
    pub fn new(
        number: GatewayNumber,
        limits: ProcessLimits,
        keys: LoginKeys,
        workers: usize,
        states: Arc<Interner<State>>,
        tenants: Tenants,
    ) -> Self {
        let epoch = std::time::Instant::now();
        Self {
            keys,
            workers: (0..workers.max(1)).map(|id| Arc::new(Worker::new(id, epoch))).collect(),
            version: AtomicU64::new(tenants.snapshot.version),
            tenants: ArcSwap::from_pointee(tenants),
            states,
            definitions: Definitions::default(),
            sessions: Mutex::default(),
            connections: AtomicUsize::new(0),
            ids: SessionIds::new(number),
            in_flight: InFlight::new(limits.bytes_in_flight),
            draining: AtomicBool::new(false),
            census_turn: tokio::sync::Mutex::default(),
            limits: ArcSwap::from_pointee(limits),
        }
    }

    /// Upper bounds of the process.
    #[must_use]
    pub fn limits(&self) -> Arc<ProcessLimits> {
        self.limits.load_full()
    }

    /// Changes them, for whoever comes from now on; but `bytes_in_flight` stays as it is.
    pub fn set_limits(&self, limits: ProcessLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Version of the configuration that is in force.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The configuration in force, and its version.
    #[must_use]
    pub fn tenants(&self) -> (u64, Arc<Tenants>) {
        let tenants = self.tenants.load_full();
        (tenants.snapshot.version, tenants)
    }

    /// Puts another configuration in force. Sessions take it over with their next command.
    pub fn publish(&self, tenants: Tenants) {
        let version = tenants.snapshot.version;
        self.tenants.store(Arc::new(tenants));
        self.version.store(version, Ordering::Release);
    }

    /// The shared form of a state.
    #[must_use]
    pub fn share(&self, state: State) -> Arc<State> {
        self.states.share(state)
    }

    /// The same state on a replica, where nothing may write.
    #[must_use]
    pub fn read_only(&self, state: &Arc<State>) -> Arc<State> {
        if state.is_on(state::TRANSACTION_READ_ONLY) {
            return Arc::clone(state);
        }
        let mut guarded = (**state).clone();
        guarded.set(state::TRANSACTION_READ_ONLY, b"1");
        self.states.share(guarded)
    }

    /// The shared form of the definition of a statement that is prepared in `state`.
    #[must_use]
    pub fn define(&self, text: &[u8], state: &State) -> Arc<Definition> {
        let state = self.states.share(state.for_preparing());
        self.definitions.share(Definition { text: text.into(), state })
    }

    /// Enters a new client connection. `None` if there are too many.
    #[must_use]
    pub fn admit(&self, worker: &Worker) -> Option<Arc<Handle>> {
        if self.connections.fetch_add(1, Ordering::AcqRel) >= self.limits.load().client_connections {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        worker.sessions.fetch_add(1, Ordering::Relaxed);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = loop {
            let id = self.ids.next();
            if !sessions.contains_key(&id) {
                break Arc::new(Handle::new(id, worker.now()));
            }
        };
        sessions.insert(handle.id, Arc::clone(&handle));
        Some(handle)
    }

    /// A client connection ended.
    pub fn forget(&self, handle: &Handle, worker: &Worker) {
        let gone = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.id);
        if gone.is_some() {
            worker.sessions.fetch_sub(1, Ordering::Relaxed);
            self.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Its number, which is a part of its sessions' ids.
    #[must_use]
    pub fn number(&self) -> GatewayNumber {
        self.ids.gateway()
    }

    /// The session with this id.
    #[must_use]
    pub fn session(&self, id: u32) -> Option<Arc<Handle>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The session that may have locks by name on this connection of an instance.
    pub(crate) fn owner_of_locks(&self, instance: &str, thread_id: u32) -> Option<u32> {
        self.handles().iter().find(|handle| handle.has_locks_on(instance, thread_id)).map(|handle| handle.id)
    }

    /// Every session now.
    pub(crate) fn handles(&self) -> Vec<Arc<Handle>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Definitions of prepared statements, and how many sessions and server connections hold each.
    #[must_use]
    pub fn definitions(&self) -> Vec<(Arc<Definition>, usize)> {
        self.definitions.all()
    }

    /// Client connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Is the gateway about to end?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// No new logins from now on; sessions end between transactions.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.tell_all(Signal::Drain);
    }

    /// The deadline is over: sessions end now.
    pub fn stop(&self) {
        self.draining.store(true, Ordering::Release);
        self.tell_all(Signal::Stop);
    }

    fn tell_all(&self, signal: Signal) {
        for handle in self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values() {
            handle.send(signal);
        }
    }

    /// Once a tick, on worker 0: ends what has waited for too long.
    pub fn sweep_sessions(&self) {
        let (_, tenants) = self.tenants();
        let login_limit = ticks(self.limits.load().login_timeout);
        let handles = self.handles();
        let now = self.workers.first().map_or(0, |w| w.now());
        for handle in handles {
            let (phase, since) = handle.phase();
            let waited = now.wrapping_sub(since);
            // a session may have entered its phase a tick ahead of this worker
            if waited > u32::MAX / 2 {
                continue;
            }
            self.warn_of_pins(&handle, now);
            let times = || {
                let login = handle.login()?;
                tenants.by_name.get(&*login.namespace).map(|t| t.namespace.session.clone())
            };
            let signal = match phase {
                Phase::Login if waited > login_limit => Signal::IdleTimeout,
                Phase::IdleHolding if waited >= REST && self.is_draining() && handle.is_at_rest() => {
                    Signal::DrainAtRest
                }
                Phase::Idle if waited > handle.idle_limit() => Signal::IdleTimeout,
                Phase::IdleHolding if waited > handle.idle_limit() => Signal::IdleTimeout,
                // the cheap comparison first: most sessions have waited for less than a second
                Phase::IdleHolding if waited >= 5 => match times() {
                    Some(t) if waited > ticks(t.idle_in_transaction_timeout) => Signal::IdleInTransaction,
                    _ => continue,
                },
                Phase::Writing | Phase::Reading if waited >= 5 => match times() {
                    Some(t) if waited > ticks(t.client_write_timeout) => Signal::WriteTimeout,
                    _ => continue,
                },
                _ => continue,
            };
            handle.send(signal);
        }
    }

    /// Sessions by phase: idle, idle holding a connection, busy, writing, logging in.
    #[must_use]
    pub fn phases(&self) -> Vec<(Arc<str>, Phase)> {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|h| (h.login().map_or_else(|| Arc::from(""), |l| l.namespace), h.phase().0))
            .collect()
    }
}

/// A duration in ticks of the workers' clock, rounded up.
#[must_use]
pub fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
}
