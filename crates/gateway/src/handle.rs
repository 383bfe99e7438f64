//! What others may know of a session and do to it: its phase, since when, and a signal that ends its waiting.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    task::Waker,
};

use atomic_waker::AtomicWaker;
use weir_backend::{IdentityId, Pool};

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Logging in.
    Login = 0,
    /// Waiting for a command, with nothing held.
    Idle = 1,
    /// Waiting for a command, with a transaction or a pin.
    IdleHolding = 2,
    /// A statement runs.
    Busy = 3,
    /// The client does not take its answer.
    Writing = 4,
    /// The client has not sent all of a large request.
    Reading = 5,
}

/// Why a session is told to stop waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Nothing.
    None = 0,
    /// It sent nothing for longer than its idle timeout.
    IdleTimeout = 1,
    /// It held a transaction and sent nothing.
    IdleInTransaction = 2,
    /// It took no byte of its answer, or sent none of the request that it had begun.
    WriteTimeout = 3,
    /// KILL.
    Killed = 4,
    /// The gateway drains: end between transactions.
    Drain = 5,
    /// The gateway's deadline is over: end now.
    Stop = 6,
}

impl Signal {
    fn from_u8(n: u8) -> Self {
        match n {
            1 => Self::IdleTimeout,
            2 => Self::IdleInTransaction,
            3 => Self::WriteTimeout,
            4 => Self::Killed,
            5 => Self::Drain,
            6 => Self::Stop,
            _ => Self::None,
        }
    }
}

/// The statement that a session runs now, for KILL.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where.
    pub pool: Arc<Pool>,
    /// The server's id of the connection.
    pub thread_id: u32,
    /// Whom the connection is logged in as.
    pub identity: IdentityId,
}

/// See the module's text. One for each session; no bigger than it must be, for there are many.
#[derive(Debug)]
pub struct Handle {
    /// The id that the client knows.
    pub id: u32,
    phase: AtomicU8,
    signal: AtomicU8,
    /// Tick at which the phase began.
    since: AtomicU32,
    /// Ticks of idleness after which the session ends.
    idle_limit: AtomicU32,
    waker: AtomicWaker,
    about: Mutex<About>,
}

#[derive(Debug, Default)]
struct About {
    login: Option<Login>,
    running: Option<Running>,
    kills: u32,
}

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Namespace.
    pub namespace: Arc<str>,
    /// User.
    pub user: Arc<str>,
}

impl Handle {
    /// A session that begins to log in at `tick`.
    #[must_use]
    pub fn new(id: u32, tick: u32) -> Self {
        Self {
            id,
            phase: AtomicU8::new(Phase::Login as u8),
            signal: AtomicU8::new(Signal::None as u8),
            since: AtomicU32::new(tick),
            idle_limit: AtomicU32::new(u32::MAX),
            waker: AtomicWaker::new(),
            about: Mutex::default(),
        }
    }

    /// The session goes over to another phase.
    pub fn enter(&self, phase: Phase, tick: u32) {
        self.since.store(tick, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Its phase and the tick at which it began.
    #[must_use]
    pub fn phase(&self) -> (Phase, u32) {
        let phase = match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Login,
            1 => Phase::Idle,
            2 => Phase::IdleHolding,
            4 => Phase::Writing,
            5 => Phase::Reading,
            _ => Phase::Busy,
        };
        (phase, self.since.load(Ordering::Relaxed))
    }

    /// Ticks of idleness after which the session ends.
    #[must_use]
    pub fn idle_limit(&self) -> u32 {
        self.idle_limit.load(Ordering::Relaxed)
    }

    /// Changes the limit of idleness.
    pub fn set_idle_limit(&self, ticks: u32) {
        self.idle_limit.store(ticks, Ordering::Relaxed);
    }

    /// What the session was told, if anything.
    #[must_use]
    pub fn signal(&self) -> Signal {
        Signal::from_u8(self.signal.load(Ordering::Acquire))
    }

    /// Tells the session something; a stronger signal is not overwritten by a weaker one.
    pub fn send(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// The session has acted on its signal and goes on.
    pub fn clear(&self) {
        self.signal.store(Signal::None as u8, Ordering::Release);
    }

    /// The session is about to wait: a signal wakes it.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The session is logged in.
    pub fn logged_in(&self, login: Login) {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).login = Some(login);
    }

    /// Who it belongs to; `None` before login.
    #[must_use]
    pub fn login(&self) -> Option<Login> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).login.clone()
    }

    /// Where its statement runs from now on. `true` if a KILL is on its way to where it ran until now.
    pub fn set_running(&self, running: Option<Running>) -> bool {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        about.running = running;
        about.kills > 0
    }

    /// Where its statement runs, for a KILL: until [`kill_answered`](Self::kill_answered) nobody else gets that
    /// connection.
    #[must_use]
    pub fn aim(&self) -> Option<Running> {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        let running = about.running.clone();
        about.kills += u32::from(running.is_some());
        running
    }

    /// The KILL has arrived.
    pub fn kill_answered(&self) {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        about.kills = about.kills.saturating_sub(1);
    }
}
