//! The names that a text has been found to mention, decoded.

use smallvec::SmallVec;

/// A text may name so many different databases and variables each; one that names more is unreadable.
const MOST_NAMES: usize = 1024;

/// Databases and assigned variables. Cleared, it keeps its memory.
#[derive(Default)]
pub(crate) struct Names {
    /// Bytes of names, one after the other.
    bytes: Vec<u8>,
    databases: SmallVec<[Name; 3]>,
    variables: SmallVec<[Name; 3]>,
    user_variables: SmallVec<[Name; 3]>,
    /// Each `name`, or `database`, zero byte, `name`.
    temporary_tables: Vec<Name>,
    used: Option<Name>,
}

/// A name inside [`Names`].
#[derive(Clone, Copy)]
pub(crate) struct Name {
    start: usize,
    end: usize,
}

/// There are more names than are kept.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Names {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.databases.clear();
        self.variables.clear();
        self.user_variables.clear();
        self.temporary_tables.clear();
        self.used = None;
    }

    pub(crate) fn bytes(&self, name: Name) -> &[u8] {
        self.bytes.get(name.start..name.end).unwrap_or_default()
    }

    pub(crate) fn databases(&self) -> impl Iterator<Item = &[u8]> {
        self.databases.iter().map(|name| self.bytes(*name))
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &[u8]> {
        self.variables.iter().map(|name| self.bytes(*name))
    }

    pub(crate) fn user_variables(&self) -> impl Iterator<Item = &[u8]> {
        self.user_variables.iter().map(|name| self.bytes(*name))
    }

    pub(crate) fn temporary_tables(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        self.temporary_tables.iter().map(|name| {
            let whole = self.bytes(*name);
            match memchr::memchr(0, whole).and_then(|at| whole.split_at_checked(at)) {
                Some((database, name)) => (Some(database), name.get(1..).unwrap_or_default()),
                None => (None, whole),
            }
        })
    }

    pub(crate) fn used(&self) -> Option<&[u8]> {
        self.used.map(|name| self.bytes(name))
    }

    pub(crate) fn set_used(&mut self, name: Name) {
        self.used = Some(name);
    }

    /// Adds a database, unless it is known. `raw` is the name as written without its outer quotes; a doubled `quote`
    /// (0 for none) is one.
    pub(crate) fn add_database(&mut self, raw: &[u8], quote: u8) -> Result<Name, TooMany> {
        let new = self.push(raw, quote);
        let known = self.databases.iter().copied().find(|known| self.bytes(*known) == self.bytes(new));
        if let Some(known) = known {
            self.bytes.truncate(new.start);
            return Ok(known);
        }
        if self.databases.len() >= MOST_NAMES {
            self.bytes.truncate(new.start);
            return Err(TooMany);
        }
        self.databases.push(new);
        Ok(new)
    }

    /// Adds an assigned variable, in lower case.
    pub(crate) fn add_variable(&mut self, raw: &[u8], quote: u8) -> Result<(), TooMany> {
        if self.variables.len() >= MOST_NAMES {
            return Err(TooMany);
        }
        let name = self.push(raw, quote);
        self.lower(name);
        self.variables.push(name);
        Ok(())
    }

    /// Adds a user variable, in lower case, unless it is known.
    pub(crate) fn add_user_variable(&mut self, name: &[u8]) -> Result<(), TooMany> {
        let new = self.push(name, 0);
        self.lower(new);
        if self.user_variables.iter().any(|known| self.bytes(*known) == self.bytes(new)) {
            self.bytes.truncate(new.start);
            return Ok(());
        }
        if self.user_variables.len() >= MOST_NAMES {
            self.bytes.truncate(new.start);
            return Err(TooMany);
        }
        self.user_variables.push(new);
        Ok(())
    }

    /// Adds a temporary table, of the default database for all that is known yet.
    pub(crate) fn add_temporary_table(&mut self, raw: &[u8], quote: u8) -> Result<(), TooMany> {
        if self.temporary_tables.len() >= MOST_NAMES {
            return Err(TooMany);
        }
        let name = self.push(raw, quote);
        self.temporary_tables.push(name);
        Ok(())
    }

    /// The last temporary table's name was its database's.
    pub(crate) fn qualify_temporary_table(&mut self, raw: &[u8], quote: u8) {
        let Some(first) = self.temporary_tables.pop() else { return };
        let start = self.bytes.len();
        self.bytes.extend_from_within(first.start..first.end);
        self.bytes.push(0);
        let end = self.push(raw, quote).end;
        self.temporary_tables.push(Name { start, end });
    }

    /// Makes the last variable `last.name`.
    pub(crate) fn qualify_variable(&mut self, raw: &[u8], quote: u8) {
        let Some(first) = self.variables.pop() else { return };
        let start = self.bytes.len();
        self.bytes.extend_from_within(first.start..first.end);
        self.bytes.push(b'.');
        let end = self.push(raw, quote).end;
        let name = Name { start, end };
        self.lower(name);
        self.variables.push(name);
    }

    /// Takes over the names of a nested text.
    pub(crate) fn adopt(&mut self, nested: &Names) -> Result<(), TooMany> {
        for database in nested.databases() {
            self.add_database(database, 0)?;
        }
        nested.variables().try_for_each(|variable| self.add_variable(variable, 0))?;
        nested.user_variables().try_for_each(|variable| self.add_user_variable(variable))
    }

    fn lower(&mut self, name: Name) {
        if let Some(bytes) = self.bytes.get_mut(name.start..name.end) {
            bytes.make_ascii_lowercase();
        }
    }

    /// Appends a name, with doubled quotes made one.
    fn push(&mut self, raw: &[u8], quote: u8) -> Name {
        let start = self.bytes.len();
        let mut rest = raw;
        while quote != 0
            && let Some(at) = memchr::memchr(quote, rest)
        {
            let (head, tail) = rest.split_at(at + 1);
            self.bytes.extend_from_slice(head);
            rest = tail.strip_prefix(&[quote]).unwrap_or(tail);
        }
        self.bytes.extend_from_slice(rest);
        Name { start, end: self.bytes.len() }
    }
}
