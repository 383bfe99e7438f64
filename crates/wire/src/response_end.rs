//! Finds where the answer to a command ends, without decoding its rows, and turns in place what a client's
//! capabilities want different from the backend connection's.
//!
//! Backend connections always negotiate SESSION_TRACK and DEPRECATE_EOF. So an answer needs work only in its
//! control packets: session-state records are taken out of OK packets, and for a client that never deprecated EOF
//! the packets after a column list move up one sequence id. Rows stay where they are in the read buffer.

use crate::{
    Malformed, Reader, Writer,
    capability::Status,
    error_code::ErrorCode,
    framer::{HEADER_LEN, Header},
    local_file::LocalFile,
    packet_with,
    response::{
        self, EofPacket, ErrPacket, OkPacket, PrepareOk, ResponseFlags, TrackWish, is_only_statement_id,
    },
};

/// A control packet longer than this is not waited for: no server sends one.
const MAX_CONTROL_PACKET: usize = 1 << 20;

/// What backend connections negotiate.
pub const BACKEND_FLAGS: ResponseFlags = ResponseFlags { session_track: true, deprecate_eof: true };

/// The shape of the answer, known from the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// COM_QUERY, COM_STMT_EXECUTE: any number of OKs and result sets, or an error.
    Results,
    /// COM_STMT_PREPARE.
    Prepare,
    /// COM_STMT_FETCH: rows and their end.
    Rows,
    /// COM_FIELD_LIST: columns and their end.
    Columns,
    /// Everything else: one packet.
    One,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    ResultColumns {
        left: u64,
    },
    /// After the last column; the EOF that an older client waits for has not been written yet.
    ResultColumnsEnd,
    Rows,
    FirstPrepare,
    /// Definitions of parameters (with the number of columns that follow) or of columns.
    PrepareGroup {
        left: u16,
        then: u16,
    },
    FieldList,
    One,
    /// The client was asked for a file, which has not passed yet.
    LocalFile,
    Done,
}

/// How far [`ResponseEnd::scan`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The answer goes on: read more.
    More,
    /// The answer is complete.
    Done,
    /// The row limit was passed; what lies before [`ResponseEnd::boundary`] may still go to the client.
    RowLimit,
    /// The server waits for a file of the client: see [`ResponseEnd::local_file`].
    LocalFile,
}

/// What the control packets of an answer told. Of several results, the last one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Status that the last OK or EOF told; an error tells none.
    pub status: Option<Status>,
    /// The error that ended the answer.
    pub error: Option<ErrorCode>,
    /// Affected rows of the last OK.
    pub affected_rows: u64,
    /// Insert id of the last OK.
    pub last_insert_id: u64,
    /// Warnings of the last result.
    pub warnings: u16,
    /// Rows of the last result set.
    pub rows: u64,
    /// Rows of all result sets.
    pub total_rows: u64,
    /// Did the last result have columns?
    pub has_rows: bool,
    /// Results seen.
    pub results: u32,
    /// First packet of an answer to COM_STMT_PREPARE.
    pub prepared: Option<PrepareOk>,
}

/// Walks the packets of one answer as they arrive. See the module's text.
#[derive(Debug)]
pub struct ResponseEnd<'w> {
    state: State,
    client: ResponseFlags,
    wish: Option<&'w TrackWish>,
    row_limit: u64,
    /// The server may ask the client for files.
    local_files: bool,
    /// The server's sequence ids mean nothing.
    renumbers: bool,
    /// Where in the buffer the next header (or the rest of a body) starts.
    at: usize,
    /// Start of the packet that `at` is in, or `at` itself.
    boundary: usize,
    /// Sequence id of the packet that starts there, as the client counts.
    boundary_sequence: u8,
    /// Bytes of the current body that are not in the buffer yet.
    skip: usize,
    /// The next packet continues a payload.
    continues: bool,
    sequence_shift: u8,
    next_sequence: u8,
    /// Sequence id of the server's next packet; the first one's is not known unless it was told.
    due: Option<u8>,
    /// Where the current result began, and with which sequence id, while it is still in the buffer.
    result_start: Option<(usize, u8)>,
    /// Where the EOF after the columns stands, while it is still in the buffer: its status is only known at the end.
    open_eof: Option<usize>,
    summary: Summary,
    tracked: Vec<u8>,
}

impl<'w> ResponseEnd<'w> {
    /// An answer of the shape `expect` for a client with `client` flags. `wish` is what the client's own trackers
    /// are set to; `None` if it did not negotiate them.
    #[must_use]
    pub fn new(
        expect: Expect,
        client: ResponseFlags,
        wish: Option<&'w TrackWish>,
        row_limit: Option<u64>,
    ) -> Self {
        let state = match expect {
            Expect::Results => State::First,
            Expect::Prepare => State::FirstPrepare,
            Expect::Rows => State::Rows,
            Expect::Columns => State::FieldList,
            Expect::One => State::One,
        };
        Self {
            state,
            client,
            wish,
            row_limit: row_limit.unwrap_or(u64::MAX),
            local_files: false,
            renumbers: false,
            at: 0,
            boundary: 0,
            boundary_sequence: 1,
            skip: 0,
            continues: false,
            sequence_shift: 0,
            next_sequence: 1,
            due: None,
            result_start: Some((0, 1)),
            open_eof: None,
            summary: Summary::default(),
            tracked: Vec::new(),
        }
    }

