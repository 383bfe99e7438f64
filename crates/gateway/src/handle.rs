//! What others may know of a session and do to it: its phase, since when, and a signal that ends its waiting.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use atomic_waker::AtomicWaker;
use weir_backend::KillMode;

use crate::census::{Census, Doing, PinNote, Seen};

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
    /// The same, for a session that keeps a connection, but has nothing under way.
    DrainAtRest = 6,
    /// The gateway's deadline is over: end now.
    Stop = 7,
}

impl Phase {
    /// Its name in lists and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Idle => "idle",
            Self::IdleHolding => "idle_holding",
            Self::Busy => "busy",
            Self::Writing => "writing",
            Self::Reading => "reading",
        }
    }
}

impl Signal {
    fn from_u8(n: u8) -> Self {
        match n {
            1 => Self::IdleTimeout,
            2 => Self::IdleInTransaction,
            3 => Self::WriteTimeout,
            4 => Self::Killed,
            5 => Self::Drain,
            6 => Self::DrainAtRest,
            7 => Self::Stop,
            _ => Self::None,
        }
    }
}

/// What a session that waits is told: to end, or to end its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The session.
    End(Signal),
    /// The statement at hand.
    EndStatement(KillMode),
}

/// No statement is to end.
const NO_INTERRUPT: u8 = 0;
const INTERRUPT_HARD: u8 = 1;
const INTERRUPT_SOFT: u8 = 2;

/// See the module's text. One for each session; no bigger than it must be, for there are many.
#[derive(Debug)]
pub struct Handle {
    /// The id that the client knows.
    pub id: u32,
    phase: AtomicU8,
    signal: AtomicU8,
    /// KILL QUERY of the statement at hand.
    interrupt: AtomicU8,
    /// Tick at which the phase began.
    since: AtomicU32,
    /// Ticks of idleness after which the session ends.
    idle_limit: AtomicU32,
    waker: AtomicWaker,
    /// Somebody wants to know what it does.
    asked: AtomicBool,
    /// It keeps its connection for a reason that has not been logged.
    pinned: AtomicBool,
    /// It keeps its connection, but nothing that it began is unfinished.
    at_rest: AtomicBool,
    about: Mutex<About>,
}

