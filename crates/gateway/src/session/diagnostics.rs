//! What a session may ask about its statement before: LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS(), warnings.
//!
//! The server keeps these with the connection, and the next statement there may be another session's. So before a
//! connection is given back, what the session could still ask for is read from it. When the session asks later, the same
//! connection answers if it is idle and nobody used it since; else the connection that answers is told first, or Weir
//! answers from what it keeps. What cannot be told to a connection gives an error, never another session's answer.

use weir_backend::ConnectionError;
use weir_plan::Target;
use weir_sql::{Effects, Kind, Statement};
use weir_wire::{
    Reader,
    error_code::ErrorCode,
    framer::{HEADER_LEN, Header},
    packet_with,
    response_end::{Expect, ResponseEnd, Summary},
};

use crate::{
    client::Request,
    error::{Refused, SessionError},
    execute::Job,
};

use super::{Held, Session};

/// Warnings are kept up to this size for a session without a connection.
const MOST_SAVED: usize = 64 << 10;

/// After it a connection has no warnings and no error. On MariaDB only a statement that uses a table clears them.
const CLEARS_CONDITIONS: &str = "DO (SELECT COUNT(*) FROM (SELECT 1) t)";

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// LAST_INSERT_ID() of the session, as far as it was read.
    last_insert_id: u64,
    /// The connection knows a newer one.
    insert_id_unread: bool,
    /// The connection has warnings or an error of the last statement.
    conditions_unread: bool,
    /// The answer to SHOW WARNINGS, once it was read.
    warnings: Option<Box<[u8]>>,
    /// The only condition of the last statement.
    condition: Option<Condition>,
    row_count: i64,
    found_rows: u64,
    /// SQL_CALC_FOUND_ROWS: only the connection knows the number.
    found_rows_unread: bool,
    /// Several conditions: no statement can make a connection have them again.
    many: bool,
    /// The connection ended before what it knew was read.
    lost: bool,
    /// Counts the session's statements.
    number: u32,
}

#[derive(Debug)]
struct Condition {
    level: Box<[u8]>,
    number: u16,
    sqlstate: [u8; 5],
    message: Box<[u8]>,
}

/// What asks about the statement before, LAST_INSERT_ID() aside.
const ASKS: Effects =
    Effects::READS_ROW_COUNT.union(Effects::READS_FOUND_ROWS).union(Effects::READS_DIAGNOSTICS);

impl Diagnostics {
    /// A statement was answered on the connection that the session has.
    pub(super) fn note(&mut self, statement: &Statement, summary: &Summary) {
        let failed = summary.error.is_some();
        let may_set = Effects::SETS_LAST_INSERT_ID | Effects::CALL | Effects::TEXT_EXECUTE;
        let failed_insert = failed && matches!(statement.kind, Kind::Insert | Kind::Replace | Kind::Load);
        if summary.last_insert_id != 0 || failed_insert || statement.effects.intersects(may_set) {
            self.insert_id_unread = true;
        }
        if statement.effects.contains(Effects::KEEPS_DIAGNOSTICS) {
            return;
        }
        self.warnings = None;
        self.condition = None;
        self.conditions_unread = failed || summary.warnings > 0;
        self.found_rows_unread = statement.effects.contains(Effects::CALC_FOUND_ROWS);
        self.many = false;
        self.lost = false;
        let is_ok = !failed && !summary.has_rows;
        self.row_count = if is_ok { i64::try_from(summary.affected_rows).unwrap_or(i64::MAX) } else { -1 };
        if summary.has_rows {
            self.found_rows = summary.rows;
        }
    }

    /// The session set its LAST_INSERT_ID().
    pub(super) fn expect_insert_id(&mut self) {
        self.insert_id_unread = true;
    }

    /// The connection that knew is gone: questions get an error until the next statement. Returns whether that is all:
    /// a LAST_INSERT_ID() that was never read would be missed for longer.
    pub(super) fn lose(&mut self) -> bool {
        self.conditions_unread = false;
        self.found_rows_unread = false;
        self.lost = true;
        !std::mem::take(&mut self.insert_id_unread)
    }

    /// Must something be read before the connection may go?
    pub(super) fn has_unread(&self) -> bool {
        self.insert_id_unread || self.conditions_unread || self.found_rows_unread
    }
}

/// A count that a statement asks for and that only Weir knows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count(i64);

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// As text.
    Text,
    /// As prepared statements' rows.
    Binary,
}

