//! Values that are written as one TOML value.

use std::{fmt, time::Duration};

use ipnet::IpNet;
use toml::de::DeValue;

use crate::secret::Secret;

use super::suggest::closest;

/// A value that is written as one TOML value.
pub trait Scalar: Sized {
    /// What it is, with its article: "a duration".
    const KIND: &'static str;
    /// An example, as TOML.
    const EXAMPLE: &'static str;
    /// May its text never be shown?
    const SECRET: bool = false;

    /// Reads it.
    ///
    /// # Errors
    /// It is something else, or a value that is not allowed.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong>;

    /// How the reference shows it, as TOML.
    fn to_toml(&self) -> String;

    /// If only certain words are allowed: which.
    #[must_use]
    fn choices() -> &'static [Choice] {
        &[]
    }
}

/// Why a value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has another type; what is expected is said with [`Scalar::KIND`] and [`Scalar::EXAMPLE`].
    Type,
    /// It is a number that the type cannot hold; the row's own bounds are narrower and are named instead, if it has any.
    OutOfBounds {
        /// What the type can hold: `0 to 65535`.
        allowed: String,
    },
    /// The type is right, the value is not.
    Value {
        /// What is wrong with it.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
}

impl Wrong {
    /// A wrong value.
    #[must_use]
    pub fn value(message: impl Into<String>) -> Self {
        Self::Value { message: message.into(), hint: None }
    }

    /// With what would be right.
    #[must_use]
    pub fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Value { message, .. } => Self::Value { message, hint: Some(text.into()) },
            other => other,
        }
    }
}

/// An allowed word.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// As it is written.
    pub text: &'static str,
    /// What it means; lines of its doc comment.
    pub doc: &'static [&'static str],
}

/// The text of a TOML string.
///
/// # Errors
/// It is something else.
pub fn text_of<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or(Wrong::Type)
}

/// A TOML string.
#[must_use]
pub fn quoted(text: impl fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// `a`, `b` or `c`.
#[must_use]
pub fn list_of_choices(choices: &[Choice]) -> String {
    choices.iter().map(|choice| format!("\"{}\"", choice.text)).collect::<Vec<_>>().join(", ")
}

/// Finds the allowed word that was written; its index among the choices.
///
/// # Errors
/// It is no string, or none of them.
pub fn one_of(value: &DeValue<'_>, choices: &'static [Choice]) -> Result<usize, Wrong> {
    let text = text_of(value)?;
    if let Some(index) = choices.iter().position(|choice| choice.text == text) {
        return Ok(index);
    }
    let hint = match closest(text, choices.iter().map(|choice| choice.text)) {
        Some(like) => format!("did you mean \"{like}\"?"),
        None => format!("one of {}", list_of_choices(choices)),
    };
    Err(Wrong::value(format!("\"{text}\" is not allowed here")).hint(hint))
}

impl Scalar for bool {
    const KIND: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        value.as_bool().ok_or(Wrong::Type)
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Scalar for String {
    const KIND: &'static str = "a string";
    const EXAMPLE: &'static str = "\"text\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        text_of(value).map(str::to_owned)
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Scalar for Secret {
    const KIND: &'static str = "a string";
    const EXAMPLE: &'static str = "\"…\"";
    const SECRET: bool = true;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        text_of(value).map(Self::new)
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Scalar for $type {
            const KIND: &'static str = "a whole number";
            const EXAMPLE: &'static str = "10";

            fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let number = value.as_integer().ok_or(Wrong::Type)?;
                let parsed = i128::from_str_radix(&number.as_str().replace('_', ""), number.radix());
                parsed.ok().and_then(|n| Self::try_from(n).ok()).ok_or_else(|| {
                    Wrong::OutOfBounds { allowed: format!("{} to {}", Self::MIN, Self::MAX) }
                })
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
whole_numbers!(u16, u32, u64);

/// Units of time, each with its length in microseconds; larger ones first.
const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Scalar for Duration {
    const KIND: &'static str = "a duration";
    const EXAMPLE: &'static str = "\"5s\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        let micros = sum_of_units(text, &TIME_UNITS).ok_or_else(|| {
            Wrong::value(format!("\"{text}\" is no duration"))
                .hint("a whole number and its unit (us, ms, s, m, h, d), for example \"500ms\", \"5s\", \"10m\", \"1h30m\"")
        })?;
        Ok(Self::from_micros(micros))
    }

    fn to_toml(&self) -> String {
        let mut rest = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        if rest == 0 {
            return quoted("0s");
        }
        let mut text = String::new();
        for (unit, length) in TIME_UNITS {
            if rest >= length {
                text.push_str(&format!("{}{unit}", rest / length));
                rest %= length;
            }
        }
        quoted(text)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Units of size; larger ones first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Scalar for Bytes {
    const KIND: &'static str = "a size";
    const EXAMPLE: &'static str = "\"64MiB\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        sum_of_units(text, &SIZE_UNITS).map(Self).ok_or_else(|| {
            Wrong::value(format!("\"{text}\" is no size")).hint(
                "a whole number and its unit (B, KiB, MiB, GiB, TiB), for example \"512KiB\", \"64MiB\"",
            )
        })
    }

    fn to_toml(&self) -> String {
        let unit = SIZE_UNITS.iter().find(|(_, length)| self.0 >= *length && self.0.is_multiple_of(*length));
        let (unit, length) = unit.copied().unwrap_or(("B", 1));
        quoted(format!("{}{unit}", self.0 / length))
    }
}

/// `1h30m`: whole numbers, each with a unit, larger units first; `None` if it is anything else or too much.
fn sum_of_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut smaller = units.iter();
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, length) = smaller.find(|(name, _)| *name == unit.trim())?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
        rest = after;
    }
    (!text.trim().is_empty()).then_some(sum)
}

