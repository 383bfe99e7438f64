//! All connections of one namespace to one instance.
//!
//! The budget is one number for the process; idle connections and queues are kept by worker (see `shard`). A
//! connection given back goes to the session that waits longest on the same worker, unless one on another worker
//! has waited noticeably longer. The pool grows when a session has waited longer than a new connection would take
//! to be worth it: few connections make the server cheaper.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use weir_catalog::namespace::PoolSettings;
use weir_wire::connect::ServerRefusal;

use crate::{
    accounts::IdentityId,
    checkout::{Checkout, CheckoutError},
    connection::Connection,
    control::Control,
    dial::Dialer,
    health::Health,
    left::{Fact, Memory},
    metrics::{PoolMetrics, count, uncount},
    prepared::Definition,
    shard::{Delivery, HandOver, Rider, Shard, Waiter, micros_between},
    state::State,
    user_variable::UserVariables,
};

/// A session waits this long before the pool grows for it, if others are using connections already.
const GROW_AFTER: Duration = Duration::from_millis(2);
/// How often a waiting session looks again whether the pool may grow.
const GROW_AGAIN: Duration = Duration::from_millis(50);
/// A session on another worker is served first if it has waited this much longer, and a quarter longer: each move of a
/// connection between workers wakes one of them.
const NOTICEABLY_LONGER_MICROS: u64 = 1000;
/// A session whose capabilities need another login waits this long for a connection of its own kind before one of
/// another kind is closed for it.
const CLASS_PATIENCE: Duration = Duration::from_millis(50);
/// How long no more connections are dialed for an account that has as many as the server lets it have.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Errors with which a server says so: `max_user_connections`, of the account and of all.
const MOST_CONNECTIONS: [u16; 2] = [1203, 1226];
/// Short reads of other sessions that one write takes along. Seven took no less CPU than three.
const MOST_RIDERS: usize = 3;
/// A connection idle for longer is checked with a system call before it is lent.
const TRUST_IDLE: Duration = Duration::from_millis(500);

/// As whom and with which of the client's capabilities a backend connection must have been logged in, since nothing
/// switches them later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Class {
    /// Whom it is logged in as.
    pub identity: IdentityId,
    /// CLIENT_FOUND_ROWS.
    pub found_rows: bool,
    /// CLIENT_IGNORE_SPACE.
    pub ignore_space: bool,
    /// CLIENT_INTERACTIVE.
    pub interactive: bool,
    /// No CLIENT_MULTI_RESULTS: a procedure with results gives error 1312.
    pub single_results: bool,
    /// MARIADB_CLIENT_EXTENDED_METADATA: column definitions tell of JSON, UUID and the like.
    pub extended_metadata: bool,
    /// CLIENT_QUERY_ATTRIBUTES: every COM_QUERY carries a block of attributes in front of its text.
    pub query_attributes: bool,
}

/// What a session wants of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Capabilities.
    pub class: Class,
    /// State that the statement needs; a connection that has it is preferred.
    pub state: &'a Arc<State>,
    /// User variables that the session has.
    pub user_variables: &'a Arc<UserVariables>,
    /// The statement cannot be sent a second time: ask the kernel whether the connection is alive.
    pub thorough: bool,
    /// The statement is a short read: while it waits, it may be sent behind another session's.
    pub ride: Option<Ride<'a>>,
}

/// A short read as it would be sent: see [`Want::ride`].
#[derive(Clone, Copy, Debug)]
pub struct Ride<'a> {
    /// The packet, whole.
    pub packet: &'a [u8],
    /// The prepared statement that it executes.
    pub definition: Option<&'a Arc<Definition>>,
}

/// How a pool is made.
#[derive(Debug)]
pub struct PoolOptions {
    /// Name in messages and metrics: `host:port`.
    pub instance: String,
    /// Name of the namespace, for messages and metrics.
    pub namespace: String,
    /// Sizes and times.
    pub settings: PoolSettings,
    /// Makes connections.
    pub dialer: Dialer,
    /// Number of workers.
    pub workers: usize,
}

