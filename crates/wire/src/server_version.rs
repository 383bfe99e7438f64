//! What a server says it is.

use std::fmt;

/// Server family: the two differ in capabilities, variables and trackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Oracle MySQL, Percona Server.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// Family and version number of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    /// Family.
    pub flavour: Flavour,
    /// `major * 10000 + minor * 100 + patch`: 90704, 101119.
    pub number: u32,
    /// As `SELECT VERSION()` shows it, without the prefix that MariaDB puts before it in greetings.
    pub text: String,
}

/// What MariaDB 10 puts before its version in greetings, so that old replicas accept it.
pub const MARIADB_PREFIX: &str = "5.5.5-";

impl ServerVersion {
    /// Reads the version of a greeting or of `SELECT VERSION()`; `None` if it does not start with three numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let flavour =
            if text.to_ascii_lowercase().contains("mariadb") { Flavour::MariaDb } else { Flavour::MySql };
        let text = match flavour {
            Flavour::MariaDb => text.strip_prefix(MARIADB_PREFIX).unwrap_or(text),
            Flavour::MySql => text,
        };
        let digits = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = digits.split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else { return None };
        let patch = match parts.next() {
            Some(Ok(patch)) => patch,
            _ => 0,
        };
        let number =
            major.checked_mul(10_000)?.checked_add(minor.min(99) * 100)?.checked_add(patch.min(99))?;
        Some(Self { flavour, number, text: text.to_owned() })
    }

    /// The version string of a greeting.
    #[must_use]
    pub fn greeting(&self) -> String {
        // MariaDB 11 dropped the prefix
        if self.flavour == Flavour::MariaDb && self.number < 110_000 {
            format!("{MARIADB_PREFIX}{}", self.text)
        } else {
            self.text.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_families_are_read_and_greeted_with() {
        for (greeting, flavour, number) in [
            ("9.7.4", Flavour::MySql, 90704),
            ("8.0.36-28", Flavour::MySql, 80036),
            ("5.7.44-log", Flavour::MySql, 50744),
            ("26.7.0-commercial", Flavour::MySql, 260_700),
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", Flavour::MariaDb, 101_119),
            ("11.8.3-MariaDB-log", Flavour::MariaDb, 110_803),
        ] {
            let version = ServerVersion::parse(greeting).unwrap();
            assert_eq!((version.flavour, version.number), (flavour, number), "{greeting}");
            assert_eq!(version.greeting(), greeting);
        }
        assert_eq!(ServerVersion::parse("hello"), None);
        assert_eq!(ServerVersion::parse(""), None);
    }
}
