//! Names that operators give, and names that they refer to.

use std::{fmt, path::PathBuf};

use toml::de::DeValue;
use weir_wire::{
    auth::{Verifier, VerifierError},
    server_version::Flavour,
};

use crate::document::{Choice, Scalar, Wrong, one_of, quoted, text_of};

/// Most characters of a name that Weir gives out itself.
pub const MAX_NAME: usize = 64;
/// Most characters of a user name, as in MySQL.
pub const MAX_USER_NAME: usize = 32;
/// Most characters of a database name, as in MySQL.
pub const MAX_DATABASE_NAME: usize = 64;

macro_rules! names {
    ($( $(#[doc = $doc:literal])+ $name:ident, $kind:literal, $example:literal, $rule:expr; )+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that follows the rule.
            ///
            /// # Errors
            /// What the rule is.
            pub fn new(text: impl Into<String>) -> Result<Self, &'static str> {
                let text = text.into();
                let rule: fn(&str) -> Result<(), &'static str> = $rule;
                rule(&text).map(|()| Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text itself.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Scalar for $name {
            const KIND: &'static str = $kind;
            const EXAMPLE: &'static str = $example;

            fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let text = text_of(value)?;
                Self::new(text).map_err(|rule| {
                    Wrong::value(format!("{} is not {}", quoted(text), $kind)).hint(rule)
                })
            }

            fn to_toml(&self) -> String {
                quoted(self)
            }
        }
    )+};
}

names! {
    /// Name of a namespace or a slice.
    Name, "a name", "\"main\"", |text| {
        rule(
            text,
            MAX_NAME,
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'),
            "1 to 64 of a-z, 0-9, _ and -",
        )
    };
    /// Name of a login.
    UserName, "a user name", "\"app\"", |text| {
        rule(text, MAX_USER_NAME, |c| !c.is_control(), "1 to 32 characters, none of them a control character")
    };
    /// Name of a database.
    DatabaseName, "a database name", "\"shop\"", |text| {
        rule(text, MAX_DATABASE_NAME, |c| !c.is_control(), "1 to 64 characters, none of them a control character")
    };
    /// Where something stands.
    Zone, "a zone's name", "\"eu-1a\"", |text| {
        rule(
            text,
            MAX_NAME,
            |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'),
            "1 to 64 of a-z, A-Z, 0-9, _, - and .",
        )
    };
    /// Name of a character set or a collation.
    CharsetName, "a name as SHOW CHARACTER SET and SHOW COLLATION print it", "\"utf8mb4\"", |text| {
        rule(
            text,
            MAX_NAME,
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_',
            "1 to 64 of a-z, 0-9 and _",
        )
    };
    /// Name of an environment variable.
    VariableName, "the name of an environment variable", "\"SHOP_PASSWORD\"", |text| {
        rule(
            text,
            255,
            |c| c.is_ascii_alphanumeric() || c == '_',
            "letters, digits and _; the value is taken from the environment of `weir serve`",
        )
    };
}

fn rule(text: &str, most: usize, allowed: fn(char) -> bool, rule: &'static str) -> Result<(), &'static str> {
    let fits = !text.is_empty() && text.chars().count() <= most && text.chars().all(allowed);
    if fits { Ok(()) } else { Err(rule) }
}

impl Scalar for PathBuf {
    const KIND: &'static str = "a path";
    const EXAMPLE: &'static str = "\"/etc/weir/shop.password\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::value(format!("{} is no path", quoted(text.replace('\0', "␀")))));
        }
        Ok(Self::from(text))
    }

    fn to_toml(&self) -> String {
        quoted(self.display())
    }
}

impl Scalar for Verifier {
    const KIND: &'static str = "a password verifier, as `weir passwd` prints it";
    const EXAMPLE: &'static str = "\"sha2:…\"";
    const SECRET: bool = true;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Self::parse(text_of(value)?).map_err(|error| {
            let hint = match error {
                VerifierError::UnknownForm => {
                    "`weir passwd` prints verifiers; a plain password is written as `password`"
                }
                _ => "`weir passwd` prints verifiers",
            };
            Wrong::value(error.to_string()).hint(hint)
        })
    }

    fn to_toml(&self) -> String {
        quoted("…")
    }
}

impl Scalar for Flavour {
    const KIND: &'static str = "\"mysql\" or \"mariadb\"";
    const EXAMPLE: &'static str = "\"mysql\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Ok(if one_of(value, Self::choices())? == 0 { Self::MySql } else { Self::MariaDb })
    }

    fn to_toml(&self) -> String {
        quoted(match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        })
    }

    fn choices() -> &'static [Choice] {
        &[
            Choice { text: "mysql", doc: &["MySQL, Percona Server."] },
            Choice { text: "mariadb", doc: &["MariaDB."] },
        ]
    }
}
