//! KILL: one connection to each instance beyond the pool's budget, made when it is first needed and kept.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use weir_wire::{command::com, error_code, packet_with, response_end::Expect};

use crate::{
    accounts::IdentityId,
    checkout::Checkout,
    connection::{Connection, ConnectionError},
    dial::DialError,
    pool::{Class, Pool},
};

/// KILLs that wait; one more waits with its sender.
const QUEUE: usize = 1024;
/// KILLs sent in one write.
const BATCH: usize = 64;
/// How long after a KILL that could not be sent it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a statement is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KillMode {
    /// At once.
    #[default]
    Hard,
    /// Not where that would leave a table unusable: MariaDB's KILL SOFT.
    Soft,
}

/// Why a KILL did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The instance cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The instance refused it.
    #[error(transparent)]
    Refused(#[from] ConnectionError),
    /// The connection that it was sent on broke twice.
    #[error("the control connection broke")]
    Broke,
}

#[derive(Debug)]
struct Order {
    thread_id: u32,
    /// Whom the connection is logged in as.
    identity: IdentityId,
    mode: KillMode,
    answered: oneshot::Sender<Result<(), KillError>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Control {
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    open: AtomicBool,
}

impl Control {
    /// Is the connection there?
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends the connection once nobody waits for an answer on it.
    pub(crate) fn close(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// To whom KILLs are given: a task on the worker that needed one first.
    fn sender(&self, pool: &Weak<Pool>) -> mpsc::Sender<Order> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = orders.as_ref().filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(serve(Weak::clone(pool), receiver));
        *orders = Some(sender.clone());
        sender
    }

    /// Ends the statement that runs on a connection. That the connection is gone already is no error.
    pub(crate) async fn kill(
        &self,
        pool: &Weak<Pool>,
        (thread_id, identity): (u32, IdentityId),
        mode: KillMode,
    ) -> Result<(), KillError> {
        let sender = self.sender(pool);
        let (answered, answer) = oneshot::channel();
        sender.send(Order { thread_id, identity, mode, answered }).await.map_err(|_| KillError::Broke)?;
        drop(sender);
        answer.await.map_err(|_| KillError::Broke)?
    }
}

/// Ends when the pool does.
async fn serve(pool: Weak<Pool>, mut orders: mpsc::Receiver<Order>) {
    let mut connection = None;
    let mut batch = Vec::with_capacity(BATCH);
    while orders.recv_many(&mut batch, BATCH).await > 0 {
        let Some(pool) = pool.upgrade() else { return };
        carry_out(&pool, &mut connection, batch.drain(..).collect()).await;
        pool.control().open.store(connection.is_some(), Ordering::Relaxed);
    }
    if let Some(pool) = pool.upgrade() {
        pool.control().open.store(false, Ordering::Relaxed);
    }
}

/// A connection that was kept may have been closed by the server meanwhile: then the KILLs go over a new one. To send
/// one twice does no harm, since its target is not given on before the answer.
async fn carry_out(pool: &Pool, kept: &mut Option<Connection>, mut orders: VecDeque<Order>) {
    let limit = pool.settings().connect_timeout;
    loop {
        let was_kept = kept.is_some();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match pool.dialer().dial(Class::default(), limit).await {
                Ok(connection) => connection,
                Err(error) => {
                    let text = error.to_string();
                    let mut error = Some(error);
                    for order in orders {
                        let why = error.take().map_or(KillError::Broke, KillError::Dial);
                        tell(order, Err(why));
                    }
                    tracing::warn!(instance = pool.instance(), error = text, "no connection for KILL");
                    return;
                }
            },
        };
        let mut denied = Vec::new();
        let done = tokio::time::timeout(limit, kill_all(&mut connection, &mut orders, &mut denied)).await;
        for order in denied {
            kill_as_owner(pool, order).await;
        }
        if matches!(done, Ok(Ok(()))) {
            *kept = Some(connection);
            return;
        }
        drop(connection);
        if !was_kept {
            orders.into_iter().for_each(|order| tell(order, Err(KillError::Broke)));
            return;
        }
    }
}

impl Order {
    fn sql(&self) -> String {
        let mode = if self.mode == KillMode::Soft { "SOFT " } else { "" };
        format!("KILL {mode}QUERY {}", self.thread_id)
    }
}

