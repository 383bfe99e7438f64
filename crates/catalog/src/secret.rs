//! Passwords that must stay recoverable.

use std::fmt;

use zeroize::Zeroizing;

/// A password or the like: wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself; for the one place that must send or hash it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Is it the empty password?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_it() {
        let secret = Secret::new("s3cret");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "… Secret(…) Some(Secret(…))");
        assert_eq!(secret.reveal(), "s3cret");
    }
}
