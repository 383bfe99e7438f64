//! Session-state records: what the server's trackers tell in OK packets.

use crate::{Malformed, Reader, Writer};

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A system variable has this value now. The text has no type; NULL reads as empty.
    SystemVariable {
        /// Name.
        name: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// The default database is this now.
    Schema(&'a [u8]),
    /// Something of the session changed, it is not said what.
    StateChange,
    /// GTIDs of the transaction that committed; the payload as it came.
    Gtids(&'a [u8]),
    /// Statements that would begin the current transaction again.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters, `_` where unset: `T_______` open, `___W____` wrote, `_______L` tables locked.
    TransactionState(&'a [u8]),
    /// A record type that this version does not know.
    Unknown(u8),
}

impl Record<'_> {
    /// Appends it; one of an unknown type is left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        let mut p = Writer::new(&mut payload);
        let kind = match *self {
            Record::SystemVariable { name, value } => {
                p.lenenc_bytes(name).lenenc_bytes(value);
                0
            }
            Record::Schema(name) => {
                p.lenenc_bytes(name);
                1
            }
            Record::StateChange => {
                p.bytes(b"1");
                2
            }
            Record::Gtids(bytes) => {
                p.bytes(bytes);
                3
            }
            Record::TransactionCharacteristics(text) => {
                p.lenenc_bytes(text);
                4
            }
            Record::TransactionState(text) => {
                p.lenenc_bytes(text);
                5
            }
            Record::Unknown(_) => return,
        };
        Writer::new(out).u8(kind).lenenc_bytes(&payload);
    }
}

/// Iterates over the records of one OK packet.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    outer: Reader<'a>,
    variables: Reader<'a>,
}

impl<'a> Records<'a> {
    /// Starts at the first record of `blob`, which may be several packets' blobs in a row.
    #[must_use]
    pub fn new(blob: &'a [u8]) -> Self {
        Self { outer: Reader::new(blob), variables: Reader::new(&[]) }
    }

    fn read(&mut self) -> Result<Record<'a>, Malformed> {
        if self.variables.is_empty() {
            let kind = self.outer.u8("session-state type")?;
            let payload = self.outer.lenenc_bytes("session-state payload")?;
            let mut r = Reader::new(payload);
            match kind {
                // one record may hold several variables
                0 if !payload.is_empty() => self.variables = r,
                1 => return Ok(Record::Schema(r.lenenc_bytes("schema")?)),
                2 => return Ok(Record::StateChange),
                3 => return Ok(Record::Gtids(payload)),
                4 => return Ok(Record::TransactionCharacteristics(r.lenenc_bytes("characteristics")?)),
                5 => return Ok(Record::TransactionState(r.lenenc_bytes("transaction state")?)),
                other => return Ok(Record::Unknown(other)),
            }
        }
        let name = self.variables.lenenc_bytes("variable name")?;
        let value = self.variables.lenenc_bytes("variable value")?;
        Ok(Record::SystemVariable { name, value })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.outer.is_empty() && self.variables.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.outer = Reader::new(&[]);
            self.variables = Reader::new(&[]);
        }
        Some(record)
    }
}

/// Does the blob hold nothing but MySQL's `statement_id`, which `session_track_system_variables='*'` brings with every answer?
#[must_use]
pub fn is_only_statement_id(blob: &[u8]) -> bool {
    const HEAD: &[u8] = b"\x0cstatement_id";
    // type 0, a one-byte length that covers the rest, the name
    matches!(blob, [0, len, rest @ ..] if usize::from(*len) == rest.len() && *len < 0xFB && rest.starts_with(HEAD))
}

/// Which system variables a client asked its tracker for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackedVariables {
    /// `''`.
    None,
    /// `'*'`.
    All,
    /// A list of lower-case names.
    Only(Vec<Box<[u8]>>),
}

