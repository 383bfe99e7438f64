//! Prepared statements of a session: really prepared on servers, where and when they are needed.

mod bulk;
mod room;

use std::{collections::HashMap, sync::Arc, time::Instant};

use weir_backend::Definition;
use weir_plan::{Plan, Refusal, Target, plan};
use weir_sql::{Effects, Kind, Statement, analyze};
use weir_wire::{
    Reader,
    capability::Status,
    command::com,
    error_code::{self, ErrorCode},
    framer::{HEADER_LEN, Header},
    response_end::Expect,
    write_packet,
};

use crate::{
    client::Request,
    error::{Refused, SessionError},
    execute::{Job, Prepared, put_id},
    in_flight::Share,
};

use super::{Session, causes::lock_call::LockCall, diagnostics::Row, kill::KillText, pin::Pins};

/// Statements that one session may have prepared at once: the servers' default `max_prepared_stmt_count`.
const MOST_STATEMENTS: usize = 16_382;

/// Flags of COM_STMT_EXECUTE that ask for a cursor: read only, for update, scrollable.
const CURSOR_FLAGS: u8 = 0x07;

/// One of the session's statements.
#[derive(Debug)]
pub(crate) struct Entry {
    definition: Arc<Definition>,
    statement: Arc<Statement>,
    parameters: u16,
    /// Types that the client bound last; it need not send them again.
    types: Box<[u8]>,
    /// COM_STMT_SEND_LONG_DATA packets, waiting for the execution.
    long_data: Vec<u8>,
    /// Of the budget for bytes in flight, for the long data.
    share: Option<Share>,
    /// The long data could not be kept: what the execution answers.
    refused: Option<Refused>,
}

impl Entry {
    /// A statement that Weir answers itself.
    pub(super) fn without_parameters(definition: Arc<Definition>, statement: Statement) -> Self {
        Self {
            definition,
            statement: Arc::new(statement),
            parameters: 0,
            types: Box::default(),
            long_data: Vec::new(),
            share: None,
            refused: None,
        }
    }

    fn forget_long_data(&mut self) {
        self.long_data = Vec::new();
        self.share = None;
    }
}

/// All statements of a session.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    by_id: HashMap<u32, Entry>,
    last_id: u32,
    last_prepared: Option<u32>,
    /// Statements with an open cursor.
    cursors: Vec<u32>,
    /// The statement whose cursor the command at hand opens or reads.
    at_cursor: Option<u32>,
}

