//! Runs one command on a server: checkout, make the connection ready, send, pass the answer on, settle.

mod databases;
mod exchange;
mod large;
mod local_file;
mod ready;

pub(crate) use exchange::put_id;
use ready::{Ahead, Packing, has_semicolon, text_of};

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Instant};

use weir_backend::{CheckoutError, ConnectionError, Definition, Pool, Ride, Want};
use weir_plan::Target;
use weir_sql::{Access, Effects, Kind, Statement, TransactionStep};
use weir_wire::{
    capability::Status,
    command::com,
    error_code,
    framer::HEADER_LEN,
    response_end::{Expect, Summary},
};

use crate::{
    census::{Doing, MOST_TEXT},
    client::{Client, ClientError},
    error::{Refused, SessionError, lost},
    handle::{Signal, Told},
    in_flight::Share,
    metrics::bump,
    session::{Held, Session},
};

/// A statement is sent again this many times at most, after its connection turned out to be dead.
const MOST_RETRIES: u32 = 3;

/// A longer packet is not sent behind another session's, bytes.
const LONGEST_RIDE: usize = 4 << 10;

/// One command for a server.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Header and payload as the client sent them. A payload of several packets has its first header only.
    pub packet: &'a [u8],
    /// What the text means.
    pub statement: &'a Statement,
    /// Shape of the answer.
    pub expect: Expect,
    /// The prepared statement that it executes: must be prepared on the connection, and its id put into the packet.
    pub prepared: Option<Prepared<'a>>,
}

impl Job<'_> {
    /// The statement's text, if the packet has one or executes one. `attributes`: the connection has negotiated query
    /// attributes.
    pub(crate) fn text(&self, attributes: bool) -> Option<&[u8]> {
        match self.prepared {
            Some(prepared) => Some(&prepared.definition.text),
            None => text_of(self.packet, attributes).map(|(_, text)| text),
        }
    }
}

/// A prepared statement in a packet.
#[derive(Debug, Clone, Copy)]
pub struct Prepared<'a> {
    /// What it is.
    pub definition: &'a Arc<Definition>,
    /// COM_STMT_SEND_LONG_DATA packets to send before it, ids to be put in.
    pub long_data: &'a [u8],
}

/// What a session that waits for the client does.
pub(crate) const SENDING: &str = "sending to the client";

/// A statement for who asks what the session does.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// `None`: only the beginning of the text is there.
    pub(crate) of: Option<&'a Job<'a>>,
    /// Header, command and at least the beginning of what follows.
    pub(crate) head: &'a [u8],
    /// Query attributes were negotiated: a text stands behind them.
    pub(crate) attributes: bool,
}

impl Shown<'_> {
    pub(crate) fn doing(&self, state: &'static str, pool: Option<&Arc<Pool>>, status: &Status) -> Doing {
        let command = self.head.get(HEADER_LEN).copied().unwrap_or_default();
        let prepared = self.of.and_then(|job| job.prepared);
        let text = match (prepared, command) {
            (Some(prepared), _) => Some(&*prepared.definition.text),
            (None, com::QUERY) => text_of(self.head, self.attributes).map(|(_, text)| text),
            (None, com::STMT_PREPARE) => self.head.get(HEADER_LEN + 1..),
            (None, _) => None,
        };
        Doing {
            command,
            state,
            statement: text.map(|text| text.get(..MOST_TEXT).unwrap_or(text).into()),
            instance: pool.map(|pool| pool.instance().to_owned()),
            in_transaction: status.contains(Status::IN_TRANS),
        }
    }
}

/// What one attempt came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The answer is in the buffer, or has partly gone to the client already.
    Answered(Answer),
    /// The connection was dead before the server can have seen the statement.
    NotSent(ConnectionError),
    /// The connection died before the first byte of an answer.
    NoAnswer(ConnectionError),
    /// The server refused the state that was to be set before the statement, which it did not run.
    Refused(ConnectionError),
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The part that has not gone to the client.
    pub(crate) rest: Vec<u8>,
    /// Something has gone to the client.
    pub(crate) streamed: bool,
    pub(crate) summary: Summary,
    pub(crate) tracked: Vec<u8>,
    /// Of the budget for bytes in flight, while `rest` is there.
    #[allow(dead_code, reason = "held until the answer is dropped")]
    pub(crate) share: Option<Share>,
}

/// Does the statement read, leave nothing behind and ask for nothing that is the session's?
fn is_plain_read(statement: &Statement) -> bool {
    statement.access == Access::Read && statement.effects.is_empty() && statement.statements == 1
}

/// Errors with which a replica says that a statement writes: read_only, read-only transaction, read-only mode.
fn is_write_refused(number: u16) -> bool {
    matches!(number, 1290 | 1792 | 1836)
}