/// See the module's text.
#[derive(Debug)]
pub struct Pool {
    me: Weak<Pool>,
    options: PoolOptions,
    shards: Box<[Shard]>,
    /// Open connections and those being dialed.
    open: AtomicUsize,
    dialing: AtomicUsize,
    /// Of the open ones, those of others than the slice's own account.
    open_as: Mutex<HashMap<IdentityId, Shares>>,
    closed: AtomicBool,
    health: Health,
    epoch: Instant,
    seed: AtomicU64,
    control: Control,
}

/// A session's place in the queue. A session that leaves it, because its client did, passes on what it may have been
/// given in the same moment.
struct Place<'p> {
    pool: &'p Arc<Pool>,
    worker: usize,
    delivery: oneshot::Receiver<Delivery>,
    /// It was taken out of the queue, and knows it.
    delivered: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.delivery.close();
        if !self.delivered
            && let Ok(Ok(connection)) = self.delivery.try_recv()
        {
            if connection.answer_due() {
                // the answer to a statement that was taken along: nobody reads it
                drop(connection);
                self.pool.replace(self.worker);
            } else {
                self.pool.place(connection, self.worker, Instant::now());
            }
        }
        if !self.delivered {
            self.pool.shard(self.worker).purge(self.pool.epoch);
        }
    }
}

/// A place in a pool's budget. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    identity: IdentityId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.open.fetch_sub(1, Ordering::SeqCst);
        if !self.identity.is_service() {
            let mut open_as = self.pool.open_as();
            if let Some(shares) = open_as.get_mut(&self.identity) {
                shares.open = shares.open.saturating_sub(1);
                if shares.open == 0 {
                    open_as.remove(&self.identity);
                }
            }
        }
    }
}