impl Statements {
    /// The text that a command is about: its own, or that of the statement that it names.
    pub(super) fn text_of<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        let (command, rest) = request.payload().split_first().unwrap_or((&0, &[]));
        match *command {
            com::QUERY => return request.text(),
            com::STMT_PREPARE => return rest,
            _ => {}
        }
        let id = rest.get(..4).and_then(|id| id.try_into().ok()).map(u32::from_le_bytes);
        id.and_then(|id| self.by_id.get(&id)).map_or(&[], |entry| &entry.definition.text)
    }

    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        // ids count up from 1 as the servers' do; u32::MAX means "the last one" on MariaDB
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && self.last_id != u32::MAX && !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        self.by_id.insert(self.last_id, entry);
        self.last_prepared = Some(self.last_id);
        self.last_id
    }

    /// Keeps a piece of a parameter until the statement is executed. A failure is told at execution, since this
    /// command has no answer.
    fn long_data(&mut self, id: u32, parameter: u16, data: &[u8]) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        let mut payload = Vec::with_capacity(data.len() + 7);
        payload.push(com::STMT_SEND_LONG_DATA);
        payload.extend_from_slice(&id.to_le_bytes());
        payload.extend_from_slice(&parameter.to_le_bytes());
        payload.extend_from_slice(data);
        write_packet(&mut entry.long_data, 0, &payload);
    }

    /// The cursor that the command at hand is about has no more rows. Is another one open?
    pub(crate) fn cursor_ended(&mut self) -> bool {
        let ended = self.at_cursor;
        self.cursors.retain(|id| Some(*id) != ended);
        !self.cursors.is_empty()
    }

    /// Does another statement with an open cursor share the definition? On a server it is the same statement, which
    /// has one cursor.
    fn shares_cursor(&self, id: u32, definition: &Arc<Definition>) -> bool {
        self.cursors_of(definition).any(|other| other != id)
    }

    /// Has it an open cursor? Closing the statement would close it.
    fn has_cursor(&self, definition: &Arc<Definition>) -> bool {
        self.cursors_of(definition).next().is_some()
    }

    /// Statements of this definition that have an open cursor.
    fn cursors_of(&self, definition: &Arc<Definition>) -> impl Iterator<Item = u32> {
        let same = |id: &u32| self.by_id.get(id).is_some_and(|e| Arc::ptr_eq(&e.definition, definition));
        self.cursors.iter().copied().filter(same)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

impl Session {
    /// COM_STMT_SEND_LONG_DATA: has no answer. What is kept takes a share of the budget for bytes in flight, or is refused
    /// when the statement is executed. `paid`: the share that the data have already.
    pub(crate) async fn long_data(&mut self, id: u32, parameter: u16, data: &[u8], paid: Option<Share>) {
        let limits = &self.tenant.namespace.limits;
        let patience = self.tenant.namespace.pool.checkout_timeout;
        let Some(entry) = self.statements.by_id.get_mut(&id).filter(|entry| entry.refused.is_none()) else {
            return;
        };
        if entry.long_data.len() + data.len() > limits.max_allowed_packet as usize {
            let text = "Got a packet bigger than 'max_allowed_packet' bytes";
            entry.refused = Some(Refused::new(error_code::NET_PACKET_TOO_LARGE, text));
            return entry.forget_long_data();
        }
        let share = entry.share.get_or_insert_with(|| self.gateway.in_flight.share());
        if let Some(paid) = paid {
            share.merge(paid);
        } else if let Err(refused) = share.grow(data.len(), patience).await {
            entry.refused = Some(refused);
            return entry.forget_long_data();
        }
        self.statements.long_data(id, parameter, data);
    }

    /// COM_STMT_SEND_LONG_DATA that was not even read: the execution says why.
    pub(crate) fn refuse_long_data(&mut self, payload: &[u8], refused: Refused) {
        let id = payload.get(1..5).and_then(|id| id.try_into().ok()).map(u32::from_le_bytes);
        let Some(entry) = id.and_then(|id| self.statements.by_id.get_mut(&id)) else { return };
        entry.refused.get_or_insert(refused);
        entry.forget_long_data();
    }

    pub(super) fn is_mariadb(&self) -> bool {
        match &self.wanted {
            Some(wanted) => wanted.dialect.flavour == weir_sql::Flavour::MariaDb,
            None => {
                let facts = self.tenant.primary.dialer().facts();
                facts.is_some_and(|f| f.version.flavour == weir_wire::server_version::Flavour::MariaDb)
            }
        }
    }

    /// Error 1243, in the words of each server.
    fn unknown(&self, id: u32, command: &str) -> SessionError {
        let command = if self.is_mariadb() { command } else { "mysql_stmt_precheck" };
        Refused::new(
            error_code::UNKNOWN_STMT_HANDLER,
            format!("Unknown prepared statement handler ({id}) given to {command}"),
        )
        .into()
    }

    /// MariaDB's id −1 is the statement prepared last.
    fn resolve(&self, id: u32) -> u32 {
        if id == u32::MAX && self.is_mariadb() { self.statements.last_prepared.unwrap_or(id) } else { id }
    }

    /// COM_STMT_PREPARE: on the server where the statement would run, so that its metadata are that server's own.
    pub(super) async fn prepare(&mut self, request: &mut Request) -> Result<(), SessionError> {
        let begin = Instant::now();
        if self.wanted.is_none() {
            Box::pin(self.learn_state_unless_told()).await?;
        }
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        let text = request.payload().get(1..).unwrap_or_default();
        let mut statement = Statement::new();
        analyze(text, &wanted.dialect, &mut statement);
        if self.statements.len() >= MOST_STATEMENTS {
            return Err(Refused::new(
                error_code::MAX_PREPARED_STMT_COUNT_REACHED,
                format!("Can't create more than max_prepared_stmt_count statements (current value: {MOST_STATEMENTS})"),
            )
            .into());
        }
        let target = match plan(&statement, self.facts(&statement), &self.tenant.namespace) {
            Plan::Forward(target) => target,
            Plan::ForwardDatabases | Plan::ForwardProcesslist | Plan::Kill => Target::Primary,
            Plan::ShowWeir(_) => return self.prepare_show_weir(statement, text).await,
            // MySQL prepares no LOAD DATA at all, and has its own error for it
            Plan::Refuse(Refusal::LocalFile(weir_sql::Flavour::MySql)) => Target::Primary,
            Plan::Refuse(refusal) => {
                let (number, sqlstate) = refusal.code();
                return Err(
                    Refused::new(ErrorCode { number, sqlstate }, refusal.message(&self.identity)).into()
                );
            }
        };
        let mut preparing = Statement::new();
        preparing.kind = Kind::Prepare;
        preparing.access = statement.access;
        let job =
            Job { packet: request.packet(), statement: &preparing, expect: Expect::Prepare, prepared: None };
        let definition = self.gateway.define(text, &wanted.primary);
        let (mut answer, mut id) = self.run_preparing(&job, target, &definition).await?;
        if answer.summary.error == Some(error_code::MAX_PREPARED_STMT_COUNT_REACHED) {
            self.worker.recycle(answer.rest);
            Box::pin(room::make(&self.tenant, self.worker.id, &self.statements, self.held.as_mut())).await;
            (answer, id) = self.run_preparing(&job, target, &definition).await?;
        }
        if let (Some(_), Some(prepared)) = (id, answer.summary.prepared) {
            let own = self.statements.add(Entry {
                definition,
                statement: Arc::new(statement),
                parameters: prepared.parameters,
                types: Box::default(),
                long_data: Vec::new(),
                share: None,
                refused: None,
            });
            // the first packet of the answer has the id where commands have it
            put_id(&mut answer.rest, own);
        } else {
            self.statements.last_prepared = None;
        }
        let failed = answer.summary.error.is_some();
        let written = self.client.write(&answer.rest).await;
        self.worker.recycle(answer.rest);
        self.tenant.counters(self.worker.id).answered(Kind::Prepare, begin.elapsed(), failed);
        Ok(written?)
    }

    /// COM_STMT_EXECUTE.
    pub(super) async fn execute_prepared(
        &mut self,
        id: u32,
        request: &mut Request,
    ) -> Result<(), SessionError> {
        let begin = Instant::now();
        let id = self.resolve(id);
        let Some(entry) = self.statements.by_id.get_mut(&id) else {
            return Err(self.unknown(id, "mysqld_stmt_execute"));
        };
        let long_data = std::mem::take(&mut entry.long_data);
        let mut definition = Arc::clone(&entry.definition);
        let _until_the_answer = entry.share.take();
        if let Some(refused) = entry.refused.take() {
            return Err(refused.into());
        }
        let opens_cursor = request.payload().get(5).is_some_and(|flags| flags & CURSOR_FLAGS != 0);
        if opens_cursor && self.statements.shares_cursor(id, &definition) {
            let Definition { text, state } = &*definition;
            definition = Arc::new(Definition { text: text.clone(), state: Arc::clone(state) });
        }
        let Some(entry) = self.statements.by_id.get_mut(&id) else {
            return Err(self.unknown(id, "mysqld_stmt_execute"));
        };
        entry.definition = Arc::clone(&definition);
        let statement = Arc::clone(&entry.statement);
        let with_types = entry.complete(request.packet(), self.class.query_attributes);
        let counts = Box::pin(self.lost_count(&statement, &definition)).await?;
        let planned = plan(&statement, self.facts(&statement), &self.tenant.namespace);
        let filters = planned == Plan::ForwardDatabases;
        let lists = planned == Plan::ForwardProcesslist;
        let target = match planned {
            // a cursor keeps its connection: on a replica the session's next statements could not write
            Plan::Forward(_) if opens_cursor => Target::Primary,
            Plan::Forward(target) => target,
            Plan::ForwardDatabases | Plan::ForwardProcesslist => Target::Primary,
            Plan::ShowWeir(what) => {
                let shown = Box::pin(self.show_weir(what, Row::Binary)).await;
                self.tenant.counters(self.worker.id).answered(Kind::Show, begin.elapsed(), shown.is_err());
                return shown.map(|_| ());
            }
            Plan::Kill => {
                let packet = with_types.as_deref().unwrap_or_else(|| request.packet());
                let execution =
                    packet.get(HEADER_LEN..).filter(|_| long_data.is_empty() && !self.class.query_attributes);
                let source = KillText { text: &definition.text, execution };
                let killed = Box::pin(self.kill(&statement, source)).await;
                let failed = !matches!(killed, Ok(false));
                self.tenant.counters(self.worker.id).answered(Kind::Kill, begin.elapsed(), failed);
                return killed.map(|_| ());
            }
            Plan::Refuse(refusal) => {
                let (number, sqlstate) = refusal.code();
                return Err(
                    Refused::new(ErrorCode { number, sqlstate }, refusal.message(&self.identity)).into()
                );
            }
        };
        let packet = with_types.as_deref().unwrap_or_else(|| request.packet());
        let prepared = Prepared { definition: &definition, long_data: &long_data };
        let job = Job { packet, statement: &statement, expect: Expect::Results, prepared: Some(prepared) };
        let result = match counts {
            // rows are taken out of its answer: they come at once, as from a server that has no cursor for it
            _ if filters => {
                let packet = without_cursor(packet);
                let job = Job { packet: &packet, ..job };
                Box::pin(self.show_databases(&job, Row::Binary)).await
            }
            _ if lists => {
                let packet = without_cursor(packet);
                let job = Job { packet: &packet, ..job };
                Box::pin(self.show_processlist(&job, Row::Binary, &definition.text)).await
            }
            // one row: the server decides whether a statement has a cursor, and this one needs none
            Some(count) if opens_cursor => {
                let packet = without_cursor(packet);
                let job = Job { packet: &packet, ..job };
                Box::pin(self.answer_count(&job, count, Row::Binary)).await
            }
            Some(count) => Box::pin(self.answer_count(&job, count, Row::Binary)).await,
            None if asks_for_lock_owner(&statement, &definition) => {
                let packet = without_cursor(packet);
                let job = Job { packet: &packet, ..job };
                Box::pin(self.answer_lock_owner(&job, Row::Binary)).await
            }
            None if opens_cursor => Box::pin(self.execute_with_cursor(id, &job, target)).await,
            None => self.execute(&job, target).await,
        };
        let failed = !matches!(result, Ok(false));
        self.tenant.counters(self.worker.id).answered(statement.kind, begin.elapsed(), failed);
        result.map(|_| ())
    }

    async fn execute_with_cursor(
        &mut self,
        id: u32,
        job: &Job<'_>,
        target: Target,
    ) -> Result<bool, SessionError> {
        // pinned before it runs: the answer's status says whether a cursor was opened
        self.begin_pins(Pins::CURSOR);
        if !self.statements.cursors.contains(&id) {
            self.statements.cursors.push(id);
        }
        self.statements.at_cursor = Some(id);
        let result = self.run_job(job, target).await;
        let opened = matches!(&result, Ok((answer, _)) if answer
            .summary
            .status
            .is_some_and(|s| s.contains(Status::CURSOR_EXISTS) && !s.contains(Status::LAST_ROW_SENT)));
        if !opened {
            self.end_cursor(id);
        }
        let (answer, _) = result?;
        let failed = answer.summary.error.is_some();
        let written = self.client.write(&answer.rest).await;
        self.worker.recycle(answer.rest);
        written?;
        Ok(failed)
    }

    /// A pin's cause ended outside of a statement.
    fn unpin(&mut self, pins: Pins) {
        self.pins.remove(pins);
        if self.pins.is_empty()
            && !self.in_transaction
            && let Some(held) = self.held.take()
        {
            self.let_go(held, false);
        }
    }

    /// COM_STMT_FETCH: only while the cursor's connection is held.
    pub(super) async fn fetch(&mut self, id: u32, request: &mut Request) -> Result<(), SessionError> {
        let id = self.resolve(id);
        let Some(entry) = self.statements.by_id.get(&id) else {
            return Err(self.unknown(id, "mysqld_stmt_fetch"));
        };
        let definition = Arc::clone(&entry.definition);
        let statement = Statement::new();
        self.statements.at_cursor = Some(id);
        if self.held.is_none() {
            return Err(Refused::new(
                ErrorCode { number: 1421, sqlstate: *b"HY000" },
                format!(
                    "The statement ({id}) has no open cursor{}",
                    if self.is_mariadb() { "" } else { "." }
                ),
            )
            .into());
        }
        let prepared = Prepared { definition: &definition, long_data: &[] };
        let job = Job {
            packet: request.packet(),
            statement: &statement,
            expect: Expect::Rows,
            prepared: Some(prepared),
        };
        self.execute(&job, Target::Primary).await.map(|_| ())
    }

    /// COM_STMT_RESET: drops long data and closes the cursor.
    pub(super) async fn reset_statement(&mut self, id: u32) -> Result<(), SessionError> {
        let id = self.resolve(id);
        let Some(entry) = self.statements.by_id.get_mut(&id) else {
            return Err(self.unknown(id, "mysqld_stmt_reset"));
        };
        entry.forget_long_data();
        entry.refused = None;
        let definition = Arc::clone(&entry.definition);
        self.close_cursor(id, &definition);
        self.ok().await
    }

    /// COM_STMT_CLOSE: has no answer. Connections keep the statement for other sessions.
    pub(super) async fn close_statement(&mut self, id: u32) {
        let id = self.resolve(id);
        if let Some(entry) = self.statements.by_id.remove(&id) {
            self.close_cursor(id, &entry.definition);
        }
    }

    fn close_cursor(&mut self, id: u32, definition: &Arc<Definition>) {
        if !self.statements.cursors.contains(&id) {
            return;
        }
        if let Some(held) = &mut self.held {
            // closing the statement closes its cursor
            held.checkout.prepared.forget(definition);
        }
        self.end_cursor(id);
    }

    fn end_cursor(&mut self, id: u32) {
        self.statements.at_cursor = Some(id);
        if !self.statements.cursor_ended() && self.pins.contains(Pins::CURSOR) {
            self.unpin(Pins::CURSOR);
        }
    }

    async fn run_preparing(
        &mut self,
        job: &Job<'_>,
        target: Target,
        definition: &Arc<Definition>,
    ) -> Result<(crate::execute::Answer, Option<u32>), SessionError> {
        self.run_and(job, target, |held, summary| {
            if let Some(prepared) = summary.prepared.filter(|_| summary.error.is_none()) {
                held.checkout.prepared.add(definition, prepared.statement);
            }
        })
        .await
    }
}

/// Nothing but IS_USED_LOCK()?
fn asks_for_lock_owner(statement: &Statement, definition: &Definition) -> bool {
    statement.effects.contains(Effects::USER_LOCK_OTHER)
        && LockCall::read(&definition.text) == Some(LockCall::IsUsed)
}

/// The same COM_STMT_EXECUTE, without the wish for a cursor.
fn without_cursor(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Some(flags) = packet.get_mut(HEADER_LEN + 5) {
        *flags &= !CURSOR_FLAGS;
    }
    packet
}

impl Entry {
    /// The packet with the parameters' types in it, if the client left them out since it bound them before: the
    /// connection that will execute it may never have seen them. Remembers types that are in the packet.
    fn complete(&mut self, packet: &[u8], attributes: bool) -> Option<Vec<u8>> {
        let parameters = usize::from(self.parameters);
        if parameters == 0 {
            return None;
        }
        // header, command, id, flags, iterations, NULL bitmap
        const BITMAP: usize = HEADER_LEN + 10;
        if attributes {
            return self.complete_named(packet, BITMAP);
        }
        let bound_at = BITMAP + parameters.div_ceil(8);
        let types_len = parameters * 2;
        match packet.get(bound_at) {
            Some(1) => {
                let types = packet.get(bound_at + 1..bound_at + 1 + types_len)?;
                if *self.types != *types {
                    self.types = types.into();
                }
                None
            }
            Some(0) if self.types.len() == types_len => {
                let len = packet.len() - HEADER_LEN + types_len;
                let mut out = Vec::with_capacity(HEADER_LEN + len);
                out.extend_from_slice(&Header::first_of(len, 0).to_bytes());
                out.extend_from_slice(packet.get(HEADER_LEN..bound_at)?);
                out.push(1);
                out.extend_from_slice(&self.types);
                out.extend_from_slice(packet.get(bound_at + 1..)?);
                Some(out)
            }
            _ => None,
        }
    }

    /// The same where query attributes were negotiated: a number stands before the bitmap, names stand behind the types,
    /// and attributes behind the statement's own parameters. Who sends attributes must send types.
    fn complete_named(&mut self, packet: &[u8], count_at: usize) -> Option<Vec<u8>> {
        let own = usize::from(self.parameters);
        let mut r = Reader::new(packet.get(count_at..)?);
        let count = usize::try_from(r.lenenc_int("number of parameters").ok()?).ok()?;
        r.bytes(count.div_ceil(8), "NULL bitmap").ok()?;
        let bound = r.u8("types follow").ok()?;
        if bound != 0 {
            let mut types = Vec::with_capacity(own * 2);
            for _ in 0..own.min(count) {
                types.extend_from_slice(r.bytes(2, "type").ok()?);
                r.lenenc_bytes("name").ok()?;
            }
            self.types = types.into();
            return None;
        }
        if count != own || self.types.len() != own * 2 {
            return None;
        }
        let values_at = count_at + r.position();
        let mut out = Vec::with_capacity(packet.len() + own * 3);
        let len = packet.len() - HEADER_LEN + own * 3;
        out.extend_from_slice(&Header::first_of(len, 0).to_bytes());
        out.extend_from_slice(packet.get(HEADER_LEN..values_at - 1)?);
        out.push(1);
        for kind in self.types.chunks_exact(2) {
            out.extend_from_slice(kind);
            out.push(0);
        }
        out.extend_from_slice(packet.get(values_at..)?);
        Some(out)
    }
}
