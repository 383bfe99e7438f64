//! One connection to a server, and what is known to be set on it.

use std::{collections::VecDeque, io, sync::Arc, time::Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_wire::{
    Malformed,
    command::com,
    error_code::ErrorCode,
    framer::{HEADER_LEN, Header, first_packet},
    packet_with,
    query_attributes::query_head,
    response::{self, Column, ErrPacket, TextRow},
    response_end::{BACKEND_FLAGS, Expect, ResponseEnd, Scan, Summary},
    server_version::{Flavour, ServerVersion},
    write_packet,
};

use crate::{
    control::KillUnderway,
    dial::ServerFacts,
    left::{Fact, Left, Memory, Numbers, Questions},
    pool::{Class, Lease},
    prepared::PreparedOnServer,
    shard::Waiter,
    state::{self, Part, State, Transition},
    stream::{Detached, Stream},
    text::TextsOnServer,
    user_variable::{self, OnConnection, UserVariableName, UserVariables, Wish},
};

/// Most bytes that an answer to one of Weir's own commands may have.
const MAX_REPLY: usize = 4 << 20;

/// Why a connection can no longer be used, or what the server said no to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The network failed.
    #[error("connection to the server failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent something that is no answer.
    #[error("the server sent a {0}")]
    Malformed(#[from] Malformed),
    /// The server had closed the connection before the command came, and said why.
    #[error("the server had closed the connection: {0}")]
    Goodbye(String),
    /// A state that the server had accepted before was refused, and the statement behind it ran.
    #[error("the session's state was refused, and whether the statement ran as it should is not known: {0}")]
    Withdrawn(String),
    /// The answer to one of Weir's own commands is too long.
    #[error("the server's answer is longer than {MAX_REPLY} bytes")]
    TooLong,
    /// The server refused the command; the connection is fine.
    #[error("the server answered {number}: {text}", number = .code.number)]
    Server {
        /// Its number.
        code: ErrorCode,
        /// Its text.
        text: String,
    },
}

/// What a connection must have set for a session.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Default database and system variables.
    pub state: Arc<State>,
    /// User variables; `None` if they are to stay as they are.
    pub user: Option<Wish>,
}

/// The whole answer to one of Weir's own commands.
#[derive(Debug)]
pub struct Reply {
    /// Packets, as a client with the backend's flags would see them.
    pub bytes: Vec<u8>,
    /// What the control packets told.
    pub summary: Summary,
    /// Session-state records.
    pub tracked: Vec<u8>,
}

impl Reply {
    /// The columns of a result set.
    ///
    /// # Errors
    /// It is not a well-formed result set.
    pub fn columns(&self) -> Result<Vec<Column<'_>>, Malformed> {
        let mut packets = packets(&self.bytes);
        let count = packets.next().and_then(|p| p.first().copied()).unwrap_or(0);
        packets.take(count.into()).map(Column::parse).collect()
    }

    /// The rows of a text result set; NULL is `None`.
    ///
    /// # Errors
    /// It is not a well-formed result set.
    pub fn rows(&self) -> Result<Vec<Vec<Option<Vec<u8>>>>, Malformed> {
        let mut packets = packets(&self.bytes);
        let columns = packets.next().and_then(|p| p.first().copied()).unwrap_or(0);
        let count = usize::try_from(self.summary.rows).unwrap_or(usize::MAX);
        let row = |payload| {
            let mut values = TextRow::new(payload);
            let mut row = Vec::new();
            while !values.is_empty() {
                row.push(values.value()?.map(<[u8]>::to_vec));
            }
            Ok(row)
        };
        packets.skip(columns.into()).take(count).map(row).collect()
    }
}