/// The slice's own account may not end what another account runs. Whoever runs a statement may: a connection for this
/// one KILL.
async fn kill_as_owner(pool: &Pool, order: Order) {
    let limit = pool.settings().connect_timeout;
    let class = Class { identity: order.identity, ..Class::default() };
    let killed = async {
        let mut connection = pool.dialer().dial(class, limit).await?;
        match tokio::time::timeout(limit, connection.query(&order.sql())).await {
            Ok(Err(ConnectionError::Server { code, .. })) if code == error_code::NO_SUCH_THREAD => Ok(()),
            Ok(answer) => Ok(answer.map(|_| ())?),
            Err(_) => Err(KillError::Broke),
        }
    };
    let killed = killed.await;
    tell(order, killed);
}

/// Sends them all in one write; who got an answer leaves the queue. `denied`: those that another account must send.
async fn kill_all(
    connection: &mut Connection,
    orders: &mut VecDeque<Order>,
    denied: &mut Vec<Order>,
) -> Result<(), ConnectionError> {
    let mut out = Vec::new();
    for order in orders.iter() {
        packet_with(&mut out, 0, |w| {
            w.u8(com::QUERY).bytes(order.sql().as_bytes());
        });
    }
    connection.exchange_begins();
    connection.stream().write_all(&out).await?;
    connection.stream().flush().await?;
    while !orders.is_empty() {
        let answer = match connection.read_reply(Expect::One).await {
            Ok(_) => Ok(()),
            Err(ConnectionError::Server { code, .. }) if code == error_code::NO_SUCH_THREAD => Ok(()),
            Err(ConnectionError::Server { code, .. })
                if code == error_code::KILL_DENIED
                    && orders.front().is_some_and(|order| !order.identity.is_service()) =>
            {
                denied.extend(orders.pop_front());
                continue;
            }
            Err(error @ ConnectionError::Server { .. }) => Err(KillError::Refused(error)),
            Err(error) => return Err(error),
        };
        if let Some(order) = orders.pop_front() {
            tell(order, answer);
        }
    }
    connection.exchange_ended();
    Ok(())
}

fn tell(order: Order, answer: Result<(), KillError>) {
    if order.answered.send(answer).is_err() {
        tracing::debug!(thread = order.thread_id, "nobody waits for the answer to a KILL any more");
    }
}

/// A KILL that is on its way to a connection: until it was answered, the connection is not given on.
#[derive(Debug)]
pub(crate) struct KillUnderway(JoinHandle<()>);

impl Checkout {
    /// Ends the statement that runs on the connection; does not wait for it. Nobody else gets the connection before the
    /// KILL was answered: see [`kill_answered`](Self::kill_answered).
    pub fn kill_statement(&mut self, mode: KillMode) {
        if self.kill.is_some() {
            return;
        }
        let target = (self.thread_id(), self.class().identity);
        let pool = Weak::clone(self.pool().weak());
        self.kill = Some(KillUnderway(tokio::spawn(kill_until_sent(pool, target, mode))));
    }

    /// Was a KILL sent whose answer nobody has waited for?
    #[must_use]
    pub fn is_being_killed(&self) -> bool {
        self.kill.is_some()
    }

    /// The statement is over, and its answer read: waits for that of the KILL. `interrupted`: it is the KILL that ended
    /// the statement. Otherwise the KILL came too late, and MariaDB keeps it for the next command, which is a PING. A
    /// connection whose KILL is not answered in time is closed when it is given back.
    pub async fn kill_answered(&mut self, interrupted: bool) {
        let limit = self.pool().settings().connect_timeout;
        let Some(mut kill) = self.kill.take() else { return };
        match tokio::time::timeout(limit, &mut kill.0).await {
            Ok(Ok(())) if interrupted => {}
            Ok(Ok(())) => match tokio::time::timeout(limit, self.command(&[com::PING], Expect::One)).await {
                Ok(Ok(_) | Err(ConnectionError::Server { .. })) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection ended after a KILL"),
                Err(_) => self.sent_too_much(),
            },
            Ok(Err(_)) | Err(_) => {
                self.kill = Some(kill);
                let instance = self.pool().instance();
                tracing::warn!(instance, "a KILL was not answered: the connection it was for is closed");
            }
        }
    }
}

/// Tries again until it arrives: the statement may run for hours.
async fn kill_until_sent(pool: Weak<Pool>, target: (u32, IdentityId), mode: KillMode) {
    loop {
        let Some(strong) = pool.upgrade() else { return };
        let Err(error) = strong.control().kill(&pool, target, mode).await else { return };
        let instance = strong.instance();
        tracing::warn!(instance, thread = target.0, %error, "a statement could not be killed; tried again");
        drop(strong);
        tokio::time::sleep(AGAIN).await;
    }
}

impl Drop for KillUnderway {
    fn drop(&mut self) {
        // what was not sent yet is not needed any more: the connection is closed, or the answer came
        self.0.abort();
    }
}
