//! Warnings and errors of a statement, as a connection told them.

use weir_backend::Reply;
use weir_wire::{Malformed, error_code::sqlstate_of, response::ErrPacket};

/// More of them are not kept for a session without a connection, bytes.
const MOST_KEPT: usize = 1 << 20;

/// More warnings are not made for a statement that asks for their number.
const MOST_MADE: usize = 1000;

/// What SHOW WARNINGS shows.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) list: Vec<Condition>,
    /// The server's own answer to SHOW WARNINGS, if it was asked.
    pub(super) shown: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) is_error: bool,
    pub(super) number: u16,
    pub(super) sqlstate: [u8; 5],
    pub(super) message: Box<[u8]>,
}

impl Conditions {
    /// From the answer to SHOW WARNINGS.
    pub(super) fn read(reply: Reply) -> Result<Self, Malformed> {
        let malformed = Malformed { what: "answer to SHOW WARNINGS", at: 0 };
        if reply.bytes.len() > MOST_KEPT {
            return Err(malformed);
        }
        let list = reply
            .rows()?
            .iter()
            .map(|row| Condition::read(row).ok_or(malformed))
            .collect::<Result<_, _>>()?;
        Ok(Self { list, shown: Some(reply.bytes.into()) })
    }

    /// A statement failed, and nothing else is known.
    pub(super) fn only_error(err: &ErrPacket<'_>) -> Self {
        let (number, sqlstate) = (err.code.number, err.code.sqlstate);
        let error = Condition { is_error: true, number, sqlstate, message: err.message.into() };
        Self { list: vec![error], shown: None }
    }

    fn as_many(&self) -> Option<String> {
        let count = self.list.len();
        let possible = (1..=MOST_MADE).contains(&count) && self.errors() == 0;
        possible.then(|| format!("DO {}", vec!["CAST('' AS SIGNED)"; count].join(",")))
    }

    /// How many are errors.
    pub(super) fn errors(&self) -> usize {
        self.list.iter().filter(|c| c.is_error).count()
    }

    /// A statement after which a connection has exactly these conditions, or at least as many. `None` if there is no
    /// such statement.
    pub(super) fn signal(&self) -> Option<String> {
        let [only] = self.list.as_slice() else { return self.as_many() };
        Some(format!(
            "SIGNAL SQLSTATE '{}' SET MESSAGE_TEXT={},MYSQL_ERRNO={}",
            String::from_utf8_lossy(&only.sqlstate),
            quoted(&only.message),
            only.number,
        ))
    }
}

impl Condition {
    fn read(row: &[Option<Vec<u8>>]) -> Option<Self> {
        let [Some(level), Some(number), Some(message)] = row else { return None };
        let number: u16 = std::str::from_utf8(number).ok()?.parse().ok()?;
        let is_error = level.eq_ignore_ascii_case(b"Error");
        Some(Self { is_error, number, sqlstate: sqlstate_of(number), message: message.as_slice().into() })
    }
}

/// A text as a literal that no setting of the session reads differently.
pub(super) fn quoted(text: &[u8]) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    // messages come in the session's charset: what is not UTF-8 is nearly always latin1
    let latin1 = || text.iter().map(|b| char::from(*b)).collect::<String>();
    let text = std::str::from_utf8(text).map_or_else(|_| latin1(), str::to_owned);
    let hex: String = text.bytes().map(|b| format!("{b:02X}")).collect();
    format!("_utf8mb4 X'{hex}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::error_code::ErrorCode;

    #[test]
    fn a_message_cannot_end_its_literal() {
        let code = ErrorCode { number: 1062, sqlstate: *b"23000" };
        let conditions = Conditions::only_error(&ErrPacket { code, message: b"a' OR \\" });
        assert_eq!(
            conditions.signal().unwrap_or_default(),
            "SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT=_utf8mb4 X'6127204F52205C',MYSQL_ERRNO=1062"
        );
    }

    #[test]
    fn several_warnings_can_be_made_as_many_but_not_with_an_error_among_them() {
        let row = |level: &str| vec![Some(level.into()), Some(b"1292".to_vec()), Some(b"m".to_vec())];
        let list: Vec<_> = [row("Warning"), row("Error")].iter().filter_map(|r| Condition::read(r)).collect();
        let conditions = Conditions { list, shown: None };
        assert_eq!(conditions.errors(), 1);
        assert_eq!(conditions.signal(), None);
        let warnings = Conditions { list: vec![conditions.list[0].clone(); 2], shown: None };
        assert_eq!(warnings.signal().as_deref(), Some("DO CAST('' AS SIGNED),CAST('' AS SIGNED)"));
        assert_eq!(conditions.list.first().map(|c| c.sqlstate), Some(*b"22007"));
    }
}
