//! User variables that travel: their values, read from the connection that has them and written for another one.

use std::{collections::BTreeMap, sync::Arc};

use weir_wire::{
    Malformed,
    response::{Column, column_type},
};

use crate::connection::Reply;

/// A name in lower case, of letters, digits, `_`, `$` and `.`.
pub type UserVariableName = Box<[u8]>;

/// Values by name, as SET takes them.
pub type UserVariables = BTreeMap<UserVariableName, Arc<[u8]>>;

/// Column types of user variables, beside [`column_type`]. Source: `enum_field_types`.
const DOUBLE: u8 = 0x05;
const NEWDECIMAL: u8 = 0xF6;
const GEOMETRY: u8 = 0xFF;
const UNSIGNED: u16 = 32;

/// What is selected of each variable: its value and type, its bytes whatever the character set of results, its
/// collation.
#[must_use]
pub fn columns(names: &[UserVariableName]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        for (before, after) in [("@`", "`"), ("HEX(@`", "`)"), ("COLLATION(@`", "`)")] {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(after.as_bytes());
        }
    }
    out
}

/// The values that were selected so.
///
/// # Errors
/// The answer is no such row.
pub fn read(names: &[UserVariableName], reply: &Reply) -> Result<UserVariables, Malformed> {
    let malformed = || Malformed { what: "answer to a question about user variables", at: 0 };
    let row = reply.rows()?.into_iter().next().ok_or_else(malformed)?;
    let mut values = UserVariables::new();
    // the first of three columns has the variable's own type
    for ((name, value), column) in
        names.iter().zip(row.chunks_exact(3)).zip(reply.columns()?.iter().step_by(3))
    {
        let [value, hex, collation] = value else { return Err(malformed()) };
        let text = literal(column, value.as_deref(), hex.as_deref(), collation.as_deref());
        values.insert(name.clone(), text.into());
    }
    if values.len() == names.len() { Ok(values) } else { Err(malformed()) }
}

/// A value as SET takes it, so that the variable gets the same type, character set and collation.
fn literal(
    column: &Column<'_>,
    value: Option<&[u8]>,
    hex: Option<&[u8]>,
    collation: Option<&[u8]>,
) -> Vec<u8> {
    let unsigned = column.flags & UNSIGNED != 0;
    match (column.kind, value) {
        (column_type::LONGLONG, None) if unsigned => b"CAST(NULL AS UNSIGNED)".to_vec(),
        (column_type::LONGLONG, None) => b"CAST(NULL AS SIGNED)".to_vec(),
        (column_type::LONGLONG, Some(value)) if unsigned => [b"CAST(", value, b" AS UNSIGNED)"].concat(),
        (column_type::LONGLONG | NEWDECIMAL, Some(value)) => value.to_vec(),
        (DOUBLE, None) => b"NULL+0e0".to_vec(),
        (DOUBLE, Some(value)) if value.contains(&b'e') => value.to_vec(),
        (DOUBLE, Some(value)) => [value, b"e0"].concat(),
        (NEWDECIMAL, None) => b"CAST(NULL AS DECIMAL)".to_vec(),
        (_, None) => b"NULL".to_vec(),
        (GEOMETRY, Some(_)) => geometry(hex.unwrap_or_default()),
        (_, Some(_)) => text(hex.unwrap_or_default(), collation.unwrap_or_default()),
    }
}

fn text(hex: &[u8], collation: &[u8]) -> Vec<u8> {
    // binary has one collation, of its own name
    if collation == b"binary" {
        return [b"_binary x'", hex, b"'"].concat();
    }
    let charset = collation.split(|b| *b == b'_').next().unwrap_or_default();
    [b"_", charset, b" x'", hex, b"' COLLATE ", collation].concat()
}

/// MariaDB's geometries have a type of their own: four bytes of a reference system, least first, then the form that
/// functions take.
fn geometry(hex: &[u8]) -> Vec<u8> {
    let (system, form) = hex.split_at_checked(8).unwrap_or((b"00000000", hex));
    let system: Vec<u8> = system.chunks(2).rev().flatten().copied().collect();
    [b"ST_GeomFromWKB(x'", form, b"',0x", &system, b")"].concat()
}

