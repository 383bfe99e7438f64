//! Whole answers, packet by packet.

use std::io::Read;

use weir_testkit::sql::{Row, ServerError};
use weir_wire::Reader;
use weir_wire::capability::Status;
use weir_wire::response::{
    self, Column, EofPacket, ErrPacket, OkPacket, PrepareOk, Record, Records, ResponseFlags, TextRow,
};

use super::{Expect, Failure, Packet};

/// An answer as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its packets.
    pub packets: Vec<Packet>,
    /// What the connection's flags say of their form.
    pub flags: ResponseFlags,
    expect: Expect,
}

/// One result of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A statement without rows.
    Ok {
        /// Rows changed or found.
        affected: u64,
        /// First generated AUTO_INCREMENT value.
        insert_id: u64,
        /// Status.
        status: Status,
        /// Number of warnings.
        warnings: u16,
        /// The server's text.
        info: String,
        /// Session-state records.
        records: Vec<u8>,
    },
    /// A result set.
    Rows {
        /// Names of the columns.
        columns: Vec<String>,
        /// The rows' payloads.
        rows: Vec<Vec<u8>>,
        /// Status at the end.
        status: Status,
        /// Number of warnings.
        warnings: u16,
    },
    /// An error, with the rows that came before it.
    Err {
        /// The error.
        error: ServerError,
        /// Rows of the result that it ended.
        rows_before: usize,
    },
}

impl Answer {
    pub(super) fn of(packets: Vec<Packet>, flags: ResponseFlags, expect: Expect) -> Answer {
        Answer { packets, flags, expect }
    }

    /// Is it an answer of one packet to a command that is no statement?
    pub(crate) fn is_simple(&self) -> bool {
        self.expect == Expect::One
    }

    /// Is it an answer to COM_STMT_PREPARE?
    #[must_use]
    pub fn is_prepare(&self) -> bool {
        self.expect == Expect::Prepare
    }

    /// The id of the statement that was prepared.
    #[must_use]
    pub fn statement_id(&self) -> Option<u32> {
        let first =
            self.packets.first().filter(|first| self.is_prepare() && first.first() == response::OK)?;
        Some(PrepareOk::parse(&first.payload).ok()?.statement)
    }

    /// The error that ends the answer, if one does.
    #[must_use]
    pub fn error(&self) -> Option<ServerError> {
        self.packets.last().and_then(error_in)
    }

    /// The number of the error that ends the answer; 0 for none.
    #[must_use]
    pub fn error_number(&self) -> u16 {
        self.error().map_or(0, |error| error.number)
    }

    /// All results in order.
    ///
    /// # Errors
    /// The answer is not one to COM_QUERY or COM_STMT_EXECUTE.
    pub fn outcomes(&self) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        let mut rest = self.packets.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            if let Some(error) = error_in(first) {
                outcomes.push(Outcome::Err { error, rows_before: 0 });
                continue;
            }
            if first.first() == response::OK || matches!(self.expect, Expect::One) {
                let ok = OkPacket::parse(&first.payload, self.flags)?;
                outcomes.push(Outcome::Ok {
                    affected: ok.affected_rows,
                    insert_id: ok.last_insert_id,
                    status: ok.status,
                    warnings: ok.warnings,
                    info: String::from_utf8_lossy(ok.info).into_owned(),
                    records: ok.session_state.to_vec(),
                });
                continue;
            }
            let count = Reader::new(&first.payload).lenenc_int("column count")?;
            let mut columns = Vec::new();
            for _ in 0..count {
                let Some((column, tail)) = rest.split_first() else { break };
                rest = tail;
                columns.push(String::from_utf8_lossy(Column::parse(&column.payload)?.name).into_owned());
            }
            if !self.flags.deprecate_eof {
                rest = rest.get(1..).unwrap_or_default();
            }
            let mut rows = Vec::new();
            while let Some((packet, tail)) = rest.split_first() {
                rest = tail;
                if let Some(error) = error_in(packet) {
                    outcomes.push(Outcome::Err { error, rows_before: rows.len() });
                    rows.clear();
                    break;
                }
                if is_end(packet, self.flags) {
                    let (status, warnings) = end_of(packet, self.flags)?;
                    outcomes.push(Outcome::Rows { columns, rows, status, warnings });
                    break;
                }
                rows.push(packet.payload.clone());
            }
        }
        Ok(outcomes)
    }

    /// The text rows of the last result.
    ///
    /// # Errors
    /// The answer ends with an error.
    pub fn rows(&self) -> Result<Vec<Row>, Failure> {
        match self.outcomes()?.pop() {
            Some(Outcome::Rows { rows, .. }) => rows.iter().map(|row| text_row(row)).collect(),
            Some(Outcome::Err { error, .. }) => Err(error.into()),
            Some(Outcome::Ok { .. }) | None => Ok(Vec::new()),
        }
    }

    /// The status that the last packet tells; empty after an error.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.outcomes().ok().and_then(|mut outcomes| outcomes.pop()) {
            Some(Outcome::Ok { status, .. } | Outcome::Rows { status, .. }) => status,
            Some(Outcome::Err { .. }) | None => Status::empty(),
        }
    }

    /// Names and values of the system variables that the answer's records tell.
    ///
    /// # Errors
    /// The answer or its records are malformed.
    pub fn tracked_variables(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut told = Vec::new();
        for outcome in self.outcomes()? {
            let Outcome::Ok { records, .. } = outcome else { continue };
            for record in Records::new(&records) {
                if let Record::SystemVariable { name, value } = record? {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    told.push((text(name), text(value)));
                }
            }
        }
        Ok(told)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 12;
        for packet in self.packets.iter().take(SHOWN) {
            writeln!(f, "    {packet:?}")?;
        }
        match self.packets.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => writeln!(f, "    and {more} more, the last {:?}", self.packets.last()),
            _ => Ok(()),
        }
    }
}

