//! What a session may ask about its statement before: LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS(), warnings.
//!
//! The server keeps these with the connection, and the next statement there may be another session's. So before a
//! connection is given back, what the session could still ask for is read from it; when the session asks later, the
//! connection that answers is told first, or Weir answers from what it keeps. What cannot be told to a connection
//! (several warnings for GET DIAGNOSTICS) keeps the connection until the session's next statement.

use weir_backend::ConnectionError;
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
    error::{Refused, SessionError, lost},
    execute::Job,
};

use super::{Held, Session, pin::Pins};

/// Warnings are kept up to this size for a session without a connection.
const MOST_SAVED: usize = 64 << 10;

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
    /// The session asked for counts or conditions before: it may do so again after any statement.
    asks: bool,
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
        let is_ok = !failed && !summary.has_rows;
        self.row_count = if is_ok { i64::try_from(summary.affected_rows).unwrap_or(i64::MAX) } else { -1 };
        if summary.has_rows {
            self.found_rows = summary.rows;
        }
    }

    /// Must something be read before the connection may go?
    pub(super) fn has_unread(&self) -> bool {
        self.insert_id_unread || self.conditions_unread
    }

    /// May the session ask about any statement?
    pub(super) fn asks(&self) -> bool {
        self.asks
    }
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
            if rows.len() > 1 || reply.bytes.len() > MOST_SAVED {
                // no statement can make a connection have several conditions again
                self.begin_pins(Pins::DIAGNOSTICS);
                self.diagnostics.conditions_unread = true;
            } else {
                self.diagnostics.warnings = Some(reply.bytes.into());
            }
        }
        if std::mem::take(&mut self.diagnostics.insert_id_unread) {
            let rows = held.checkout.query("SELECT LAST_INSERT_ID()").await?.rows()?;
            let value = rows.first().and_then(|row| row.first()?.as_deref());
            self.diagnostics.last_insert_id =
                value.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(0);
            held.has_insert_id = true;
        }
        Ok(())
    }

    /// Before a statement is planned: a connection kept only for questions goes back if there are none.
    pub(super) async fn no_questions(&mut self, statement: &Statement) -> Result<(), SessionError> {
        let only_kept = self.pins == Pins::DIAGNOSTICS && !self.in_transaction;
        if !only_kept || statement.effects.intersects(ASKS | Effects::READS_LAST_INSERT_ID) {
            return Ok(());
        }
        Box::pin(self.let_kept_go()).await
    }

    async fn let_kept_go(&mut self) -> Result<(), SessionError> {
        self.pins = Pins::empty();
        self.diagnostics.conditions_unread = false;
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let saved = self.save_diagnostics(&mut held).await;
        saved.map_err(|e| SessionError::Fatal(lost(held.checkout.pool().instance(), &e)))?;
        self.let_go(held, false);
        Ok(())
    }

    /// Somebody prepares a question, or executes one: from now on connections are kept for it.
    pub(super) fn expect_questions(&mut self, statement: &Statement) {
        if statement.effects.intersects(ASKS) {
            self.diagnostics.asks = true;
        }
    }

    /// A prepared statement that counts on a connection which is in other hands.
    pub(super) fn refuse_lost_counts(&self, statement: &Statement) -> Result<(), SessionError> {
        let counts = Effects::READS_ROW_COUNT | Effects::READS_FOUND_ROWS;
        let ran = self.held.as_ref().is_some_and(|held| held.ran);
        if ran || !statement.effects.intersects(counts) {
            return Ok(());
        }
        Err(counts_lost())
    }

    /// Tells a connection that is not the session's last one what the statement asks for.
    pub(crate) async fn restore_diagnostics(&mut self, held: &mut Held, job: &Job<'_>) -> Result<(), ConnectionError> {
        let effects = job.statement.effects;
        if effects.intersects(Effects::READS_DIAGNOSTICS) && !held.ran {
            match &self.diagnostics.condition {
                None => held.checkout.query("DO 0").await.map(|_| ())?,
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
        self.diagnostics.asks = true;
        if self.held.as_ref().is_some_and(|held| held.ran) {
            return Ok(None);
        }
        let words = words(request.payload().get(1..).unwrap_or_default());
        if words == b"show warnings" {
            if let Some(saved) = &self.diagnostics.warnings {
                let mut out = saved.to_vec();
                let mut end = ResponseEnd::new(Expect::Results, self.client.flags, None, None);
                if end.scan(&mut out).is_ok() {
                    self.client.write(&out).await?;
                    return Ok(Some(false));
                }
            }
            return Ok(None);
        }
        let counts = Effects::READS_ROW_COUNT | Effects::READS_FOUND_ROWS;
        if !statement.effects.intersects(counts) {
            return Ok(None);
        }
        let value = match words.as_slice() {
            b"select row_count()" => self.diagnostics.row_count.to_string(),
            b"select found_rows()" => self.diagnostics.found_rows.to_string(),
            _ => {
                return Err(counts_lost());
            }
        };
        let (row_count, found_rows) = (self.diagnostics.row_count, self.diagnostics.found_rows);
        let job = Job { packet: request.packet(), statement, expect: Expect::Results, prepared: None };
        let (answer, _) = self.run_job(&job, weir_plan::Target::Primary).await?;
        let out = with_value(&answer.rest, self.client.flags.deprecate_eof, value.as_bytes());
        if let b"select found_rows()" = words.as_slice() {
            self.diagnostics.found_rows = 1;
        } else {
            self.diagnostics.found_rows = found_rows.max(1);
        }
        self.diagnostics.row_count = row_count.min(-1);
        self.client.write(out.as_deref().unwrap_or(&answer.rest)).await?;
        Ok(Some(answer.summary.error.is_some()))
    }
}

fn counts_lost() -> SessionError {
    Refused::new(
        weir_wire::error_code::UNKNOWN,
        "ROW_COUNT() or FOUND_ROWS() inside a larger statement: the server connection of the statement before is in \
         other hands; ask for it alone, or again after the next statement",
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
        if let (Some(condition), Some(code)) = (&mut self.condition, code) {
            if condition.number == code.number {
                condition.sqlstate = code.sqlstate;
            }
        }
    }
}

/// The text in lower case, with single spaces and without the semicolon at its end; short texts only.
fn words(text: &[u8]) -> Vec<u8> {
    if text.len() > 64 {
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

/// A result set of one row and one column, with another value.
fn with_value(answer: &[u8], deprecate_eof: bool, value: &[u8]) -> Option<Vec<u8>> {
    // column count, column, perhaps EOF
    let row_index = if deprecate_eof { 2 } else { 3 };
    let mut out = Vec::with_capacity(answer.len() + value.len());
    let mut rest = answer;
    let mut index = 0;
    while !rest.is_empty() {
        let header = Header::parse(rest)?;
        let packet = rest.get(..HEADER_LEN + header.len)?;
        if index == row_index {
            // it must be a row of one value
            let mut row = Reader::new(packet.get(HEADER_LEN..)?);
            row.lenenc_bytes("value").ok()?;
            row.finish("end of row").ok()?;
            packet_with(&mut out, header.sequence, |w| {
                w.lenenc_bytes(value);
            });
        } else {
            out.extend_from_slice(packet);
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
        assert_ne!(words(b"select row_count() + 1"), b"select row_count()");
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
            assert_eq!(with_value(&of(b"-1"), deprecate_eof, b"4711"), Some(of(b"4711")));
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