impl Session {
    /// Reads what the session could still ask for. Errors mean that the connection is gone, and with it the answers.
    pub(super) async fn save_diagnostics(&mut self, held: &mut Held) -> Result<(), ConnectionError> {
        if std::mem::take(&mut self.diagnostics.conditions_unread) {
            let reply = held.checkout.query("SHOW WARNINGS").await?;
            let rows = reply.rows()?;
            if let [row] = rows.as_slice() {
                self.diagnostics.condition = condition_of(row);
            }
            self.diagnostics.many = rows.len() > 1;
            if reply.bytes.len() <= MOST_SAVED {
                self.diagnostics.warnings = Some(reply.bytes.into());
            }
        }
        if std::mem::take(&mut self.diagnostics.found_rows_unread) {
            let rows = held.checkout.query("SELECT FOUND_ROWS()").await?.rows()?;
            self.diagnostics.found_rows = first_number(&rows).unwrap_or(0);
        }
        if self.diagnostics.insert_id_unread {
            let rows = held.checkout.query("SELECT LAST_INSERT_ID()").await?.rows()?;
            self.diagnostics.insert_id_unread = false;
            self.diagnostics.last_insert_id = first_number(&rows).unwrap_or(0);
            held.has_insert_id = true;
        }
        Ok(())
    }

    /// A number for the statement that was just answered, different from those of all sessions.
    pub(super) fn next_number(&mut self) -> u64 {
        self.diagnostics.number = self.diagnostics.number.wrapping_add(1).max(1);
        self.last_number()
    }

    fn last_number(&self) -> u64 {
        (u64::from(self.handle.id) << 32) | u64::from(self.diagnostics.number)
    }

    /// The statement asks about the one before: if that one's connection is idle and untouched, it answers.
    fn return_to_last(&mut self) {
        if self.held.is_some() || self.diagnostics.number == 0 {
            return;
        }
        let number = self.last_number();
        let tenant = std::sync::Arc::clone(&self.tenant);
        for pool in tenant.pools() {
            if let Some(checkout) = pool.checkout_after(self.worker.id, number) {
                let is_primary = std::sync::Arc::ptr_eq(pool, &tenant.primary);
                let target = if is_primary { Target::Primary } else { Target::Replica };
                self.held =
                    Some(Held { checkout, target, ran: true, has_insert_id: false, trackers_lent: false });
                return;
            }
        }
    }

    /// What a prepared statement asks for and no connection knows any more. `None` if it is to run as it is.
    pub(super) fn lost_count(
        &mut self,
        statement: &Statement,
        text: &[u8],
    ) -> Result<Option<Count>, SessionError> {
        if !statement.effects.intersects(ASKS) {
            return Ok(None);
        }
        self.return_to_last();
        if self.held.as_ref().is_some_and(|held| held.ran) {
            return Ok(None);
        }
        self.count_asked(statement, text)
    }

    fn count_asked(&self, statement: &Statement, text: &[u8]) -> Result<Option<Count>, SessionError> {
        if self.diagnostics.lost && statement.effects.intersects(ASKS) {
            return Err(lost_answer("what the statement before left"));
        }
        let counts = Effects::READS_ROW_COUNT | Effects::READS_FOUND_ROWS;
        if !statement.effects.intersects(counts) {
            if self.diagnostics.many && words(text) != b"show warnings" {
                return Err(lost_answer("the conditions of the statement before"));
            }
            return Ok(None);
        }
        match only_function(text) {
            Some(b"row_count()") => Ok(Some(Count(self.diagnostics.row_count))),
            Some(b"found_rows()") => {
                Ok(Some(Count(i64::try_from(self.diagnostics.found_rows).unwrap_or(i64::MAX))))
            }
            _ => Err(lost_answer("ROW_COUNT() or FOUND_ROWS() inside a larger statement")),
        }
    }

    /// Runs the statement for the shape of its answer, and puts the count in. `true` if it failed.
    pub(super) async fn answer_count(
        &mut self,
        job: &Job<'_>,
        count: Count,
        row: Row,
    ) -> Result<bool, SessionError> {
        let (answer, _) = self.run_job(job, Target::Primary).await?;
        let out = with_value(&answer.rest, self.client.flags.deprecate_eof, row, count.0);
        self.client.write(out.as_deref().unwrap_or(&answer.rest)).await?;
        Ok(answer.summary.error.is_some())
    }

