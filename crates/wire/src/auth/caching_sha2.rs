//! `caching_sha2_password`: the fast path. (The slow one is a plain password, see [`super::rsa`] and
//! [`super::sha2_crypt`].)
//!
//! With `stage1 = SHA256(password)` and `stage2 = SHA256(stage1)` the client answers a nonce with
//! `stage1 XOR SHA256(stage2 ++ nonce)`. A server that knows `stage2` can check this, and get `stage1` back.
//! Source: "Caching_sha2_password information" in the server's protocol documentation.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Nonce, sha256, xor};

/// Bytes in a scramble.
pub const SCRAMBLE_LEN: usize = 32;

/// Server to client, in AuthMoreData: the scramble was right, OK follows.
pub const FAST_AUTH_SUCCESS: u8 = 3;

/// Server to client, in AuthMoreData: send the password itself, over TLS, a Unix socket or RSA.
pub const FULL_AUTHENTICATION: u8 = 4;

/// Client to server, alone: send your RSA public key.
pub const REQUEST_PUBLIC_KEY: u8 = 2;

/// The longest password that a server takes, in bytes (`MAX_PASSWORD_LENGTH`).
pub const MAX_PASSWORD_LEN: usize = 256;

/// The client's answer to `nonce`; `None` for the empty password, which is answered with no bytes, or one NUL.
#[must_use]
pub fn scramble(password: &[u8], nonce: &Nonce) -> Option<[u8; SCRAMBLE_LEN]> {
    if password.is_empty() {
        return None;
    }
    Some(scramble_of_stage1(&stage1(password), nonce))
}

/// `SHA256(password)`.
#[must_use]
pub fn stage1(password: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(sha256(&[password]))
}

/// `SHA256(SHA256(password))`, from `SHA256(password)`.
#[must_use]
pub fn stage2_of_stage1(stage1: &[u8; 32]) -> [u8; 32] {
    sha256(&[stage1])
}

/// The client's answer to `nonce`, from `SHA256(password)`: all that a fast login needs.
#[must_use]
pub fn scramble_of_stage1(stage1: &[u8; 32], nonce: &Nonce) -> [u8; SCRAMBLE_LEN] {
    let stage2 = sha256(&[stage1]);
    xor(stage1, &sha256(&[&stage2, nonce.as_bytes()]))
}

/// `SHA256(SHA256(password))`: what a server keeps in memory to answer on the fast path.
#[must_use]
pub fn stage2(password: &[u8]) -> [u8; 32] {
    sha256(&[&sha256(&[password])])
}

/// `SHA256(password)`, got back from a scramble that belongs to `stage2`; `None` if it does not.
#[must_use]
pub fn recover_stage1(
    scramble: &[u8; SCRAMBLE_LEN],
    stage2: &[u8; 32],
    nonce: &Nonce,
) -> Option<Zeroizing<[u8; 32]>> {
    let stage1 = Zeroizing::new(xor(scramble, &sha256(&[stage2, nonce.as_bytes()])));
    bool::from(sha256(&[stage1.as_ref()]).ct_eq(stage2)).then_some(stage1)
}

/// Was `scramble` made from the password that `stage2` belongs to?
#[must_use]
pub fn verifies(scramble: &[u8; SCRAMBLE_LEN], stage2: &[u8; 32], nonce: &Nonce) -> bool {
    recover_stage1(scramble, stage2, nonce).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::unhex;

    const NONCE: &[u8; 20] = b"eF!@34gH%^78jKlM-+12";

    #[test]
    fn scramble_equals_an_independent_implementation() {
        let nonce = Nonce::from_wire(NONCE).unwrap();
        for (password, expected) in [
            ("s3cret", "9b5d1ef97701ec42df7c6e0316d74dfffe65b748da111bdb7af62a114ccdc1d6"),
            (
                "p\u{e4}ssw\u{f6}rd \u{1f511}",
                "cc7fbb40aeb0fe292d7018de627dd37430f2cfcccdcc38835d05236989cc779c",
            ),
        ] {
            assert_eq!(scramble(password.as_bytes(), &nonce), Some(unhex(expected)), "{password}");
        }
    }

    #[test]
    fn the_empty_password_has_no_scramble() {
        assert_eq!(scramble(b"", &Nonce::from_wire(NONCE).unwrap()), None);
    }

    #[test]
    fn stage1_comes_back_only_from_the_right_scramble() {
        let nonce = Nonce::from_wire(NONCE).unwrap();
        let right = scramble(b"s3cret", &nonce).unwrap();
        let kept = stage2(b"s3cret");
        assert_eq!(recover_stage1(&right, &kept, &nonce).as_deref(), Some(&sha256(&[b"s3cret"])));
        for bit in 0..SCRAMBLE_LEN * 8 {
            let mut wrong = right;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&wrong, &kept, &nonce), "bit {bit}");
        }
        assert!(!verifies(&right, &kept, &Nonce::from_random([7; 20])));
        assert!(!verifies(&scramble(b"other", &nonce).unwrap(), &kept, &nonce));
    }
}