/// Errors with which a server says that it has not executed a prepared statement, since it is not as it was prepared any
/// more (tables changed time and again), or not known.
fn is_unprepared(number: u16) -> bool {
    number == error_code::NEED_REPREPARE.number || number == error_code::UNKNOWN_STMT_HANDLER.number
}

/// Do those errors mean so? A routine, or a bulk of executions, could have failed with them half-way.
fn may_be_prepared_again(job: &Job<'_>) -> bool {
    job.statement.kind != Kind::Call && job.packet.get(HEADER_LEN) == Some(&com::STMT_EXECUTE)
}

/// Errors with which a server says that it ends: shutdown in progress, connection killed (MariaDB).
fn is_going_away(number: u16) -> bool {
    matches!(number, 1053 | 1927)
}

/// Waits for a connection, unless the client goes meanwhile, or is told to: then the statement never runs.
async fn unless_over<T>(
    client: &mut Client,
    tell: impl Fn() -> Doing,
    what: impl Future<Output = T>,
) -> Result<T, SessionError> {
    let mut what = pin!(what);
    let waited = poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => {
            let end = client.poll_end(cx);
            if end.is_pending() && client.is_asked() {
                client.handle().tell(&tell);
            }
            end.map(Err)
        }
    });
    waited.await.map_err(over)
}

/// Why a statement was not waited for that no server has run.
fn over(error: ClientError) -> SessionError {
    match error {
        ClientError::Told(signal) => not_run(Told::End(signal)),
        ClientError::StatementTold(mode) => not_run(Told::EndStatement(mode)),
        error => error.into(),
    }
}

/// What a statement ends with that was told to end before any server saw it.
pub(crate) fn not_run(told: Told) -> SessionError {
    match told {
        Told::EndStatement(_) => SessionError::Refused(interrupted()),
        Told::End(Signal::Killed) => SessionError::Fatal(interrupted()),
        Told::End(_) => {
            SessionError::Fatal(Refused::new(error_code::SERVER_SHUTDOWN, "Server shutdown in progress"))
        }
    }
}

/// The servers' own words.
pub(crate) fn interrupted() -> Refused {
    Refused::new(error_code::QUERY_INTERRUPTED, "Query execution was interrupted")
}

impl Session {
    /// Runs a command. `true` if the server answered with an error.
    pub(crate) async fn execute(&mut self, job: &Job<'_>, target: Target) -> Result<bool, SessionError> {
        let (answer, _) = self.run_job(job, target).await?;
        let failed = answer.summary.error.is_some();
        let shown = Shown { of: Some(job), head: job.packet, attributes: self.class.query_attributes };
        let tell = || shown.doing(SENDING, self.held.as_ref().map(|held| held.checkout.pool()), &self.status);
        let written = self.handle.telling(tell, self.client.write(&answer.rest)).await;
        self.worker.recycle(answer.rest);
        written?;
        Ok(failed)
    }

    /// Runs a command up to the point where its answer may go to the client. The session's state is settled, and
    /// the connection is given back unless the session still needs it. With a Prepare job the second value tells
    /// the server's id of the statement.
    pub(crate) async fn run_job(
        &mut self,
        job: &Job<'_>,
        target: Target,
    ) -> Result<(Answer, Option<u32>), SessionError> {
        self.run_and(job, target, |_, _| ()).await
    }

