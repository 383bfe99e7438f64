//! How passwords are proven: one file a plugin, and the verifiers that stand in place of passwords.

pub mod caching_sha2;
pub mod native;
mod nonce;
mod plugin;
pub mod rsa;
pub mod sha2_crypt;
mod verifier;

pub use nonce::{NONCE_LEN, Nonce};
pub use plugin::AuthPlugin;
pub use verifier::{FastPath, Verifier, VerifierError};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// SHA1 of the parts, one after the other.
fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    copy(context.finish().as_ref())
}

/// SHA256 of the parts, one after the other.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    copy(context.finish().as_ref())
}

/// `a XOR b`.
fn xor<const N: usize>(a: &[u8; N], b: &[u8; N]) -> [u8; N] {
    let mut out = *a;
    for (o, b) in out.iter_mut().zip(b) {
        *o ^= b;
    }
    out
}

fn copy<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (o, d) in out.iter_mut().zip(digest) {
        *o = *d;
    }
    out
}

#[cfg(test)]
pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}
