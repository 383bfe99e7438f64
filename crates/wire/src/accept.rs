//! The server's side of a login, as states that consume themselves.
//!
//! ```text
//! ExpectLogin ─▶ StartTls ─▶ ExpectLogin            the client asks for TLS
//!     │
//!     ▼
//! NeedsCandidates ─▶ Next::Send  ─▶ ExpectAuth ─▶ Next …    write the payload, read one, go on
//!                    Next::Slow  ─▶ Verdict                 costs milliseconds: off the event loop
//!                    Next::Done  ─▶ Verdict
//! ```
//!
//! The pair (user name, password) decides the namespace, so a login is checked against any number of candidates at
//! once, and the verdict says which of them it matches. With no candidate (an unknown user) a login takes the same
//! steps as with a wrong password.
//!
//! Nothing here reads or writes a socket; payloads come and go without headers. What the caller owes: writing what
//! [`Next::Send`] holds and [`Verdict::before_ok`], and the OK or ERR at the end.

mod error;
mod exchange;
mod slow;

pub use error::AcceptError;
pub use exchange::{ExpectAuth, ExpectEncryptedPassword, ExpectPassword, ExpectScramble, Next, Verdict};
pub use slow::SlowCheck;

use std::sync::Arc;

use crate::auth::rsa::RsaKeyPair;
use crate::auth::{AuthPlugin, Nonce, Verifier};
use crate::capability::Capabilities;
use crate::greeting::MariaDbCapabilities;
use crate::login::{AuthData, ChangeUser, FirstClientPacket, HandshakeResponse41};
use exchange::Exchange;

/// How a listener treats TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsOffer {
    /// Not offered.
    Off,
    /// Offered; a client may do without.
    Preferred,
    /// A login over an insecure transport is refused.
    Required,
}

/// What carries the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP in clear.
    Plain,
    /// A Unix socket: nobody listens, yet TLS is possible.
    Local,
    /// TLS.
    Tls,
}

impl Transport {
    /// May a password pass in clear?
    #[must_use]
    pub fn is_secure(self) -> bool {
        match self {
            Self::Plain => false,
            Self::Local | Self::Tls => true,
        }
    }
}

/// What the greeting of this connection promised.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Capabilities of the greeting.
    pub capabilities: Capabilities,
    /// MariaDB's further capabilities of the greeting.
    pub mariadb: MariaDbCapabilities,
    /// Challenge of the greeting.
    pub nonce: Nonce,
    /// TLS.
    pub tls: TlsOffer,
    /// The transport so far.
    pub transport: Transport,
    /// The key for passwords without TLS.
    pub rsa: Arc<RsaKeyPair>,
}

/// One user that a login may turn out to be.
#[derive(Clone)]
pub struct Candidate {
    /// What is kept of its password.
    pub verifier: Verifier,
    /// `SHA256(SHA256(password))`, learnt from an earlier full login: makes [`Verifier::Sha2Crypt`] fast.
    pub learnt: Option<[u8; 32]>,
    /// The same of passwords that are known not to be this user's. Where several candidates share a name, these
    /// keep a login of one from going the slow way for the sake of the others.
    pub refuted: Vec<[u8; 32]>,
}