    /// The answer's first packet must have this sequence id.
    #[must_use]
    pub fn beginning_at(mut self, sequence: u8) -> Self {
        self.next_sequence = sequence;
        self.boundary_sequence = sequence;
        self.due = Some(sequence);
        self.result_start = Some((0, sequence));
        self
    }

    /// The statement may load a file of the client. Without this a server that asks for one is refused.
    #[must_use]
    pub fn with_local_files(mut self, allowed: bool) -> Self {
        self.local_files = allowed;
        self
    }

    /// The client has seen none of the packets before the first one, and counts from `sequence`.
    #[must_use]
    pub fn shown_from(mut self, sequence: u8) -> Self {
        self.sequence_shift = sequence.wrapping_sub(self.next_sequence);
        self.next_sequence = sequence;
        self.boundary_sequence = sequence;
        self.result_start = Some((0, sequence));
        self
    }

    /// The answer came compressed: behind each flush the servers count packets as frames are counted. The client gets
    /// ids that count up.
    #[must_use]
    pub fn renumbering(mut self, on: bool) -> Self {
        self.renumbers = on;
        self
    }

    /// Walks over what `buf` holds from where the last call stopped. Bytes before the position may have been
    /// changed; `buf` may have grown or shrunk by a few bytes at control packets.
    ///
    /// # Errors
    /// The server sent something that is not an answer to this command.
    pub fn scan(&mut self, buf: &mut Vec<u8>) -> Result<Scan, Malformed> {
        loop {
            if self.skip > 0 {
                let step = self.skip.min(buf.len().saturating_sub(self.at));
                self.at += step;
                self.skip -= step;
                if self.skip > 0 {
                    return Ok(Scan::More);
                }
            }
            if !self.continues {
                self.boundary = self.at;
                self.boundary_sequence = self.next_sequence;
                if let State::PrepareGroup { left: 0, then } = self.state {
                    self.insert_eof(buf);
                    self.state = Self::prepare_group(then, 0);
                }
                match self.state {
                    State::Done => return Ok(Scan::Done),
                    State::LocalFile => return Ok(Scan::LocalFile),
                    State::First => self.result_start = Some((self.at, self.next_sequence)),
                    _ => {}
                }
            }
            let Some(header) = buf.get(self.at..).and_then(Header::parse) else { return Ok(Scan::More) };
            if !self.renumbers && self.due.is_some_and(|due| due != header.sequence) {
                return Err(self.malformed("packet out of order"));
            }
            if self.continues {
                self.pass(buf, header);
                continue;
            }
            let Some(&first) = buf.get(self.at + HEADER_LEN) else {
                if header.len == 0 {
                    return Err(self.malformed("empty packet in an answer"));
                }
                return Ok(Scan::More);
            };
            if header.len == 0 {
                return Err(self.malformed("empty packet in an answer"));
            }
            let may_open_cursor = first == response::EOF && header.len <= MAX_CONTROL_PACKET;
            if self.state == State::ResultColumnsEnd && !may_open_cursor {
                self.insert_eof(buf);
                self.state = State::Rows;
                continue;
            }
            if !self.is_control(first, header.len) {
                if self.state == State::Rows {
                    if self.summary.rows >= self.row_limit {
                        return Ok(Scan::RowLimit);
                    }
                    self.summary.rows += 1;
                    self.summary.total_rows += 1;
                }
                self.pass(buf, header);
                self.column_passed();
                continue;
            }
            let end = self.at + HEADER_LEN + header.len;
            if buf.len() < end {
                if header.len > MAX_CONTROL_PACKET {
                    return Err(self.malformed("control packet is too long"));
                }
                return Ok(Scan::More);
            }
            self.control(buf, first, header)?;
        }
    }

    /// Where the packet starts that is not complete yet: bytes before it are whole packets.
    #[must_use]
    pub fn boundary(&self) -> usize {
        self.boundary
    }

    /// Up to where the buffer was walked: bytes before it may go to the client, perhaps in the middle of a packet.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Sequence id of a packet that would follow the [`boundary`](Self::boundary), as the client counts.
    #[must_use]
    pub fn boundary_sequence(&self) -> u8 {
        self.boundary_sequence
    }

    /// Where an error may stand if the rest of the answer never comes, and its sequence id: clients look for one among
    /// rows and in place of a result, but not all of them among column definitions.
    #[must_use]
    pub fn error_place(&self) -> (usize, u8) {
        let among_definitions = matches!(
            self.state,
            State::ResultColumns { .. } | State::ResultColumnsEnd | State::PrepareGroup { .. }
        );
        let start = self.result_start.filter(|_| among_definitions);
        start.unwrap_or((self.boundary, self.boundary_sequence))
    }

