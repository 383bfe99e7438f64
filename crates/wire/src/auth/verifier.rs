//! What is kept of a password in order to check it.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::sha2_crypt::{SALT_LEN, Sha2Crypt};
use super::{AuthPlugin, Nonce, caching_sha2, native, sha256};

/// What a namespace file keeps of a user's password.
///
/// | Text | Made by | Serves |
/// |---|---|---|
/// | (plain) | | both plugins |
/// | `*` and 40 hexadecimal digits | `mysql_native_password`, MariaDB's `PASSWORD()` | `mysql_native_password` |
/// | `sha2:` and 64 hexadecimal digits | `weir passwd` | `caching_sha2_password`, fast from the first login |
/// | `$A$005$…`, or its hexadecimal form | `caching_sha2_password` | the same, the first login in full |
#[derive(Clone, PartialEq, Eq)]
pub enum Verifier {
    /// The password itself, wiped from memory when dropped.
    Plain(Zeroizing<Vec<u8>>),
    /// `SHA1(SHA1(password))`.
    Native([u8; 20]),
    /// `SHA256(SHA256(password))`.
    Sha2Double([u8; 32]),
    /// A salted digest of many rounds; only the password itself can be checked against it.
    Sha2Crypt(Box<Sha2Crypt>),
}

/// Why a text is no verifier. The text itself is not repeated: it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// None of the known forms.
    #[error(
        "not a password verifier: expected `*` with 40 hexadecimal digits, `sha2:` with 64, or `$A$005$…` (also in hexadecimal)"
    )]
    UnknownForm,
    /// `*` is followed by something else.
    #[error("a mysql_native_password verifier is `*` and 40 hexadecimal digits")]
    Native,
    /// `sha2:` is followed by something else.
    #[error("a sha2 verifier is `sha2:` and 64 hexadecimal digits")]
    Sha2Double,
    /// `$A$…` is followed by something else.
    #[error("not a caching_sha2_password verifier: {0}")]
    Sha2Crypt(&'static str),
}

/// What a verifier says to a `caching_sha2_password` scramble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastPath {
    /// The scramble was made with the right password.
    Match,
    /// It was not.
    Mismatch,
    /// Only the password itself can tell.
    Unknown,
}

