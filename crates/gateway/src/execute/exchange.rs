//! Sends a statement and passes the answer on: small answers are taken whole, so that the connection is free before
//! the client has read them; large ones flow with back-pressure.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_backend::{ConnectionError, KillMode, Questions, Stream, state::Transition};
use weir_sql::{Effects, Statement};
use weir_wire::{
    error_code,
    framer::{HEADER_LEN, Header, MAX_PAYLOAD},
    response::TrackWish,
    response_end::{Expect, ResponseEnd, Scan},
    write_packet,
};

use super::{
    Answer, Attempt, Job, SENDING, Shown, interrupted,
    local_file::LocalFiles,
    over,
    ready::{Ahead, By, has_semicolon, text_of},
};
use crate::{
    client::{Client, ClientError},
    error::{Refused, SessionError, lost},
    handle::Signal,
    metrics::bump,
    session::{Held, Session},
};

/// An answer is collected up to this size before the first of it goes to the client, if the process's budget for bytes in
/// flight has a share for it.
const COLLECT_UP_TO: usize = 1 << 20;
/// Up to this size it needs none.
const COLLECT_FREELY: usize = 64 << 10;
/// An answer out of which Weir takes rows is never longer, bytes.
const MOST_WHOLE: usize = 16 << 20;
/// Once an answer streams, it does so in pieces of this size.
const PIECE: usize = 256 << 10;

impl Session {
    /// Sends the job's packet and reads its answer. Errors of the client's side end the session; those of the
    /// server's side are told apart by whether the statement can have run.
    pub(super) async fn exchange(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        ahead: Option<Box<Ahead>>,
        fresh: bool,
    ) -> Result<Attempt, SessionError> {
        let shown = sequence_after(job.packet);
        let mut sequence = shown;
        let opens = ahead.as_ref().is_some_and(|ahead| !ahead.transition.opening.is_nothing());
        if opens {
            held.checkout.opens();
        }
        // in a transaction a statement that breaks off takes more along than itself
        let fresh = fresh && !held.checkout.is_opened();
        if !held.checkout.answer_due() {
            let sent = match self.send(held, job, ahead.as_deref(), fresh).await {
                Ok(sent) => sent,
                // an incomplete packet is never executed
                Err(error) => return Ok(Attempt::NotSent(error)),
            };
            if let Err(error) = unless_over(&mut self.client, fresh, read_before(held, sent)).await? {
                return self.nothing_said(held, error, fresh);
            }
            if let Some(Ahead { by, transition, goal }) = ahead.as_deref() {
                bump(&self.tenant.counters(self.worker.id).states_ahead, 1);
                let set = async {
                    match by {
                        By::Statements => held.checkout.read_ahead(transition, goal, shown).await,
                        By::Command => held.checkout.read_accepted(transition, goal).await.map(|()| shown),
                    }
                };
                sequence = match unless_over(&mut self.client, fresh, set).await? {
                    Ok(sequence) => sequence,
                    Err(error) => return self.nothing_said(held, error, fresh),
                };
            }
        }
        let whole = Effects::SHOW_DATABASES | Effects::SHOW_PROCESSLIST;
        let passage = match job.statement.effects.intersects(whole) {
            true => Passage::Whole,
            false => Passage::Streams,
        };
        let local_files = local_files_of(job.statement);
        let coming = Coming { expect: job.expect, passage, local_files, sequence, shown };
        let about = Shown { of: Some(job), head: job.packet, attributes: self.class.query_attributes };
        self.receive(held, coming, about, fresh).await
    }

    /// What comes before the statement's answer did not come, or not as it should.
    fn nothing_said(
        &self,
        held: &Held,
        error: ConnectionError,
        fresh: bool,
    ) -> Result<Attempt, SessionError> {
        match error {
            ConnectionError::Server { .. } => Ok(Attempt::Refused(error)),
            ConnectionError::Goodbye(_) => Ok(Attempt::NotSent(error)),
            ConnectionError::Io(_) | ConnectionError::Closed | ConnectionError::Withdrawn(_) => {
                Ok(Attempt::NoAnswer(error))
            }
            // as for an answer that is none
            ConnectionError::Malformed(_) | ConnectionError::TooLong => {
                let refused = lost(held.checkout.pool().instance(), &error);
                Err(if fresh { SessionError::Refused(refused) } else { SessionError::Fatal(refused) })
            }
        }
    }

