//! GET DIAGNOSTICS: what it asks for, and a SET that gives the same variables the same values.

use weir_wire::error_code::ErrorCode;

use super::{
    conditions::{Conditions, quoted},
    question::lost_answer,
};
use crate::error::{Refused, SessionError};

/// A parsed GET \[CURRENT\] DIAGNOSTICS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diagnostics<'a> {
    /// CONDITION n; `None` for items of the statement.
    condition: Option<usize>,
    /// Variables with their items, in lower case.
    items: Vec<(&'a str, String)>,
    /// Other statements of the same text, from the semicolon on.
    others: &'a str,
}

impl<'a> Diagnostics<'a> {
    /// `None` for anything but the plain form with user variables and a number.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        // nothing that is understood below has a semicolon in it
        let (text, others) = text.split_at(text.find(';').unwrap_or(text.len()));
        let rest = keyword(text, "get")?;
        let rest = keyword(rest, "current").unwrap_or(rest);
        let rest = keyword(rest, "diagnostics")?;
        let (condition, rest) = match keyword(rest, "condition") {
            Some(rest) => {
                let end = rest.find(|c: char| !c.is_ascii_digit())?;
                let (number, rest) = rest.split_at_checked(end)?;
                (Some(number.parse().ok()?), rest)
            }
            None => (None, rest),
        };
        let mut items = Vec::new();
        for part in rest.split(',') {
            let (variable, item) = part.split_once('=')?;
            let (variable, item) = (variable.trim(), item.trim().to_ascii_lowercase());
            let name = variable.strip_prefix('@')?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.');
            if name.is_empty() || !name.bytes().all(plain) {
                return None;
            }
            items.push((variable, item));
        }
        Some(Self { condition, items, others })
    }

    /// The SET.
    pub(super) fn as_set(&self, conditions: &Conditions, row_count: i64) -> Result<String, SessionError> {
        let mut out = String::from("SET ");
        for (i, (variable, item)) in self.items.iter().enumerate() {
            let value = match self.condition {
                None => statement_item(item, conditions, row_count),
                Some(n) => condition_item(item, conditions, n)?,
            };
            let value = value.ok_or_else(|| lost_answer(item))?;
            if i > 0 {
                out.push(',');
            }
            out.push_str(variable);
            out.push('=');
            out.push_str(&value);
        }
        out.push_str(self.others);
        Ok(out)
    }
}

fn keyword<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (start, rest) = text.split_at_checked(word.len())?;
    let ends = rest.starts_with(|c: char| c.is_ascii_whitespace());
    (start.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

fn statement_item(item: &str, conditions: &Conditions, row_count: i64) -> Option<String> {
    match item {
        "number" => Some(unsigned(conditions.list.len())),
        "row_count" => Some(row_count.to_string()),
        _ => None,
    }
}

fn condition_item(item: &str, conditions: &Conditions, n: usize) -> Result<Option<String>, SessionError> {
    let Some(condition) = n.checked_sub(1).and_then(|i| conditions.list.get(i)) else {
        let code = ErrorCode { number: 1758, sqlstate: *b"35000" };
        return Err(Refused::new(code, "Invalid condition number").into());
    };
    Ok(match item {
        "mysql_errno" => Some(unsigned(condition.number)),
        "returned_sqlstate" => Some(text(&condition.sqlstate)),
        "message_text" => Some(text(&condition.message)),
        "constraint_catalog" | "constraint_schema" | "constraint_name" | "catalog_name" | "schema_name"
        | "table_name" | "column_name" | "cursor_name" => Some(text(b"")),
        _ => None,
    })
}

/// As the servers give counts and numbers of errors.
fn unsigned(number: impl std::fmt::Display) -> String {
    format!("CAST({number} AS UNSIGNED)")
}

/// As the servers give texts. Characters beyond the charset become question marks there too.
fn text(bytes: &[u8]) -> String {
    format!("CONVERT({} USING utf8mb3)", quoted(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::response::ErrPacket;

    #[test]
    fn becomes_a_set_of_the_same_variables() {
        let code = ErrorCode { number: 1062, sqlstate: *b"23000" };
        let one = Conditions::only_error(&ErrPacket { code, message: b"no" });
        for (text, set) in [
            ("GET DIAGNOSTICS @n = NUMBER, @r=ROW_COUNT", "SET @n=CAST(1 AS UNSIGNED),@r=-1"),
            (
                "get current diagnostics condition 1 @s = RETURNED_SQLSTATE, @e = mysql_errno, @m=MESSAGE_TEXT;",
                "SET @s=CONVERT(_utf8mb4 X'3233303030' USING utf8mb3),@e=CAST(1062 AS UNSIGNED),\
                 @m=CONVERT(_utf8mb4 X'6E6F' USING utf8mb3);",
            ),
            ("GET DIAGNOSTICS @n = NUMBER; SELECT @n, ';'", "SET @n=CAST(1 AS UNSIGNED); SELECT @n, ';'"),
            ("GET DIAGNOSTICS CONDITION 1 @t = TABLE_NAME", "SET @t=CONVERT('' USING utf8mb3)"),
        ] {
            let asked = Diagnostics::read(text.as_bytes());
            assert_eq!(asked.and_then(|a| a.as_set(&one, -1).ok()).as_deref(), Some(set), "{text}");
        }
    }

    #[test]
    fn anything_else_is_left_to_the_server() {
        for text in [
            "GET STACKED DIAGNOSTICS @n = NUMBER",
            "GET DIAGNOSTICS n = NUMBER",
            "GET DIAGNOSTICS @`a=b` = NUMBER",
            "GET DIAGNOSTICS CONDITION @i @n = MYSQL_ERRNO",
            "GET DIAGNOSTICS",
            "SELECT 1",
        ] {
            assert_eq!(Diagnostics::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_condition_that_is_not_there_is_the_servers_error() {
        let asked = Diagnostics::read(b"GET DIAGNOSTICS CONDITION 2 @e = MYSQL_ERRNO");
        let none = Conditions::default();
        assert!(
            matches!(asked.map(|a| a.as_set(&none, 0)), Some(Err(SessionError::Refused(r))) if r.code.number == 1758)
        );
    }
}