impl Verifier {
    /// Reads the text form of any verifier but [`Verifier::Plain`].
    ///
    /// # Errors
    /// The text has none of the forms, or is cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, VerifierError> {
        if let Some(hex) = text.strip_prefix('*') {
            return unhex(hex).map(Self::Native).ok_or(VerifierError::Native);
        }
        if let Some(hex) = text.strip_prefix("sha2:") {
            return unhex(hex).map(Self::Sha2Double).ok_or(VerifierError::Sha2Double);
        }
        let crypt = if text.starts_with('$') {
            Sha2Crypt::parse(text.as_bytes())
        } else {
            let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
            let is_crypt = hex.get(..6).is_some_and(|start| start == "244124");
            if !is_crypt {
                return Err(VerifierError::UnknownForm);
            }
            unhex::<70>(hex)
                .ok_or("its hexadecimal form has 140 digits")
                .and_then(|stored| Sha2Crypt::parse(&stored))
        };
        crypt.map(|c| Self::Sha2Crypt(Box::new(c))).map_err(VerifierError::Sha2Crypt)
    }

    /// Keeps the password itself.
    #[must_use]
    pub fn plain(password: &str) -> Self {
        Self::Plain(Zeroizing::new(password.as_bytes().to_vec()))
    }

    /// `*…`, as `mysql_native_password` stores it.
    #[must_use]
    pub fn native_of(password: &[u8]) -> Self {
        Self::Native(native::double_sha1(password))
    }

    /// `sha2:…`, Weir's own form.
    #[must_use]
    pub fn sha2_double_of(password: &[u8]) -> Self {
        Self::Sha2Double(caching_sha2::stage2(password))
    }

    /// `$A$005$…`, as `caching_sha2_password` stores it; `salt` comes from a random source. Takes milliseconds.
    /// The empty password cannot be kept this way (MySQL stores nothing for it): the result accepts no password.
    #[must_use]
    pub fn sha2_crypt_of(password: &[u8], salt: [u8; SALT_LEN]) -> Self {
        Self::Sha2Crypt(Box::new(Sha2Crypt::of(password, salt)))
    }

    /// The text that [`Verifier::parse`] reads; `None` for a plain password.
    /// `$A$…` is written in hexadecimal where its salt holds control characters.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Native(stage2) => Some(format!("*{}", hex(stage2))),
            Self::Sha2Double(stage2) => Some(format!("sha2:{}", hex(stage2).to_lowercase())),
            Self::Sha2Crypt(crypt) => {
                let stored = crypt.to_bytes();
                match String::from_utf8(stored) {
                    Ok(text) if !text.contains(|c: char| c.is_control()) => Some(text),
                    Ok(text) => Some(format!("0x{}", hex(text.as_bytes()))),
                    Err(no_text) => Some(format!("0x{}", hex(no_text.as_bytes()))),
                }
            }
        }
    }

    /// Can a login with this plugin succeed against this verifier?
    #[must_use]
    pub fn serves(&self, plugin: AuthPlugin) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Native(_) => plugin == AuthPlugin::Native,
            Self::Sha2Double(_) | Self::Sha2Crypt(_) => plugin == AuthPlugin::CachingSha2,
        }
    }

    /// Must the password itself be seen to check it, at a cost of milliseconds?
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Sha2Crypt(_))
    }

    /// Is this the password? Takes milliseconds where [`Verifier::is_slow`]. Constant time in the password.
    #[must_use]
    pub fn accepts_password(&self, password: &[u8]) -> bool {
        match self {
            // Hashes are compared, so that not even the length shows in the time taken.
            Self::Plain(kept) => sha256(&[kept]).ct_eq(&sha256(&[password])).into(),
            Self::Native(stage2) => native::double_sha1(password).ct_eq(stage2).into(),
            Self::Sha2Double(stage2) => caching_sha2::stage2(password).ct_eq(stage2).into(),
            Self::Sha2Crypt(crypt) => crypt.verifies(password),
        }
    }

    /// Is the empty password the right one? Never slow.
    #[must_use]
    pub fn accepts_empty(&self) -> bool {
        match self {
            Self::Sha2Crypt(_) => false,
            Self::Plain(_) | Self::Native(_) | Self::Sha2Double(_) => self.accepts_password(b""),
        }
    }

    /// Checks the answer to `nonce` of `mysql_native_password`. No bytes mean the empty password; an account with
    /// an empty password accepts nothing else. Any length but 0 and 20 is wrong.
    #[must_use]
    pub fn accepts_native(&self, scramble: &[u8], nonce: &Nonce) -> bool {
        if scramble.is_empty() || self.accepts_empty() {
            return scramble.is_empty() && self.accepts_empty();
        }
        let Ok(scramble) = <&[u8; native::SCRAMBLE_LEN]>::try_from(scramble) else { return false };
        match self {
            Self::Plain(password) => native::verifies(scramble, &native::double_sha1(password), nonce),
            Self::Native(stage2) => native::verifies(scramble, stage2, nonce),
            Self::Sha2Double(_) | Self::Sha2Crypt(_) => false,
        }
    }

    /// `SHA1(password)`, got back from an answer to `nonce` of `mysql_native_password`; `None` if that is not the right one.
    #[must_use]
    pub fn native_stage1(&self, scramble: &[u8], nonce: &Nonce) -> Option<Zeroizing<[u8; 20]>> {
        let scramble = <&[u8; native::SCRAMBLE_LEN]>::try_from(scramble).ok()?;
        match self {
            Self::Plain(password) => native::recover_stage1(scramble, &native::double_sha1(password), nonce),
            Self::Native(stage2) => native::recover_stage1(scramble, stage2, nonce),
            Self::Sha2Double(_) | Self::Sha2Crypt(_) => None,
        }
    }

    /// Checks the answer to `nonce` of `caching_sha2_password`. No bytes, or one NUL, mean the empty password; an
    /// account with an empty password accepts nothing else. Any other length but 32 is wrong.
    #[must_use]
    pub fn accepts_sha2_fast(&self, scramble: &[u8], nonce: &Nonce) -> FastPath {
        let verdict = |right| if right { FastPath::Match } else { FastPath::Mismatch };
        let says_empty = matches!(scramble, [] | [0]);
        if says_empty || self.accepts_empty() {
            return verdict(says_empty && self.accepts_empty());
        }
        let Ok(scramble) = <&[u8; caching_sha2::SCRAMBLE_LEN]>::try_from(scramble) else {
            return FastPath::Mismatch;
        };
        match self {
            Self::Plain(password) => {
                verdict(caching_sha2::verifies(scramble, &caching_sha2::stage2(password), nonce))
            }
            Self::Sha2Double(stage2) => verdict(caching_sha2::verifies(scramble, stage2, nonce)),
            Self::Native(_) | Self::Sha2Crypt(_) => FastPath::Unknown,
        }
    }

    /// Do both certainly accept the same password? `false` where only the password itself could tell.
    /// Takes milliseconds where one is plain and the other [`Verifier::is_slow`].
    #[must_use]
    pub fn provably_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(password), kept) | (kept, Self::Plain(password)) => kept.accepts_password(password),
            _ => self == other,
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(…)",
            Self::Native(_) => "Native(…)",
            Self::Sha2Double(_) => "Sha2Double(…)",
            Self::Sha2Crypt(_) => "Sha2Crypt(…)",
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// Exactly `N` bytes in hexadecimal.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{sha1, xor};

    const SALT: [u8; SALT_LEN] = *b"abcdefghijklmnopqrst";

    fn nonce() -> Nonce {
        Nonce::from_random([42; 20])
    }

    fn every_kind_of(password: &str) -> [Verifier; 4] {
        let bytes = password.as_bytes();
        [
            Verifier::plain(password),
            Verifier::native_of(bytes),
            Verifier::sha2_double_of(bytes),
            Verifier::sha2_crypt_of(bytes, SALT),
        ]
    }

    #[test]
    fn every_kind_accepts_its_password_and_no_other() {
        for verifier in every_kind_of("s3cret") {
            assert!(verifier.accepts_password(b"s3cret"), "{verifier:?}");
            for wrong in ["", "s3cre", "s3cret ", "S3cret", "s3cret\0"] {
                assert!(!verifier.accepts_password(wrong.as_bytes()), "{verifier:?} {wrong:?}");
            }
        }
    }

    #[test]
    fn text_forms_are_read_back() {
        let control = Verifier::sha2_crypt_of(b"s3cret", [1; SALT_LEN]);
        assert!(control.to_text().is_some_and(|t| t.starts_with("0x244124303035240101")));
        for verifier in every_kind_of("s3cret").into_iter().skip(1).chain([control]) {
            let text = verifier.to_text().expect("not plain");
            assert_eq!(Verifier::parse(&text), Ok(verifier));
        }
        assert_eq!(Verifier::plain("s3cret").to_text(), None);
    }

    #[test]
    fn the_native_form_is_what_mysql_prints() {
        let text = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19";
        assert_eq!(Verifier::native_of(b"password").to_text().as_deref(), Some(text));
        assert_eq!(Verifier::parse(&text.to_lowercase()), Ok(Verifier::native_of(b"password")));
    }

    #[test]
    fn the_crypt_form_is_read_as_text_and_in_hexadecimal_with_and_without_prefix() {
        let verifier = Verifier::sha2_crypt_of(b"s3cret", SALT);
        let text = verifier.to_text().expect("not plain");
        assert!(text.starts_with("$A$005$abcdefghijklmnopqrst"));
        let digits = hex(text.as_bytes());
        for form in [text, format!("0x{digits}"), format!("0X{}", digits.to_lowercase()), digits] {
            assert_eq!(Verifier::parse(&form).as_ref(), Ok(&verifier), "{form}");
        }
    }

    #[test]
    fn refuses_cut_and_mistyped_texts() {
        use VerifierError::{Native, Sha2Double, UnknownForm};
        for (text, error) in [
            ("", UnknownForm),
            ("secret", UnknownForm),
            ("0x", UnknownForm),
            ("2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", UnknownForm),
            ("sha2", UnknownForm),
            ("*", Native),
            ("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E1", Native),
            ("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E190", Native),
            ("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E1G", Native),
            ("*+470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", Native),
            ("sha2:00", Sha2Double),
        ] {
            assert_eq!(Verifier::parse(text), Err(error), "{text}");
        }
        for text in ["$", "$A$", "$A$005$short", "$B$005$", "0x24412430", "24412430303524"] {
            assert!(matches!(Verifier::parse(text), Err(VerifierError::Sha2Crypt(_))), "{text}");
        }
    }

    #[test]
    fn scrambles_are_checked_by_the_kinds_that_can() {
        use FastPath::{Match, Mismatch, Unknown};
        let native = native::scramble(b"s3cret", &nonce()).unwrap();
        let sha2 = caching_sha2::scramble(b"s3cret", &nonce()).unwrap();
        let rows = [(true, Match), (true, Unknown), (false, Match), (false, Unknown)];
        for (verifier, (accepts_native, fast)) in every_kind_of("s3cret").iter().zip(rows) {
            assert_eq!(verifier.accepts_native(&native, &nonce()), accepts_native, "{verifier:?}");
            assert_eq!(verifier.accepts_sha2_fast(&sha2, &nonce()), fast, "{verifier:?}");
        }
        let rows = [Mismatch, Unknown, Mismatch, Unknown];
        for (verifier, fast) in every_kind_of("other").iter().zip(rows) {
            assert!(!verifier.accepts_native(&native, &nonce()), "{verifier:?}");
            assert_eq!(verifier.accepts_sha2_fast(&sha2, &nonce()), fast, "{verifier:?}");
        }
    }

    #[test]
    fn scrambles_of_any_other_length_are_wrong() {
        let verifier = Verifier::plain("s3cret");
        let native = native::scramble(b"s3cret", &nonce()).unwrap();
        let sha2 = caching_sha2::scramble(b"s3cret", &nonce()).unwrap();
        for len in 0..=64 {
            let mut scramble = native.to_vec();
            scramble.resize(len, 0);
            assert_eq!(verifier.accepts_native(&scramble, &nonce()), len == 20, "{len}");
            let mut scramble = sha2.to_vec();
            scramble.resize(len, 0);
            let fast = if len == 32 { FastPath::Match } else { FastPath::Mismatch };
            assert_eq!(verifier.accepts_sha2_fast(&scramble, &nonce()), fast, "{len}");
        }
    }

    #[test]
    fn only_an_empty_answer_proves_the_empty_password() {
        for verifier in every_kind_of("").iter().take(3) {
            assert!(verifier.accepts_empty(), "{verifier:?}");
            if verifier.serves(AuthPlugin::Native) {
                assert!(verifier.accepts_native(&[], &nonce()), "{verifier:?}");
            }
            if verifier.serves(AuthPlugin::CachingSha2) {
                assert_eq!(verifier.accepts_sha2_fast(&[], &nonce()), FastPath::Match, "{verifier:?}");
                assert_eq!(verifier.accepts_sha2_fast(&[0], &nonce()), FastPath::Match, "{verifier:?}");
            }
            // No client makes these: what the formulas would give for the empty password.
            let native = xor(&sha1(&[b""]), &sha1(&[nonce().as_bytes(), &native::double_sha1(b"")]));
            let sha2 = caching_sha2::scramble_of_stage1(&sha256(&[b""]), &nonce());
            assert!(!verifier.accepts_native(&native, &nonce()), "{verifier:?}");
            assert_eq!(verifier.accepts_sha2_fast(&sha2, &nonce()), FastPath::Mismatch, "{verifier:?}");
        }
        for verifier in every_kind_of("s3cret") {
            assert!(!verifier.accepts_native(&[], &nonce()), "{verifier:?}");
            assert_eq!(verifier.accepts_sha2_fast(&[], &nonce()), FastPath::Mismatch, "{verifier:?}");
            assert_eq!(verifier.accepts_sha2_fast(&[0], &nonce()), FastPath::Mismatch, "{verifier:?}");
        }
        assert!(!Verifier::sha2_crypt_of(b"", SALT).accepts_empty());
        assert!(!Verifier::sha2_crypt_of(b"", SALT).accepts_password(b""));
    }

    #[test]
    fn equality_is_claimed_only_where_it_is_proven() {
        let kinds = every_kind_of("s3cret");
        let same_kind_or_one_plain = |a: usize, b: usize| a == b || a == 0 || b == 0;
        for (a, left) in kinds.iter().enumerate() {
            for (b, right) in kinds.iter().enumerate() {
                assert_eq!(left.provably_equal(right), same_kind_or_one_plain(a, b), "{left:?} {right:?}");
            }
            for other in every_kind_of("other") {
                assert!(!left.provably_equal(&other), "{left:?} {other:?}");
            }
        }
        let other_salt = Verifier::sha2_crypt_of(b"s3cret", [b'z'; SALT_LEN]);
        assert!(!kinds[3].provably_equal(&other_salt), "the same password, but nobody can know");
    }

    #[test]
    fn debug_shows_no_secret() {
        for verifier in every_kind_of("s3cret") {
            let shown = format!("{verifier:?}");
            assert!(shown.ends_with("(…)") && !shown.contains("s3cret"), "{shown}");
        }
    }
}