/// What an identity has of a pool.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    /// Connections open or being dialed.
    open: usize,
    /// The server said that it has as many as it may: no more are dialed before this time.
    full_until: Option<Instant>,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(options: PoolOptions, now: Instant) -> Arc<Self> {
        let shards = (0..options.workers.max(1)).map(|_| Shard::new()).collect();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            shards,
            open: AtomicUsize::new(0),
            dialing: AtomicUsize::new(0),
            open_as: Mutex::default(),
            closed: AtomicBool::new(false),
            health: Health::new(now),
            epoch: now,
            seed: AtomicU64::new(0x9E37_79B9_7F4A_7C15),
            control: Control::default(),
            options,
        })
    }

    /// Name in messages and metrics.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.options.instance
    }

    /// Name of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.options.namespace
    }

    /// Is the instance reachable?
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Sizes and times.
    #[must_use]
    pub fn settings(&self) -> &PoolSettings {
        &self.options.settings
    }

    /// Makes connections; also knows what the server was seen to be.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.options.dialer
    }

    pub(crate) fn weak(&self) -> &Weak<Pool> {
        &self.me
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Sessions that use or wait for a connection: what balancing goes by.
    #[must_use]
    pub fn load(&self) -> usize {
        self.shards
            .iter()
            .map(|s| usize::try_from(s.counters.in_use.load(Ordering::Relaxed)).unwrap_or(0) + s.waiting())
            .sum()
    }

    /// All counters, summed over the workers.
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        let mut sum = PoolMetrics::default();
        for shard in &self.shards {
            shard.counters.add_to(&mut sum);
            sum.idle += shard.idle_len() as u64;
            sum.waiting += shard.waiting() as u64;
        }
        sum.open = self.open.load(Ordering::SeqCst) as u64;
        sum.control = u64::from(self.control.is_open());
        sum
    }

    /// Lends a connection to a session of `worker`. The connection's state is not yet the wanted one.
    ///
    /// # Errors
    /// The instance is down, the queue is full, or nobody gave a connection back in time.
    ///
    /// May be dropped at any time: the session then leaves the queue.
    pub async fn checkout(
        self: &Arc<Self>,
        worker: usize,
        want: &Want<'_>,
    ) -> Result<Checkout, CheckoutError> {
        let shard = self.shard(worker);
        let connection = match self.take_idle(worker, want) {
            Some(connection) => connection,
            None => {
                count(&shard.counters.waits);
                let since = Instant::now();
                let waited = Box::pin(self.wait(worker, want, since)).await;
                shard
                    .counters
                    .wait_micros
                    .fetch_add(micros_between(since, Instant::now()), Ordering::Relaxed);
                waited?
            }
        };
        count(&shard.counters.checkouts);
        count(&shard.counters.in_use);
        Ok(Checkout::new(connection, Arc::clone(self), worker))
    }

    /// Lends the connection on which statement `number` ran last, if it is idle: it still knows what a session may
    /// ask about its statement before.
    #[must_use]
    pub fn checkout_after(self: &Arc<Self>, worker: usize, number: u64) -> Option<Checkout> {
        self.checkout_where(worker, |c| c.last_statement() == number)
    }

    pub(crate) fn checkout_where(
        self: &Arc<Self>,
        worker: usize,
        suits: impl Fn(&Connection) -> bool,
    ) -> Option<Checkout> {
        let mut connection = self.shards.iter().find_map(|s| s.take_where(&suits))?;
        if connection.stream().is_readable(true) {
            return None;
        }
        connection.park();
        connection.unpark(worker).ok()?;
        let shard = self.shard(worker);
        count(&shard.counters.checkouts);
        count(&shard.counters.in_use);
        Some(Checkout::new(connection, Arc::clone(self), worker))
    }

    /// Lends an idle connection for a command that any account may send, and that needs no state.
    #[must_use]
    pub(crate) fn checkout_any(self: &Arc<Self>, worker: usize) -> Option<Checkout> {
        let shard = self.shard(worker);
        let mut connection = match shard.take_any() {
            Some(connection) => connection,
            None => {
                let mut connection = self.shards.iter().find_map(Shard::take_any)?;
                connection.park();
                connection.unpark(worker).ok()?;
                connection
            }
        };
        if connection.stream().is_readable(true) {
            return None;
        }
        count(&shard.counters.checkouts);
        count(&shard.counters.in_use);
        Some(Checkout::new(connection, Arc::clone(self), worker))
    }

    /// Lends the idle connection that knows something about a statement of the session.
    #[must_use]
    pub fn checkout_knowing(
        self: &Arc<Self>,
        worker: usize,
        memory: &Arc<Memory>,
        fact: Fact,
        number: u64,
    ) -> Option<Checkout> {
        self.checkout_where(worker, |c| c.left().is_some_and(|left| left.knows(memory, fact, number)))
    }

    /// Takes along short reads that wait on the same worker: see [`Want::ride`]. Their packets are appended to `out`.
    pub fn take_riders(&self, worker: usize, connection: &mut Connection, out: &mut Vec<u8>) {
        let shard = self.shard(worker);
        let riders = shard.take_riders(connection, MOST_RIDERS, self.epoch);
        shard.counters.riders.fetch_add(riders.len() as u64, Ordering::Relaxed);
        connection.board(riders, out);
    }

    /// Is somebody waiting on this worker?
    #[must_use]
    pub fn is_waited_for(&self, worker: usize) -> bool {
        self.shard(worker).waiting() > 0
    }

    /// Closes idle connections and lets no new ones be made: the instance left the configuration.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.control.close();
        for shard in &self.shards {
            self.part_with(shard.retire(|_| true));
            shard.refuse_all(&CheckoutError::Closed { instance: self.instance().to_owned() }, self.epoch);
        }
    }

    /// Once a second, by each worker: closes connections that are too old, idle for too long, or dead.
    pub fn sweep(&self, worker: usize, now: Instant) {
        let settings = &self.options.settings;
        let shard = self.shard(worker);
        shard.purge(self.epoch);
        let spare = self.open.load(Ordering::SeqCst).saturating_sub(settings.min_idle as usize);
        let mut closed = 0;
        let retired = shard.retire(|connection| {
            let idle_long = now.saturating_duration_since(connection.idle_since) > settings.idle_timeout;
            let retire = (idle_long && closed < spare)
                || self.is_too_old(connection, now)
                || !self.dialer().identities().is_used(connection.class().identity)
                || connection.stream().is_readable(true);
            closed += usize::from(retire);
            retire
        });
        shard.counters.retired.fetch_add(retired.len() as u64, Ordering::Relaxed);
        self.part_with(retired);
        self.close_unused(worker, now);
        if worker == 0 {
            self.dialer().forget_unused();
        }
    }

    /// Closes connections, once they have told what sessions may still ask of them.
    #[allow(clippy::vec_box, reason = "they are kept boxed")]
    fn part_with(&self, connections: Vec<Box<Connection>>) {
        for mut connection in connections {
            if connection.is_broken() || !connection.has_left() {
                continue;
            }
            let limit = self.options.settings.connect_timeout;
            let worker = connection.home;
            tokio::spawn(async move {
                let told = async {
                    connection.unpark(worker)?;
                    connection.flush_left().await
                };
                match tokio::time::timeout(limit, told).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a connection ended before it was asked"),
                    Err(_) => tracing::debug!("a connection that was to be closed did not answer"),
                }
            });
        }
    }

    pub(crate) fn returned(&self, worker: usize) {
        uncount(&self.shard(worker).counters.in_use);
    }

    /// A checkout ended.
    pub(crate) fn give_back(self: &Arc<Self>, mut connection: Box<Connection>, worker: usize) {
        let now = Instant::now();
        if connection.is_broken() {
            drop(connection);
            self.replace(worker);
            return;
        }
        self.health.answered(now);
        if let Some(rider) = connection.next_rider() {
            connection.set_answer_due();
            // a rider that is gone cannot take its answer: the connection ends, and those behind it are sent again
            if rider.deliver.send(Ok(connection)).is_err() {
                self.replace(worker);
            }
            return;
        }
        if self.closed.load(Ordering::SeqCst) || self.is_too_old(&connection, now) {
            self.part_with(vec![connection]);
            self.replace(worker);
            return;
        }
        if !connection.is_dirty() {
            connection.idle_since = now;
            self.place(connection, worker, now);
            return;
        }
        count(&self.shard(worker).counters.resets);
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let limit = pool.options.settings.connect_timeout;
            match tokio::time::timeout(limit, connection.prepare_for_use(true)).await {
                Ok(Ok(())) => {
                    let now = Instant::now();
                    connection.idle_since = now;
                    pool.place(connection, worker, now);
                }
                Ok(Err(error)) => {
                    tracing::debug!(instance = pool.instance(), %error, "a connection could not be reset");
                    drop(connection);
                    pool.replace(worker);
                }
                Err(_) => {
                    drop(connection);
                    pool.replace(worker);
                }
            }
        });
    }

    pub(crate) fn shard(&self, worker: usize) -> &Shard {
        #[allow(
            clippy::indexing_slicing,
            reason = "the remainder is below the length, which is at least one"
        )]
        &self.shards[worker % self.shards.len()]
    }

    /// Give or take a tenth, so that connections made together do not end together.
    fn is_too_old(&self, connection: &Connection, now: Instant) -> bool {
        let max = self.options.settings.max_age;
        let spread = max.mul_f64(f64::from(connection.thread_id() % 21) / 100.0);
        now.saturating_duration_since(connection.created) > max.mul_f64(0.9) + spread
    }

    fn take_idle(&self, worker: usize, want: &Want<'_>) -> Option<Box<Connection>> {
        loop {
            let mut connection = match self.shard(worker).take_idle(want) {
                Some(connection) => connection,
                None => self.take_from_others(worker, want)?,
            };
            let trusted = !want.thorough && connection.idle_since.elapsed() < TRUST_IDLE;
            if connection.stream().is_readable(!trusted) {
                count(&self.shard(worker).counters.dead);
                continue;
            }
            return Some(connection);
        }
    }

    fn take_from_others(&self, worker: usize, want: &Want<'_>) -> Option<Box<Connection>> {
        if self.shard(worker).waiting() > 0 {
            return None;
        }
        let others = self.shards.iter().enumerate().filter(|(i, _)| *i != worker % self.shards.len());
        for (_, shard) in others {
            if let Some(mut connection) = shard.take_idle(want) {
                count(&self.shard(worker).counters.moved);
                connection.park();
                if connection.unpark(worker).is_ok() {
                    return Some(connection);
                }
            }
        }
        None
    }

    async fn wait(
        self: &Arc<Self>,
        worker: usize,
        want: &Want<'_>,
        since: Instant,
    ) -> Result<Box<Connection>, CheckoutError> {
        let settings = &self.options.settings;
        let shard = self.shard(worker);
        let waiting: usize = self.shards.iter().map(Shard::waiting).sum();
        if waiting >= settings.max_waiters as usize {
            count(&shard.counters.queue_full);
            return Err(CheckoutError::QueueFull { instance: self.instance().to_owned(), waiting });
        }
        let (deliver, delivery) = oneshot::channel();
        let mut place = Place { pool: self, worker, delivery, delivered: false };
        let rider = want.ride.map(|ride| Rider {
            state: Arc::clone(want.state),
            user_variables: Arc::clone(want.user_variables),
            packet: ride.packet.to_vec(),
            definition: ride.definition.cloned(),
        });
        shard.enqueue(Waiter { class: want.class, since, served: false, rider, deliver }, self.epoch);
        // a connection given back between the look and the queue would lie idle while we wait
        self.serve_queue(worker, want);
        self.grow(worker, want, since)?;
        // nothing is to be had of a full and busy pool: no timer is to go off in vain for nearly each statement under load
        let full = self.open.load(Ordering::SeqCst) >= settings.capacity as usize
            && self.shards.iter().all(|shard| shard.idle_len() == 0);
        let mut pause = if full { GROW_AGAIN } else { GROW_AFTER };
        loop {
            let left = settings.checkout_timeout.saturating_sub(since.elapsed());
            match tokio::time::timeout(pause.min(left), &mut place.delivery).await {
                Ok(Ok(delivered)) => {
                    place.delivered = true;
                    return self.receive(delivered, worker);
                }
                Ok(Err(_)) if self.closed.load(Ordering::SeqCst) => {
                    return Err(CheckoutError::Closed { instance: self.instance().to_owned() });
                }
                Ok(Err(_)) => {
                    // the connection that had taken the statement along ended: it waits again, for one of its own
                    let (deliver, again) = oneshot::channel();
                    place.delivery = again;
                    let waiter = Waiter { class: want.class, since, served: false, rider: None, deliver };
                    shard.enqueue(waiter, self.epoch);
                    self.serve_queue(worker, want);
                    self.grow(worker, want, since)?;
                }
                Err(_) if since.elapsed() >= settings.checkout_timeout => break,
                Err(_) => self.grow(worker, want, since)?,
            }
            pause = GROW_AGAIN;
        }
        place.delivery.close();
        if let Ok(delivered) = place.delivery.try_recv() {
            return self.receive(delivered, worker);
        }
        count(&shard.counters.timeouts);
        Err(CheckoutError::Timeout { instance: self.instance().to_owned(), waited: since.elapsed() })
    }

    fn receive(&self, delivered: Delivery, worker: usize) -> Result<Box<Connection>, CheckoutError> {
        let mut connection = delivered?;
        connection.unpark(worker).map_err(|e| CheckoutError::Down {
            instance: self.instance().to_owned(),
            error: format!("a connection could not be moved between workers: {e}"),
        })?;
        Ok(connection)
    }

    /// Idle connections that came while a session put itself into the queue go to the head of that queue.
    fn serve_queue(self: &Arc<Self>, worker: usize, want: &Want<'_>) {
        let now = Instant::now();
        for shard in &self.shards {
            let Some(mut connection) = shard.take_where(|c| c.class() == want.class) else { continue };
            if connection.stream().is_readable(true) {
                continue;
            }
            self.place(connection, worker, now);
        }
    }

    /// Makes a new connection for the queue, if the budget allows it and it is worth it.
    fn grow(self: &Arc<Self>, worker: usize, want: &Want<'_>, since: Instant) -> Result<(), CheckoutError> {
        let now = Instant::now();
        let open = self.open.load(Ordering::SeqCst);
        let dialing = self.dialing.load(Ordering::SeqCst);
        let none_lives = open == dialing;
        if !self.health.may_dial(now) {
            if open > dialing {
                return Ok(());
            }
            let error = self.health.view(now).error.unwrap_or_default();
            return Err(CheckoutError::Down { instance: self.instance().to_owned(), error });
        }
        let waiting: usize = self.shards.iter().map(Shard::waiting).sum();
        let worth_it = none_lives || now.saturating_duration_since(since) >= GROW_AFTER;
        if !worth_it || dialing >= waiting {
            return Ok(());
        }
        let identity = want.class.identity;
        if self.is_full(identity, now) {
            return Ok(());
        }
        if let Some(lease) = self.lease(identity) {
            self.dial(worker, want.class, lease);
        } else {
            // all places are taken, perhaps by idle connections that this session cannot use
            let patient = now.saturating_duration_since(since) < CLASS_PATIENCE;
            let unsuitable = |c: &Connection| {
                let other = c.class() != want.class;
                let unused = now.saturating_duration_since(c.idle_since) >= CLASS_PATIENCE;
                (!patient || (unused && other))
                    && (other || (want.state.database().is_none() && c.state().database().is_some()))
            };
            let closed = self.shards.iter().find_map(|s| s.take_where(unsuitable));
            if let Some(closed) = closed {
                self.make_room(closed, want.class, worker);
            }
        }
        Ok(())
    }

    /// A connection was closed: somebody may be waiting for its place.
    pub(crate) fn replace(self: &Arc<Self>, worker: usize) {
        let now = Instant::now();
        if self.closed.load(Ordering::SeqCst) || !self.health.may_dial(now) {
            return;
        }
        let waiting = self.shards.iter().map(Shard::waiting).sum::<usize>();
        if waiting > self.dialing.load(Ordering::SeqCst) {
            let here = self.shard(worker).head_class();
            let class = here.or_else(|| self.shards.iter().find_map(Shard::head_class)).unwrap_or_default();
            if self.is_full(class.identity, now) {
                return;
            }
            if let Some(lease) = self.lease(class.identity) {
                self.dial(worker, class, lease);
            }
        }
    }

    fn open_as(&self) -> MutexGuard<'_, HashMap<IdentityId, Shares>> {
        self.open_as.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it have as many connections as the server lets it have?
    fn is_full(&self, identity: IdentityId, now: Instant) -> bool {
        if identity.is_service() {
            return false;
        }
        let shares = self.open_as().get(&identity).copied().unwrap_or_default();
        shares.full_until.is_some_and(|until| now < until)
    }

    fn lease(&self, identity: IdentityId) -> Option<Lease> {
        let capacity = self.options.settings.capacity as usize;
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| (open < capacity).then_some(open + 1))
            .ok()?;
        let pool = self.me.upgrade()?;
        if !identity.is_service() {
            self.open_as().entry(identity).or_default().open += 1;
        }
        Some(Lease { pool, identity })
    }

    fn dial(self: &Arc<Self>, worker: usize, class: Class, lease: Lease) {
        let pool = Arc::clone(self);
        pool.dialing.fetch_add(1, Ordering::SeqCst);
        let shard = self.shard(worker);
        count(&shard.counters.dials);
        shard.mark_served(class);
        tokio::spawn(async move {
            let dialed = pool.options.dialer.dial(class, pool.options.settings.connect_timeout).await;
            pool.dialing.fetch_sub(1, Ordering::SeqCst);
            let now = Instant::now();
            match dialed {
                Ok(mut connection) => {
                    pool.health.answered(now);
                    pool.proven(class.identity, true);
                    connection.lease = Some(lease);
                    connection.home = worker;
                    pool.place_new(Box::new(connection), worker, now);
                }
                Err(error) => {
                    drop(lease);
                    count(&pool.shard(worker).counters.dial_errors);
                    for shard in &pool.shards {
                        shard.unmark_served(class);
                    }
                    if let (false, Some(refusal)) = (class.identity.is_service(), error.blames_account()) {
                        pool.health.answered(now);
                        pool.account_refused(class, refusal, now);
                        pool.replace(worker);
                        return;
                    }
                    pool.dial_failed(&error.to_string(), now);
                }
            }
        });
    }

    fn proven(&self, identity: IdentityId, yes: bool) {
        if let Some(identity) = self.dialer().identities().get(identity) {
            identity.set_proven_at(self.instance(), yes);
        }
    }

    /// The server is there, but does not let this account in, or not so often.
    fn account_refused(&self, class: Class, refusal: ServerRefusal, now: Instant) {
        tracing::debug!(instance = self.instance(), %refusal, "the account of a session was refused");
        if MOST_CONNECTIONS.contains(&refusal.code.number)
            && let Some(shares) = self.open_as().get_mut(&class.identity)
        {
            // those who wait get one of the connections that there are
            shares.full_until = Some(now + FULL_PAUSE);
            self.shards.iter().for_each(|shard| shard.mark_all_served(class));
            return;
        }
        self.proven(class.identity, false);
        let refusal = CheckoutError::Refused(refusal);
        for shard in &self.shards {
            shard.refuse_class(class, &refusal, self.epoch);
        }
    }

    fn dial_failed(&self, error: &str, now: Instant) {
        if self.health.failed(now, error.to_owned(), self.random()) {
            tracing::warn!(
                namespace = self.namespace(),
                instance = self.instance(),
                error,
                "a server cannot be used; it is tried again"
            );
        }
        if self.open.load(Ordering::SeqCst) == 0 {
            let refusal =
                CheckoutError::Down { instance: self.instance().to_owned(), error: error.to_owned() };
            for shard in &self.shards {
                shard.refuse_all(&refusal, self.epoch);
            }
        }
    }

    /// A probe got no answer.
    pub(crate) fn probe_failed(&self, error: &str) {
        self.dial_failed(error, Instant::now());
    }

    /// Gives a connection to whoever has waited longest, or puts it among the idle ones.
    pub(crate) fn place(self: &Arc<Self>, connection: Box<Connection>, worker: usize, now: Instant) {
        self.place_after(connection, worker, now, CLASS_PATIENCE);
    }

    /// The same with a connection that was made for somebody: it is not given up for others.
    fn place_new(self: &Arc<Self>, connection: Box<Connection>, worker: usize, now: Instant) {
        self.place_after(connection, worker, now, Duration::MAX);
    }

    fn place_after(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        worker: usize,
        now: Instant,
        patience: Duration,
    ) {
        let here = worker % self.shards.len();
        let mut order: [usize; 2] = [here, here];
        let own = self.shard(here).head_since();
        let oldest = self
            .shards
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != here)
            .filter_map(|(i, s)| s.head_since().map(|since| (since, i)))
            .min();
        if let Some((since, other)) = oldest {
            let first =
                own.is_none_or(|own| is_noticeably_longer(since, own, micros_between(self.epoch, now)));
            order = if first { [other, here] } else { [here, other] };
        }
        for target in order {
            let shard = self.shard(target);
            if shard.waiting() == 0 {
                continue;
            }
            if target != connection.home {
                count(&self.shard(here).counters.moved);
                connection.park();
            }
            match shard.hand_over(connection, self.epoch, now, patience) {
                HandOver::Done => return,
                HandOver::Nobody(back) => connection = back,
                HandOver::WrongClass(back, class) => {
                    self.make_room(back, class, target);
                    return;
                }
            }
        }
        if connection.unpark(worker).is_err() {
            return;
        }
        self.shard(here).push_idle(connection);
        // somebody may have queued between our look and the push
        if self.shards.iter().any(|s| s.waiting() > 0) {
            self.rescue(worker, now);
        }
    }

    /// The place of a connection of the wrong class goes to a new one for the session that has waited longest: once the
    /// server has closed the old one, so that it never has more than its share.
    fn make_room(self: &Arc<Self>, mut connection: Box<Connection>, class: Class, worker: usize) {
        self.shard(worker).mark_served(class);
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let home = connection.home;
            let gone = async {
                connection.unpark(home)?;
                connection.flush_left().await?;
                connection.leave_server().await
            };
            match tokio::time::timeout(pool.options.settings.connect_timeout, gone).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection ended before it was closed"),
                Err(_) => tracing::debug!("a connection that was to be closed did not answer"),
            }
            drop(connection);
            match pool.lease(class.identity) {
                Some(lease) => pool.dial(worker, class, lease),
                None => pool.shard(worker).unmark_served(class),
            }
        });
    }

    fn rescue(self: &Arc<Self>, worker: usize, now: Instant) {
        let here = self.shard(worker);
        for shard in &self.shards {
            let classes = shard.waiting_classes();
            if classes.is_empty() {
                continue;
            }
            if let Some(mut connection) = here.take_where(|c| classes.contains(&c.class())) {
                if !std::ptr::eq(shard, here) {
                    connection.park();
                }
                match shard.hand_over(connection, self.epoch, now, CLASS_PATIENCE) {
                    HandOver::Done => {}
                    HandOver::Nobody(mut back) | HandOver::WrongClass(mut back, _) => {
                        if back.unpark(worker).is_ok() {
                            here.push_idle(back);
                        }
                    }
                }
                return;
            }
        }
    }

    /// A random number: xorshift is enough to spread retries.
    fn random(&self) -> u64 {
        let mut x = self.seed.load(Ordering::Relaxed) ^ micros_between(self.epoch, Instant::now());
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.seed.store(x | 1, Ordering::Relaxed);
        x
    }
}

/// Since when two have waited, and what time it is, microseconds: has `one` waited so much longer than `other` that it
/// goes first although it lives elsewhere?
fn is_noticeably_longer(one: u64, other: u64, now: u64) -> bool {
    let waited = now.saturating_sub(other);
    one.saturating_add(NOTICEABLY_LONGER_MICROS.max(waited / 4)) < other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_another_worker_go_first_if_they_waited_a_quarter_longer_and_a_millisecond() {
        let now = 1_000_000;
        for (one, other, first) in [
            (8_000, 8_000, false),
            (8_900, 8_000, false),
            (9_900, 8_000, false),
            (10_100, 8_000, true),
            (1_000, 100, false),
            (1_200, 100, true),
            (100, 1_200, false),
            (500_000, 400_000, false),
            (501_000, 400_000, true),
        ] {
            assert_eq!(is_noticeably_longer(now - one, now - other, now), first, "{one} and {other}");
        }
    }
}
