//! Questions about the statement before that Weir answers, since the connection that knew is in other hands.

use std::sync::Arc;

use weir_plan::Target;
use weir_sql::{Effects, Statement, analyze};
use weir_wire::{
    Reader,
    capability::Status,
    framer::{HEADER_LEN, Header},
    packet_with,
    query_attributes::query_head,
    response::OkPacket,
    response_end::{BACKEND_FLAGS, Expect, ResponseEnd},
};

use super::{
    Known,
    conditions::Conditions,
    get,
    put_in::{First, PutIn, first_asks},
};
use crate::{
    client::Request,
    error::{Refused, SessionError},
    execute::Job,
    session::{
        Session,
        causes::lock_call::{LockCall, only_value},
    },
};
use weir_backend::{Definition, Fact};

/// What asks about the statement before, LAST_INSERT_ID() aside.
const ASKS: Effects =
    Effects::READS_ROW_COUNT.union(Effects::READS_FOUND_ROWS).union(Effects::READS_DIAGNOSTICS);

/// Counts that may be put into a text.
const PUT_IN: Effects = Effects::READS_ROW_COUNT.union(Effects::READS_FOUND_ROWS);

/// What may ask a question that Weir answers.
pub(in crate::session) const ANSWERED_HERE: Effects =
    ASKS.union(Effects::READS_CONNECTION_ID).union(Effects::USER_LOCK_OTHER);

/// A count that a statement asks for and that only Weir knows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Count(i64);

/// What became of a text that asks about the statement before.
#[derive(Debug)]
pub(in crate::session) enum Asked {
    /// It was answered; `true` if with an error.
    Answered(bool),
    /// It is to run with the counts in it.
    PutIn(PutIn),
    /// It is to run as it is.
    AsItIs,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// As text.
    Text,
    /// As prepared statements' rows.
    Binary,
}

/// A statement that asks for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    RowCount,
    FoundRows,
    /// SHOW WARNINGS, SHOW ERRORS, with their LIMIT.
    List {
        errors: bool,
        skip: usize,
        most: usize,
    },
    ConnectionId,
    /// SHOW COUNT(*) WARNINGS, `@@warning_count`, and those of errors.
    Conditions {
        errors: bool,
    },
}

impl Question {
    /// `None`: it is a part of something larger.
    fn read(text: &[u8]) -> Option<Self> {
        let words = words(text);
        let errors = match words.as_slice() {
            b"show count(*) warnings" => Some(false),
            b"show count(*) errors" => Some(true),
            _ => None,
        };
        if let Some(errors) = errors {
            return Some(Self::Conditions { errors });
        }
        for (start, errors) in [(b"show warnings".as_slice(), false), (b"show errors", true)] {
            if let Some(limit) = words.strip_prefix(start) {
                let (skip, most) = limit_of(std::str::from_utf8(limit).ok()?.trim())?;
                return Some(Self::List { errors, skip, most });
            }
        }
        let rest = words.strip_prefix(b"select ")?;
        for (function, question) in [
            (b"row_count()".as_slice(), Self::RowCount),
            (b"found_rows()", Self::FoundRows),
            (b"connection_id()", Self::ConnectionId),
            (b"@@warning_count", Self::Conditions { errors: false }),
            (b"@@session.warning_count", Self::Conditions { errors: false }),
            (b"@@error_count", Self::Conditions { errors: true }),
            (b"@@session.error_count", Self::Conditions { errors: true }),
        ] {
            let Some(alias) = rest.strip_prefix(function) else { continue };
            let alias = alias.strip_prefix(b" as").unwrap_or(alias).trim_ascii();
            let alias = alias.strip_prefix(b"`").and_then(|a| a.strip_suffix(b"`")).unwrap_or(alias);
            let is_name = alias.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
            return is_name.then_some(question);
        }
        None
    }
}