    /// The first `n` bytes of the buffer (at most [`position`](Self::position)) were taken out.
    pub fn taken(&mut self, n: usize) {
        self.at = self.at.saturating_sub(n);
        self.boundary = self.boundary.saturating_sub(n);
        self.open_eof = self.open_eof.and_then(|at| at.checked_sub(n));
        self.result_start = self.result_start.and_then(|(at, sequence)| Some((at.checked_sub(n)?, sequence)));
    }

    /// The file that the server waits for: its packets go from the client to the server, then the answer goes on.
    #[must_use]
    pub fn local_file(&self) -> LocalFile {
        LocalFile::new(self.next_sequence, self.due.unwrap_or(self.next_sequence))
    }

    /// The file has passed, as far as `file` has walked.
    pub fn local_file_passed(&mut self, file: &LocalFile) {
        let (to_client, from_server) = file.next_sequences();
        self.state = State::First;
        self.next_sequence = to_client;
        self.boundary_sequence = to_client;
        self.due = Some(from_server);
    }

    /// What the answer told.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Session-state records of all OK packets, but for the noise of `statement_id`.
    #[must_use]
    pub fn tracked(&self) -> &[u8] {
        &self.tracked
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    /// Is this packet to be read, or only passed on?
    fn is_control(&self, first: u8, len: usize) -> bool {
        match self.state {
            // ERR may come instead of anything; 0xFF is no row and no column, and never a length
            State::Rows | State::FieldList => {
                first == response::ERR || (first == response::EOF && len < crate::framer::MAX_PAYLOAD)
            }
            State::ResultColumnsEnd | State::First | State::FirstPrepare | State::One => true,
            State::ResultColumns { .. } | State::PrepareGroup { .. } => first == response::ERR,
            State::LocalFile | State::Done => true,
        }
    }

    fn pass(&mut self, buf: &mut [u8], header: Header) {
        let sequence = self.client_sequence(header);
        if sequence != header.sequence
            && let Some(byte) = buf.get_mut(self.at + HEADER_LEN - 1)
        {
            *byte = sequence;
        }
        self.next_sequence = sequence.wrapping_add(1);
        self.due = Some(header.sequence.wrapping_add(1));
        self.continues = header.continues();
        self.at += HEADER_LEN;
        self.skip = header.len;
    }

    /// The id that a packet of the server has for the client.
    fn client_sequence(&self, header: Header) -> u8 {
        match self.renumbers {
            true => self.next_sequence,
            false => header.sequence.wrapping_add(self.sequence_shift),
        }
    }

    fn column_passed(&mut self) {
        self.state = match self.state {
            State::ResultColumns { left: 0 | 1 } => State::ResultColumnsEnd,
            State::ResultColumns { left } => State::ResultColumns { left: left - 1 },
            State::PrepareGroup { left, then } => State::PrepareGroup { left: left.saturating_sub(1), then },
            other => other,
        };
    }

    /// Replaces the packet at `at` by one with the payload that `fill` writes, and goes behind it.
    fn replace(&mut self, buf: &mut Vec<u8>, header: Header, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut packet = Vec::with_capacity(HEADER_LEN + header.len);
        let sequence = self.client_sequence(header);
        self.next_sequence = packet_with(&mut packet, sequence, fill);
        self.due = Some(header.sequence.wrapping_add(1));
        buf.splice(self.at..self.at + HEADER_LEN + header.len, packet.iter().copied());
        self.at += packet.len();
    }

    /// Cuts the OK packet at `at` down to its first `fixed` payload bytes (or to an EOF packet), and goes behind it.
    fn shorten(
        &mut self,
        buf: &mut Vec<u8>,
        header: Header,
        fixed: usize,
        status: Status,
        warnings: u16,
        as_eof: bool,
    ) {
        let keep = if as_eof { EofPacket::LEN } else { fixed };
        let sequence = self.client_sequence(header);
        let end = self.at + HEADER_LEN + header.len;
        let Some(packet) = buf.get_mut(self.at..end) else { return };
        let (status, warnings) =
            (status.difference(Status::SESSION_STATE_CHANGED).bits().to_le_bytes(), warnings.to_le_bytes());
        for (to, from) in packet.iter_mut().zip(Header { len: keep, sequence }.to_bytes()) {
            *to = from;
        }
        // EOF has its warnings first, OK its status
        let [first, second] = if as_eof { [warnings, status] } else { [status, warnings] };
        let tail = HEADER_LEN + keep;
        for (to, from) in packet.iter_mut().take(tail).skip(tail - 4).zip(first.into_iter().chain(second)) {
            *to = from;
        }
        if end == buf.len() {
            buf.truncate(self.at + tail);
        } else {
            buf.drain(self.at + tail..end);
        }
        self.next_sequence = sequence.wrapping_add(1);
        self.due = Some(header.sequence.wrapping_add(1));
        self.at += tail;
    }

    /// The caller has told the client about the row limit: the rest is walked over to find the end.
    pub fn lift_row_limit(&mut self) {
        self.row_limit = u64::MAX;
    }

    /// Puts the EOF in that an older client expects after columns.
    fn insert_eof(&mut self, buf: &mut Vec<u8>) {
        if self.client.deprecate_eof {
            return;
        }
        let mut packet = Vec::with_capacity(HEADER_LEN + EofPacket::LEN);
        // those of a prepared statement are told before its definitions; a result's are not known yet
        let warnings = self.summary.prepared.map_or(0, |prepared| prepared.warnings);
        let eof = EofPacket { warnings, status: self.summary.status.unwrap_or(Status::AUTOCOMMIT) };
        let sequence = self.next_sequence;
        self.next_sequence = packet_with(&mut packet, sequence, |w| eof.write(w));
        buf.splice(self.at..self.at, packet.iter().copied());
        self.open_eof = Some(self.at);
        self.at += packet.len();
        self.boundary = self.at;
        self.boundary_sequence = self.next_sequence;
        self.sequence_shift = self.sequence_shift.wrapping_add(1);
    }

    /// The status of a result is known: the EOF after its columns gets the same, as the servers do.
    fn close_eof(&mut self, buf: &mut [u8], status: Status) {
        const STATUS: usize = HEADER_LEN + 3;
        if let Some(at) = self.open_eof.take()
            && let Some(bytes) = buf.get_mut(at + STATUS..at + STATUS + 2)
        {
            bytes.copy_from_slice(&status.difference(Status::SESSION_STATE_CHANGED).bits().to_le_bytes());
        }
    }

    fn control(&mut self, buf: &mut Vec<u8>, first: u8, header: Header) -> Result<(), Malformed> {
        let payload_at = self.at + HEADER_LEN;
        let payload = buf.get(payload_at..payload_at + header.len).unwrap_or_default();
        if first == response::ERR {
            self.summary.error = Some(ErrPacket::parse(payload)?.code);
            self.summary.results += 1;
            self.pass(buf, header);
            self.state = State::Done;
            return Ok(());
        }
        match self.state {
            State::First => match first {
                response::OK => self.ok(buf, header, response::OK),
                response::LOCAL_INFILE if self.local_files => {
                    self.pass(buf, header);
                    self.state = State::LocalFile;
                    Ok(())
                }
                response::LOCAL_INFILE => {
                    Err(self.malformed("request for a local file that no statement loads"))
                }
                _ => {
                    let mut r = Reader::new(payload);
                    let left = r.lenenc_int("column count")?;
                    r.finish("end of column count")?;
                    self.summary.rows = 0;
                    self.pass(buf, header);
                    self.state = State::ResultColumns { left };
                    Ok(())
                }
            },
            State::ResultColumnsEnd => {
                let opens_cursor = end_status(payload).is_some_and(|s| s.contains(Status::CURSOR_EXISTS));
                self.state = State::Rows;
                if opens_cursor {
                    return self.end(buf, header);
                }
                self.insert_eof(buf);
                Ok(())
            }
            State::Rows | State::FieldList => self.end(buf, header),
            // MariaDB answers the preparation of HELP with the OK of a statement: nothing is prepared
            State::FirstPrepare if header.len < PrepareOk::LEN => self.ok(buf, header, response::OK),
            State::FirstPrepare => {
                let ok = PrepareOk::parse(payload)?;
                self.summary.prepared = Some(ok);
                self.summary.warnings = ok.warnings;
                self.summary.results += 1;
                self.pass(buf, header);
                self.state = if ok.parameters > 0 {
                    Self::prepare_group(ok.parameters, ok.columns)
                } else {
                    Self::prepare_group(ok.columns, 0)
                };
                Ok(())
            }
            State::One => self.one(buf, header, first),
            State::ResultColumns { .. } | State::PrepareGroup { .. } | State::LocalFile | State::Done => {
                Err(self.malformed("unexpected packet in an answer"))
            }
        }
    }

    fn prepare_group(left: u16, then: u16) -> State {
        if left == 0 { State::Done } else { State::PrepareGroup { left, then } }
    }

    /// OK, EOF or a string: the whole answer.
    fn one(&mut self, buf: &mut Vec<u8>, header: Header, first: u8) -> Result<(), Malformed> {
        match first {
            response::OK => self.ok(buf, header, response::OK),
            response::EOF if header.len > EofPacket::LEN => self.end(buf, header),
            _ => {
                if first == response::EOF {
                    let payload = buf.get(self.at + HEADER_LEN..).unwrap_or_default();
                    self.summary.status =
                        Some(EofPacket::parse(payload.get(..header.len).unwrap_or_default())?.status);
                }
                self.summary.results += 1;
                self.pass(buf, header);
                self.state = State::Done;
                Ok(())
            }
        }
    }

    /// The end of rows, of a column list, or the OK of a cursor.
    fn end(&mut self, buf: &mut Vec<u8>, header: Header) -> Result<(), Malformed> {
        if header.len > EofPacket::LEN {
            self.summary.has_rows = true;
            return self.ok(buf, header, response::EOF);
        }
        let payload = buf.get(self.at + HEADER_LEN..self.at + HEADER_LEN + header.len).unwrap_or_default();
        let eof = EofPacket::parse(payload)?;
        self.summary.has_rows = true;
        self.summary.affected_rows = 0;
        self.summary.last_insert_id = 0;
        self.finish_result(buf, eof.status, eof.warnings);
        self.pass(buf, header);
        Ok(())
    }

    fn finish_result(&mut self, buf: &mut [u8], status: Status, warnings: u16) {
        self.close_eof(buf, status);
        self.summary.status = Some(status);
        self.summary.warnings = warnings;
        self.summary.error = None;
        self.summary.results += 1;
        self.state = if status.contains(Status::MORE_RESULTS) { State::First } else { State::Done };
    }

    fn ok(&mut self, buf: &mut Vec<u8>, header: Header, first: u8) -> Result<(), Malformed> {
        let payload_at = self.at + HEADER_LEN;
        let payload = buf.get(payload_at..payload_at + header.len).unwrap_or_default();
        let ok = OkPacket::parse(payload, BACKEND_FLAGS)?;
        let (status, warnings) = (ok.status, ok.warnings);
        self.summary.affected_rows = ok.affected_rows;
        self.summary.last_insert_id = ok.last_insert_id;
        if first == response::OK {
            self.summary.has_rows = false;
        }
        let quiet = is_only_statement_id(ok.session_state) || ok.session_state.is_empty();
        let as_eof = first == response::EOF && !self.client.deprecate_eof;
        let had_state = status.contains(Status::SESSION_STATE_CHANGED);
        if !quiet {
            self.tracked.extend_from_slice(ok.session_state);
        }
        let untouched = !as_eof && !had_state;
        if untouched {
            self.finish_result(buf, status, warnings);
            self.pass(buf, header);
            return Ok(());
        }
        let nothing_wanted = quiet || self.wish.is_none();
        if nothing_wanted && ok.info.is_empty() {
            // every answer of MySQL comes here: cut the records off where they stand
            let fixed = fixed_len(payload);
            self.finish_result(buf, status, warnings);
            self.shorten(buf, header, fixed, status, warnings, as_eof);
            return Ok(());
        }
        let mut wanted = Vec::new();
        if let (Some(wish), false) = (self.wish, quiet) {
            wish.filter(ok.session_state, &mut wanted)?;
        }
        let out = OkPacket { session_state: &wanted, ..ok };
        let mut payload = Vec::with_capacity(header.len);
        if first == response::EOF {
            out.write_end(self.client, &mut Writer::new(&mut payload));
        } else {
            out.write(response::OK, self.client, &mut Writer::new(&mut payload));
        }
        self.finish_result(buf, status, warnings);
        self.replace(buf, header, |w| {
            w.bytes(&payload);
        });
        Ok(())
    }
}

/// Status of an EOF packet or of an OK packet that stands for one.
fn end_status(payload: &[u8]) -> Option<Status> {
    if payload.len() <= EofPacket::LEN {
        EofPacket::parse(payload).ok().map(|eof| eof.status)
    } else {
        OkPacket::parse(payload, BACKEND_FLAGS).ok().map(|ok| ok.status)
    }
}

/// Bytes of an OK payload up to and with its warnings. The payload was parsed before.
fn fixed_len(payload: &[u8]) -> usize {
    let mut r = Reader::new(payload);
    let read = r.u8("header").and_then(|_| r.lenenc_int("rows")).and_then(|_| r.lenenc_int("id"));
    debug_assert!(read.is_ok());
    r.position() + 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{Column, ResultSet, column_type};

    const NEW: ResponseFlags = BACKEND_FLAGS;
    const OLD: ResponseFlags = ResponseFlags { session_track: false, deprecate_eof: false };
    const STATEMENT_ID: &[u8] = b"\x00\x10\x0cstatement_id\x0212";

    fn ok(status: u16, session_state: &[u8], info: &[u8]) -> Vec<u8> {
        let status = Status::from_bits_retain(status);
        let ok = OkPacket { affected_rows: 1, status, info, session_state, ..OkPacket::default() };
        let mut out = Vec::new();
        packet_with(&mut out, 1, |w| {
            let mut payload = Vec::new();
            ok.write(response::OK, NEW, &mut Writer::new(&mut payload));
            w.bytes(&payload);
        });
        out
    }

    fn rows(n: usize, flags: ResponseFlags, status: u16, session_state: &[u8]) -> Vec<u8> {
        let column = Column {
            schema: b"",
            table: b"t",
            org_table: b"t",
            name: b"c",
            org_name: b"c",
            charset: 255,
            length: 80,
            kind: column_type::VAR_STRING,
            flags: 0,
            decimals: 0,
        };
        let end = OkPacket { status: Status::from_bits_retain(status), session_state, ..OkPacket::default() };
        let mut out = Vec::new();
        let mut set = ResultSet::begin(&mut out, 1, flags, &[column.clone(), column], &end);
        for i in 0..n {
            set.row([Some(format!("value {i}").as_bytes()), None]);
        }
        set.end(&end);
        out
    }

    /// Feeds `from_server` in two pieces for every cut, and in single bytes; what comes out must be the same.
    fn walk(expect: Expect, client: ResponseFlags, from_server: &[u8]) -> (Vec<u8>, Summary, Vec<u8>) {
        let once = feed(expect, client, from_server, &[from_server.len()]);
        for cut in 1..from_server.len() {
            assert_eq!(feed(expect, client, from_server, &[cut, from_server.len()]), once, "cut at {cut}");
        }
        let bytes: Vec<usize> = (1..=from_server.len()).collect();
        assert_eq!(feed(expect, client, from_server, &bytes), once, "byte by byte");
        assert_eq!(drained(expect, client, from_server), once, "taken out as soon as possible");
        once
    }

    fn feed(
        expect: Expect,
        client: ResponseFlags,
        bytes: &[u8],
        ends: &[usize],
    ) -> (Vec<u8>, Summary, Vec<u8>) {
        let mut end = ResponseEnd::new(expect, client, None, None);
        let (mut buf, mut from, mut last) = (Vec::new(), 0, Scan::More);
        for &to in ends {
            assert_eq!(last, Scan::More, "ended before {to}");
            buf.extend_from_slice(&bytes[from..to]);
            last = end.scan(&mut buf).unwrap();
            from = to;
        }
        assert_eq!(last, Scan::Done);
        assert_eq!(end.position(), buf.len());
        (buf, *end.summary(), end.tracked().to_vec())
    }

    fn drained(expect: Expect, client: ResponseFlags, bytes: &[u8]) -> (Vec<u8>, Summary, Vec<u8>) {
        let mut end = ResponseEnd::new(expect, client, None, None);
        let (mut buf, mut out) = (Vec::new(), Vec::new());
        for &byte in bytes {
            buf.push(byte);
            end.scan(&mut buf).unwrap();
            // an EOF whose status is still open must stay, as it does in a session's first buffer
            if end.open_eof.is_none() {
                let n = end.position();
                out.extend(buf.drain(..n));
                end.taken(n);
            }
        }
        out.extend_from_slice(&buf);
        (out, *end.summary(), end.tracked().to_vec())
    }

    #[test]
    fn a_result_set_passes_unchanged_to_a_client_like_the_backend_connection() {
        let set = rows(3, NEW, 0x0002, b"");
        let (out, summary, tracked) = walk(Expect::Results, NEW, &set);
        assert_eq!(out, set);
        assert_eq!((summary.rows, summary.has_rows, summary.results), (3, true, 1));
        assert!(tracked.is_empty());
    }

    #[test]
    fn an_older_client_gets_the_bytes_that_the_server_would_have_sent_it() {
        for n in [0, 1, 5] {
            let (out, _, _) = walk(Expect::Results, OLD, &rows(n, NEW, 0x0022, b""));
            assert_eq!(out, rows(n, OLD, 0x0022, b""), "{n} rows");
            let noisy = rows(n, NEW, 0x4022, STATEMENT_ID);
            assert_eq!(walk(Expect::Results, OLD, &noisy).0, rows(n, OLD, 0x0022, b""), "{n} rows");
        }
    }

    #[test]
    fn the_statement_id_never_reaches_a_client() {
        for client in [NEW, OLD] {
            let (out, summary, tracked) = walk(Expect::Results, client, &ok(0x4002, STATEMENT_ID, b""));
            assert_eq!(out, ok(0x0002, b"", b""));
            assert_eq!(summary.status, Some(Status::from_bits_retain(0x4002)));
            assert!(tracked.is_empty());
        }
        let set = rows(2, NEW, 0x4002, STATEMENT_ID);
        assert_eq!(walk(Expect::Results, NEW, &set).0, rows(2, NEW, 0x0002, b""));
    }

    #[test]
    fn info_is_written_as_the_client_reads_it() {
        let from_server = ok(0x4002, STATEMENT_ID, b"Rows matched: 1");
        let (out, _, _) = walk(Expect::Results, OLD, &from_server);
        assert_eq!(OkPacket::parse(&out[4..], OLD).unwrap().info, b"Rows matched: 1");
        let (out, _, _) = walk(Expect::Results, NEW, &from_server);
        assert_eq!(OkPacket::parse(&out[4..], NEW).unwrap().info, b"Rows matched: 1");
    }

    #[test]
    fn records_other_than_the_statement_id_are_kept_for_the_session() {
        let blob = [STATEMENT_ID, b"\x01\x03\x02db"].concat();
        let (_, _, tracked) = walk(Expect::Results, OLD, &ok(0x4002, &blob, b""));
        assert_eq!(tracked, blob);
    }

    #[test]
    fn several_results_are_one_answer_with_running_sequence_ids() {
        let renumber = |packets: &[Vec<u8>]| {
            let (mut out, mut sequence) = (Vec::new(), 1u8);
            for packet in packets {
                let mut rest = packet.clone();
                while let Some(header) = Header::parse(&rest) {
                    let tail = rest.split_off(4 + header.len);
                    rest[3] = sequence;
                    sequence += 1;
                    out.extend(rest);
                    rest = tail;
                }
            }
            out
        };
        let from_server =
            renumber(&[rows(2, NEW, 0x000A, b""), ok(0x400A, STATEMENT_ID, b""), rows(1, NEW, 0x0002, b"")]);
        let (out, summary, _) = walk(Expect::Results, OLD, &from_server);
        let wanted = renumber(&[rows(2, OLD, 0x000A, b""), ok(0x000A, b"", b""), rows(1, OLD, 0x0002, b"")]);
        assert_eq!(out, wanted);
        assert_eq!((summary.results, summary.rows, summary.total_rows), (3, 1, 3));
    }

    #[test]
    fn an_error_ends_the_answer_wherever_it_stands() {
        let mut err = Vec::new();
        packet_with(&mut err, 7, |w| ErrPacket { code: crate::error_code::UNKNOWN, message: b"x" }.write(w));
        let set = rows(3, NEW, 0x0002, b"");
        let without_end = &set[..set.len() - 11];
        for client in [NEW, OLD] {
            let (_, summary, _) = walk(Expect::Results, client, &[without_end, &err].concat());
            assert_eq!(summary.error, Some(crate::error_code::UNKNOWN));
            assert_eq!(summary.status, None);
            walk(Expect::Prepare, client, &err);
            walk(Expect::One, client, &err);
        }
    }

    #[test]
    fn definitions_of_a_prepared_statement_get_an_eof_after_each_group() {
        let definition = |out: &mut Vec<u8>, sequence| {
            packet_with(out, sequence, |w| {
                w.bytes(b"\x03def\x00\x00\x00\x01?\x00\x0c\x3f\x00\x00\x00\x00\x00\xfd\x80\x00\x00\x00\x00");
            })
        };
        for (parameters, columns) in [(0, 0), (2, 0), (0, 1), (2, 3)] {
            let (mut server, mut older) = (Vec::new(), Vec::new());
            let head = [0, 7, 0, 0, 0, columns, 0, parameters, 0, 0, 0, 0];
            let mut s = crate::write_packet(&mut server, 1, &head);
            let mut o = crate::write_packet(&mut older, 1, &head);
            for n in [parameters, columns] {
                for _ in 0..n {
                    s = definition(&mut server, s);
                    o = definition(&mut older, o);
                }
                if n > 0 {
                    o = packet_with(&mut older, o, |w| {
                        EofPacket { warnings: 0, status: Status::AUTOCOMMIT }.write(w);
                    });
                }
            }
            assert_eq!(walk(Expect::Prepare, NEW, &server).0, server, "{parameters} {columns}");
            assert_eq!(walk(Expect::Prepare, OLD, &server).0, older, "{parameters} {columns}");
        }
    }

    #[test]
    fn a_statements_ok_in_answer_to_prepare_prepares_nothing() {
        let mut help = Vec::new();
        crate::write_packet(&mut help, 1, &[0, 0, 0, 2, 0, 0, 0]);
        for client in [NEW, OLD] {
            let (passed, summary, _) = walk(Expect::Prepare, client, &help);
            assert_eq!(passed, help);
            assert_eq!(summary.prepared, None);
        }
    }

    #[test]
    fn the_row_limit_stops_before_the_row_that_is_too_many() {
        let set = rows(3, NEW, 0x0002, b"");
        for (limit, stops) in [(2, true), (3, false)] {
            let mut end = ResponseEnd::new(Expect::Results, NEW, None, Some(limit));
            let mut buf = set.clone();
            let scan = end.scan(&mut buf).unwrap();
            assert_eq!(scan == Scan::RowLimit, stops);
            if stops {
                assert_eq!(end.boundary_sequence(), 6, "after the count, two columns and two rows");
                end.lift_row_limit();
                assert_eq!(end.scan(&mut buf), Ok(Scan::Done));
            }
        }
    }

    #[test]
    fn a_payload_over_sixteen_mebibytes_is_one_row_also_when_renumbered() {
        let set = rows(0, NEW, 0x0002, b"");
        let (columns, end_of_set) = set.split_at(set.len() - 11);
        let mut server = columns.to_vec();
        let value = vec![0xFE; crate::framer::MAX_PAYLOAD + 10];
        let last = crate::write_packet(&mut server, 4, &value);
        crate::write_packet(&mut server, last, &end_of_set[4..]);
        for client in [NEW, OLD] {
            let (out, summary, _) = feed(
                Expect::Results,
                client,
                &server,
                &[70, 20_000_000.min(server.len()), server.len()]
                    [..if server.len() > 20_000_000 { 3 } else { 2 }],
            );
            assert_eq!(summary.rows, 1);
            let shift = usize::from(!client.deprecate_eof) * 9;
            assert_eq!(out[columns.len() + shift + 3], 4 + u8::from(!client.deprecate_eof));
            let second = columns.len() + shift + 4 + crate::framer::MAX_PAYLOAD;
            assert_eq!(out[second + 3], 5 + u8::from(!client.deprecate_eof));
        }
    }

    #[test]
    fn a_packet_out_of_order_is_refused_wherever_it_stands() {
        let mut set = rows(2, NEW, 0x0002, b"");
        let mut at = 0;
        while let Some(header) = set.get(at..).and_then(Header::parse) {
            let mut wrong = set.clone();
            wrong[at + 3] = wrong[at + 3].wrapping_add(1);
            let mut end = ResponseEnd::new(Expect::Results, NEW, None, None).beginning_at(1);
            assert_eq!(end.scan(&mut wrong).unwrap_err().what, "packet out of order", "at {at}");
            at += HEADER_LEN + header.len;
        }
        let mut end = ResponseEnd::new(Expect::Results, NEW, None, None).beginning_at(2);
        assert!(end.scan(&mut set).is_err());
    }

    #[test]
    fn an_error_stands_behind_rows_or_in_place_of_a_result_but_not_among_definitions() {
        let set = rows(2, OLD, 0x000A, b"");
        let more = rows(2, NEW, 0x000A, b"");
        let second: Vec<u8> = {
            let (mut out, mut rest, mut sequence) = (Vec::new(), &more[..], 7);
            while let Some(header) = Header::parse(rest) {
                sequence = crate::write_packet(&mut out, sequence, &rest[4..4 + header.len]);
                rest = &rest[4 + header.len..];
            }
            out
        };
        let whole = [&more[..], &second].concat();
        for cut in 0..whole.len() {
            let mut buf = whole[..cut].to_vec();
            let mut end = ResponseEnd::new(Expect::Results, OLD, None, None).beginning_at(1);
            end.scan(&mut buf).unwrap();
            let (place, sequence) = end.error_place();
            let among_definitions = |at: usize, from: usize| {
                let columns = Header::parse(&set[5..]).map_or(0, |h| 2 * (h.len + 4));
                at > from && at < from + 5 + columns
            };
            for start in [0, set.len()] {
                assert!(!among_definitions(place, start), "cut at {cut}: {place}");
            }
            let packets_before = {
                let (mut n, mut at) = (0, 0);
                while at < place {
                    n += 1;
                    at += HEADER_LEN + Header::parse(&buf[at..]).unwrap().len;
                }
                n
            };
            assert_eq!(sequence, packets_before + 1, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_passes_between_two_parts_of_an_answer() {
        for (client, shift) in [(NEW, 0), (OLD, 1)] {
            // rows, then a request whose file has three packets, then OK
            let mut server = rows(2, NEW, 0x000A, b"");
            let from = crate::write_packet(&mut server, 7, b"\xFBname");
            let mut buf = server.clone();
            let mut end =
                ResponseEnd::new(Expect::Results, client, None, None).beginning_at(1).with_local_files(true);
            assert_eq!(end.scan(&mut buf), Ok(Scan::LocalFile));
            assert_eq!(end.position(), buf.len());
            let request = buf.len() - 9;
            assert_eq!(buf[request..], [5, 0, 0, 7 + shift, 0xFB, b'n', b'a', b'm', b'e']);
            let mut file = end.local_file();
            let mut sent = Vec::new();
            let next = crate::write_packet(&mut sent, from + shift, b"1,2\n");
            let next = crate::write_packet(&mut sent, next, b"");
            file.walk(&mut sent).unwrap();
            assert_eq!(sent[3], from);
            assert!(file.has_ended());
            end.taken(buf.len());
            buf.clear();
            end.local_file_passed(&file);
            assert_eq!(end.error_place(), (0, next));
            let mut last = ok(0x0002, b"", b"");
            last[3] = next - shift;
            assert_eq!(end.scan(&mut last), Ok(Scan::Done));
            assert_eq!(last[3], next);
            let mut refused = server;
            let mut end = ResponseEnd::new(Expect::Results, client, None, None).beginning_at(1);
            assert!(end.scan(&mut refused).is_err());
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [&[0, 0, 0, 1][..], &[1, 0, 0, 1, 0xFB], &[2, 0, 0, 1, 0, 0], &[3, 0, 0, 1, 1, 2, 3]] {
            let mut end = ResponseEnd::new(Expect::Results, NEW, None, None);
            assert!(end.scan(&mut bytes.to_vec()).is_err(), "{bytes:?}");
        }
    }
}
