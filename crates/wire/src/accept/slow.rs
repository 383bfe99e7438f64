//! The part of a login that costs milliseconds.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::exchange::{Exchange, Verdict};
use crate::auth::caching_sha2::{self, MAX_PASSWORD_LEN};
use crate::auth::sha2_crypt;

/// What a client sent in place of a scramble.
pub(super) enum Secret {
    Password(Zeroizing<Vec<u8>>),
    Encrypted(Vec<u8>),
    None,
}

/// A full authentication, ready to be decided.
pub struct SlowCheck {
    pub(super) exchange: Exchange,
    pub(super) secret: Secret,
}

impl SlowCheck {
    /// Decrypts what is encrypted and checks the password against every candidate. Takes about 2 ms per
    /// [`crate::auth::Verifier::Sha2Crypt`] that was not learnt, and 0.3 ms for RSA. A login that fails takes that
    /// time even where there is nothing to check.
    #[must_use]
    pub fn run(self) -> Verdict {
        let Self { exchange, secret } = self;
        let password = match secret {
            Secret::Password(password) => Some(password),
            Secret::Encrypted(ciphertext) => exchange.rsa.decrypt_password(&ciphertext, &exchange.nonce).ok(),
            Secret::None => None,
        };
        let refusal = Verdict { password_used: true, ..Verdict::default() };
        // The empty password is proven by an empty answer, and by nothing else.
        let fits = |p: &Zeroizing<Vec<u8>>| (1..=MAX_PASSWORD_LEN).contains(&p.len());
        let Some(password) = password.filter(fits) else {
            sha2_crypt::spend_time_of_a_check(b"");
            return refusal;
        };
        let stage2 = caching_sha2::stage2(&password);
        let mut has_spent_time = false;
        let matched = exchange.matching(|candidate| {
            if let Some(learnt) = &candidate.learnt {
                return learnt.ct_eq(&stage2).into();
            }
            if candidate.refuted.contains(&stage2) {
                return false;
            }
            has_spent_time |= candidate.verifier.is_slow();
            candidate.verifier.accepts_password(&password)
        });
        if !matched.is_empty() {
            return Verdict { matched, password: Some(password), ..refusal };
        }
        if !has_spent_time {
            sha2_crypt::spend_time_of_a_check(&password);
        }
        refusal
    }
}

impl std::fmt::Debug for SlowCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowCheck").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