/// `limit 3`, `limit 2, 3`, `limit 3 offset 2`, or nothing.
fn limit_of(text: &str) -> Option<(usize, usize)> {
    if text.is_empty() {
        return Some((0, usize::MAX));
    }
    let rest = text.strip_prefix("limit ")?;
    if let Some((skip, most)) = rest.split_once(',') {
        return Some((skip.trim().parse().ok()?, most.trim().parse().ok()?));
    }
    match rest.split_once(" offset ") {
        Some((most, skip)) => Some((skip.trim().parse().ok()?, most.trim().parse().ok()?)),
        None => Some((0, rest.trim().parse().ok()?)),
    }
}

impl Session {
    /// What a prepared statement asks for and its connection does not know. `None` if it is to run as it is.
    pub(in crate::session) async fn lost_count(
        &mut self,
        statement: &Statement,
        definition: &Arc<Definition>,
    ) -> Result<Option<Count>, SessionError> {
        if statement.effects.contains(Effects::READS_CONNECTION_ID)
            && Question::read(&definition.text) == Some(Question::ConnectionId)
        {
            return Ok(Some(Count(i64::from(self.handle.id))));
        }
        if !statement.effects.intersects(ASKS) {
            return Ok(None);
        }
        self.return_to_last();
        // it would have to be prepared there first, which wipes out what it asks for
        let there = |held: &super::Held| held.checkout.prepared.has(definition);
        if self.held.as_ref().is_some_and(|held| held.returned && !there(held))
            && let Some(held) = self.held.take()
        {
            self.let_go(held, false);
        }
        let question = Question::read(&definition.text);
        let count_is_here = self.diagnostics.prepared_since && question == Some(Question::RowCount);
        let asks_found_rows = statement.effects.contains(Effects::READS_FOUND_ROWS);
        if !asks_found_rows
            && !count_is_here
            && self.held.as_ref().is_some_and(|held| self.ran_last_on(held) && there(held))
        {
            if statement.effects.contains(Effects::READS_ROW_COUNT) {
                self.repeat_own_answer().await?;
            }
            return Ok(None);
        }
        self.count_asked(statement, question).await
    }

    async fn count_asked(
        &mut self,
        statement: &Statement,
        question: Option<Question>,
    ) -> Result<Option<Count>, SessionError> {
        match question {
            Some(Question::RowCount) => return Ok(Some(Count(self.diagnostics.row_count))),
            Some(Question::FoundRows) => {
                self.known(Fact::FoundRows).await?;
                return match self.diagnostics.found_rows {
                    Known::Here(n) => Ok(Some(Count(i64::try_from(n).unwrap_or(i64::MAX)))),
                    Known::At(_) | Known::Lost => Err(lost_answer("FOUND_ROWS()")),
                };
            }
            Some(Question::Conditions { errors }) => {
                let conditions = self.conditions().await?;
                let n = if errors { conditions.errors() } else { conditions.list.len() };
                return Ok(Some(Count(i64::try_from(n).unwrap_or(i64::MAX))));
            }
            Some(Question::List { .. } | Question::ConnectionId) | None => {}
        }
        if statement.effects.intersects(PUT_IN) {
            return Err(lost_answer("ROW_COUNT() or FOUND_ROWS() inside a larger statement"));
        }
        self.count_asked_besides(statement).await
    }

    /// Conditions that a larger statement asks about.
    async fn count_asked_besides(&mut self, statement: &Statement) -> Result<Option<Count>, SessionError> {
        let conditions = self.conditions().await?;
        // only their number can be asked for by anything but statements of their own
        let by_number = !statement.effects.contains(Effects::KEEPS_DIAGNOSTICS);
        let can_be_told = if by_number { conditions.signal().is_some() } else { conditions.list.len() < 2 };
        if !conditions.list.is_empty() && !can_be_told {
            return Err(lost_answer("the warnings of the statement before, inside a larger statement"));
        }
        Ok(None)
    }

    async fn conditions(&mut self) -> Result<&Conditions, SessionError> {
        self.known(Fact::Conditions).await?;
        match &self.diagnostics.conditions {
            Known::Here(conditions) => Ok(conditions),
            Known::At(_) | Known::Lost => Err(lost_answer("the warnings of the statement before")),
        }
    }