/// What a client that negotiated session tracking is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackWish {
    /// `session_track_schema`.
    pub schema: bool,
    /// `session_track_state_change`.
    pub state_change: bool,
    /// `session_track_gtids` other than OFF.
    pub gtids: bool,
    /// `session_track_transaction_info` is CHARACTERISTICS.
    pub characteristics: bool,
    /// `session_track_transaction_info` is STATE or CHARACTERISTICS.
    pub transaction_state: bool,
    /// `session_track_system_variables`.
    pub variables: TrackedVariables,
}

impl TrackWish {
    /// All that the server tells.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            schema: true,
            state_change: true,
            gtids: true,
            characteristics: true,
            transaction_state: true,
            variables: TrackedVariables::All,
        }
    }
}

impl Default for TrackWish {
    /// What both servers track unless told otherwise.
    fn default() -> Self {
        let names = [
            "autocommit",
            "character_set_client",
            "character_set_connection",
            "character_set_results",
            "time_zone",
        ];
        Self {
            schema: true,
            state_change: false,
            gtids: false,
            characteristics: false,
            transaction_state: false,
            variables: TrackedVariables::Only(names.iter().map(|n| n.as_bytes().into()).collect()),
        }
    }
}

impl TrackWish {
    /// Is the client to be told this?
    #[must_use]
    pub fn wants(&self, record: &Record<'_>) -> bool {
        match record {
            Record::SystemVariable { name, .. } => match &self.variables {
                TrackedVariables::None => false,
                TrackedVariables::All => true,
                TrackedVariables::Only(list) => list.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)),
            },
            Record::Schema(_) => self.schema,
            Record::StateChange => self.state_change,
            Record::Gtids(_) => self.gtids,
            Record::TransactionCharacteristics(_) => self.characteristics,
            Record::TransactionState(_) => self.transaction_state,
            Record::Unknown(_) => false,
        }
    }

    /// Copies the records of `blob` that the client wants.
    ///
    /// # Errors
    /// The blob is malformed.
    pub fn filter(&self, blob: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        for record in Records::new(blob) {
            let record = record?;
            if !self.wants(&record) {
                continue;
            }
            record.write(out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut pair = Vec::new();
        Writer::new(&mut pair).lenenc_bytes(name).lenenc_bytes(value);
        let mut out = vec![0];
        Writer::new(&mut out).lenenc_bytes(&pair);
        out
    }

    #[test]
    fn sees_that_only_the_statement_id_changed() {
        let id = variable(b"statement_id", b"4711");
        assert!(is_only_statement_id(&id));
        assert!(!is_only_statement_id(&variable(b"statement_ix", b"1")));
        assert!(!is_only_statement_id(&[id.clone(), variable(b"sql_mode", b"")].concat()));
        assert!(!is_only_statement_id(&id[..id.len() - 1]));
        assert!(!is_only_statement_id(&[]));
    }

    #[test]
    fn passes_on_what_the_client_asked_for_and_nothing_else() {
        let blob = [
            variable(b"statement_id", b"1"),
            variable(b"time_zone", b"+00:00"),
            vec![1, 3, 2, b'd', b'b'],
            vec![2, 2, 1, b'1'],
        ]
        .concat();
        let mut out = Vec::new();
        TrackWish::default().filter(&blob, &mut out).unwrap();
        let seen: Vec<_> = Records::new(&out).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            seen,
            [Record::SystemVariable { name: b"time_zone", value: b"+00:00" }, Record::Schema(b"db")]
        );
    }

    #[test]
    fn a_cut_blob_is_an_error_and_ends_the_iteration() {
        let blob = [variable(b"time_zone", b"+00:00"), vec![1, 3, 2, b'd', b'b']].concat();
        for cut in 1..blob.len() {
            let seen: Vec<_> = Records::new(&blob[..cut]).collect();
            assert!(seen.len() <= 2);
            if cut != blob.len() - 5 {
                assert!(seen.last().unwrap().is_err(), "cut at {cut}");
            }
        }
    }
}