/// The text that a value is, as SET takes it, if it is one of ASCII alone: that means the same in every character set that
/// a session may have.
#[must_use]
pub fn ascii_text(value: &[u8]) -> Option<Vec<u8>> {
    const CHARSETS: [&[u8]; 5] = [b"_utf8mb4", b"_utf8mb3", b"_latin1", b"_ascii", b"_binary"];
    let (charset, value) = value.split_at_checked(value.iter().position(|b| *b == b' ')?)?;
    let hex = value.strip_prefix(b" x'")?;
    let (hex, _) = hex.split_at_checked(hex.iter().position(|b| *b == b'\'')?)?;
    from_hex(hex).filter(|text| CHARSETS.contains(&charset) && text.is_ascii())
}

/// The bytes that HEX() shows.
pub(crate) fn from_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    hex.chunks(2).map(byte).collect()
}

/// What a session must find on a connection.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Its variables, but for those of `own`.
    pub variables: Arc<UserVariables>,
    /// What it assigned on this very connection last: nobody else knows these values.
    pub own: Vec<UserVariableName>,
}

/// The user variables of a connection.
#[derive(Clone, Debug, Default)]
pub struct OnConnection {
    /// The value, if it is known.
    values: BTreeMap<UserVariableName, Option<Arc<[u8]>>>,
    /// What it was given whole, and nothing was assigned since.
    given: Option<Arc<UserVariables>>,
}

/// Stands for a variable that was taken away: no other is NULL in these words.
const GONE: &[u8] = b"null";