    /// Runs the statement for the shape of its answer, and puts the count in. `true` if it failed.
    pub(in crate::session) async fn answer_count(
        &mut self,
        job: &Job<'_>,
        count: Count,
        row: Row,
    ) -> Result<bool, SessionError> {
        // nothing of what the server says is used but the shape
        let mut shape = Statement::new();
        shape.kind = job.statement.kind;
        shape.access = job.statement.access;
        shape.effects = job.statement.effects.difference(Effects::READS_CONNECTION_ID);
        shape.statements = job.statement.statements;
        shape.digest = job.statement.digest;
        let (answer, _) = self.run_job(&Job { statement: &shape, ..*job }, Target::Primary).await?;
        let out = with_value(&answer.rest, self.client.flags.deprecate_eof, row, count.0);
        self.client.write(out.as_deref().unwrap_or(&answer.rest)).await?;
        Ok(answer.summary.error.is_some())
    }

    /// A question that Weir answers itself, since the connection that knew is in other hands.
    pub(in crate::session) async fn answer_question(
        &mut self,
        request: &Request,
        statement: &Statement,
    ) -> Result<Asked, SessionError> {
        let text = request.text();
        let question = Question::read(text);
        let job = Job { packet: request.packet(), statement, expect: Expect::Results, prepared: None };
        if question == Some(Question::ConnectionId) {
            let own = Count(i64::from(self.handle.id));
            return self.answer_count(&job, own, Row::Text).await.map(Asked::Answered);
        }
        if statement.effects.contains(Effects::USER_LOCK_OTHER)
            && LockCall::read(text) == Some(LockCall::IsUsed)
        {
            return self.answer_lock_owner(&job, Row::Text).await.map(Asked::Answered);
        }
        if !statement.effects.intersects(ASKS) {
            return Ok(Asked::AsItIs);
        }
        self.return_to_last();
        let count_is_here = self.diagnostics.prepared_since && question == Some(Question::RowCount);
        let there = !count_is_here && self.held.as_ref().is_some_and(|held| self.ran_last_on(held));
        if there && question != Some(Question::FoundRows) {
            if statement.effects.contains(Effects::READS_ROW_COUNT) {
                self.repeat_own_answer().await?;
            }
            // what FOUND_ROWS() is there may come from a statement of another session's before ours
            let asks_found_rows = statement.effects.contains(Effects::READS_FOUND_ROWS);
            return match asks_found_rows && !self.select_was_last() {
                true => self.put_in(text, statement).await,
                false => Ok(Asked::AsItIs),
            };
        }
        if let Some(Question::List { errors, skip, most }) = question
            && let Some(shown) = self.conditions().await?.shown.clone()
        {
            return match pick_rows(&shown, self.status, errors, skip, most) {
                Some(out) => self.write_translated(out).await.map(Asked::Answered),
                None => Err(lost_answer("SHOW WARNINGS")),
            };
        }
        if let Some(asked) = get::Diagnostics::read(text) {
            return self.get_diagnostics(request, statement, &asked).await.map(Asked::Answered);
        }
        if question.is_none() && statement.effects.intersects(PUT_IN) {
            return self.put_in(text, statement).await;
        }
        let Some(count) = self.count_asked(statement, question).await? else { return Ok(Asked::AsItIs) };
        self.answer_count(&job, count, Row::Text).await.map(Asked::Answered)
    }

    /// IS_USED_LOCK(): the server gives its own id of the connection that has the lock. If a session of this gateway has
    /// it there, its client's id is told instead. `true` if it failed.
    pub(in crate::session) async fn answer_lock_owner(
        &mut self,
        job: &Job<'_>,
        row: Row,
    ) -> Result<bool, SessionError> {
        let (answer, _) = self.run_job(job, Target::Primary).await?;
        let deprecate_eof = self.client.flags.deprecate_eof;
        let thread = only_value(&answer.rest, deprecate_eof, row == Row::Binary);
        let instance = self.tenant.primary.instance();
        let owner = thread
            .and_then(|thread| u32::try_from(thread).ok())
            .and_then(|thread| self.gateway.owner_of_locks(instance, thread));
        let out = owner.and_then(|id| with_value(&answer.rest, deprecate_eof, row, i64::from(id)));
        self.client.write(out.as_deref().unwrap_or(&answer.rest)).await?;
        Ok(answer.summary.error.is_some())
    }

