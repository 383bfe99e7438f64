//! `mysql_native_password`.
//!
//! The server keeps `SHA1(SHA1(password))`; the client answers a nonce with
//! `SHA1(password) XOR SHA1(nonce ++ SHA1(SHA1(password)))`. An empty password is answered with no bytes.
//! Source: "Native Authentication" in the server's protocol documentation.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Nonce, sha1, xor};

/// Bytes in a scramble.
pub const SCRAMBLE_LEN: usize = 20;

/// The client's answer to `nonce`; `None` for the empty password, which is answered with no bytes.
#[must_use]
pub fn scramble(password: &[u8], nonce: &Nonce) -> Option<[u8; SCRAMBLE_LEN]> {
    if password.is_empty() {
        return None;
    }
    let stage1 = stage1(password);
    Some(scramble_of_stage1(&stage1, nonce))
}

/// The client's answer to `nonce`, from `SHA1(password)`: all that a login needs.
#[must_use]
pub fn scramble_of_stage1(stage1: &[u8; 20], nonce: &Nonce) -> [u8; SCRAMBLE_LEN] {
    let stage2 = sha1(&[stage1]);
    xor(stage1, &sha1(&[nonce.as_bytes(), &stage2]))
}

/// `SHA1(password)`.
#[must_use]
pub fn stage1(password: &[u8]) -> Zeroizing<[u8; 20]> {
    Zeroizing::new(sha1(&[password]))
}

/// What a server keeps of a password: `SHA1(SHA1(password))`.
#[must_use]
pub fn double_sha1(password: &[u8]) -> [u8; 20] {
    sha1(&[&sha1(&[password])])
}

/// `SHA1(password)`, got back from a scramble that belongs to `stage2`; `None` if it does not.
#[must_use]
pub fn recover_stage1(
    scramble: &[u8; SCRAMBLE_LEN],
    stage2: &[u8; 20],
    nonce: &Nonce,
) -> Option<Zeroizing<[u8; 20]>> {
    let stage1 = Zeroizing::new(xor(scramble, &sha1(&[nonce.as_bytes(), stage2])));
    bool::from(sha1(&[stage1.as_ref()]).ct_eq(stage2)).then_some(stage1)
}

/// Was `scramble` made from the password that `stage2` belongs to?
#[must_use]
pub fn verifies(scramble: &[u8; SCRAMBLE_LEN], stage2: &[u8; 20], nonce: &Nonce) -> bool {
    recover_stage1(scramble, stage2, nonce).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::unhex;

    const NONCE: &[u8; 20] = b"eF!@34gH%^78jKlM-+12";

    #[test]
    fn double_sha1_is_what_password_prints() {
        for (password, stored) in [
            ("password", "2470c0c06dee42fd1618bb99005adca2ec9d1e19"),
            ("mypass", "6c8989366eaf75bb670ad8ea7a7fc1176a95cef4"),
            ("", "be1bdec0aa74b4dcb079943e70528096cca985f8"),
        ] {
            assert_eq!(double_sha1(password.as_bytes()), unhex(stored), "{password}");
        }
    }

    #[test]
    fn scramble_equals_an_independent_implementation() {
        let nonce = Nonce::from_wire(NONCE).unwrap();
        for (password, expected) in [
            ("s3cret", "b1901c997d89a68a91171e2e9c0aacb3cbac3043"),
            ("p\u{e4}ssw\u{f6}rd \u{1f511}", "2488ada5d573435d55aa7a88b61965bba73542a4"),
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
        let stage2 = double_sha1(b"s3cret");
        assert_eq!(recover_stage1(&right, &stage2, &nonce).as_deref(), Some(&sha1(&[b"s3cret"])));
        for bit in 0..SCRAMBLE_LEN * 8 {
            let mut wrong = right;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&wrong, &stage2, &nonce), "bit {bit}");
        }
        assert!(!verifies(&right, &stage2, &Nonce::from_random([7; 20])));
        assert!(!verifies(&scramble(b"other", &nonce).unwrap(), &stage2, &nonce));
    }
}