impl From<Verifier> for Candidate {
    fn from(verifier: Verifier) -> Self {
        Self { verifier, learnt: None, refuted: Vec::new() }
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// The greeting is sent; the client's first packet is awaited.
#[derive(Debug)]
pub struct ExpectLogin {
    offer: Offer,
}

/// What a client's first packet leads to.
#[derive(Debug)]
pub enum LoginStep {
    /// Do the TLS handshake, then go on with [`StartTls::done`]. Bytes that came with the request belong to it.
    StartTls(StartTls),
    /// Find out who this may be.
    Lookup(Box<Lookup>),
}

/// A login that awaits candidates.
#[derive(Debug)]
pub struct Lookup {
    /// What the client said; its answer to the challenge has moved to `next`.
    pub login: HandshakeResponse41,
    /// What both sides agree on.
    pub agreed: Capabilities,
    /// MariaDB's further capabilities that both sides agree on.
    pub agreed_mariadb: MariaDbCapabilities,
    /// Where to go on.
    pub next: NeedsCandidates,
}

/// The client awaits a TLS handshake.
#[derive(Debug)]
pub struct StartTls {
    offer: Offer,
}

impl StartTls {
    /// The transport is TLS now.
    #[must_use]
    pub fn done(self) -> ExpectLogin {
        ExpectLogin { offer: Offer { transport: Transport::Tls, ..self.offer } }
    }
}

impl ExpectLogin {
    /// After the greeting.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        Self { offer }
    }

    /// Takes the client's first payload.
    ///
    /// # Errors
    /// The client misbehaves, or does not use the TLS that is required.
    pub fn handle(self, payload: &[u8]) -> Result<LoginStep, AcceptError> {
        let Self { offer } = self;
        let login = if offer.transport == Transport::Tls {
            HandshakeResponse41::parse(payload)?
        } else {
            match FirstClientPacket::parse(payload)? {
                FirstClientPacket::OldProtocol => return Err(AcceptError::OldProtocol),
                FirstClientPacket::SslRequest(_) if offer.tls == TlsOffer::Off => {
                    return Err(AcceptError::TlsNotOffered);
                }
                FirstClientPacket::SslRequest(_) => return Ok(LoginStep::StartTls(StartTls { offer })),
                FirstClientPacket::Login(login) => *login,
            }
        };
        if offer.tls == TlsOffer::Required && !offer.transport.is_secure() {
            return Err(AcceptError::TlsRequired);
        }
        let mut login = login;
        let agreed = login.capabilities & offer.capabilities;
        let agreed_mariadb = login.mariadb & offer.mariadb;
        let next = NeedsCandidates {
            knows_plugins: agreed.contains(Capabilities::PLUGIN_AUTH),
            plugin: login.plugin.clone(),
            answer: std::mem::take(&mut login.auth_response),
            must_switch: false,
            nonce: offer.nonce,
            transport: offer.transport,
            rsa: offer.rsa,
        };
        Ok(LoginStep::Lookup(Box::new(Lookup { login, agreed, agreed_mariadb, next })))
    }
}

/// Begins the login that a COM_CHANGE_USER asks for. `body` is what follows the command byte, `agreed` the
/// connection's capabilities. A client that knows plugins is asked to answer `offer.nonce`, which should be fresh: so
/// does MySQL, since clients differ in which earlier nonce they answer. For one that knows none it must be the nonce
/// of its login.
///
/// # Errors
/// The packet is cut: 1047, and the connection is to be closed as at the server.
pub fn change_user(
    body: &[u8],
    agreed: Capabilities,
    offer: Offer,
) -> Result<(ChangeUser, NeedsCandidates), AcceptError> {
    let mut change = ChangeUser::parse(body, agreed).map_err(AcceptError::ChangeUser)?;
    let knows_plugins = agreed.contains(Capabilities::PLUGIN_AUTH);
    let next = NeedsCandidates {
        knows_plugins,
        plugin: change.plugin.clone(),
        answer: std::mem::take(&mut change.auth_response),
        must_switch: knows_plugins,
        nonce: offer.nonce,
        transport: offer.transport,
        rsa: offer.rsa,
    };
    Ok((change, next))
}

/// Somebody wants to log in; who it may be is for the caller to find out.
#[derive(Debug)]
pub struct NeedsCandidates {
    knows_plugins: bool,
    plugin: Option<Vec<u8>>,
    answer: AuthData,
    must_switch: bool,
    nonce: Nonce,
    transport: Transport,
    rsa: Arc<RsaKeyPair>,
}

impl NeedsCandidates {
    /// Goes on with those that have this user name, and the plugin that they share. For an unknown user there are
    /// none, and the plugin is the one that most users of the listener have.
    ///
    /// # Errors
    /// The client cannot speak the plugin, or its answer is malformed.
    pub fn with(self, plugin: AuthPlugin, candidates: Vec<Candidate>) -> Result<Next, AcceptError> {
        let exchange =
            Exchange { plugin, candidates, nonce: self.nonce, transport: self.transport, rsa: self.rsa };
        let spoken = match self.knows_plugins {
            true => self.plugin.as_deref().and_then(AuthPlugin::from_name),
            false => Some(AuthPlugin::Native),
        };
        if spoken == Some(plugin) && !self.must_switch {
            return exchange.check(self.answer.as_bytes());
        }
        if !self.knows_plugins {
            return Err(AcceptError::ClientWithoutPlugins { needed: plugin });
        }
        Ok(exchange.switch())
    }
}
