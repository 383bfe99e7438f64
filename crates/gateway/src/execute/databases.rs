//! SHOW DATABASES, without those that the namespace does not allow.

use weir_plan::Target;
use weir_wire::{
    Reader, error_code,
    framer::{HEADER_LEN, Header},
};

use super::Job;
use crate::{
    error::{Refused, SessionError},
    session::{Row, Session},
};

impl Session {
    /// Runs the statement and takes rows out of its answer. `true` if the server answered with an error.
    pub(crate) async fn show_databases(&mut self, job: &Job<'_>, row: Row) -> Result<bool, SessionError> {
        let (answer, _) = self.run_job(job, Target::Primary).await?;
        let failed = answer.summary.error.is_some();
        let out = if failed {
            answer.rest
        } else {
            let allowed = &self.tenant.namespace.allowed_databases;
            without(&answer.rest, self.client.flags.deprecate_eof, row, |name| allowed.allows(name))
                .ok_or_else(|| {
                    Refused::new(error_code::UNKNOWN, "the server's list of databases could not be read")
                })?
        };
        self.client.write(&out).await?;
        Ok(failed)
    }
}

/// The answer with only those rows whose first value `keep` wants, numbered anew.
fn without(answer: &[u8], deprecate_eof: bool, row: Row, keep: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    // a binary row begins with a zero and its NULLs
    let before_name = if row == Row::Binary { 2 } else { 0 };
    let mut out = Vec::with_capacity(answer.len());
    let mut sequence = 1u8;
    let mut rest = answer;
    let mut head = None;
    let mut seen = 0u64;
    while !rest.is_empty() {
        let header = Header::parse(rest)?;
        let packet = rest.get(..HEADER_LEN + header.len)?;
        let payload = packet.get(HEADER_LEN..)?;
        rest = rest.get(packet.len()..)?;
        // column count, columns, perhaps EOF: all before the rows
        let before_rows = *head.get_or_insert(u64::from(*payload.first()?) + 1 + u64::from(!deprecate_eof));
        let is_row = seen >= before_rows && !rest.is_empty();
        seen += 1;
        if is_row {
            let name = Reader::new(payload.get(before_name..)?).lenenc_bytes("database name").ok()?;
            if !keep(name) {
                continue;
            }
        }
        let from = out.len();
        out.extend_from_slice(packet);
        *out.get_mut(from + 3)? = sequence;
        sequence = sequence.wrapping_add(1);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::response::{Column, OkPacket, ResponseFlags, ResultSet, column_type};

    #[test]
    fn rows_are_taken_out_and_the_rest_is_numbered_anew() {
        for deprecate_eof in [true, false] {
            let flags = ResponseFlags { session_track: false, deprecate_eof };
            let list = |names: &[&str]| {
                let column = Column {
                    schema: b"",
                    table: b"SCHEMATA",
                    org_table: b"",
                    name: b"Database",
                    org_name: b"",
                    charset: 255,
                    length: 256,
                    kind: column_type::VAR_STRING,
                    flags: 1,
                    decimals: 0,
                };
                let mut out = Vec::new();
                let mut set = ResultSet::begin(&mut out, 1, flags, &[column], &OkPacket::default());
                for name in names {
                    set.row([Some(name.as_bytes())]);
                }
                set.end(&OkPacket::default());
                out
            };
            let seen = without(&list(&["a", "mysql", "shop"]), deprecate_eof, Row::Text, |n| n != b"mysql");
            assert_eq!(seen, Some(list(&["a", "shop"])));
        }
    }
}