    /// Tells a connection that is not the session's last one what the statement asks for.
    pub(crate) async fn restore_diagnostics(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
    ) -> Result<(), ConnectionError> {
        let effects = job.statement.effects;
        if effects.intersects(Effects::READS_DIAGNOSTICS) && !held.ran {
            match &self.diagnostics.condition {
                None => held.checkout.query(CLEARS_CONDITIONS).await.map(|_| ())?,
                Some(condition) => match held.checkout.query(&condition.signal()).await {
                    Ok(_) | Err(ConnectionError::Server { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        let reads = Effects::READS_LAST_INSERT_ID | Effects::CALL | Effects::TEXT_EXECUTE;
        if effects.intersects(reads) && !held.has_insert_id {
            let set = format!("SET LAST_INSERT_ID={}", self.diagnostics.last_insert_id);
            held.checkout.query(&set).await?;
            held.has_insert_id = true;
        }
        Ok(())
    }

    /// A question that Weir answers itself, since the connection that knew is in other hands: SHOW WARNINGS, and
    /// SELECT of nothing but ROW_COUNT() or FOUND_ROWS(). `None` if the statement is to run as it is.
    pub(super) async fn answer_question(
        &mut self,
        request: &Request,
        statement: &Statement,
    ) -> Result<Option<bool>, SessionError> {
        self.return_to_last();
        if self.held.as_ref().is_some_and(|held| held.ran) {
            return Ok(None);
        }
        let text = request.payload().get(1..).unwrap_or_default();
        if words(text) == b"show warnings"
            && let Some(saved) = &self.diagnostics.warnings
        {
            let mut out = saved.to_vec();
            let mut end = ResponseEnd::new(Expect::Results, self.client.flags, None, None);
            if end.scan(&mut out).is_ok() {
                self.client.write(&out).await?;
                return Ok(Some(false));
            }
        }
        let Some(count) = self.count_asked(statement, text)? else { return Ok(None) };
        let job = Job { packet: request.packet(), statement, expect: Expect::Results, prepared: None };
        self.answer_count(&job, count, Row::Text).await.map(Some)
    }
}

fn first_number(rows: &[Vec<Option<Vec<u8>>>]) -> Option<u64> {
    let value = rows.first()?.first()?.as_deref()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn lost_answer(what: &str) -> SessionError {
    Refused::new(
        weir_wire::error_code::UNKNOWN,
        format!(
            "{what}: the server connection of the statement before is in other hands; ask in the same transaction, \
             or with SELECT ROW_COUNT(), SELECT FOUND_ROWS() or SHOW WARNINGS alone"
        ),
    )
    .into()
}

fn condition_of(row: &[Option<Vec<u8>>]) -> Option<Condition> {
    let [Some(level), Some(number), Some(message)] = row else { return None };
    let number: u16 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let is_error = level.eq_ignore_ascii_case(b"Error");
    Some(Condition {
        level: level.as_slice().into(),
        number,
        sqlstate: if is_error { *b"HY000" } else { *b"01000" },
        message: message.as_slice().into(),
    })
}

impl Condition {
    /// A statement after which a connection has this condition, and no other.
    fn signal(&self) -> String {
        debug_assert!(!self.level.is_empty());
        format!(
            "SIGNAL SQLSTATE '{}' SET MESSAGE_TEXT='{}',MYSQL_ERRNO={}",
            String::from_utf8_lossy(&self.sqlstate),
            String::from_utf8_lossy(&self.message).replace('\\', "\\\\").replace('\'', "''"),
            self.number,
        )
    }
}

impl Diagnostics {
    /// The SQLSTATE of an error is only in its packet.
    pub(super) fn remember_sqlstate(&mut self, code: Option<ErrorCode>) {
        if let (Some(condition), Some(code)) = (&mut self.condition, code)
            && condition.number == code.number
        {
            condition.sqlstate = code.sqlstate;
        }
    }
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

/// The function that is all a SELECT asks for, perhaps under another name.
fn only_function(text: &[u8]) -> Option<&'static [u8]> {
    let words = words(text);
    let rest = words.strip_prefix(b"select ")?;
    for function in [b"row_count()".as_slice(), b"found_rows()"] {
        let Some(alias) = rest.strip_prefix(function) else { continue };
        let alias = alias.strip_prefix(b" as").unwrap_or(alias).trim_ascii();
        let alias = alias.strip_prefix(b"`").and_then(|a| a.strip_suffix(b"`")).unwrap_or(alias);
        let is_name = alias.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        return is_name.then_some(function);
    }
    None
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
            r.u64("value").ok()?;
            r.finish("end of row").ok()?;
            packet_with(&mut out, header.sequence, |w| {
                w.bytes(head).bytes(&value.to_le_bytes());
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
    use weir_wire::response::{Column, OkPacket, ResponseFlags, ResultSet, column_type};

    #[test]
    fn a_question_is_known_however_it_is_spaced() {
        assert_eq!(words(b"  SELECT\n ROW_COUNT() ; "), b"select row_count()");
        assert_eq!(words(b"show   Warnings"), b"show warnings");
        assert_eq!(only_function(b"select FOUND_ROWS() as total"), Some(b"found_rows()".as_slice()));
        assert_eq!(only_function(b"SELECT row_count()  `n`;"), Some(b"row_count()".as_slice()));
        for larger in
            [&b"select row_count() + 1"[..], b"select row_count(), 2", b"select found_rows() from t"]
        {
            assert_eq!(only_function(larger), None);
        }
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

    #[test]
    fn a_message_cannot_end_its_literal() {
        let condition = Condition {
            level: b"Error".as_slice().into(),
            number: 1062,
            sqlstate: *b"23000",
            message: b"Duplicate entry 'a\\' for key".as_slice().into(),
        };
        assert_eq!(
            condition.signal(),
            r"SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT='Duplicate entry ''a\\'' for key',MYSQL_ERRNO=1062"
        );
    }
}
