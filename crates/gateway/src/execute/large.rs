//! Long requests. What is collected takes a share of the process's budget for bytes in flight first. Texts too long to be
//! collected stream to the primary: the text is read as it passes; the last piece is held back until the whole is
//! understood, since a server runs nothing before it has the last byte.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use weir_backend::ConnectionError;
use weir_plan::{Plan, Refusal, Target, plan};
use weir_sql::{Analyzer, Statement};
use weir_wire::{
    command::{Command, com},
    error_code::{self, ErrorCode},
    framer::{HEADER_LEN, Header},
    response_end::Expect,
};

use super::{
    Attempt, Job, Shown,
    exchange::{Coming, Passage, local_files_of},
    ready::Packing,
};
use crate::{
    client::{ClientError, Request},
    error::{Refused, SessionError},
    session::{Held, Session},
};

/// A longer text is not collected: it streams to the server.
const COLLECT_UP_TO: usize = 1 << 20;
/// Pieces in which a long request passes.
const PIECE: usize = 256 << 10;

impl Session {
    /// A request whose packet is not in the buffer whole.
    pub(crate) async fn large(&mut self, request: &mut Request) -> Result<(), SessionError> {
        let mut body = Body::new(request.packet(), self.max_allowed_packet())?;
        let streams = body.total > COLLECT_UP_TO && request.payload().first() == Some(&com::QUERY);
        let served = if streams {
            self.large_query(request, &mut body).await
        } else {
            // the types of a prepared statement's parameters may have to be put in, which moves everything behind them:
            // other commands are collected
            self.collected(request, &mut body).await
        };
        match served {
            Err(SessionError::Refused(refused)) => {
                // the client's next command is behind the rest of this one
                body.skip(self).await?;
                if request.payload().first() == Some(&com::STMT_SEND_LONG_DATA) {
                    // has no answer: the execution has
                    self.refuse_long_data(request.payload(), refused);
                    return Ok(());
                }
                Err(SessionError::RefusedAt(refused, body.next_sequence))
            }
            served => served,
        }
    }

    async fn collected(&mut self, request: &mut Request, body: &mut Body) -> Result<(), SessionError> {
        if body.over_limit() {
            return Err(too_large().into());
        }
        let patience = self.tenant.namespace.pool.checkout_timeout;
        // all that is known to come at once: who holds a part waits for nothing more
        let mut share = self.gateway.in_flight.take(body.total, patience).await?;
        let mut paid = body.total;
        let mut whole = Vec::with_capacity(HEADER_LEN + body.total);
        whole.extend_from_slice(request.packet());
        while let Some(piece) = body.next(self).await? {
            if body.over_limit() {
                return Err(too_large().into());
            }
            if body.total > paid {
                share.grow(body.total - paid, patience).await?;
                paid = body.total;
            }
            if body.piece_is_text {
                whole.extend_from_slice(&piece);
            }
        }
        let mut collected = Request::collected(whole);
        if let Ok(Command::StmtSendLongData { statement, parameter, data }) =
            Command::parse(collected.payload())
        {
            Box::pin(self.long_data(statement, parameter, data, Some(share))).await;
            return Ok(());
        }
        let served = Box::pin(self.serve(&mut collected)).await;
        drop(share);
        served
    }

    async fn large_query(&mut self, request: &mut Request, body: &mut Body) -> Result<(), SessionError> {
        let begin = Instant::now();
        if self.wanted.is_none() {
            self.learn_state_unless_told().await?;
        }
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        let mut reading = Analyzer::new(&wanted.dialect);
        self.find_text(request)?;
        reading.feed(request.text());
        let mut analyzer = Some(reading);
        if body.over_limit() {
            return Err(too_large().into());
        }
        let opening = Statement::new();
        let job =
            Job { packet: request.packet(), statement: &opening, expect: Expect::Results, prepared: None };
        let fresh = self.held.as_ref().is_none_or(|held| held.returned);
        let mut held = match self.take_held()? {
            Some(held) => held,
            None => self.checkout(Target::Primary, &job, None).await?,
        };
        // the text may turn out to be several
        let ready = match self.make_ready(&mut held, &job, fresh, Packing::Apart).await {
            Ok(_) => held.checkout.become_multi_statements(self.multi_statements).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            return match error {
                ConnectionError::Server { code, text } => {
                    self.not_ready(held, fresh, Refused::new(code, text))
                }
                error => Err(self.connection_lost(held, fresh, &error)),
            };
        }
        held.checkout.exchange_begins();
        let mut broken = send(&mut held, request.packet()).await.err();
        let mut statement = Statement::new();
        loop {
            let Some(piece) = body.next(self).await? else { break };
            if body.over_limit() {
                return Err(self.abandon(held, fresh, too_large(), body).await);
            }
            if let (Some(analyzer), true) = (&mut analyzer, body.piece_is_text) {
                analyzer.feed(&piece);
            }
            if let Some(analyzer) = analyzer.take_if(|_| body.at_end()) {
                analyzer.finish(&mut statement);
                let refusal = match plan(&statement, self.facts(&statement), &self.tenant.namespace) {
                    Plan::Refuse(refusal) => Some(refusal),
                    Plan::ForwardDatabases => Some(Refusal::NotAlone("SHOW DATABASES")),
                    Plan::ForwardProcesslist => Some(Refusal::NotAlone("SHOW PROCESSLIST")),
                    Plan::ShowWeir(_) => Some(Refusal::NotAlone("SHOW WEIR")),
                    Plan::Kill => Some(Refusal::NotAlone("KILL")),
                    Plan::Forward(_) => None,
                };
                if let Some(refusal) = refusal {
                    let (number, sqlstate) = refusal.code();
                    let refused =
                        Refused::new(ErrorCode { number, sqlstate }, refusal.message(&self.identity));
                    return Err(self.abandon(held, fresh, refused, body).await);
                }
            }
            if broken.is_none() {
                broken = send(&mut held, &piece).await.err();
            }
        }
        // a server that closed may have said why: then that is the answer
        let coming = Coming {
            expect: Expect::Results,
            passage: Passage::Streams,
            local_files: local_files_of(&statement),
            sequence: body.next_sequence,
            shown: body.next_sequence,
        };
        let about = Shown { of: None, head: request.packet(), attributes: self.class.query_attributes };
        let received = self.receive(&mut held, coming, about, fresh).await;
        let attempt = match received {
            Ok(attempt) => attempt,
            Err(error) => return Err(self.walk_away(held, error)),
        };
        let answer = match (attempt, broken) {
            (Attempt::Answered(answer), _) => answer,
            (Attempt::NotSent(error) | Attempt::NoAnswer(error) | Attempt::Refused(error), broken) => {
                return Err(self.connection_lost(held, fresh, &broken.unwrap_or(error)));
            }
        };
        let job = Job { statement: &statement, ..job };
        self.settle(held, &job, &answer).await?;
        let failed = answer.summary.error.is_some();
        let written = self.client.write(&answer.rest).await;
        self.tenant.counters(self.worker.id).answered(statement.kind, begin.elapsed(), failed);
        Ok(written?)
    }

