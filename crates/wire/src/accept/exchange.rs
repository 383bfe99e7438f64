//! The exchange that proves a password.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::slow::{Secret, SlowCheck};
use super::{AcceptError, Candidate, Transport};
use crate::auth::caching_sha2::{self, FAST_AUTH_SUCCESS, FULL_AUTHENTICATION, REQUEST_PUBLIC_KEY};
use crate::auth::native;
use crate::auth::rsa::RsaKeyPair;
use crate::auth::{AuthPlugin, FastPath, Nonce};
use crate::login::{AuthMoreData, AuthSwitchRequest};
use crate::{Malformed, Writer};

/// AuthMoreData that says that the scramble was right.
const FAST_OK: &[u8] = &[0x01, FAST_AUTH_SUCCESS];

/// What all states of an exchange know.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) plugin: AuthPlugin,
    pub(super) candidates: Vec<Candidate>,
    pub(super) nonce: Nonce,
    pub(super) transport: Transport,
    pub(super) rsa: Arc<RsaKeyPair>,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Write this payload, read one, give it to `then`.
    Send {
        /// Payload.
        payload: Vec<u8>,
        /// Next state.
        then: ExpectAuth,
    },
    /// Run this where milliseconds of CPU do no harm.
    Slow(SlowCheck),
    /// The exchange is over.
    Done(Verdict),
}

/// What a login comes to.
#[derive(Default)]
pub struct Verdict {
    /// Indices of the candidates whose password this is. None: 1045. More than one: the caller's to decide.
    pub matched: Vec<usize>,
    /// The password, where the exchange showed it and it matched: what is to be remembered of it is the caller's
    /// decision (see [`Candidate::learnt`], [`Candidate::refuted`]).
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// `SHA1(password)`, where `mysql_native_password` showed it and it matched: with it one can log in elsewhere as this
    /// user.
    pub native_stage1: Option<Zeroizing<[u8; 20]>>,
    /// Did the client give a password? MySQL's 1045 says so: `(using password: YES)`.
    pub password_used: bool,
    /// The fast path was taken.
    pub(super) fast: bool,
}

impl Verdict {
    /// The payload of a packet that must go before the OK or ERR.
    #[must_use]
    pub fn before_ok(&self) -> Option<&'static [u8]> {
        self.fast.then_some(FAST_OK)
    }
}

impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdict").field("matched", &self.matched).finish_non_exhaustive()
    }
}

/// A packet of the client is awaited.
#[derive(Debug)]
pub enum ExpectAuth {
    /// The answer to an AuthSwitchRequest.
    Scramble(ExpectScramble),
    /// The password, or the request for the public key.
    Password(ExpectPassword),
    /// The password under RSA.
    EncryptedPassword(ExpectEncryptedPassword),
}

impl ExpectAuth {
    /// Takes the client's payload.
    ///
    /// # Errors
    /// The client misbehaves.
    pub fn handle(self, payload: &[u8]) -> Result<Next, AcceptError> {
        match self {
            Self::Scramble(state) => state.handle(payload),
            Self::Password(state) => state.handle(payload),
            Self::EncryptedPassword(state) => Ok(state.handle(payload)),
        }
    }
}

/// The client was asked to use another plugin.
#[derive(Debug)]
pub struct ExpectScramble(Exchange);

impl ExpectScramble {
    /// Takes the answer to the challenge.
    ///
    /// # Errors
    /// It has a length that the plugin never has.
    pub fn handle(self, payload: &[u8]) -> Result<Next, AcceptError> {
        self.0.check(payload)
    }
}

/// The client was asked for full authentication.
#[derive(Debug)]
pub struct ExpectPassword(Exchange);

impl ExpectPassword {
    /// Takes the password (over a secure transport), the request for the public key, or the encrypted password
    /// of a client that has the key already.
    ///
    /// # Errors
    /// A password over a secure transport without the NUL that ends it.
    pub fn handle(self, payload: &[u8]) -> Result<Next, AcceptError> {
        let Self(exchange) = self;
        // A password in clear ends with a NUL, so that this is none. Some clients ask even on a Unix socket.
        if payload == [REQUEST_PUBLIC_KEY] {
            let mut key = Vec::new();
            AuthMoreData(exchange.rsa.public_pem().as_bytes()).write(&mut Writer::new(&mut key));
            let then = ExpectAuth::EncryptedPassword(ExpectEncryptedPassword(exchange));
            return Ok(Next::Send { payload: key, then });
        }
        if !exchange.transport.is_secure() {
            return Ok(ExpectEncryptedPassword(exchange).handle(payload));
        }
        let Some((0, password)) = payload.split_last() else {
            return Err(Malformed { what: "password that ends with NUL", at: payload.len() }.into());
        };
        let secret = Secret::Password(Zeroizing::new(password.to_vec()));
        Ok(Next::Slow(SlowCheck { exchange, secret }))
    }
}