    /// Reads the answer.
    pub(super) async fn receive(
        &mut self,
        held: &mut Held,
        coming: Coming,
        about: Shown<'_>,
        fresh: bool,
    ) -> Result<Attempt, SessionError> {
        let Coming { expect, passage, local_files, sequence, shown } = coming;
        let mut buffer = held.checkout.take_leftover();
        if buffer.capacity() == 0 {
            buffer = self.worker.buffer();
        }
        let wish = match (&self.wish, held.trackers_lent) {
            // its own trackers are set on the connection: the server tells just what they ask for
            (Some(_), true) => Some(Arc::new(TrackWish::everything())),
            (wish, _) => wish.clone(),
        };
        let mut end = ResponseEnd::new(
            expect,
            self.client.flags,
            wish.as_deref(),
            self.tenant.namespace.limits.result_rows,
        )
        .beginning_at(sequence)
        .shown_from(shown)
        .with_local_files(local_files == LocalFiles::Expected)
        .renumbering(held.checkout.stream().is_compressed());
        let mut streamed = false;
        let mut share = None;
        // the client has the beginning of a packet
        let mut in_packet = false;
        let mut read_already = !buffer.is_empty();
        loop {
            if !std::mem::take(&mut read_already) {
                let killing = held.checkout.is_being_killed();
                let read = read_for(&mut self.client, held.checkout.stream(), &mut buffer, killing).await;
                let read = match read {
                    Ok(read) => read,
                    Err(ClientError::StatementTold(mode)) => {
                        held.checkout.kill_statement(mode);
                        continue;
                    }
                    Err(ClientError::Asked) => {
                        self.handle
                            .tell(|| about.doing("executing", Some(held.checkout.pool()), &self.status));
                        continue;
                    }
                    Err(ClientError::Told(_)) if streamed => return Err(SessionError::ServerGone),
                    Err(ClientError::Told(_)) => {
                        return Err(SessionError::FatalAt(interrupted(), shown));
                    }
                    Err(error) => return Err(error.into()),
                };
                match read {
                    Ok(0) => {
                        return self
                            .broke_off(
                                buffer,
                                &end,
                                sent(streamed, in_packet, &end),
                                ConnectionError::Closed,
                                held,
                                fresh,
                            )
                            .await;
                    }
                    Ok(_) => {}
                    Err(e) => {
                        return self
                            .broke_off(buffer, &end, sent(streamed, in_packet, &end), e.into(), held, fresh)
                            .await;
                    }
                }
            }
            if !streamed
                && end.position() == 0
                && let Some(header) = Header::parse(&buffer)
            {
                // an error that the server sent before it read our command: it had closed the connection
                let unasked = match held.checkout.stream().is_compressed() {
                    true => header.sequence == 0,
                    false => header.sequence != sequence,
                };
                if unasked && buffer.get(4) == Some(&0xFF) {
                    self.worker.recycle(buffer);
                    return Ok(Attempt::NotSent(ConnectionError::Closed));
                }
            }
            match end.scan(&mut buffer) {
                Ok(Scan::Done) => break,
                Ok(Scan::More) => {}
                Ok(Scan::LocalFile) => {
                    self.client.write(buffer.get(..end.position()).unwrap_or_default()).await?;
                    buffer.drain(..end.position());
                    end.taken(end.position());
                    (streamed, in_packet, share) = (true, false, None);
                    if let Err(error) = Box::pin(self.pass_local_file(held, &mut end)).await? {
                        return self.broke_off(buffer, &end, Sent::WholePackets, error, held, fresh).await;
                    }
                }
                Ok(Scan::RowLimit) => {
                    return Box::pin(self.too_many_rows(held, buffer, &mut end)).await.map(Attempt::Answered);
                }
                Err(malformed) => {
                    return self
                        .broke_off(
                            buffer,
                            &end,
                            sent(streamed, in_packet, &end),
                            malformed.into(),
                            held,
                            fresh,
                        )
                        .await;
                }
            }
            if !streamed && share.is_none() && buffer.len() >= COLLECT_FREELY {
                share = self.gateway.in_flight.try_take(COLLECT_UP_TO);
            }
            let limit = match (streamed, &share) {
                (true, _) => PIECE / 2,
                (false, Some(_)) => COLLECT_UP_TO,
                (false, None) => COLLECT_FREELY,
            };
            if passage == Passage::Whole {
                if buffer.len() >= MOST_WHOLE {
                    let text = format!("the server's list is longer than {MOST_WHOLE} bytes");
                    return Err(SessionError::Fatal(Refused::new(error_code::UNKNOWN, text)));
                }
            } else if buffer.len() >= limit {
                // whole packets if possible: after them an error can still be told
                let n = if end.boundary() > 0 { end.boundary() } else { end.position() };
                in_packet = end.boundary() == 0;
                let tell = || about.doing(SENDING, Some(held.checkout.pool()), &self.status);
                let piece = self.client.write(buffer.get(..n).unwrap_or_default());
                self.handle.telling(tell, piece).await?;
                buffer.drain(..n);
                end.taken(n);
                streamed = true;
                share = None;
            }
            if buffer.capacity() - buffer.len() < 4096 {
                let more = if streamed { PIECE } else { buffer.capacity() };
                buffer.reserve(more);
            }
        }
        if buffer.len() > end.position() {
            if held.checkout.has_riders() {
                // answers of those whose statements were sent behind this one; the next reads on behind them
                let mut beyond = self.worker.buffer();
                beyond.extend_from_slice(buffer.get(end.position()..).unwrap_or_default());
                held.checkout.put_leftover(beyond);
            } else {
                // the answer is whole; what follows is the server's goodbye, or none of its business
                held.checkout.sent_too_much();
            }
            buffer.truncate(end.position());
        }
        held.checkout.exchange_ended();
        if held.checkout.is_being_killed() && !held.checkout.has_riders() {
            let by_kill = end.summary().error.is_some_and(|error| error == error_code::QUERY_INTERRUPTED);
            Box::pin(held.checkout.kill_answered(by_kill)).await;
        }
        let tracked = if end.tracked().is_empty() { Vec::new() } else { end.tracked().to_vec() };
        Ok(Attempt::Answered(Answer { rest: buffer, streamed, summary: *end.summary(), tracked, share }))
    }