fn text_row(payload: &[u8]) -> Result<Row, Failure> {
    let mut values = TextRow::new(payload);
    let mut row = Vec::new();
    while !values.is_empty() {
        row.push(values.value()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    }
    Ok(row)
}

pub(super) fn error_in(packet: &Packet) -> Option<ServerError> {
    if packet.first() != response::ERR {
        return None;
    }
    let err = ErrPacket::parse(&packet.payload).ok()?;
    Some(ServerError {
        number: err.code.number,
        sqlstate: String::from_utf8_lossy(&err.code.sqlstate).into_owned(),
        message: String::from_utf8_lossy(err.message).into_owned(),
    })
}

/// Rows may begin with 0xFE too: then they are longer than any end.
fn is_end(packet: &Packet, flags: ResponseFlags) -> bool {
    let longest = if flags.deprecate_eof { 0xff_fffe } else { EofPacket::LEN };
    packet.first() == response::EOF && packet.payload.len() <= longest
}

fn end_of(packet: &Packet, flags: ResponseFlags) -> Result<(Status, u16), Failure> {
    if flags.deprecate_eof {
        let ok = OkPacket::parse(&packet.payload, flags)?;
        return Ok((ok.status, ok.warnings));
    }
    let eof = EofPacket::parse(&packet.payload)?;
    Ok((eof.status, eof.warnings))
}

struct Taking<'r, R> {
    from: &'r mut R,
    answer: Answer,
}

impl<R: Read> Taking<'_, R> {
    fn next(&mut self) -> Result<Packet, Failure> {
        let packet = Packet::read(self.from)?;
        self.answer.packets.push(packet.clone());
        Ok(packet)
    }

    /// Rows up to their end; gives the status that the end tells, nothing after an error.
    fn rows(&mut self) -> Result<Option<Status>, Failure> {
        loop {
            let packet = self.next()?;
            if packet.first() == response::ERR {
                return Ok(None);
            }
            if is_end(&packet, self.answer.flags) {
                return Ok(Some(end_of(&packet, self.answer.flags)?.0));
            }
        }
    }

    fn definitions(&mut self, count: u64) -> Result<(), Failure> {
        for _ in 0..count {
            self.next()?;
        }
        if count > 0 && !self.answer.flags.deprecate_eof {
            self.next()?;
        }
        Ok(())
    }

    fn results(&mut self) -> Result<(), Failure> {
        loop {
            let first = self.next()?;
            let status = match first.first() {
                response::ERR => return Ok(()),
                response::OK => Some(OkPacket::parse(&first.payload, self.answer.flags)?.status),
                response::LOCAL_INFILE => return Ok(()),
                _ => self.result_set(&first)?,
            };
            if !status.is_some_and(|status| status.contains(Status::MORE_RESULTS)) {
                return Ok(());
            }
        }
    }

    fn result_set(&mut self, first: &Packet) -> Result<Option<Status>, Failure> {
        let columns = Reader::new(&first.payload).lenenc_int("column count")?;
        for _ in 0..columns {
            self.next()?;
        }
        let mut status = Status::empty();
        if !self.answer.flags.deprecate_eof {
            status = end_of(&self.next()?, self.answer.flags)?.0;
            if status.contains(Status::CURSOR_EXISTS) {
                return Ok(Some(status));
            }
        }
        // MySQL tells only before OUT parameters, not behind them, that more follows
        let out_parameters = status & (Status::PS_OUT_PARAMS | Status::MORE_RESULTS);
        let more = if status.contains(Status::PS_OUT_PARAMS) { out_parameters } else { Status::empty() };
        Ok(self.rows()?.map(|status| status | more))
    }
}

/// What an answer's sequence ids are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Its packets must count up; from where depends on how many the command had.
    AsSent,
    /// Compressed: servers count packets as frames behind each flush. They are counted anew, from 1.
    Anew,
}

/// Reads an answer.
pub(super) fn read(
    from: &mut impl Read,
    flags: ResponseFlags,
    expect: Expect,
    counts: Counts,
) -> Result<Answer, Failure> {
    let mut taking = Taking { from, answer: Answer { packets: Vec::new(), flags, expect } };
    match expect {
        Expect::Results => taking.results()?,
        Expect::One => {
            taking.next()?;
        }
        Expect::Rows => {
            taking.rows()?;
        }
        Expect::Columns => {
            // ends as rows do, and a column definition begins with the length of "def"
            taking.rows()?;
        }
        Expect::Prepare => {
            let first = taking.next()?;
            if first.first() != response::ERR {
                let ok = PrepareOk::parse(&first.payload)?;
                taking.definitions(u64::from(ok.parameters))?;
                taking.definitions(u64::from(ok.columns))?;
            }
        }
    }
    let first = taking.answer.packets.first().map_or(1, |first| first.sequence);
    let mut due = if counts == Counts::Anew { 1 } else { first };
    for packet in &mut taking.answer.packets {
        if counts == Counts::Anew {
            packet.sequence = due;
        }
        if packet.sequence != due {
            return Err(Failure::Login(format!("packet {packet:?} came where {due} was due")));
        }
        due = packet.next_sequence();
    }
    Ok(taking.answer)
}
