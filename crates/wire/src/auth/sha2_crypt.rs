//! What `mysql.user` keeps for a `caching_sha2_password` account: `$A$005$<20 bytes of salt><43 characters>`.
//!
//! The digest is Ulrich Drepper's SHA-crypt (SHA-256 variant) with a salt of 20 bytes in place of 16; `005` is
//! the number of rounds in thousands, in hexadecimal (`caching_sha2_password_digest_rounds`).

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::caching_sha2::MAX_PASSWORD_LEN;
use super::{copy, sha256};

/// Bytes of salt.
pub const SALT_LEN: usize = 20;

/// Characters of the digest.
pub const DIGEST_LEN: usize = 43;

/// Rounds that the servers use unless they are told otherwise. About two milliseconds.
pub const DEFAULT_ROUNDS: u32 = 5000;

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A stored `$A$` digest. Checking a password takes milliseconds: off the event loop.
#[derive(Clone, PartialEq, Eq)]
pub struct Sha2Crypt {
    thousand_rounds: u16,
    salt: [u8; SALT_LEN],
    digest: [u8; DIGEST_LEN],
}

impl Sha2Crypt {
    /// Hashes a password with the default number of rounds. `salt` comes from a random source; it is made fit as
    /// MySQL does, see [`super::Nonce::from_random`].
    #[must_use]
    pub fn of(password: &[u8], salt: [u8; SALT_LEN]) -> Self {
        let salt = *super::Nonce::from_random(salt).as_bytes();
        Self { thousand_rounds: 5, salt, digest: crypt(password, &salt, DEFAULT_ROUNDS) }
    }

    /// Reads the bytes of `authentication_string`; the error says what is wrong.
    ///
    /// # Errors
    /// Another scheme, a wrong length, or characters that MySQL never writes there.
    pub fn parse(stored: &[u8]) -> Result<Self, &'static str> {
        let rest = stored.strip_prefix(b"$A$").ok_or("it does not start with `$A$`")?;
        let (rounds, rest) = rest.split_at_checked(4).ok_or("the number of rounds is cut")?;
        let rounds = match rounds {
            [hex @ .., b'$'] => {
                std::str::from_utf8(hex).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))
            }
            _ => None,
        };
        let thousand_rounds = rounds
            .and_then(|hex| u16::from_str_radix(hex, 16).ok())
            .filter(|thousands| *thousands > 0)
            .ok_or("the number of rounds is not three hexadecimal digits")?;
        let wrong_length = "20 bytes of salt and 43 characters of digest must follow `$A$005$`";
        let (salt, digest) = rest.split_at_checked(SALT_LEN).ok_or(wrong_length)?;
        let salt: [u8; SALT_LEN] = salt.try_into().map_err(|_| wrong_length)?;
        let digest: [u8; DIGEST_LEN] = digest.try_into().map_err(|_| wrong_length)?;
        if digest.iter().any(|b| !ALPHABET.contains(b)) {
            return Err("the digest holds a character other than `./0-9A-Za-z`");
        }
        Ok(Self { thousand_rounds, salt, digest })
    }

    /// The bytes of `authentication_string`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("$A${:03X}$", self.thousand_rounds).into_bytes();
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.digest);
        out
    }

    /// Is this the password? Takes milliseconds. The empty password and one of more than 256 bytes never is.
    #[must_use]
    pub fn verifies(&self, password: &[u8]) -> bool {
        if password.is_empty() || password.len() > MAX_PASSWORD_LEN {
            return false;
        }
        crypt(password, &self.salt, u32::from(self.thousand_rounds) * 1000).ct_eq(&self.digest).into()
    }
}

/// Spends the time that checking a password takes, so that a login that has nothing to check against looks alike.
pub fn spend_time_of_a_check(password: &[u8]) {
    let password = password.get(..MAX_PASSWORD_LEN).unwrap_or(password);
    std::hint::black_box(crypt(password, &[b'.'; SALT_LEN], DEFAULT_ROUNDS));
}

/// SHA-crypt, by the steps of its specification.
fn crypt(password: &[u8], salt: &[u8; SALT_LEN], rounds: u32) -> [u8; DIGEST_LEN] {
    let b = sha256(&[password, salt, password]);
    let mut input = Zeroizing::new(Vec::with_capacity(4 * password.len() + SALT_LEN + 64));
    input.extend_from_slice(password);
    input.extend_from_slice(salt);
    input.extend(b.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        input.extend_from_slice(if bits & 1 == 1 { &b } else { password });
        bits >>= 1;
    }
    let mut running = hash(&input);

    let p = stretch(sha256(&vec![password; password.len()]), password.len());
    let salt_repeats = 16 + usize::from(running[0]);
    let s = stretch(sha256(&vec![salt.as_slice(); salt_repeats]), SALT_LEN);
    for round in 0..rounds {
        let odd = round & 1 == 1;
        input.clear();
        input.extend_from_slice(if odd { &p } else { &running });
        if !round.is_multiple_of(3) {
            input.extend_from_slice(&s);
        }
        if !round.is_multiple_of(7) {
            input.extend_from_slice(&p);
        }
        input.extend_from_slice(if odd { &running } else { &p });
        running = hash(&input);
    }
    let text = encode(&running);
    running.zeroize();
    text
}