impl OnConnection {
    /// Statements assigned these: their values are not known.
    pub fn assigned<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        for name in names {
            self.given = None;
            self.values.insert(name.into(), None);
        }
    }

    /// The connection told what values they have.
    pub(crate) fn told(&mut self, values: UserVariables) {
        self.values.extend(values.into_iter().map(|(name, value)| (name, Some(value))));
    }

    /// Is it known at a glance to have what a session with these variables must find?
    #[must_use]
    pub fn is_given(&self, variables: &Arc<UserVariables>) -> bool {
        match &self.given {
            Some(given) => Arc::ptr_eq(given, variables) || given.is_empty() && variables.is_empty(),
            None => self.values.is_empty() && variables.is_empty(),
        }
    }

    /// What has to be assigned so that a session finds its variables, and no other's.
    fn differences<'a>(&'a self, wish: &'a Wish) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let missing = wish
            .variables
            .iter()
            .filter(|(name, value)| {
                !wish.own.contains(name) && self.values.get(*name) != Some(&Some(Arc::clone(value)))
            })
            .map(|(name, value)| (&**name, &**value));
        let foreign = self
            .values
            .iter()
            .filter(|(name, value)| {
                value.as_deref() != Some(GONE)
                    && !wish.variables.contains_key(*name)
                    && !wish.own.contains(name)
            })
            .map(|(name, _)| (&**name, GONE));
        missing.chain(foreign)
    }

    /// Is anything to be assigned?
    #[must_use]
    pub fn suits(&self, wish: &Wish) -> bool {
        self.differences(wish).next().is_none()
    }

    /// Appends the assignments, each behind a comma unless it is the first after SET.
    pub(crate) fn write_assignments(&self, wish: &Wish, set: &mut Vec<u8>) {
        for (name, value) in self.differences(wish) {
            set.extend_from_slice(if set.is_empty() { b"SET @`" } else { b",@`" });
            set.extend_from_slice(name);
            set.extend_from_slice(b"`=");
            set.extend_from_slice(value);
        }
    }

    /// The assignments were made.
    pub(crate) fn give(&mut self, wish: &Wish) {
        let changed: Vec<(UserVariableName, Arc<[u8]>)> =
            self.differences(wish).map(|(name, value)| (name.into(), value.into())).collect();
        self.values.extend(changed.into_iter().map(|(name, value)| (name, Some(value))));
        self.given = wish.own.is_empty().then(|| Arc::clone(&wish.variables));
    }

    /// Was a variable of this name ever assigned? Taken away, it is NULL as one that never was, but its NULL has the type
    /// that it had.
    #[must_use]
    pub fn remembers(&self, name: &[u8]) -> bool {
        self.values.contains_key(name)
    }

    /// How many were ever assigned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Was none ever assigned?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(list: &[(&str, &str)], own: &[&str]) -> Wish {
        let variables = list.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()));
        Wish {
            variables: Arc::new(variables.collect()),
            own: own.iter().map(|name| name.as_bytes().into()).collect(),
        }
    }

    fn assignments(on: &OnConnection, wish: &Wish) -> String {
        let mut set = Vec::new();
        on.write_assignments(wish, &mut set);
        assert_eq!(set.is_empty(), on.suits(wish));
        String::from_utf8(set).unwrap()
    }

    #[test]
    fn a_session_finds_its_own_variables_and_nobody_elses() {
        let mut on = OnConnection::default();
        let (a, b, none) = (wish(&[("x", "1"), ("y", "2")], &[]), wish(&[("x", "3")], &[]), wish(&[], &[]));
        assert_eq!(assignments(&on, &none), "");
        assert!(on.is_given(&none.variables));
        assert_eq!(assignments(&on, &a), "SET @`x`=1,@`y`=2");
        on.give(&a);
        assert_eq!(assignments(&on, &a), "");
        assert!(on.is_given(&a.variables) && !on.is_given(&none.variables));
        assert_eq!(assignments(&on, &b), "SET @`x`=3,@`y`=null");
        on.give(&b);
        assert!(on.remembers(b"y") && on.remembers(b"x") && !on.remembers(b"z"));
        assert_eq!(assignments(&on, &none), "SET @`x`=null");
        on.give(&none);
        assert!(on.is_given(&wish(&[], &[]).variables));
        assert_eq!(assignments(&on, &a), "SET @`x`=1,@`y`=2");
    }

    #[test]
    fn what_a_session_assigned_there_is_left_to_it_and_taken_from_others() {
        let mut on = OnConnection::default();
        on.assigned([b"x".as_slice()].into_iter());
        assert_eq!(assignments(&on, &wish(&[], &["x"])), "");
        assert_eq!(assignments(&on, &wish(&[("x", "0"), ("y", "1")], &["x"])), "SET @`y`=1");
        assert_eq!(assignments(&on, &wish(&[], &[])), "SET @`x`=null");
        assert!(!on.is_given(&Arc::default()));
        assert_eq!(assignments(&on, &wish(&[("x", "1")], &[])), "SET @`x`=1");
    }

    #[test]
    fn only_an_ascii_text_is_read_back() {
        for (value, text) in [
            ("_utf8mb4 x'53454C454354' COLLATE utf8mb4_bin", Some("SELECT")),
            ("_binary x'61'", Some("a")),
            ("_latin1 x'' COLLATE latin1_swedish_ci", Some("")),
            ("_utf8mb4 x'C3A4' COLLATE utf8mb4_bin", None),
            ("_utf16 x'0061' COLLATE utf16_bin", None),
            ("_utf8mb4 x'6' COLLATE utf8mb4_bin", None),
            ("5", None),
            ("CAST(5 AS UNSIGNED)", None),
            ("NULL", None),
        ] {
            assert_eq!(ascii_text(value.as_bytes()).as_deref(), text.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn each_type_is_written_so_that_it_is_got_again() {
        let column = |kind, flags| Column {
            schema: b"",
            table: b"",
            org_table: b"",
            name: b"",
            org_name: b"",
            charset: 63,
            length: 0,
            kind,
            flags,
            decimals: 0,
        };
        let write = |kind, flags, value: &str, hex: &str, collation: &str| {
            let value = Some(value.as_bytes()).filter(|v| *v != b"NULL");
            let text = literal(&column(kind, flags), value, Some(hex.as_bytes()), Some(collation.as_bytes()));
            String::from_utf8(text).unwrap()
        };
        assert_eq!(write(8, 128, "-5", "", "binary"), "-5");
        assert_eq!(write(8, 160, "5", "", "binary"), "CAST(5 AS UNSIGNED)");
        assert_eq!(write(8, 160, "NULL", "", "binary"), "CAST(NULL AS UNSIGNED)");
        assert_eq!(write(5, 128, "5", "", "binary"), "5e0");
        assert_eq!(write(5, 128, "1e100", "", "binary"), "1e100");
        assert_eq!(write(246, 128, "1.500", "", "binary"), "1.500");
        assert_eq!(write(250, 128, "x", "78", "binary"), "_binary x'78'");
        assert_eq!(write(251, 0, "x", "78", "latin1_swedish_ci"), "_latin1 x'78' COLLATE latin1_swedish_ci");
        assert_eq!(write(255, 0, "x", "E610000001AB", "binary"), "ST_GeomFromWKB(x'01AB',0x000010E6)");
    }
}