    /// The same; `note` sees the answer while the connection is still there.
    pub(crate) async fn run_and(
        &mut self,
        job: &Job<'_>,
        target: Target,
        note: impl Fn(&mut Held, &Summary),
    ) -> Result<(Answer, Option<u32>), SessionError> {
        let mut target = target;
        let mut retries = 0;
        if job.statement.transaction == TransactionStep::Begin
            && let Some(held) = self.held.take_if(|held| held.target == Target::Replica && !held.returned)
        {
            // it would write on the replica; what only read there has nothing to commit
            self.let_go(held, true);
            self.in_transaction = false;
        }
        let mut failed = None;
        // it was prepared anew
        let mut again = false;
        loop {
            if job.statement.effects.contains(Effects::READS_LAST_INSERT_ID) {
                self.return_to_insert();
            }
            if !self.user_variables.assigned.is_empty() && self.held.is_none() {
                Box::pin(self.gather_user_variables(target)).await?;
            }
            let fresh = self.held.as_ref().is_none_or(|held| held.returned);
            let mut held = match self.take_held()? {
                Some(held) => held,
                None => self.checkout(target, job, failed.as_ref()).await?,
            };
            let sent = Instant::now();
            let ready = match held.checkout.answer_due() {
                // another session's write took the statement along
                true => Ok(None),
                false => match self.ready_unless_told(&mut held, job, fresh).await {
                    Ok(ready) => ready,
                    Err(told) => return Err(self.walk_away(held, not_run(told))),
                },
            };
            let attempt = match ready {
                Ok(ahead) => match self.exchange(&mut held, job, ahead, fresh).await {
                    Ok(attempt) => attempt,
                    Err(error) => return Err(self.walk_away(held, error)),
                },
                Err(error @ ConnectionError::Server { .. }) => Attempt::Refused(error),
                Err(error) => Attempt::NotSent(error),
            };
            let error = match attempt {
                // a replica may not have yet what the primary has, as a database just created
                Attempt::Refused(_) if fresh && held.target == Target::Replica => {
                    self.let_go(held, false);
                    target = Target::Primary;
                    continue;
                }
                Attempt::Refused(ConnectionError::Server { code, text }) => {
                    return self.not_ready(held, fresh, Refused::new(code, text));
                }
                Attempt::Refused(error) => error,
                Attempt::Answered(answer) => {
                    if is_plain_read(job.statement) {
                        // what fails, warns or changes the session is to have a connection of its own
                        let clean = answer.summary.error.is_none()
                            && answer.summary.warnings == 0
                            && answer.tracked.is_empty();
                        let took = || u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                        let micros = if clean { took() } else { u64::MAX };
                        self.worker.took(job.statement.digest, micros);
                    }
                    let number = answer.summary.error.map_or(0, |e| e.number);
                    let refused = held.target == Target::Replica && is_write_refused(number);
                    if refused && fresh && !answer.streamed {
                        self.remember_write(held, job);
                        self.worker.recycle(answer.rest);
                        target = Target::Primary;
                        continue;
                    }
                    let not_executed =
                        is_unprepared(number) && !answer.streamed && may_be_prepared_again(job);
                    if let Some(prepared) = job.prepared.filter(|_| not_executed && !again) {
                        again = true;
                        bump(&self.tenant.counters(self.worker.id).retried, 1);
                        held.checkout.prepared.forget(prepared.definition);
                        self.worker.recycle(answer.rest);
                        if fresh && !self.in_transaction && self.status.contains(Status::AUTOCOMMIT) {
                            self.let_go(held, false);
                        } else {
                            // a transaction may be open: its beginning went along with the statement
                            self.held = Some(held);
                        }
                        continue;
                    }
                    let elsewhere = held.target == Target::Replica
                        && is_going_away(number)
                        && job.statement.access == Access::Read;
                    if elsewhere && fresh && !answer.streamed && retries < MOST_RETRIES {
                        retries += 1;
                        bump(&self.tenant.counters(self.worker.id).retried, 1);
                        failed = Some(Arc::clone(held.checkout.pool()));
                        self.worker.recycle(answer.rest);
                        continue;
                    }
                    note(&mut held, &answer.summary);
                    let prepared = answer.summary.prepared.map(|p| p.statement);
                    self.settle(held, job, &answer).await?;
                    return Ok((answer, prepared));
                }
                Attempt::NotSent(error) if fresh => error,
                Attempt::NoAnswer(error) if fresh && job.statement.access == Access::Read => error,
                Attempt::NotSent(error) | Attempt::NoAnswer(error) => {
                    return Err(self.connection_lost(held, fresh, &error));
                }
            };
            retries += 1;
            if retries > MOST_RETRIES {
                return Err(self.connection_lost(held, fresh, &error));
            }
            if let Some(mode) = self.handle.interrupted() {
                return Err(not_run(Told::EndStatement(mode)));
            }
            bump(&self.tenant.counters(self.worker.id).retried, 1);
            // where one connection ends, the others may: the next attempt goes elsewhere if it can
            failed = Some(Arc::clone(held.checkout.pool()));
            drop(held);
        }
    }

    /// The connection that the session holds, if any.
    pub(super) fn take_held(&mut self) -> Result<Option<Held>, SessionError> {
        match self.held.take() {
            Some(held) if held.checkout.is_broken() => {
                Err(self.connection_lost(held, false, &ConnectionError::Closed))
            }
            held => Ok(held),
        }
    }