    /// A larger statement that asks for counts, which its connection does not know.
    async fn put_in(&mut self, text: &[u8], statement: &Statement) -> Result<Asked, SessionError> {
        let what = "ROW_COUNT() or FOUND_ROWS() inside a larger statement";
        let Some(dialect) = self.wanted.as_ref().map(|wanted| wanted.dialect) else {
            return Err(lost_answer(what));
        };
        // what it asks besides is told to its connection, or refused
        let others = statement.effects.intersects(Effects::READS_DIAGNOSTICS);
        if others && self.count_asked_besides(statement).await?.is_some() {
            return Err(lost_answer(what));
        }
        match first_asks(text, &dialect) {
            None => Err(lost_answer(what)),
            Some(First::Nothing) => Ok(Asked::AsItIs),
            Some(First::Calls(calls)) => {
                let mut found_rows = 0;
                if calls.iter().any(|call| call.is_found_rows) {
                    self.known(Fact::FoundRows).await?;
                    let Known::Here(n) = self.diagnostics.found_rows else {
                        return Err(lost_answer("FOUND_ROWS()"));
                    };
                    found_rows = n;
                }
                Ok(Asked::PutIn(PutIn::new(text, &calls, self.diagnostics.row_count, found_rows)))
            }
        }
    }

    /// GET DIAGNOSTICS, as a SET of the same variables to what Weir knows.
    async fn get_diagnostics(
        &mut self,
        request: &Request,
        statement: &Statement,
        asked: &get::Diagnostics<'_>,
    ) -> Result<bool, SessionError> {
        self.known(Fact::Conditions).await?;
        let Known::Here(conditions) = &self.diagnostics.conditions else {
            return Err(lost_answer("the conditions of the statement before"));
        };
        let set = asked.as_set(conditions, self.diagnostics.row_count)?;
        let mut packet = Vec::with_capacity(set.len() + HEADER_LEN + 3);
        let sequence = Header::parse(request.packet()).map_or(0, |h| h.sequence);
        packet_with(&mut packet, sequence, |w| {
            w.bytes(query_head(self.class.query_attributes)).bytes(set.as_bytes());
        });
        let Some(wanted) = &self.wanted else { return Ok(false) };
        let mut meant = Statement::new();
        analyze(set.as_bytes(), &wanted.dialect, &mut meant);
        meant.effects |= statement.effects & Effects::KEEPS_DIAGNOSTICS;
        let job = Job { packet: &packet, statement: &meant, expect: Expect::Results, prepared: None };
        let (mut answer, _) = self.run_job(&job, Target::Primary).await?;
        if let Some(held) = &mut self.held {
            // there the SET was last, and not what it stands for
            held.checkout.set_last_statement(0);
        }
        let failed = answer.summary.error.is_some();
        if !failed && meant.statements == 1 {
            // the words of the SET may be deprecated, those of the client are not
            forget_warnings(&mut answer.rest);
        }
        let written = self.client.write(&answer.rest).await;
        self.worker.recycle(answer.rest);
        written?;
        Ok(failed)
    }

    async fn write_translated(&mut self, mut out: Vec<u8>) -> Result<bool, SessionError> {
        let mut end = ResponseEnd::new(Expect::Results, self.client.flags, None, None);
        if end.scan(&mut out).is_err() {
            return Err(lost_answer("SHOW WARNINGS"));
        }
        self.client.write(&out).await?;
        Ok(false)
    }

    fn select_was_last(&self) -> bool {
        self.diagnostics.found_at == self.diagnostics.number
    }
}

