//! One worker's part of a pool: its idle connections and the sessions that wait for one.
//!
//! Idle connections are kept last in, first out, so that few stay warm and the rest can be closed. Waiting sessions
//! are served first come, first served; across workers, whoever has waited noticeably longer.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    checkout::CheckoutError,
    connection::Connection,
    metrics::Counters,
    pool::{Class, Want},
    prepared::Definition,
    state::State,
    user_variable::UserVariables,
};

/// No session waits.
const NOBODY: u64 = u64::MAX;
/// How far down the idle list a better match is looked for.
const LOOK_BACK: usize = 8;

/// A short read that may travel behind another session's statement, in the same write.
#[derive(Debug)]
pub(crate) struct Rider {
    pub(crate) state: Arc<State>,
    pub(crate) user_variables: Arc<UserVariables>,
    /// The packet, whole.
    pub(crate) packet: Vec<u8>,
    /// The prepared statement that it executes; its id goes into the packet.
    pub(crate) definition: Option<Arc<Definition>>,
}

pub(crate) type Delivery = Result<Box<Connection>, CheckoutError>;

/// A session in the queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) class: Class,
    pub(crate) since: Instant,
    /// A connection is being made for it, or for another of its class that takes the one which it would have got.
    pub(crate) served: bool,
    pub(crate) rider: Option<Rider>,
    pub(crate) deliver: oneshot::Sender<Delivery>,
}

impl Rider {
    /// Can it run on this connection as it is? Puts the server's statement id into the packet.
    fn fits(&mut self, connection: &mut Connection) -> bool {
        if !connection.matches(&self.state, &self.user_variables) {
            return false;
        }
        let Some(definition) = &self.definition else { return true };
        let (Some(id), Some(place)) = (connection.prepared.id(definition), self.packet.get_mut(5..9)) else {
            return false;
        };
        place.copy_from_slice(&id.to_le_bytes());
        true
    }
}

