//! The password under RSA: full `caching_sha2_password` authentication without TLS.
//!
//! The client asks for the server's public key, and sends the password with a NUL, XORed with the nonce (again
//! and again), encrypted with RSA-OAEP (SHA-1, MGF1 with SHA-1), which is what every client does.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::Nonce;

/// Why RSA could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// No key in the PEM text.
    #[error("no RSA private key in PEM form (`BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`)")]
    NoPrivateKey,
    /// No public key in the PEM text.
    #[error("no public key in PEM form (`BEGIN PUBLIC KEY`)")]
    NoPublicKey,
    /// A key that cannot be used.
    #[error("not an RSA key of 2048 to 8192 bits")]
    UnusableKey,
    /// The password does not fit into one RSA block.
    #[error("the password is longer than the {0} bytes that this RSA key can encrypt")]
    PasswordTooLong(usize),
    /// What was received does not decrypt to a password.
    #[error("not a password encrypted for this key")]
    NotDecryptable,
    /// The cryptographic library failed.
    #[error("the RSA operation failed")]
    Failed,
}

/// A server's key pair. Immutable and cheap to share behind an `Arc`.
pub struct RsaKeyPair {
    private: PrivateDecryptingKey,
    decrypting: OaepPrivateDecryptingKey,
    public_pem: String,
}

impl RsaKeyPair {
    /// Makes a new key of 2048 bits, as MySQL does. Takes tens of milliseconds.
    ///
    /// # Errors
    /// The random source or the library failed.
    pub fn generate() -> Result<Self, RsaError> {
        PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| RsaError::Failed).and_then(Self::of)
    }

    /// Reads a private key: `BEGIN PRIVATE KEY` (PKCS#8) or `BEGIN RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    /// There is none, or it is not RSA of 2048 to 8192 bits.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RsaError> {
        let unusable = |_| RsaError::UnusableKey;
        let private = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| RsaError::NoPrivateKey)? {
            PrivateKeyDer::Pkcs8(der) => PrivateDecryptingKey::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => {
                let pair = KeyPair::from_der(der.secret_pkcs1_der()).map_err(unusable)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| RsaError::Failed)?;
                PrivateDecryptingKey::from_pkcs8(der.as_ref())
            }
            _ => return Err(RsaError::NoPrivateKey),
        };
        Self::of(private.map_err(unusable)?)
    }

    fn of(private: PrivateDecryptingKey) -> Result<Self, RsaError> {
        let public_der: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(|_| RsaError::Failed)?;
        let public_pem = pem("PUBLIC KEY", public_der.as_ref());
        let decrypting = OaepPrivateDecryptingKey::new(private.clone()).map_err(|_| RsaError::Failed)?;
        Ok(Self { private, decrypting, public_pem })
    }

    /// The private key as PKCS#8 PEM, to be kept in a file that only its owner can read.
    ///
    /// # Errors
    /// The library failed.
    pub fn private_pem(&self) -> Result<Zeroizing<String>, RsaError> {
        let der: Pkcs8V1Der<'_> = self.private.as_der().map_err(|_| RsaError::Failed)?;
        Ok(Zeroizing::new(pem("PRIVATE KEY", der.as_ref())))
    }

    /// The public key as PEM (SubjectPublicKeyInfo): what a client is sent.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Bytes in an encrypted password.
    #[must_use]
    pub fn ciphertext_len(&self) -> usize {
        self.decrypting.key_size_bytes()
    }

    /// The password that a client encrypted for this key and nonce. Takes a quarter of a millisecond: off the
    /// event loop.
    ///
    /// # Errors
    /// [`RsaError::NotDecryptable`], whatever is wrong with it.
    pub fn decrypt_password(&self, ciphertext: &[u8], nonce: &Nonce) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        let mut room = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let scrambled = self
            .decrypting
            .decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut room, None)
            .map_err(|_| RsaError::NotDecryptable)?;
        let mut password = xor_with_nonce(scrambled, nonce);
        match password.pop() {
            Some(0) => Ok(password),
            _ => Err(RsaError::NotDecryptable),
        }
    }
}

impl std::fmt::Debug for RsaKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RsaKeyPair({} bits)", self.private.key_size_bits())
    }
}

/// A server's public key, as a client holds it.
#[derive(Clone, Debug)]
pub struct RsaPublicKey(PublicEncryptingKey);

impl RsaPublicKey {
    /// Reads `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// There is none, or it is not RSA of 2048 to 8192 bits.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RsaError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| RsaError::NoPublicKey)?;
        PublicEncryptingKey::from_der(&der).map(Self).map_err(|_| RsaError::UnusableKey)
    }

    /// The password as the holder of the private key expects it.
    ///
    /// # Errors
    /// The password is too long for this key (213 bytes with 2048 bits), or the library failed.
    pub fn encrypt_password(&self, password: &[u8], nonce: &Nonce) -> Result<Vec<u8>, RsaError> {
        let key = OaepPublicEncryptingKey::new(self.0.clone()).map_err(|_| RsaError::Failed)?;
        let longest = key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1).saturating_sub(1);
        if password.len() > longest {
            return Err(RsaError::PasswordTooLong(longest));
        }
        let mut plain = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        plain.extend_from_slice(password);
        plain.push(0);
        let mut room = vec![0; key.ciphertext_size()];
        let ciphertext = key
            .encrypt(&OAEP_SHA1_MGF1SHA1, &xor_with_nonce(&plain, nonce), &mut room, None)
            .map_err(|_| RsaError::Failed)?;
        Ok(ciphertext.to_vec())
    }
}