/// The client was sent the public key.
#[derive(Debug)]
pub struct ExpectEncryptedPassword(Exchange);

impl ExpectEncryptedPassword {
    /// Takes the encrypted password. Anything that cannot be one is a wrong password, as at the server: a client
    /// that may not send its password this way gives up with some other byte, and gets a 1045.
    #[must_use]
    pub fn handle(self, payload: &[u8]) -> Next {
        let Self(exchange) = self;
        let secret = match payload.len() == exchange.rsa.ciphertext_len() {
            true => Secret::Encrypted(payload.to_vec()),
            false => Secret::None,
        };
        Next::Slow(SlowCheck { exchange, secret })
    }
}

impl Exchange {
    /// Asks for another plugin, and for an answer to the nonce by it.
    pub(super) fn switch(self) -> Next {
        let mut data = self.nonce.as_bytes().to_vec();
        data.push(0);
        let mut payload = Vec::new();
        AuthSwitchRequest { plugin: self.plugin.name().as_bytes(), data: &data }
            .write(&mut Writer::new(&mut payload));
        Next::Send { payload, then: ExpectAuth::Scramble(ExpectScramble(self)) }
    }

    /// Checks an answer to the nonce.
    pub(super) fn check(self, answer: &[u8]) -> Result<Next, AcceptError> {
        match (self.plugin, answer) {
            (_, []) | (AuthPlugin::CachingSha2, [0]) => {
                let matched = self.matching(|c| c.verifier.accepts_empty());
                Ok(Next::Done(Verdict { matched, ..Verdict::default() }))
            }
            (AuthPlugin::Native, scramble) if scramble.len() == native::SCRAMBLE_LEN => {
                let matched = self.matching(|c| c.verifier.accepts_native(scramble, &self.nonce));
                let first = matched.first().and_then(|i| self.candidates.get(*i));
                let native_stage1 = first.and_then(|c| c.verifier.native_stage1(scramble, &self.nonce));
                Ok(Next::Done(Verdict { matched, native_stage1, password_used: true, ..Verdict::default() }))
            }
            (AuthPlugin::CachingSha2, scramble) if scramble.len() == caching_sha2::SCRAMBLE_LEN => {
                Ok(self.check_fast(scramble))
            }
            (plugin, answer) => Err(AcceptError::AnswerLength { plugin, len: answer.len() }),
        }
    }

    /// The fast path of `caching_sha2_password`. As at MySQL, a scramble that does not match leads to full
    /// authentication, not to a refusal; so an unknown user cannot be told from a wrong password.
    fn check_fast(self, scramble: &[u8]) -> Next {
        let paths: Vec<FastPath> =
            self.candidates.iter().map(|c| c.fast_path(scramble, &self.nonce)).collect();
        // While one candidate can only be checked with the password itself, a match of another may not be the only.
        if paths.contains(&FastPath::Match) && !paths.contains(&FastPath::Unknown) {
            let matched =
                paths.iter().enumerate().filter(|(_, p)| **p == FastPath::Match).map(|(i, _)| i).collect();
            return Next::Done(Verdict { matched, password_used: true, fast: true, ..Verdict::default() });
        }
        let mut payload = Vec::new();
        AuthMoreData(&[FULL_AUTHENTICATION]).write(&mut Writer::new(&mut payload));
        Next::Send { payload, then: ExpectAuth::Password(ExpectPassword(self)) }
    }

    /// Indices of the candidates that satisfy `accepts`; all are asked, whoever matches.
    pub(super) fn matching(&self, mut accepts: impl FnMut(&Candidate) -> bool) -> Vec<usize> {
        self.candidates.iter().enumerate().filter(|(_, c)| accepts(c)).map(|(i, _)| i).collect()
    }
}

impl Candidate {
    fn fast_path(&self, scramble: &[u8], nonce: &Nonce) -> FastPath {
        let is_of = |stage2: &[u8; 32]| {
            scramble.try_into().is_ok_and(|scramble| caching_sha2::verifies(scramble, stage2, nonce))
        };
        match (self.verifier.accepts_sha2_fast(scramble, nonce), &self.learnt) {
            (FastPath::Unknown, Some(learnt)) if is_of(learnt) => FastPath::Match,
            (FastPath::Unknown, Some(_)) => FastPath::Mismatch,
            (FastPath::Unknown, None) if self.refuted.iter().any(is_of) => FastPath::Mismatch,
            (path, _) => path,
        }
    }
}