impl Scalar for IpNet {
    const KIND: &'static str = "a network (CIDR) or an IP address";
    const EXAMPLE: &'static str = "\"10.0.0.0/8\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        let net = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(Self::from));
        let net: Self = net.map_err(|_| {
            Wrong::value(format!("\"{text}\" is no network"))
                .hint("for example \"10.0.0.0/8\", \"2001:db8::/32\" or one address such as \"192.0.2.7\"")
        })?;
        if net.trunc() != net {
            return Err(Wrong::value(format!("\"{text}\" has bits set behind its prefix length"))
                .hint(format!("the network is \"{}\", the address alone \"{}\"", net.trunc(), net.addr())));
        }
        Ok(net)
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads TOML, as it stands after `key = `.
    fn read<T: Scalar>(text: &str) -> Result<T, Wrong> {
        T::from_toml(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn durations_are_sums_of_units_and_are_written_back() {
        for (text, micros, shown) in [
            ("5us", 5, "5us"),
            ("500ms", 500_000, "500ms"),
            ("0s", 0, "0s"),
            ("5s", 5_000_000, "5s"),
            ("90s", 90_000_000, "1m30s"),
            ("10m", 600_000_000, "10m"),
            ("1h30m", 5_400_000_000, "1h30m"),
            ("1d1us", 86_400_000_001, "1d1us"),
            (" 2 h ", 7_200_000_000, "2h"),
        ] {
            let duration: Duration = read(&quoted(text)).unwrap();
            assert_eq!(duration, Duration::from_micros(micros), "{text}");
            assert_eq!(duration.to_toml(), quoted(shown));
            assert_eq!(read(&duration.to_toml()), Ok(duration));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", " ", "5", "s", "5x", "-5s", "5.5s", "5s5", "30m1h", "5s5s", "1e3s", "213503982334601d"]
        {
            assert!(matches!(read::<Duration>(&quoted(text)), Err(Wrong::Value { .. })), "{text}");
        }
        for toml in ["5", "5.0", "true", "00:00:05"] {
            assert_eq!(read::<Duration>(toml), Err(Wrong::Type), "{toml}");
        }
    }

    #[test]
    fn sizes_have_binary_units_and_are_written_back() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("1000B", 1000, "1000B"),
            ("1024B", 1024, "1KiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("1GiB512MiB", 1536 << 20, "1536MiB"),
            ("16TiB", 16 << 40, "16TiB"),
        ] {
            let size: Bytes = read(&quoted(text)).unwrap();
            assert_eq!((size, size.to_toml()), (Bytes(bytes), quoted(shown)), "{text}");
            assert_eq!(read(&size.to_toml()), Ok(size));
        }
        for text in ["64", "64MB", "64mib", "64 M", "MiB", "99999999TiB"] {
            assert!(matches!(read::<Bytes>(&quoted(text)), Err(Wrong::Value { .. })), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_notation_and_held_to_their_type() {
        for (toml, expected) in
            [("0", 0), ("1_000", 1000), ("0x10", 16), ("0o17", 15), ("0b101", 5), ("+7", 7), ("65535", 65535)]
        {
            assert_eq!(read::<u16>(toml), Ok(expected), "{toml}");
        }
        for toml in ["-1", "65536", "99999999999999999999999999999999999999999999"] {
            assert!(matches!(read::<u16>(toml), Err(Wrong::OutOfBounds { .. })), "{toml}");
        }
        for toml in ["1.0", "\"1\"", "true", "[1]"] {
            assert_eq!(read::<u16>(toml), Err(Wrong::Type), "{toml}");
        }
    }

    #[test]
    fn networks_are_whole_and_one_address_is_one() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let net: IpNet = read(&quoted(text)).unwrap();
            assert_eq!(net.to_toml(), quoted(shown));
            assert_eq!(read(&net.to_toml()), Ok(net));
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.1/8", "::1/64", "localhost", "10.0.0.1:3306"] {
            assert!(matches!(read::<IpNet>(&quoted(text)), Err(Wrong::Value { .. })), "{text}");
        }
    }
}
