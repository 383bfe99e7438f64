//! What sessions do, for who asks: told by themselves, wherever they wait, so that it costs nothing while nobody asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use weir_sql::Dialect;

use crate::{
    gateway::Gateway,
    handle::{Handle, Login, Phase},
};

/// A session that does not tell in time is shown without what only it knows.
const PATIENCE: Duration = Duration::from_millis(200);
/// So much of a statement is told, bytes.
pub(crate) const MOST_TEXT: usize = 64 << 10;

/// What a session does, as it tells itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// First byte of the command; 0 between two commands.
    pub command: u8,
    /// What it waits for.
    pub state: &'static str,
    /// The statement's text, perhaps cut.
    pub statement: Option<Box<[u8]>>,
    /// The instance that it holds a connection to.
    pub instance: Option<String>,
    /// A transaction is open.
    pub in_transaction: bool,
}

/// A reason why a session keeps its connection.
#[derive(Clone, Debug)]
pub struct PinNote {
    /// Name of the reason.
    pub reason: &'static str,
    /// Tick at which it began.
    pub since: u32,
    /// Beginning of the statement that began it.
    pub statement: Box<[u8]>,
    /// In which its text is read.
    pub dialect: Option<Dialect>,
    /// It was logged that it lasts.
    pub warned: bool,
}

/// A session as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The id that its client knows.
    pub id: u32,
    /// What it did.
    pub phase: Phase,
    /// For how many ticks.
    pub ticks: u32,
    /// Who it belongs to; `None` before login.
    pub login: Option<Login>,
    /// Where its client is.
    pub host: Box<str>,
    /// Its default database.
    pub database: Option<Box<[u8]>>,
    /// Why it keeps its connection, with ticks since when.
    pub pins: Vec<PinNote>,
    /// What it told; nothing of a session that waits for a command and holds nothing.
    pub doing: Option<Doing>,
}

/// One question to many sessions.
#[derive(Debug)]
pub(crate) struct Census {
    missing: AtomicUsize,
    all_told: Notify,
}

impl Census {
    fn of(sessions: usize) -> Arc<Self> {
        Arc::new(Self { missing: AtomicUsize::new(sessions), all_told: Notify::new() })
    }

    pub(crate) fn told(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_told.notify_one();
        }
    }
}

impl Gateway {
    /// The sessions that `of_interest` names, by id. `asker`'s own is not asked: it cannot tell while it waits for others.
    pub async fn census(&self, asker: u32, of_interest: impl Fn(&Handle) -> bool) -> Vec<Seen> {
        // one question at a time: a session answers the last one
        let _turn = self.census_turn.lock().await;
        let mut handles = self.handles();
        handles.retain(|handle| of_interest(handle));
        handles.sort_unstable_by_key(|handle| handle.id);
        let asked: Vec<&Arc<Handle>> = handles
            .iter()
            .filter(|h| h.id != asker && !matches!(h.phase().0, Phase::Idle | Phase::Login))
            .collect();
        if !asked.is_empty() {
            let census = Census::of(asked.len());
            for handle in asked {
                handle.ask(&census);
            }
            if tokio::time::timeout(PATIENCE, census.all_told.notified()).await.is_err() {
                tracing::debug!("not every session told in time what it does");
            }
        }
        let now = self.workers.first().map_or(0, |worker| worker.now());
        handles.iter().map(|handle| handle.seen(now)).collect()
    }

    /// Once a tick: logs pins that have lasted for too long, each once.
    pub(crate) fn warn_of_pins(&self, handle: &Handle, now: u32) {
        if !handle.is_pinned() {
            return;
        }
        let Some(login) = handle.login() else { return };
        let (_, tenants) = self.tenants();
        let Some(tenant) = tenants.by_name.get(&*login.namespace) else { return };
        let limit = crate::gateway::ticks(tenant.namespace.pool.pin_warning);
        for pin in handle.overdue_pins(now, limit) {
            let fingerprint = pin.dialect.map(|d| weir_sql::fingerprint(&pin.statement, &d, 1024));
            tracing::warn!(
                namespace = &*login.namespace,
                user = &*login.user,
                session = handle.id,
                reason = pin.reason,
                seconds = now.wrapping_sub(pin.since) / 10,
                statement = fingerprint.unwrap_or_default(),
                "a session keeps its connection for long"
            );
        }
    }
}