/// Payloads of the whole packets that `bytes` begins with.
fn packets(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, payload) = first_packet(rest)?;
        rest = rest.get(HEADER_LEN + header.len..).unwrap_or_default();
        Some(payload)
    })
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    server: Arc<ServerFacts>,
    thread_id: u32,
    class: Class,
    state: Arc<State>,
    /// What the server gave the connection at login or reset; what a session with nothing set sees.
    baseline: Arc<State>,
    multi_statements: bool,
    /// Which statement of which session ran on it last; 0 for none.
    last_statement: u64,
    /// The worker whose event loop the socket is in.
    pub(crate) home: usize,
    pub(crate) created: Instant,
    pub(crate) idle_since: Instant,
    /// What it still knows about statements of a session that gave it back.
    left: Option<Left>,
    /// Something is set on it that no [`State`] names: reset it before another session gets it.
    dirty: bool,
    /// A transaction was opened on it for a statement whose answer has not come.
    opened: bool,
    /// It was interrupted in the middle of an exchange: close it.
    broken: bool,
    /// Bytes came that nobody had asked for.
    overrun: bool,
    /// A KILL of its statement is on its way.
    pub(crate) kill: Option<KillUnderway>,
    /// Sessions whose statements were written behind the holder's, in order.
    riders: VecDeque<Waiter>,
    /// Bytes of their answers that were read already.
    leftover: Vec<u8>,
    /// The holder's statement was sent before it got the connection: only its answer is to be read.
    answer_due: bool,
    /// User variables that sessions have assigned on it.
    user_variables: OnConnection,
    /// Statements prepared on it.
    pub prepared: PreparedOnServer,
    /// Statements prepared on it as text, by name.
    pub texts: TextsOnServer,
    /// The roles that login gave, as SET ROLE takes them; empty if the server has no roles.
    roles_by_login: Box<[u8]>,
    /// Keeps its place in the pool's budget.
    pub(crate) lease: Option<Lease>,
}

impl Connection {
    /// A connection right after login, before [`prepare_for_use`](Self::prepare_for_use).
    pub(crate) fn new(
        stream: Stream,
        server: Arc<ServerFacts>,
        thread_id: u32,
        class: Class,
        now: Instant,
    ) -> Self {
        let nothing = Arc::clone(&server.nothing);
        Self {
            stream,
            server,
            thread_id,
            class,
            state: Arc::clone(&nothing),
            baseline: nothing,
            multi_statements: false,
            last_statement: 0,
            left: None,
            home: 0,
            created: now,
            idle_since: now,
            dirty: false,
            opened: false,
            broken: false,
            overrun: false,
            kill: None,
            riders: VecDeque::new(),
            leftover: Vec::new(),
            answer_due: false,
            user_variables: OnConnection::default(),
            prepared: PreparedOnServer::default(),
            texts: TextsOnServer::default(),
            roles_by_login: Box::default(),
            lease: None,
        }
    }

    /// The bytes to and from the server.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The server's own id of this connection, for KILL.
    #[must_use]
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Arc<ServerFacts> {
        &self.server
    }

    /// What the server is became known.
    pub(crate) fn set_server(&mut self, server: Arc<ServerFacts>) {
        self.server = server;
    }

    /// Capabilities it was logged in with.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// What is set on it.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What the server gave it at login.
    #[must_use]
    pub fn baseline(&self) -> &Arc<State> {
        &self.baseline
    }

    /// The roles that login gave, as SET ROLE takes them.
    #[must_use]
    pub fn roles_by_login(&self) -> &[u8] {
        &self.roles_by_login
    }

    /// The server told that something changed.
    pub fn set_state(&mut self, state: Arc<State>) {
        self.state = state;
    }

    /// Does it take several statements in one text?
    #[must_use]
    pub fn multi_statements(&self) -> bool {
        self.multi_statements
    }

    /// Which statement ran on it last: a number that the sessions agree on.
    #[must_use]
    pub fn last_statement(&self) -> u64 {
        self.last_statement
    }

    /// A statement ran on it.
    pub fn set_last_statement(&mut self, number: u64) {
        self.last_statement = number;
    }

    /// The session gives it back, or has something else run on it, and may ask later: see [`Left`].
    pub fn leave(&mut self, memory: &Arc<Memory>, numbers: Numbers, names: Vec<UserVariableName>) {
        // the one before first: what it still knew is lost with it
        self.left = None;
        self.left = Some(Left::new(memory, numbers, names));
    }