fn hash(input: &[u8]) -> [u8; 32] {
    copy(digest(&SHA256, input).as_ref())
}

/// The digest, repeated and cut to `len` bytes.
fn stretch(digest: [u8; 32], len: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(digest.into_iter().cycle().take(len).collect())
}

/// The specification's own base64: bytes in a mixed order, three at a time, low bits first.
fn encode(digest: &[u8; 32]) -> [u8; DIGEST_LEN] {
    let &[d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15, ..] = digest;
    let &[.., d16, d17, d18, d19, d20, d21, d22, d23, d24, d25, d26, d27, d28, d29, d30, d31] = digest;
    let groups = [
        [d0, d10, d20],
        [d21, d1, d11],
        [d12, d22, d2],
        [d3, d13, d23],
        [d24, d4, d14],
        [d15, d25, d5],
        [d6, d16, d26],
        [d27, d7, d17],
        [d18, d28, d8],
        [d9, d19, d29],
        [0, d31, d30],
    ];
    let characters = groups.into_iter().flat_map(|[high, mid, low]| {
        let bits = u32::from_be_bytes([0, high, mid, low]);
        [bits, bits >> 6, bits >> 12, bits >> 18]
    });
    let mut out = [0; DIGEST_LEN];
    for (o, six_bits) in out.iter_mut().zip(characters) {
        *o = ALPHABET.get((six_bits & 0x3F) as usize).copied().unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::unhex;

    fn stored(hex: &str) -> Sha2Crypt {
        Sha2Crypt::parse(&unhex::<70>(hex)).unwrap()
    }

    /// The first is hashcat's published example of mode 7401; the others come from a separate implementation
    /// that agrees with the C library's `crypt` wherever their salts overlap.
    const KNOWN: [(&str, &str); 4] = [
        (
            "hashcat",
            "24412430303524F9CC98CE08892924F50A213B6BC571A2C11778C5625479393559393965414D45316477456B484F41316E64484742577A2E3162785353526B7554584647562F",
        ),
        (
            "s3cret",
            "24412430303524303132333435363738396162636465666768696A7365384F504B70353934386B6D55536771762F61466E6F752E6B6C7364566D355244524768382F43443338",
        ),
        (
            "p\u{e4}ssw\u{f6}rd \u{1f511}",
            "244124303035240102030405060708090A0B0C0D0E0F101112131475683168473451706F496B3141516637685878484F35714D63467274477444434A63305941336A78432F31",
        ),
        (
            "a password of more than thirty-two bytes, and then some more of it, up to ninety-one bytes",
            "244124303035247E7D7C7B7A797877767574737271706F6E6D6C6B6B784447726B6C522E3173596D684137314F6A536E50593946426537712E7766704A50436668764A6D6A34",
        ),
    ];

    #[test]
    fn accepts_the_password_of_published_digests_and_no_other() {
        for (password, hex) in KNOWN {
            let stored = stored(hex);
            assert!(stored.verifies(password.as_bytes()), "{password}");
            for wrong in ["", "Hashcat", "hashcat\0", "x"].into_iter().filter(|w| *w != password) {
                assert!(!stored.verifies(wrong.as_bytes()), "{wrong} for {password}");
            }
        }
    }

    #[test]
    fn writes_what_it_read() {
        for (_, hex) in KNOWN {
            assert_eq!(stored(hex).to_bytes(), unhex::<70>(hex));
        }
    }

    #[test]
    fn rounds_are_read_in_hexadecimal_thousands() {
        let mut bytes = Sha2Crypt::of(b"pw", *b"abcdefghijklmnopqrst").to_bytes();
        bytes[3..6].copy_from_slice(b"00A");
        let ten_thousand = Sha2Crypt::parse(&bytes).unwrap();
        assert!(!ten_thousand.verifies(b"pw"), "the digest was made with 5000 rounds");
        bytes[27..].copy_from_slice(&crypt(b"pw", b"abcdefghijklmnopqrst", 10_000));
        assert!(Sha2Crypt::parse(&bytes).unwrap().verifies(b"pw"));
    }

    #[test]
    fn refuses_a_password_longer_than_a_server_takes() {
        let long = vec![b'x'; MAX_PASSWORD_LEN + 1];
        assert!(!Sha2Crypt::of(&long, [b'a'; 20]).verifies(&long));
        assert!(Sha2Crypt::of(&long[1..], [b'a'; 20]).verifies(&long[1..]));
    }

    #[test]
    fn refuses_what_mysql_never_stores() {
        let good = Sha2Crypt::of(b"pw", *b"abcdefghijklmnopqrst").to_bytes();
        assert!(Sha2Crypt::parse(&good).is_ok());
        for cut in 0..good.len() {
            assert!(Sha2Crypt::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        for (at, byte, why) in [
            (0, b'x', "not `$A$`"),
            (1, b'B', "another digest"),
            (3, b'g', "rounds not hexadecimal"),
            (3, b'+', "rounds with a sign"),
            (5, b'0', "no rounds at all"),
            (6, b'.', "no `$` after the rounds"),
            (27, b'$', "digest outside its alphabet"),
            (69, b'=', "digest outside its alphabet"),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Sha2Crypt::parse(&bad).is_err(), "{why}");
        }
        assert!(Sha2Crypt::parse(&[&good[..], b"x"].concat()).is_err(), "one byte too many");
    }
}