    /// `failed`: the pool whose connection was lost in the attempt before.
    pub(super) async fn checkout(
        &mut self,
        target: Target,
        job: &Job<'_>,
        failed: Option<&Arc<Pool>>,
    ) -> Result<Held, SessionError> {
        let Some(wanted) = &self.wanted else {
            return Err(Refused::new(error_code::UNKNOWN, "the session has no state yet").into());
        };
        let pool = match target {
            Target::Primary => &self.tenant.primary,
            Target::Replica => self.tenant.replica(self.random, failed),
        };
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // without a healthy replica the read goes to the primary
        let target = if Arc::ptr_eq(pool, &self.tenant.primary) { Target::Primary } else { target };
        let state = match target {
            Target::Primary => &wanted.primary,
            Target::Replica => &wanted.replica,
        };
        let want = Want {
            class: self.class,
            state,
            user_variables: &self.user_variables.known,
            thorough: job.statement.access == Access::Write,
            ride: self
                .may_ride(job)
                .then(|| Ride { packet: job.packet, definition: job.prepared.map(|p| p.definition) }),
        };
        let shown = Shown { of: Some(job), head: job.packet, attributes: self.class.query_attributes };
        let tell = || shown.doing("waiting for a connection", None, &self.status);
        let lent = pool.checkout(self.worker.id, &want);
        let checkout = match unless_over(&mut self.client, tell, lent).await? {
            // a replica may not know yet what became of an account
            Err(CheckoutError::Down { .. } | CheckoutError::Refused(_)) if target == Target::Replica => {
                let want = Want { state: &wanted.primary, ..want };
                let lent = self.tenant.primary.checkout(self.worker.id, &want);
                let checkout = unless_over(&mut self.client, tell, lent).await??;
                return Ok(self.hold(checkout, Target::Primary));
            }
            other => other?,
        };
        let counters = self.tenant.counters(self.worker.id);
        bump(if target == Target::Primary { &counters.to_primary } else { &counters.to_replica }, 1);
        Ok(self.hold(checkout, target))
    }

    /// May the statement be sent behind another session's, or take such statements along? Short reads that are known
    /// to be quick: who shares a connection waits for those before.
    fn may_ride(&self, job: &Job<'_>) -> bool {
        is_plain_read(job.statement)
            && job.expect == Expect::Results
            && job.packet.len() <= LONGEST_RIDE
            && job.prepared.is_none_or(|p| p.long_data.is_empty())
            && !self.in_transaction
            && self.opening.is_nothing()
            && self.pins.is_empty()
            && self.status.contains(Status::AUTOCOMMIT)
            && self.worker.is_quick(job.statement.digest)
            && text_of(job.packet, self.class.query_attributes).is_none_or(|(_, text)| !has_semicolon(text))
    }

    /// Nobody waits for the statement any more. If it is since the client left, or the session was killed, the statement is
    /// killed too: the server would not notice until it has an answer to send. The connection stays lent until then, and
    /// is closed.
    pub(super) fn walk_away(&mut self, held: Held, error: SessionError) -> SessionError {
        let left = matches!(error, SessionError::Client(_));
        if left {
            bump(&self.tenant.counters(self.worker.id).abandoned, 1);
        }
        let mode = self.handle.interrupted();
        if left || mode.is_some() || self.handle.signal() == Signal::Killed {
            let mut checkout = held.checkout;
            tokio::spawn(async move {
                checkout.kill_statement(mode.unwrap_or_default());
                // what a KILL that comes too late might hit is closed with the connection
                checkout.kill_answered(true).await;
            });
        }
        error
    }

    /// Makes the connection ready, unless the session is told to end, or its statement before it was sent.
    async fn ready_unless_told(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        fresh: bool,
    ) -> Result<Result<Option<Box<Ahead>>, ConnectionError>, Told> {
        let handle = Arc::clone(&self.handle);
        let mut ready = pin!(self.make_ready(held, job, fresh, Packing::Together));
        poll_fn(|cx| match ready.as_mut().poll(cx) {
            Poll::Ready(ready) => Poll::Ready(Ok(ready)),
            Poll::Pending => match handle.poll_told(cx) {
                // what the session holds is not given up for a statement
                Poll::Ready(Told::EndStatement(_)) if !fresh => Poll::Pending,
                told => told.map(Err),
            },
        })
        .await
    }

    /// The server refused the state that the session wants; the statement was never sent.
    pub(super) fn not_ready<T>(
        &mut self,
        held: Held,
        fresh: bool,
        refused: Refused,
    ) -> Result<T, SessionError> {
        self.note_refused(&refused);
        if fresh {
            self.let_go(held, false);
        } else {
            self.held = Some(held);
        }
        Err(refused.into())
    }

    /// A replica refused a statement as a write before any of its answer reached the client.
    fn remember_write(&mut self, held: Held, job: &Job<'_>) {
        self.tenant.shared.writes.add(job.statement.digest);
        bump(&self.tenant.counters(self.worker.id).moved_to_primary, 1);
        self.let_go(held, false);
    }

    /// The connection is gone. What was held on it is gone too: then the session cannot go on as if nothing happened.
    pub(super) fn connection_lost(
        &mut self,
        held: Held,
        fresh: bool,
        error: &ConnectionError,
    ) -> SessionError {
        let refused = lost(held.checkout.pool().instance(), error);
        let fresh = fresh && !held.checkout.is_opened();
        drop(held);
        if fresh { SessionError::Refused(refused) } else { SessionError::Fatal(refused) }
    }
}