    /// What the session before may still ask, closes of statements, long data, and the packet, with the server's own
    /// statement id in it.
    async fn send(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        ahead: Option<&Ahead>,
        fresh: bool,
    ) -> Result<SentBefore, ConnectionError> {
        held.checkout.exchange_begins();
        let pool = held.checkout.pool();
        let leads = fresh && ahead.is_none() && pool.is_waited_for(self.worker.id) && self.may_ride(job);
        let mut before = SentBefore::default();
        let asks = held.checkout.left().is_some();
        let whole = !is_continued(job.packet);
        // a text that is one statement for certain is that with multi-statements and without
        let option = match ahead {
            Some(Ahead { by: By::Statements, .. }) => Some(true),
            _ => text_of(job.packet, self.class.query_attributes)
                .filter(|(_, text)| has_semicolon(text))
                .map(|_| self.multi_statements)
                .filter(|wish| *wish != held.checkout.multi_statements()),
        };
        let alone = !asks && !held.checkout.prepared.has_closes() && job.prepared.is_none();
        if !alone || leads || !whole || option.is_some() {
            let mut out = self.worker.buffer();
            // first of all: any other command wipes the answers out
            before.asked = held.checkout.write_left(&mut out);
            held.checkout.prepared.write_closes(&mut out);
            before.option = option.is_some_and(|wish| held.checkout.write_option(wish, &mut out));
            if let Some(Ahead { by: By::Command, transition, .. }) = ahead {
                transition.write_commands(self.class.query_attributes, &mut out);
            }
            if let Some(prepared) = job.prepared {
                let id = held.checkout.prepared.id(prepared.definition).unwrap_or(u32::MAX);
                let from = out.len();
                out.extend_from_slice(prepared.long_data);
                put_ids(out.get_mut(from..).unwrap_or_default(), id);
                let from = out.len();
                append_request(&mut out, job.packet);
                put_id(out.get_mut(from..).unwrap_or_default(), id);
            } else if let Some(Ahead { transition, .. }) = ahead {
                append_behind(&mut out, transition, job.packet, self.class.query_attributes);
            } else {
                append_request(&mut out, job.packet);
            }
            if leads {
                let pool = Arc::clone(held.checkout.pool());
                pool.take_riders(self.worker.id, &mut held.checkout, &mut out);
            }
            held.checkout.stream().write_all(&out).await?;
            self.worker.recycle(out);
        } else {
            held.checkout.stream().write_all(job.packet).await?;
        }
        if held.checkout.stream().needs_flush() {
            held.checkout.stream().flush().await?;
        }
        Ok(before)
    }