fn xor_with_nonce(bytes: &[u8], nonce: &Nonce) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.iter().zip(nonce.as_bytes().iter().cycle()).map(|(b, n)| b ^ n).collect())
}

/// PEM with lines of 64 characters, as OpenSSL writes it.
fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = format!("-----BEGIN {label}-----");
    for (group, chunk) in der.chunks(3).enumerate() {
        if group.is_multiple_of(16) {
            out.push('\n');
        }
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for character in 0..4_usize {
            let six_bits = (bits >> (18 - 6 * character)) & 0x3F;
            let symbol = ALPHABET.get(six_bits as usize).copied().unwrap_or_default();
            out.push(if character > chunk.len() { '=' } else { char::from(symbol) });
        }
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce::from_random(*b"abcdefghijklmnopqrst")
    }

    // One key for all tests, made by OpenSSL 3.0: `genrsa -traditional 2048`, `pkcs8 -topk8`, `rsa -pubout`.
    const PKCS1: &[u8] = include_bytes!("../../tests/data/rsa_pkcs1.pem");
    const PKCS8: &[u8] = include_bytes!("../../tests/data/rsa_pkcs8.pem");
    const PUBLIC: &str = include_str!("../../tests/data/rsa_public.pem");
    /// `s3cret` and a NUL, XORed with the nonce above, encrypted by OpenSSL with the public key.
    const CIPHERTEXT: &[u8] = include_bytes!("../../tests/data/rsa_s3cret.bin");

    #[test]
    fn reads_both_private_forms_and_writes_the_public_one_as_openssl_does() {
        for pem in [PKCS1, PKCS8] {
            assert_eq!(RsaKeyPair::from_pem(pem).unwrap().public_pem(), PUBLIC);
        }
        let kept = RsaKeyPair::from_pem(PKCS1).unwrap().private_pem().unwrap();
        assert_eq!(kept.as_bytes(), PKCS8);
    }

    #[test]
    fn decrypts_what_openssl_encrypted() {
        let key = RsaKeyPair::from_pem(PKCS8).unwrap();
        assert_eq!(key.decrypt_password(CIPHERTEXT, &nonce()).unwrap().as_slice(), b"s3cret");
    }

    #[test]
    fn a_generated_key_decrypts_what_its_public_half_encrypts() {
        let pair = RsaKeyPair::generate().unwrap();
        let public = RsaPublicKey::from_pem(pair.public_pem().as_bytes()).unwrap();
        let longest = vec![b'x'; 213];
        for password in [&b""[..], b"s3cret", "p\u{e4}ss".as_bytes(), &longest] {
            let ciphertext = public.encrypt_password(password, &nonce()).unwrap();
            assert_eq!(ciphertext.len(), pair.ciphertext_len());
            assert_eq!(pair.decrypt_password(&ciphertext, &nonce()).unwrap().as_slice(), password);
        }
        let too_long = vec![b'x'; 214];
        assert_eq!(public.encrypt_password(&too_long, &nonce()), Err(RsaError::PasswordTooLong(213)));
    }

    #[test]
    fn refuses_what_is_no_encrypted_password() {
        let key = RsaKeyPair::from_pem(PKCS8).unwrap();
        let mut altered = CIPHERTEXT.to_vec();
        altered[100] ^= 1;
        for bad in [&b""[..], b"s3cret\0", &CIPHERTEXT[1..], &altered, &[0; 256], &[0xFF; 256], &[7; 4096]] {
            assert_eq!(
                key.decrypt_password(bad, &nonce()).err(),
                Some(RsaError::NotDecryptable),
                "{}",
                bad.len()
            );
        }
        let other_nonce = Nonce::from_random([1; 20]);
        assert_eq!(key.decrypt_password(CIPHERTEXT, &other_nonce).err(), Some(RsaError::NotDecryptable));
    }

    #[test]
    fn refuses_texts_that_hold_no_usable_key() {
        let private = |pem: &[u8]| RsaKeyPair::from_pem(pem).err();
        let public = |pem: &[u8]| RsaPublicKey::from_pem(pem).err();
        assert_eq!(private(b""), Some(RsaError::NoPrivateKey));
        assert_eq!(private(PUBLIC.as_bytes()), Some(RsaError::NoPrivateKey));
        assert_eq!(private(&PKCS8[..400]), Some(RsaError::NoPrivateKey));
        let empty = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert_eq!(private(empty), Some(RsaError::UnusableKey));
        assert_eq!(public(PKCS8), Some(RsaError::NoPublicKey));
        assert_eq!(public(&PUBLIC.as_bytes()[..200]), Some(RsaError::NoPublicKey));
        let short = include_bytes!("../../tests/data/rsa_public_1024.pem");
        assert_eq!(public(short), Some(RsaError::UnusableKey));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", RsaKeyPair::from_pem(PKCS8).unwrap()), "RsaKeyPair(2048 bits)");
    }
}