/// Of an OK that counts no rows and gives no id.
fn forget_warnings(answer: &mut [u8]) {
    // behind the header: OK, rows, id, status
    const WARNINGS: usize = HEADER_LEN + 5;
    if let Some([0, 0, 0]) = answer.get(HEADER_LEN..HEADER_LEN + 3)
        && let Some(warnings) = answer.get_mut(WARNINGS..WARNINGS + 2)
    {
        warnings.fill(0);
    }
}

pub(super) fn lost_text(what: &str) -> String {
    format!(
        "{what}: the server connection of the statement before is in other hands; ask in the same transaction, \
         or with SELECT ROW_COUNT(), SELECT FOUND_ROWS() or SHOW WARNINGS alone"
    )
}

pub(super) fn lost_answer(what: &str) -> SessionError {
    Refused::new(weir_wire::error_code::UNKNOWN, lost_text(what)).into()
}

/// The text in lower case, with single spaces and without the semicolon at its end; short texts only.
fn words(text: &[u8]) -> Vec<u8> {
    if text.len() > 128 {
        return Vec::new();
    }
    let text = text.trim_ascii().strip_suffix(b";").unwrap_or(text.trim_ascii());
    let mut out = Vec::with_capacity(text.len());
    for word in text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend(word.iter().map(u8::to_ascii_lowercase));
    }
    out
}

/// Rows of an answer to SHOW WARNINGS, as it came from the server: of errors only, or all. With the status that the session
/// has now.
fn pick_rows(answer: &[u8], status: Status, errors: bool, skip: usize, most: usize) -> Option<Vec<u8>> {
    // column count, three columns, perhaps EOF
    let first_row = if BACKEND_FLAGS.deprecate_eof { 4 } else { 5 };
    let mut packets = Vec::new();
    let mut rest = answer;
    while !rest.is_empty() {
        let header = Header::parse(rest)?;
        let packet = rest.get(..HEADER_LEN + header.len)?;
        packets.push(packet.get(HEADER_LEN..)?);
        rest = rest.get(packet.len()..)?;
    }
    let last = packets.len().checked_sub(1)?;
    let mut out = Vec::with_capacity(answer.len());
    let mut sequence = 1_u8;
    let (mut skip, mut most) = (skip, most);
    for (i, payload) in packets.iter().enumerate() {
        if (first_row..last).contains(&i) {
            let level = Reader::new(payload).lenenc_bytes("level").ok()?;
            if errors && !level.eq_ignore_ascii_case(b"Error") {
                continue;
            }
            if skip > 0 || most == 0 {
                skip = skip.saturating_sub(1);
                continue;
            }
            most -= 1;
        }
        if i == last {
            let end = OkPacket { status, ..OkPacket::parse(payload, BACKEND_FLAGS).ok()? };
            packet_with(&mut out, sequence, |w| end.write_end(BACKEND_FLAGS, w));
            continue;
        }
        packet_with(&mut out, sequence, |w| {
            w.bytes(payload);
        });
        sequence = sequence.wrapping_add(1);
    }
    Some(out)
}