    /// User variables that sessions have assigned on it.
    #[must_use]
    pub fn user_variables(&self) -> &OnConnection {
        &self.user_variables
    }

    /// A statement assigned user variables.
    pub fn assigned<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        self.user_variables.assigned(names);
    }

    /// The session has it again. Returns the statements about which it knows something.
    pub fn take_left_back(&mut self) -> Numbers {
        self.left.take().map(Left::withdraw).unwrap_or_default()
    }

    /// What it still knows about statements of the session that had it before.
    #[must_use]
    pub fn left(&self) -> Option<&Left> {
        self.left.as_ref()
    }

    /// Could the session that had it before still ask about its statements?
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.as_ref().is_some_and(Left::is_wanted)
    }

    /// Writes the questions that must come before any other command, since that would wipe the answers out.
    pub fn write_left(&mut self, out: &mut Vec<u8>) -> Option<Questions> {
        self.last_statement = 0;
        let attributes = self.class.query_attributes;
        self.left.take().map(|left| left.ask(attributes, out)).filter(|questions| !questions.is_empty())
    }

    /// Reads the answers to [`write_left`](Self::write_left). Gives the session-state records that came with them: of a
    /// statement before that failed, and told none itself.
    ///
    /// # Errors
    /// The connection failed. What the server refuses to tell is lost, and no error here.
    pub async fn read_left(&mut self, questions: Option<Questions>) -> Result<Vec<u8>, ConnectionError> {
        let mut tracked = Vec::new();
        let Some(questions) = questions else { return Ok(tracked) };
        for fact in questions.facts() {
            match self.read_reply(Expect::Results).await {
                Ok(mut reply) => {
                    tracked.append(&mut reply.tracked);
                    if fact == Fact::UserVariables
                        && let Ok(values) = user_variable::read(questions.names(), &reply)
                    {
                        self.user_variables.told(values);
                    }
                    questions.answered(fact, reply);
                }
                Err(ConnectionError::Server { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tracked)
    }

    /// Asks now what the session that had it before may still want to know.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn flush_left(&mut self) -> Result<(), ConnectionError> {
        let mut out = Vec::new();
        let questions = self.write_left(&mut out);
        if questions.is_none() {
            return Ok(());
        }
        self.broken = true;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        self.broken = false;
        Ok(())
    }

    /// Closes prepared statements that are to be closed, and waits until the server has done so.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn flush_closes(&mut self) -> Result<(), ConnectionError> {
        let mut out = Vec::new();
        let questions = self.write_left(&mut out);
        self.prepared.write_closes(&mut out);
        // a close has no answer of its own
        packet_with(&mut out, 0, |w| {
            w.u8(com::PING);
        });
        self.broken = true;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        self.read_reply(Expect::One).await?;
        self.broken = false;
        Ok(())
    }

    /// Something was left on it that only a reset takes away.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Must it be reset before another session gets it?
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty || self.opened
    }

    /// A transaction is opened on it ahead of its first statement. Unless [that is answered](Self::opening_is_used), the
    /// connection is reset before another session gets it.
    pub fn opens(&mut self) {
        self.opened = true;
    }

    /// Was a transaction opened on it for a statement whose answer has not come?
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.opened
    }

    /// The statement for which a transaction was opened has its answer: what is open now, that tells.
    pub fn opening_is_used(&mut self) {
        self.opened = false;
    }

    /// An exchange on it begins, which must end before it may be used again.
    pub fn exchange_begins(&mut self) {
        self.broken = true;
    }

    /// The exchange ended: the server waits for the next command.
    pub fn exchange_ended(&mut self) {
        self.broken = false;
    }

    /// The server has sent more than it was asked for: it is closing the connection, or nothing it says can be trusted.
    pub fn sent_too_much(&mut self) {
        self.overrun = true;
    }

    /// Was an exchange on it not brought to its end, or did more come than that, or may a KILL still arrive?
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken || self.overrun || self.kill.is_some()
    }

    /// Is it ready for a session that wants `state`, without any command before?
    #[must_use]
    pub fn matches(&self, state: &Arc<State>, variables: &Arc<UserVariables>) -> bool {
        Arc::ptr_eq(&self.state, state) && self.user_variables.is_given(variables)
    }

    /// Takes along short reads of other sessions: their packets are appended to `out`, to be sent in one write with
    /// the holder's statement. Their answers follow the holder's.
    pub(crate) fn board(&mut self, riders: Vec<Waiter>, out: &mut Vec<u8>) {
        for rider in &riders {
            out.extend_from_slice(rider.rider.as_ref().map_or(&[], |r| &r.packet));
        }
        self.riders.extend(riders);
    }

    /// Do other sessions' answers follow?
    #[must_use]
    pub fn has_riders(&self) -> bool {
        !self.riders.is_empty()
    }

    /// The next session whose answer follows.
    pub(crate) fn next_rider(&mut self) -> Option<Waiter> {
        self.riders.pop_front()
    }

    /// Was the holder's statement sent already?
    #[must_use]
    pub fn answer_due(&self) -> bool {
        self.answer_due
    }

    /// Reads the answers of the other sessions' statements and drops them: their sessions send them again, on other
    /// connections. For a holder that must keep the connection.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn throw_off_riders(&mut self) -> Result<(), ConnectionError> {
        let mut bytes = std::mem::take(&mut self.leftover);
        while !self.riders.is_empty() {
            self.broken = true;
            let mut end = ResponseEnd::new(Expect::Results, BACKEND_FLAGS, None, None)
                .renumbering(self.stream.is_compressed());
            while end.scan(&mut bytes)? != Scan::Done {
                let n = end.position();
                bytes.drain(..n);
                end.taken(n);
                if self.stream.read_buf(&mut bytes).await? == 0 {
                    return Err(ConnectionError::Closed);
                }
            }
            bytes.drain(..end.position());
            self.riders.pop_front();
            self.broken = false;
        }
        Ok(())
    }

    /// The connection goes to the session whose answer is next.
    pub(crate) fn set_answer_due(&mut self) {
        self.answer_due = true;
        self.broken = true;
    }

    /// Bytes of the holder's answer that were read with those before.
    pub fn take_leftover(&mut self) -> Vec<u8> {
        self.answer_due = false;
        std::mem::take(&mut self.leftover)
    }

    /// Bytes that were read beyond the holder's answer.
    pub fn put_leftover(&mut self, bytes: Vec<u8>) {
        self.leftover = bytes;
    }

    /// What has to be sent so that `want` becomes its state.
    #[must_use]
    pub fn transition_to(&self, want: &Goal) -> Transition {
        let mut transition = Transition::between(&self.state, &want.state, self.server.version.flavour)
            .with_roles(&self.state, &want.state, &self.roles_by_login);
        if let Some(wish) = &want.user {
            self.user_variables.write_assignments(wish, &mut transition.set);
        }
        transition
    }

    /// Makes `want` its state: at most one round trip, none if it is so already.
    ///
    /// # Errors
    /// As [`go_to`](Self::go_to).
    pub async fn become_state(&mut self, want: &Goal) -> Result<(), ConnectionError> {
        let transition = self.transition_to(want);
        self.go_to(&transition, want).await
    }

    /// The same, when it is known what that takes.
    ///
    /// # Errors
    /// The server refused a part of it (then what is set is not known, and the connection is marked broken unless
    /// only the default database was refused), or the connection failed.
    pub async fn go_to(&mut self, transition: &Transition, want: &Goal) -> Result<(), ConnectionError> {
        if transition.commands() == 0 && !transition.needs_new_login {
            self.is_now(want);
            return Ok(());
        }
        let mut out = Vec::new();
        let last_statement = self.last_statement;
        let questions = self.write_left(&mut out);
        if transition.changes() == 0 && questions.is_none() {
            // what opens a transaction is the session's own, and leaves what is known of the statement before as it does
            self.last_statement = last_statement;
        }
        self.broken = true;
        if transition.needs_new_login {
            return Err(ConnectionError::Closed);
        }
        transition.write_commands(self.class.query_attributes, &mut out);
        self.opened |= !transition.opening.is_nothing();
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        let (mut refused, mut missing) = (None, Vec::new());
        for part in transition.parts() {
            match self.read_reply(Expect::One).await {
                Ok(_) => {}
                Err(error @ ConnectionError::Server { .. }) => {
                    refused = refused.or(Some(error));
                    missing.push(part);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(error) = refused else {
            self.server.accepted.add(transition);
            self.is_now(want);
            self.has_texts(transition, &[]);
            self.broken = false;
            return Ok(());
        };
        self.not_all(transition, want, &missing)?;
        Err(error)
    }

    fn is_now(&mut self, want: &Goal) {
        self.state = Arc::clone(&want.state);
        if let Some(wish) = &want.user {
            self.user_variables.give(wish);
        }
    }

    fn has_texts(&mut self, transition: &Transition, missing: &[Part]) {
        for (n, change) in transition.texts.iter().enumerate() {
            match missing.contains(&Part::Text(n)) {
                false => self.texts.made(change),
                // a PREPARE that fails has dropped the statement before it
                true => self.texts.remove(&change.name),
            }
        }
    }

    /// The server refused parts of a transition, or did not come to them. What it refused of the variables is not known:
    /// then it stays broken.
    ///
    /// # Errors
    /// Roles could not be given back: no fault of who wants the connection, which another one serves.
    fn not_all(
        &mut self,
        transition: &Transition,
        want: &Goal,
        missing: &[Part],
    ) -> Result<(), ConnectionError> {
        if transition.gives_roles_back && missing.contains(&Part::Role) {
            return Err(ConnectionError::Closed);
        }
        if missing.contains(&Part::Set) {
            return Ok(());
        }
        let before = Arc::clone(&self.state);
        self.is_now(want);
        let mut state = (*want.state).clone();
        for part in missing {
            match part {
                Part::Set | Part::Text(_) | Part::Opening(_) => {}
                Part::Role => state.set_role(before.role()),
                Part::ResourceGroup => state.set_resource_group(before.resource_group()),
                Part::Database => state.set_database(before.database()),
            }
        }
        self.state = self.server.states.share(state);
        self.has_texts(transition, missing);
        self.broken = false;
        Ok(())
    }

    /// Reads the answers to the statements of [`Transition::write_statements`] that were sent before another one, in
    /// the same packet, whose answer begins at `sequence`. The server goes no further than to the first that it refuses.
    /// Gives where the answer to the other one begins.
    ///
    /// # Errors
    /// The server refused one: then the connection has no state that is known, unless it was the default database. Or
    /// the connection failed, or was closed already.
    pub async fn read_ahead(
        &mut self,
        transition: &Transition,
        want: &Goal,
        mut sequence: u8,
    ) -> Result<u8, ConnectionError> {
        let parts: Vec<Part> = transition.parts().collect();
        for n in 0..parts.len() {
            match self.read_packet(sequence).await {
                Ok(()) => sequence = sequence.wrapping_add(1),
                Err(error @ ConnectionError::Server { .. }) => {
                    let missing = parts.get(n..).unwrap_or_default();
                    self.not_all(transition, want, missing)?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        self.has_texts(transition, &[]);
        self.server.accepted.add(transition);
        self.is_now(want);
        Ok(sequence)
    }

    /// Reads the answer to a SET that was sent before another command, in the same write: one that the server has
    /// accepted before. If it is refused all the same, the other command ran in a state that is not known.
    ///
    /// # Errors
    /// It was refused, or the connection failed, or was closed already.
    pub async fn read_accepted(
        &mut self,
        transition: &Transition,
        want: &Goal,
    ) -> Result<(), ConnectionError> {
        match self.read_packet(1).await {
            Ok(()) => {
                self.is_now(want);
                Ok(())
            }
            Err(ConnectionError::Server { text, .. }) => {
                self.server.accepted.remove(transition);
                Err(ConnectionError::Withdrawn(text))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads one packet of an answer that has no rows, and no more than that.
    async fn read_packet(&mut self, sequence: u8) -> Result<(), ConnectionError> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await?;
        let header = Header::parse(&header).ok_or(ConnectionError::Closed)?;
        if header.len > MAX_REPLY {
            return Err(ConnectionError::TooLong);
        }
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).await?;
        // compressed, packets are counted as frames are behind each flush: only 0 is sure to be none of an answer's
        let in_order = match self.stream.is_compressed() {
            true => header.sequence != 0,
            false => header.sequence == sequence,
        };
        match payload.first() {
            Some(&(response::OK | response::EOF)) if in_order => Ok(()),
            Some(&response::ERR) => {
                let err = ErrPacket::parse(&payload)?;
                let text = String::from_utf8_lossy(err.message).into_owned();
                // sent before the server had read our command
                if !in_order {
                    return Err(ConnectionError::Goodbye(text));
                }
                Err(ConnectionError::Server { code: err.code, text })
            }
            _ => Err(Malformed { what: "answer to a change of state", at: 0 }.into()),
        }
    }

    /// Reads the answer to [`write_option`](Self::write_option).
    ///
    /// # Errors
    /// The connection failed, or was closed already.
    pub async fn read_option(&mut self) -> Result<(), ConnectionError> {
        match self.read_packet(1).await {
            // it cannot be refused; what follows it may have run
            Err(ConnectionError::Server { .. }) => Err(ConnectionError::Closed),
            read => read,
        }
    }

    /// Switches multi-statements, if they are not as wished.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn become_multi_statements(&mut self, multi_statements: bool) -> Result<(), ConnectionError> {
        let mut out = Vec::new();
        let questions = self.write_left(&mut out);
        let switches = self.write_option(multi_statements, &mut out);
        self.broken = true;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        if switches {
            self.read_option().await?;
        }
        self.broken = false;
        Ok(())
    }

    /// Writes the command that switches multi-statements, if they are not as wished. It cannot be refused, so what
    /// follows need not wait for its answer.
    #[must_use]
    pub fn write_option(&mut self, multi_statements: bool, out: &mut Vec<u8>) -> bool {
        let switches = self.multi_statements != multi_statements;
        if switches {
            packet_with(out, 0, |w| {
                w.u8(com::SET_OPTION).u16(u16::from(!multi_statements));
            });
            self.multi_statements = multi_statements;
        }
        switches
    }

    /// Sends one command and reads its whole answer.
    ///
    /// # Errors
    /// The server refused it, or the connection failed.
    pub async fn command(&mut self, payload: &[u8], expect: Expect) -> Result<Reply, ConnectionError> {
        let mut out = Vec::with_capacity(payload.len() + 4);
        let questions = self.write_left(&mut out);
        self.prepared.write_closes(&mut out);
        write_packet(&mut out, 0, payload);
        self.broken = true;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        let reply = self.read_reply(expect).await;
        if !matches!(
            reply,
            Err(ConnectionError::Io(_)
                | ConnectionError::Closed
                | ConnectionError::Malformed(_)
                | ConnectionError::TooLong)
        ) {
            self.broken = false;
        }
        reply
    }

    /// Sends a text of Weir's own.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn query(&mut self, sql: &str) -> Result<Reply, ConnectionError> {
        let mut payload = Vec::with_capacity(sql.len() + 3);
        payload.extend_from_slice(query_head(self.class.query_attributes));
        payload.extend_from_slice(sql.as_bytes());
        self.command(&payload, Expect::Results).await
    }

    /// Reads exactly one answer. The server must not have been asked for more than is read, command by command.
    ///
    /// # Errors
    /// The answer is an error, or the connection failed.
    pub async fn read_reply(&mut self, expect: Expect) -> Result<Reply, ConnectionError> {
        let mut end =
            ResponseEnd::new(expect, BACKEND_FLAGS, None, None).renumbering(self.stream.is_compressed());
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            // byte counts are asked for exactly, so that the next pipelined answer stays in the socket
            let want = self.missing(&bytes, &end);
            let mut chunk = (&mut self.stream).take(want as u64);
            if chunk.read_buf(&mut bytes).await? == 0 {
                return Err(ConnectionError::Closed);
            }
            if end.scan(&mut bytes)? == Scan::Done {
                break;
            }
            if bytes.len() > MAX_REPLY {
                return Err(ConnectionError::TooLong);
            }
        }
        if let Some(code) = end.summary().error {
            let text = last_error_text(&bytes);
            return Err(ConnectionError::Server { code, text });
        }
        let (summary, tracked) = (*end.summary(), end.tracked().to_vec());
        Ok(Reply { bytes, summary, tracked })
    }

    /// How many bytes are surely still part of this answer: the rest of a header, or of a packet.
    fn missing(&self, bytes: &[u8], end: &ResponseEnd<'_>) -> usize {
        let tail = bytes.get(end.boundary()..).unwrap_or_default();
        match Header::parse(tail) {
            None => 4 - tail.len().min(3),
            Some(header) => (4 + header.len).saturating_sub(tail.len()).max(1),
        }
    }

    /// Arms the trackers and reads what the server gave the connection. `after_reset` resets it first; all in one
    /// write.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub async fn prepare_for_use(&mut self, after_reset: bool) -> Result<(), ConnectionError> {
        let flavour = self.server.version.flavour;
        let query = query_head(self.class.query_attributes);
        let mut out = Vec::new();
        let questions = self.write_left(&mut out);
        if after_reset {
            packet_with(&mut out, 0, |w| {
                w.u8(com::RESET_CONNECTION);
            });
        }
        packet_with(&mut out, 0, |w| {
            w.bytes(query).bytes(arm_trackers(flavour).as_bytes());
        });
        let has_roles = has_roles(&self.server.version);
        packet_with(&mut out, 0, |w| {
            w.bytes(query).bytes(state::select_all(flavour).as_bytes());
            if has_roles {
                w.bytes(b",CURRENT_ROLE()");
            }
        });
        self.broken = true;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.read_left(questions).await?;
        if after_reset {
            self.read_reply(Expect::One).await?;
            self.prepared = PreparedOnServer::default();
            self.texts = TextsOnServer::default();
            self.user_variables = OnConnection::default();
        }
        self.read_reply(Expect::Results).await?;
        let reply = self.read_reply(Expect::Results).await?;
        let mut rows = reply.rows()?;
        let mut row = rows.pop().unwrap_or_default();
        let role = if has_roles { role_as_set(row.pop().flatten().as_deref(), flavour) } else { None };
        let mut values = row.into_iter().map(|v| v.unwrap_or_default().into_boxed_slice());
        let database = values.next().filter(|d| !d.is_empty());
        let state = State::from_values(database.as_deref(), values.collect())
            .ok_or(Malformed { what: "answer to the first question about variables", at: 0 })?;
        let group = self.state.resource_group().map(<[u8]>::to_vec);
        self.baseline = self.server.states.share(state);
        self.state = Arc::clone(&self.baseline);
        match role {
            Some(role) if !after_reset => self.roles_by_login = role,
            Some(role) if *role != *self.roles_by_login => self.keeps(|state| state.set_role(Some(&role))),
            Some(_) => {}
            // what cannot be set again cannot be given back
            None if after_reset && !self.roles_by_login.is_empty() => return Err(ConnectionError::Closed),
            None => {}
        }
        if group.is_some() {
            self.keeps(|state| state.set_resource_group(group.as_deref()));
        }
        self.dirty = false;
        self.opened = false;
        self.broken = false;
        Ok(())
    }

    /// A reset does not take it away.
    fn keeps(&mut self, what: impl Fn(&mut State)) {
        let mut state = (*self.state).clone();
        what(&mut state);
        self.state = self.server.states.share(state);
    }

    /// Asks which roles are active. `None` if they cannot be set again.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub async fn active_roles(&mut self) -> Result<Option<Box<[u8]>>, ConnectionError> {
        let rows = self.query("SELECT CURRENT_ROLE()").await?.rows()?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(role_as_set(value.as_deref(), self.server.version.flavour))
    }

    /// Sets the trackers to what Weir needs; the one for GTIDs cannot be set inside a transaction (1766).
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub async fn arm_trackers(&mut self, with_gtids: bool) -> Result<(), ConnectionError> {
        let all = arm_trackers(self.server.version.flavour);
        if with_gtids {
            self.query(all).await.map(|_| ())
        } else {
            self.query(&all.replace("SESSION session_track_gtids=OWN_GTID,", "")).await.map(|_| ())
        }
    }

    /// Takes the socket out of its event loop before the connection goes to another worker. TLS stays where it is.
    pub(crate) fn park(&mut self) {
        if let Stream::Plain(_) = self.stream {
            let stream = std::mem::replace(&mut self.stream, Stream::Parked(None));
            if let Stream::Plain(socket) = stream {
                self.stream = Stream::Parked(socket.detach().ok());
            }
        }
    }

    /// Puts a parked socket into the event loop of the calling worker.
    pub(crate) fn unpark(&mut self, worker: usize) -> io::Result<()> {
        if let Stream::Parked(socket) = &mut self.stream {
            let socket = socket.take().ok_or(io::ErrorKind::NotConnected)?;
            self.stream = Stream::Plain(Detached::attach(socket)?);
            self.home = worker;
        }
        Ok(())
    }

    /// Says goodbye and waits until the server has closed the connection.
    pub(crate) async fn leave_server(&mut self) -> Result<(), ConnectionError> {
        self.say_goodbye();
        self.broken = true;
        let mut rest = Vec::new();
        while self.stream.read_buf(&mut rest).await? > 0 {
            rest.clear();
        }
        Ok(())
    }

    /// Says goodbye, if the server is waiting for a command.
    pub(crate) fn say_goodbye(&mut self) {
        if !self.broken {
            self.stream.write_now(&[1, 0, 0, 0, com::QUIT]);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

/// Since when the servers have roles. Source: release notes of MySQL 8.0.0 and MariaDB 10.0.5.
fn has_roles(version: &ServerVersion) -> bool {
    let since = match version.flavour {
        Flavour::MySql => 80_000,
        Flavour::MariaDb => 100_005,
    };
    version.number >= since
}

/// What CURRENT_ROLE() shows, as SET ROLE takes it. MySQL shows a list of quoted names, MariaDB one without quotes.
fn role_as_set(shown: Option<&[u8]>, flavour: Flavour) -> Option<Box<[u8]>> {
    let Some(shown) = shown else { return Some(Box::from(*b"NONE")) };
    let plain = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'\\' | b'\'' | b'"');
    match flavour {
        _ if shown.is_empty() || !shown.iter().all(plain) => None,
        Flavour::MySql => Some(shown.into()),
        Flavour::MariaDb => Some(state::quoted_name(shown).into()),
    }
}

fn last_error_text(bytes: &[u8]) -> String {
    let errors = packets(bytes).filter(|payload| payload.first() == Some(&response::ERR));
    let last = errors.filter_map(|payload| ErrPacket::parse(payload).ok()).last();
    last.map(|err| String::from_utf8_lossy(err.message).into_owned()).unwrap_or_default()
}

/// The trackers are on from the first statement: they are the evidence that a statement changed something which its
/// text does not show. Source: "Server Tracking of Client Session State" in both manuals.
fn arm_trackers(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            "SET SESSION session_track_system_variables='*',SESSION session_track_schema=ON,\
             SESSION session_track_state_change=ON,SESSION session_track_gtids=OWN_GTID,\
             SESSION session_track_transaction_info='CHARACTERISTICS'"
        }
        Flavour::MariaDb => {
            "SET SESSION session_track_system_variables='*',SESSION session_track_schema=ON,\
             SESSION session_track_state_change=ON,SESSION session_track_transaction_info='CHARACTERISTICS'"
        }
    }
}