/// See the module's text. Aligned so that workers do not share cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    lists: Mutex<Lists>,
    /// Live entries of the queue.
    waiting: AtomicUsize,
    /// When the oldest began to wait, microseconds since the pool's start.
    head_since: AtomicU64,
    /// Length of the idle list.
    idle: AtomicUsize,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Lists {
    #[allow(clippy::vec_box, reason = "they are lent boxed: a move is a pointer")]
    idle: Vec<Box<Connection>>,
    waiters: VecDeque<Waiter>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            lists: Mutex::default(),
            waiting: AtomicUsize::new(0),
            head_since: AtomicU64::new(NOBODY),
            idle: AtomicUsize::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// When the oldest waiter came, microseconds since the pool's start; `None` if nobody waits.
    pub(crate) fn head_since(&self) -> Option<u64> {
        Some(self.head_since.load(Ordering::SeqCst)).filter(|&since| since != NOBODY)
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, lists: &Lists, epoch: Instant) {
        self.waiting.store(lists.waiters.len(), Ordering::SeqCst);
        let head = lists.waiters.front().map_or(NOBODY, |w| micros_between(epoch, w.since));
        self.head_since.store(head, Ordering::SeqCst);
    }

    /// The idle connection that suits `want` best: of its class, if possible with its state already set. `None` while
    /// others wait here: nobody overtakes the queue.
    pub(crate) fn take_idle(&self, want: &Want<'_>) -> Option<Box<Connection>> {
        if self.idle_len() == 0 {
            return None;
        }
        let mut lists = self.lock();
        if !lists.waiters.is_empty() {
            return None;
        }
        let mut best: Option<(usize, Suits)> = None;
        for (i, connection) in lists.idle.iter().enumerate().rev().take(LOOK_BACK) {
            let Some(suits) = Suits::of(connection, want) else { continue };
            if best.is_none_or(|(_, other)| suits > other) {
                best = Some((i, suits));
            }
            if suits == Suits::AsItIs {
                break;
            }
        }
        best.map(|(i, _)| self.remove_idle(&mut lists, i))
    }

    /// The idle connection unused for longest for which `suits` says so.
    pub(crate) fn take_where(&self, suits: impl Fn(&Connection) -> bool) -> Option<Box<Connection>> {
        if self.idle_len() == 0 {
            return None;
        }
        let mut lists = self.lock();
        let i = lists.idle.iter().position(|c| suits(c))?;
        Some(self.remove_idle(&mut lists, i))
    }

    pub(crate) fn push_idle(&self, connection: Box<Connection>) {
        let mut lists = self.lock();
        lists.idle.push(connection);
        self.idle.store(lists.idle.len(), Ordering::SeqCst);
    }

    /// How many are idle; read without the lock.
    pub(crate) fn idle_len(&self) -> usize {
        self.idle.load(Ordering::SeqCst)
    }

    fn remove_idle(&self, lists: &mut Lists, i: usize) -> Box<Connection> {
        let connection = lists.idle.remove(i);
        self.idle.store(lists.idle.len(), Ordering::SeqCst);
        connection
    }

    pub(crate) fn enqueue(&self, waiter: Waiter, epoch: Instant) {
        let mut lists = self.lock();
        lists.waiters.push_back(waiter);
        self.publish(&lists, epoch);
    }

    /// Gives a connection to the session that has waited longest: of the connection's class, unless another has
    /// waited longer than `patience`, and no connection is being made for it.
    pub(crate) fn hand_over(
        &self,
        connection: Box<Connection>,
        epoch: Instant,
        now: Instant,
        patience: Duration,
    ) -> HandOver {
        let mut lists = self.lock();
        let mut outcome = HandOver::Nobody(connection);
        while let HandOver::Nobody(connection) = outcome {
            let class = connection.class();
            let overdue = |w: &Waiter| !w.served && now.saturating_duration_since(w.since) > patience;
            let first = lists.waiters.iter().find(|w| w.class == class || overdue(w));
            if let Some(other) = first.filter(|w| w.class != class) {
                outcome = HandOver::WrongClass(connection, other.class);
                break;
            }
            let position = lists.waiters.iter().position(|w| w.class == class);
            let Some(waiter) = position.and_then(|i| lists.waiters.remove(i)) else {
                outcome = HandOver::Nobody(connection);
                break;
            };
            outcome = match waiter.deliver.send(Ok(connection)) {
                // the session gave up in this very moment: the next one gets it
                Err(Ok(back)) => HandOver::Nobody(back),
                Ok(()) | Err(Err(_)) => HandOver::Done,
            };
        }
        self.publish(&lists, epoch);
        outcome
    }

    /// Sessions whose statements can be written right behind another one on `connection`: the same state, nothing to
    /// prepare. At most `most`, first come first.
    pub(crate) fn take_riders(
        &self,
        connection: &mut Connection,
        most: usize,
        epoch: Instant,
    ) -> Vec<Waiter> {
        let mut riders = Vec::new();
        if self.waiting() == 0 {
            return riders;
        }
        let mut lists = self.lock();
        let mut i = 0;
        while i < lists.waiters.len().min(LOOK_BACK + riders.len()) && riders.len() < most {
            let fits = lists.waiters.get_mut(i).is_some_and(|waiter| {
                let class = waiter.class == connection.class() && !waiter.deliver.is_closed();
                class && waiter.rider.as_mut().is_some_and(|rider| rider.fits(connection))
            });
            match fits.then(|| lists.waiters.remove(i)).flatten() {
                Some(waiter) => riders.push(waiter),
                None => i += 1,
            }
        }
        self.publish(&lists, epoch);
        riders
    }

    /// Classes of the sessions that wait.
    pub(crate) fn waiting_classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        for waiter in &self.lock().waiters {
            if !classes.contains(&waiter.class) {
                classes.push(waiter.class);
            }
        }
        classes
    }

    /// A connection of this class is being made: the first session that needs one counts as served.
    pub(crate) fn mark_served(&self, class: Class) {
        let mut lists = self.lock();
        if let Some(waiter) = lists.waiters.iter_mut().find(|w| w.class == class && !w.served) {
            waiter.served = true;
        }
    }

    /// The server lets nobody else of this class in: its sessions wait for the connections that there are.
    pub(crate) fn mark_all_served(&self, class: Class) {
        for waiter in self.lock().waiters.iter_mut().filter(|w| w.class == class) {
            waiter.served = true;
        }
    }

    /// None was made.
    pub(crate) fn unmark_served(&self, class: Class) {
        for waiter in self.lock().waiters.iter_mut().filter(|w| w.class == class) {
            waiter.served = false;
        }
    }

    /// Tells every waiting session of a class that there will be no connection.
    pub(crate) fn refuse_class(&self, class: Class, error: &CheckoutError, epoch: Instant) {
        let mut lists = self.lock();
        let (refused, rest) = lists.waiters.drain(..).partition(|w| w.class == class);
        lists.waiters = rest;
        self.publish(&lists, epoch);
        drop(lists);
        let refused: VecDeque<Waiter> = refused;
        for waiter in refused {
            // a session that stopped waiting does not need to hear it
            let _gone = waiter.deliver.send(Err(error.clone())).is_err();
        }
    }

    /// The idle connection used last, whatever it is.
    pub(crate) fn take_any(&self) -> Option<Box<Connection>> {
        let mut lists = self.lock();
        let last = lists.idle.len().checked_sub(1)?;
        Some(self.remove_idle(&mut lists, last))
    }

    /// Class of the session that has waited longest and that no connection is being made for.
    pub(crate) fn head_class(&self) -> Option<Class> {
        let lists = self.lock();
        let first = lists.waiters.iter().find(|w| !w.served).or_else(|| lists.waiters.front());
        first.map(|w| w.class)
    }

    /// Tells every waiting session that there will be no connection.
    pub(crate) fn refuse_all(&self, error: &CheckoutError, epoch: Instant) {
        let mut lists = self.lock();
        for waiter in lists.waiters.drain(..) {
            // a session that stopped waiting does not need to hear it
            let _gone = waiter.deliver.send(Err(error.clone())).is_err();
        }
        self.publish(&lists, epoch);
    }

    /// Takes sessions that stopped waiting out of the queue.
    pub(crate) fn purge(&self, epoch: Instant) {
        let mut lists = self.lock();
        lists.waiters.retain(|w| !w.deliver.is_closed());
        self.publish(&lists, epoch);
    }

    /// Takes out the idle connections for which `retire` says so, oldest use first.
    #[allow(clippy::vec_box, reason = "they are kept boxed")]
    pub(crate) fn retire(&self, mut retire: impl FnMut(&mut Connection) -> bool) -> Vec<Box<Connection>> {
        let mut lists = self.lock();
        let retired = lists.idle.extract_if(.., |c| retire(c)).collect();
        self.idle.store(lists.idle.len(), Ordering::SeqCst);
        retired
    }
}

/// How well an idle connection suits a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suits {
    /// Its state must be changed first.
    Changed,
    /// It has the state, but the session that had it before may want it back.
    Asked,
    /// It is ready.
    AsItIs,
}

impl Suits {
    fn of(connection: &Connection, want: &Want<'_>) -> Option<Self> {
        if connection.class() != want.class {
            return None;
        }
        if connection.matches(want.state, want.user_variables) {
            return Some(if connection.has_left() { Self::Asked } else { Self::AsItIs });
        }
        // without a default database it can become anything, with one it can never be without
        let can_become = want.state.database().is_some() || connection.state().database().is_none();
        can_become.then_some(Self::Changed)
    }
}

/// What became of a connection that was offered to a queue.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// A session has it.
    Done,
    /// Nobody here can use it.
    Nobody(Box<Connection>),
    /// Somebody whose patience is over needs one of another class.
    WrongClass(Box<Connection>, Class),
}

pub(crate) fn micros_between(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(NOBODY - 1).min(NOBODY - 1)
}