    /// The server's side ended in the middle. If a part of the answer is with the client, the client learns it there.
    async fn broke_off(
        &mut self,
        mut buffer: Vec<u8>,
        end: &ResponseEnd<'_>,
        sent: Sent,
        error: ConnectionError,
        held: &mut Held,
        fresh: bool,
    ) -> Result<Attempt, SessionError> {
        if sent == Sent::Nothing && buffer.is_empty() {
            self.worker.recycle(buffer);
            return Ok(Attempt::NoAnswer(error));
        }
        if sent == Sent::HalfAPacket {
            // nothing can be said after it
            return Err(SessionError::ServerGone);
        }
        let refused = lost(held.checkout.pool().instance(), &error);
        let (place, sequence) = end.error_place();
        buffer.truncate(place);
        refused.write(&mut buffer, sequence);
        self.client.write(&buffer).await?;
        if fresh { Err(SessionError::AnsweredWithError) } else { Err(SessionError::ServerGone) }
    }

    /// The namespace's row limit: what fits goes to the client, then error 1104; the statement is killed, and the rest
    /// of its answer read and dropped, so that an open transaction lives on.
    async fn too_many_rows(
        &mut self,
        held: &mut Held,
        mut buffer: Vec<u8>,
        end: &mut ResponseEnd<'_>,
    ) -> Result<Answer, SessionError> {
        let limit = self.tenant.namespace.limits.result_rows.unwrap_or(u64::MAX);
        let rest = buffer.split_off(end.boundary());
        end.taken(buffer.len());
        let refused = Refused::new(
            error_code::TOO_BIG_SELECT,
            format!(
                "The result has more than {limit} rows, which is the limit of namespace {}",
                self.tenant.name
            ),
        );
        refused.write(&mut buffer, end.boundary_sequence());
        let status = end.summary().status;
        let mut drained = rest;
        end.lift_row_limit();
        held.checkout.kill_statement(KillMode::Hard);
        let drain = async {
            loop {
                match end.scan(&mut drained)? {
                    Scan::Done => return Ok::<(), ConnectionError>(()),
                    // nobody answers it any more
                    Scan::LocalFile => return Err(ConnectionError::Closed),
                    Scan::More | Scan::RowLimit => {}
                }
                let n = end.position();
                drained.drain(..n);
                end.taken(n);
                if held.checkout.stream().read_buf(&mut drained).await? == 0 {
                    return Err(ConnectionError::Closed);
                }
            }
        };
        let outcome: Result<(), ConnectionError> = drain.await;
        // the KILL may have hit a statement behind this one: then the connection ends, and that one is sent again
        if outcome.is_ok() && !held.checkout.has_riders() {
            held.checkout.exchange_ended();
            let by_kill = end.summary().error.is_some_and(|error| error == error_code::QUERY_INTERRUPTED);
            held.checkout.kill_answered(by_kill).await;
        }
        let mut summary = *end.summary();
        summary.error = Some(error_code::TOO_BIG_SELECT);
        summary.status = summary.status.or(status);
        Ok(Answer { rest: buffer, streamed: true, summary, tracked: Vec::new(), share: None })
    }
}

/// What was sent before the statement, as commands of their own.
#[derive(Debug, Default)]
struct SentBefore {
    asked: Option<Questions>,
    option: bool,
}

async fn read_before(held: &mut Held, sent: SentBefore) -> Result<(), ConnectionError> {
    held.checkout.read_left(sent.asked).await?;
    if sent.option {
        held.checkout.read_option().await?;
    }
    Ok(())
}

/// Appends a COM_QUERY with statements before its own. The connection was found to take it.
fn append_behind(out: &mut Vec<u8>, transition: &Transition, packet: &[u8], attributes: bool) {
    let (head, own) = text_of(packet, attributes).unwrap_or_default();
    let mut text = Vec::with_capacity(packet.len() + transition.set.len() + 64);
    text.extend_from_slice(head);
    transition.write_statements(&mut text);
    text.extend_from_slice(own);
    let sequence = Header::parse(packet).map_or(0, |header| header.sequence);
    write_packet(out, sequence, &text);
}

/// The answer that a server is to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    pub(super) expect: Expect,
    pub(super) passage: Passage,
    pub(super) local_files: LocalFiles,
    /// Sequence id of its first packet, as the server counts.
    pub(super) sequence: u8,
    /// The same as the client counts: it sees nothing of statements that set the session's state.
    pub(super) shown: u8,
}

/// Waits for what comes before the statement's answer, unless the client goes, or is told to: then the connection is lost,
/// which is no loss unless the session held it before.
async fn unless_over<T>(
    client: &mut Client,
    fresh: bool,
    what: impl Future<Output = T>,
) -> Result<T, SessionError> {
    let mut what = pin!(what);
    let waited = poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => poll_over(client, cx, !fresh).map(Err),
    });
    waited.await.map_err(over)
}