#[derive(Debug, Default)]
struct About {
    login: Option<Login>,
    host: Box<str>,
    database: Option<Box<[u8]>>,
    /// It may have locks by name on this connection: an instance's, and the server's id.
    locks_on: Option<(Box<str>, u32)>,
    pins: Vec<PinNote>,
    census: Option<Arc<Census>>,
    doing: Option<Doing>,
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
            interrupt: AtomicU8::new(NO_INTERRUPT),
            since: AtomicU32::new(tick),
            idle_limit: AtomicU32::new(u32::MAX),
            waker: AtomicWaker::new(),
            asked: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            about: Mutex::default(),
        }
    }

    /// The session goes over to another phase.
    pub fn enter(&self, phase: Phase, tick: u32) {
        self.since.store(tick, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The session waits for a command and keeps a connection: has it begun nothing that it would have to finish?
    pub fn set_at_rest(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
    }

    /// See [`set_at_rest`](Self::set_at_rest); of meaning in [`Phase::IdleHolding`] only.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.at_rest.load(Ordering::Relaxed)
    }

    /// Is the session, which waits for the client, to end?
    #[must_use]
    pub fn ends_waiting(&self, signal: Signal) -> bool {
        let is_in = |phase| self.phase().0 == phase;
        match signal {
            Signal::None => false,
            Signal::Drain => is_in(Phase::Idle),
            Signal::DrainAtRest => is_in(Phase::Idle) || (is_in(Phase::IdleHolding) && self.is_at_rest()),
            _ => true,
        }
    }

    /// The session was to end since it was at rest, and it is not: it is left alone until it is again.
    pub fn works_on(&self) {
        let (at_rest, drain) = (Signal::DrainAtRest as u8, Signal::Drain as u8);
        // a stronger signal stays
        let _stays =
            self.signal.compare_exchange(at_rest, drain, Ordering::AcqRel, Ordering::Acquire).is_err();
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

    /// The statement at hand is to end; without one nothing happens.
    pub fn interrupt(&self, mode: KillMode) {
        if matches!(self.phase().0, Phase::Busy | Phase::Writing | Phase::Reading) {
            let mode = if mode == KillMode::Soft { INTERRUPT_SOFT } else { INTERRUPT_HARD };
            self.interrupt.store(mode, Ordering::SeqCst);
            self.waker.wake();
        }
    }

    /// A statement begins: what was meant for the one before does not concern it.
    pub fn begin_statement(&self, tick: u32) {
        self.interrupt.store(NO_INTERRUPT, Ordering::Relaxed);
        self.enter(Phase::Busy, tick);
    }

    /// Is the statement at hand to end?
    #[must_use]
    pub fn interrupted(&self) -> Option<KillMode> {
        match self.interrupt.load(Ordering::SeqCst) {
            NO_INTERRUPT => None,
            INTERRUPT_SOFT => Some(KillMode::Soft),
            _ => Some(KillMode::Hard),
        }
    }

    /// At every wait but those for the client: was the session told to end, or its statement?
    pub fn poll_told(&self, cx: &Context<'_>) -> Poll<Told> {
        self.waker.register(cx.waker());
        match (self.signal(), self.interrupted()) {
            (signal @ (Signal::Killed | Signal::Stop), _) => Poll::Ready(Told::End(signal)),
            (_, Some(mode)) => Poll::Ready(Told::EndStatement(mode)),
            (_, None) => Poll::Pending,
        }
    }

    /// Waits for something that may be given up at any moment, unless the session is told to end, or its statement.
    pub async fn unless_told<T>(&self, what: impl Future<Output = T>) -> Result<T, Told> {
        let mut what = pin!(what);
        std::future::poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_told(cx).map(Err),
        })
        .await
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

    fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its client is.
    pub fn set_host(&self, host: &str) {
        self.about().host = host.into();
    }

    /// Its default database has changed.
    pub fn set_database(&self, database: Option<&[u8]>) {
        self.about().database = database.map(Into::into);
    }

    /// It may have locks by name on this connection, or has none any more.
    pub(crate) fn set_locks_on(&self, connection: Option<(&str, u32)>) {
        self.about().locks_on = connection.map(|(instance, thread_id)| (instance.into(), thread_id));
    }

    /// Does it have its locks there?
    pub(crate) fn has_locks_on(&self, instance: &str, thread_id: u32) -> bool {
        self.about().locks_on.as_ref().is_some_and(|(at, thread)| **at == *instance && *thread == thread_id)
    }

    /// The session is to tell what it does, as soon as it waits.
    pub(crate) fn ask(&self, census: &Arc<Census>) {
        let mut about = self.about();
        about.doing = None;
        about.census = Some(Arc::clone(census));
        drop(about);
        self.asked.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Does somebody want to know what it does? The waits that look have registered before.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// What it does, if somebody wants to know.
    pub fn tell(&self, doing: impl FnOnce() -> Doing) {
        if !self.is_asked() {
            return;
        }
        self.asked.store(false, Ordering::SeqCst);
        let mut about = self.about();
        if let Some(census) = about.census.take() {
            about.doing = Some(doing());
            census.told();
        }
    }

    /// Waits for something; if somebody asks meanwhile what the session does, it is `doing`.
    pub(crate) async fn telling<T>(&self, doing: impl Fn() -> Doing, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        std::future::poll_fn(|cx| {
            let polled = what.as_mut().poll(cx);
            if polled.is_pending() {
                self.waker.register(cx.waker());
                self.tell(&doing);
            }
            polled
        })
        .await
    }

    /// Why it keeps its connection now.
    pub(crate) fn set_pins(&self, pins: Vec<PinNote>) {
        self.pinned.store(pins.iter().any(|pin| !pin.warned), Ordering::Relaxed);
        self.about().pins = pins;
    }

    pub(crate) fn pins(&self) -> Vec<PinNote> {
        self.about().pins.clone()
    }

    /// Does it keep its connection for a reason that has not been logged?
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Reasons that have lasted for more than `limit` ticks; each is given once.
    pub(crate) fn overdue_pins(&self, now: u32, limit: u32) -> Vec<PinNote> {
        let mut about = self.about();
        let mut overdue = Vec::new();
        for pin in about.pins.iter_mut().filter(|pin| !pin.warned) {
            let lasts = now.wrapping_sub(pin.since);
            // a session may be a tick ahead of the worker that looks
            if lasts > limit && lasts < u32::MAX / 2 {
                pin.warned = true;
                overdue.push(pin.clone());
            }
        }
        self.pinned.store(about.pins.iter().any(|pin| !pin.warned), Ordering::Relaxed);
        overdue
    }

    /// What others may know of it.
    pub(crate) fn seen(&self, now: u32) -> Seen {
        let (phase, since) = self.phase();
        let about = self.about();
        let ticks = now.wrapping_sub(since);
        Seen {
            id: self.id,
            phase,
            ticks: if ticks > u32::MAX / 2 { 0 } else { ticks },
            login: about.login.clone(),
            host: about.host.clone(),
            database: about.database.clone(),
            pins: about.pins.clone(),
            doing: about.doing.clone().filter(|_| phase != Phase::Idle),
        }
    }
}