/// A result set of one row and one column, with another value.
fn with_value(answer: &[u8], deprecate_eof: bool, row: Row, value: i64) -> Option<Vec<u8>> {
    // column count, column, perhaps EOF
    let row_index = if deprecate_eof { 2 } else { 3 };
    let mut out = Vec::with_capacity(answer.len() + 20);
    let mut rest = answer;
    let mut index = 0;
    while !rest.is_empty() {
        let header = Header::parse(rest)?;
        let packet = rest.get(..HEADER_LEN + header.len)?;
        let payload = packet.get(HEADER_LEN..)?;
        if index != row_index {
            out.extend_from_slice(packet);
        } else if row == Row::Binary {
            // header, NULL bitmap of one column, the number
            let mut r = Reader::new(payload);
            let head = r.bytes(2, "head of row").ok()?;
            // of four bytes or eight, by the function and the server
            let width = r.rest().len();
            let value = value.to_le_bytes();
            let value = value.get(..width).filter(|v| !v.is_empty())?;
            packet_with(&mut out, header.sequence, |w| {
                w.bytes(head).bytes(value);
            });
        } else {
            let mut r = Reader::new(payload);
            r.lenenc_bytes("value").ok()?;
            r.finish("end of row").ok()?;
            packet_with(&mut out, header.sequence, |w| {
                w.lenenc_bytes(value.to_string().as_bytes());
            });
        }
        rest = rest.get(packet.len()..)?;
        index += 1;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::response::{Column, ResponseFlags, ResultSet, column_type};

    #[test]
    fn a_question_is_known_however_it_is_spaced() {
        assert_eq!(words(b"  SELECT\n ROW_COUNT() ; "), b"select row_count()");
        let all = Question::List { errors: false, skip: 0, most: usize::MAX };
        for (text, question) in [
            (&b"show   Warnings"[..], Some(all)),
            (b"SHOW ERRORS LIMIT 2, 3", Some(Question::List { errors: true, skip: 2, most: 3 })),
            (b"SHOW WARNINGS LIMIT 3 OFFSET 2", Some(Question::List { errors: false, skip: 2, most: 3 })),
            (b"SHOW COUNT(*) ERRORS", Some(Question::Conditions { errors: true })),
            (b"SELECT @@warning_count", Some(Question::Conditions { errors: false })),
            (b"select FOUND_ROWS() as total", Some(Question::FoundRows)),
            (b"SELECT row_count()  `n`;", Some(Question::RowCount)),
            (b"select row_count() + 1", None),
            (b"select row_count(), 2", None),
            (b"select found_rows() from t", None),
            (b"show warnings limit x", None),
        ] {
            assert_eq!(Question::read(text), question, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn errors_are_picked_from_all_conditions() {
        let column = |name: &'static [u8]| Column {
            schema: b"",
            table: b"",
            org_table: b"",
            name,
            org_name: b"",
            charset: 45,
            length: 512,
            kind: column_type::VAR_STRING,
            flags: 1,
            decimals: 0,
        };
        let columns = [column(b"Level"), column(b"Code"), column(b"Message")];
        let of = |rows: &[[&[u8]; 3]]| {
            let mut out = Vec::new();
            let mut set = ResultSet::begin(&mut out, 1, BACKEND_FLAGS, &columns, &OkPacket::default());
            for row in rows {
                set.row(row.map(Some));
            }
            set.end(&OkPacket::default());
            out
        };
        let a: [&[u8]; 3] = [b"Warning", b"1292", b"a"];
        let b: [&[u8]; 3] = [b"Error", b"1062", b"b"];
        let c: [&[u8]; 3] = [b"Note", b"1051", b"c"];
        let all = of(&[a, b, c]);
        assert_eq!(pick_rows(&all, Status::empty(), false, 0, usize::MAX), Some(all.clone()));
        assert_eq!(pick_rows(&all, Status::empty(), true, 0, usize::MAX), Some(of(&[b])));
        assert_eq!(pick_rows(&all, Status::empty(), false, 1, 1), Some(of(&[b])));
        assert_eq!(pick_rows(&all, Status::empty(), false, 2, 5), Some(of(&[c])));
        assert_eq!(pick_rows(&all, Status::empty(), false, 0, 0), Some(of(&[])));
        assert_eq!(pick_rows(&all[..all.len() - 1], Status::empty(), false, 0, 9), None);
    }

    #[test]
    fn only_the_value_of_the_row_is_replaced() {
        for deprecate_eof in [true, false] {
            let flags = ResponseFlags { session_track: false, deprecate_eof };
            let of = |value: &[u8]| {
                let column = Column {
                    schema: b"",
                    table: b"",
                    org_table: b"",
                    name: b"ROW_COUNT()",
                    org_name: b"",
                    charset: 63,
                    length: 21,
                    kind: column_type::LONGLONG,
                    flags: 129,
                    decimals: 0,
                };
                let mut out = Vec::new();
                let mut set = ResultSet::begin(&mut out, 1, flags, &[column], &OkPacket::default());
                set.row([Some(value)]);
                set.end(&OkPacket::default());
                out
            };
            assert_eq!(with_value(&of(b"-1"), deprecate_eof, Row::Text, 4711), Some(of(b"4711")));
        }
    }
}