/// Has the client gone, or is the session told to end? `statement_goes_on`: that its statement is to end is no reason.
fn poll_over(client: &mut Client, cx: &mut Context<'_>, statement_goes_on: bool) -> Poll<ClientError> {
    match client.poll_end(cx) {
        Poll::Ready(ClientError::Told(Signal::Stop)) => client.poll_gone(cx),
        Poll::Ready(ClientError::StatementTold(_)) if statement_goes_on => client.poll_gone(cx),
        end => end,
    }
}

/// How an answer goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// In pieces, if it is large.
    Streams,
    /// Only once all of it is there: Weir may take rows out of it.
    Whole,
}

/// What the client has of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    WholePackets,
    HalfAPacket,
}

fn sent(streamed: bool, in_packet: bool, end: &ResponseEnd<'_>) -> Sent {
    match (streamed, in_packet && end.boundary() == 0) {
        (false, _) => Sent::Nothing,
        (true, false) => Sent::WholePackets,
        (true, true) => Sent::HalfAPacket,
    }
}

/// Does the text load a file of the client?
pub(super) fn local_files_of(statement: &Statement) -> LocalFiles {
    match statement.effects.contains(Effects::LOCAL_INFILE) {
        true => LocalFiles::Expected,
        false => LocalFiles::Refused,
    }
}

/// Does the request take more than one packet?
fn is_continued(packet: &[u8]) -> bool {
    packet.len() >= HEADER_LEN + MAX_PAYLOAD
}

/// Appends a request with as many headers as it takes.
fn append_request(out: &mut Vec<u8>, packet: &[u8]) {
    match (Header::parse(packet), packet.get(HEADER_LEN..)) {
        (Some(header), Some(payload)) if is_continued(packet) => {
            write_packet(out, header.sequence, payload);
        }
        _ => out.extend_from_slice(packet),
    }
}

/// Reads from the server, unless the client goes: then nobody waits for the answer.
///
/// `killing`: the session knows that its statement is to end.
async fn read_for(
    client: &mut Client,
    server: &mut Stream,
    buffer: &mut Vec<u8>,
    killing: bool,
) -> Result<io::Result<usize>, ClientError> {
    let mut read = pin!(server.read_buf(buffer));
    poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Ready(read) => Poll::Ready(Ok(read)),
        Poll::Pending => match poll_over(client, cx, killing) {
            Poll::Pending if client.is_asked() => Poll::Ready(Err(ClientError::Asked)),
            end => end.map(Err),
        },
    })
    .await
}

/// Sequence id of the first packet of the answer to a request.
fn sequence_after(packet: &[u8]) -> u8 {
    let first = Header::parse(packet).map_or(0, |h| h.sequence);
    let packets = packet.len().saturating_sub(HEADER_LEN) / MAX_PAYLOAD + 1;
    // ids wrap at 256
    first.wrapping_add((packets % 256).try_into().unwrap_or(0))
}

/// Puts a statement id where all commands of prepared statements have it.
pub(crate) fn put_id(packet: &mut [u8], id: u32) {
    if let Some(bytes) = packet.get_mut(5..9) {
        bytes.copy_from_slice(&id.to_le_bytes());
    }
}

/// The same in each of several commands; a packet that continues another has no id.
fn put_ids(packets: &mut [u8], id: u32) {
    let mut rest = packets;
    let mut continues = false;
    while let Some(header) = Header::parse(rest) {
        if !continues {
            put_id(rest, id);
        }
        continues = header.continues();
        rest = rest.get_mut(HEADER_LEN + header.len..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_request_goes_in_as_many_packets_as_it_takes() {
        for (len, packets) in
            [(10, 1), (MAX_PAYLOAD - 1, 1), (MAX_PAYLOAD, 2), (MAX_PAYLOAD + 1, 2), (2 * MAX_PAYLOAD, 3)]
        {
            let payload = vec![7; len];
            let request = [Header::first_of(len, 0).to_bytes().as_slice(), &payload].concat();
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            append_request(&mut sent, &request);
            write_packet(&mut expected, 0, &payload);
            assert!(sent == expected, "{len} bytes");
            assert_eq!(sequence_after(&request), packets, "{len} bytes");
        }
    }

    #[test]
    fn ids_are_put_into_commands_and_not_into_what_continues_them() {
        let mut packets = Vec::new();
        write_packet(&mut packets, 0, &vec![7; MAX_PAYLOAD + 20]);
        let second = packets.len();
        write_packet(&mut packets, 0, &[7; 12]);
        let mut expected = packets.clone();
        put_id(&mut expected, 9);
        put_id(&mut expected[second..], 9);
        put_ids(&mut packets, 9);
        assert!(packets == expected);
    }
}