    /// The lower of the namespace's limit and the server's.
    fn max_allowed_packet(&self) -> usize {
        let own = self.tenant.namespace.limits.max_allowed_packet as usize;
        let server = self.tenant.primary.dialer().facts().map_or(usize::MAX, |f| f.max_allowed_packet);
        own.min(server)
    }

    /// A server has a part of a request that it will never get the rest of: its connection is closed.
    async fn abandon(&mut self, held: Held, fresh: bool, refused: Refused, body: &mut Body) -> SessionError {
        drop(held);
        match body.skip(self).await {
            Err(error) => error,
            Ok(()) if fresh => SessionError::Refused(refused),
            Ok(()) => SessionError::FatalAt(refused, body.next_sequence),
        }
    }
}

async fn send(held: &mut Held, bytes: &[u8]) -> Result<(), ConnectionError> {
    held.checkout.stream().write_all(bytes).await?;
    if held.checkout.stream().needs_flush() {
        held.checkout.stream().flush().await?;
    }
    Ok(())
}

fn too_large() -> Refused {
    Refused::new(error_code::NET_PACKET_TOO_LARGE, "Got a packet bigger than 'max_allowed_packet' bytes")
}

/// The rest of a request: where it is in its packets.
struct Body {
    /// Bytes of the current packet that have not come.
    left: usize,
    /// Another packet follows this one.
    continues: bool,
    total: usize,
    limit: usize,
    /// Sequence id of the answer, as far as known.
    next_sequence: u8,
    /// The last piece was text, not a header.
    piece_is_text: bool,
}

impl Body {
    fn new(head: &[u8], limit: usize) -> Result<Self, SessionError> {
        let header = Header::parse(head).ok_or(SessionError::Client(ClientError::Cut))?;
        let have = head.len() - HEADER_LEN;
        Ok(Self {
            left: header.len - have.min(header.len),
            continues: header.continues(),
            total: header.len,
            limit,
            next_sequence: header.sequence.wrapping_add(1),
            piece_is_text: true,
        })
    }

    fn over_limit(&self) -> bool {
        self.total > self.limit
    }

    /// Was the piece before the last one?
    fn at_end(&self) -> bool {
        self.left == 0 && !self.continues
    }

    /// The next piece: a part of a packet, or the header of the next. `None` at the end.
    async fn next(&mut self, session: &mut Session) -> Result<Option<Vec<u8>>, SessionError> {
        if self.left > 0 {
            let piece = session.client.piece(self.left.min(PIECE)).await?;
            self.left -= piece.len();
            self.piece_is_text = true;
            return Ok(Some(piece));
        }
        if !self.continues {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        while bytes.len() < HEADER_LEN {
            bytes.extend(session.client.piece(HEADER_LEN - bytes.len()).await?);
        }
        let header = Header::parse(&bytes).ok_or(SessionError::Client(ClientError::Cut))?;
        if header.sequence != self.next_sequence {
            let (got, wanted) = (header.sequence, self.next_sequence);
            return Err(ClientError::OutOfOrder { got, wanted }.into());
        }
        self.left = header.len;
        self.continues = header.continues();
        self.total = self.total.saturating_add(header.len);
        self.next_sequence = header.sequence.wrapping_add(1);
        self.piece_is_text = false;
        Ok(Some(bytes))
    }

    /// Reads the rest and drops it, so that the client's next command can be read.
    async fn skip(&mut self, session: &mut Session) -> Result<(), SessionError> {
        while self.next(session).await?.is_some() {}
        Ok(())
    }
}
