//! The client's side of a login, as states that consume themselves.
//!
//! ```text
//! ExpectGreeting ─▶ Step::StartTls ─▶ StartTls::done ─▶ Step …
//!                   Step::Send     ─▶ ExpectReply ─▶ Step …      write the payload, read one, go on
//!                   Step::Read     ─▶ ExpectReply ─▶ Step …      only read
//!                   Step::Done     ─▶ LoggedIn
//! ```
//!
//! A server counts connections that end in the middle of a login, and blocks a host that makes too many of them
//! (`max_connect_errors`). So where this side cannot go on, it does not hang up: it *declines*, by giving an answer
//! that is well-formed and wrong, reads the server's refusal, and reports its own reason.
//!
//! Nothing here reads or writes a socket; payloads come and go without headers.

mod error;
mod options;
mod reply;

pub use error::{ConnectError, ServerRefusal};
pub use options::{ConnectOptions, Credential, ServerKey, Stages, TlsWish};
pub use reply::ExpectReply;

use crate::auth::{AuthPlugin, Nonce};
use crate::capability::Capabilities;
use crate::compress::DEFAULT_ZSTD_LEVEL;
use crate::greeting::{FirstServerPacket, Greeting, MariaDbCapabilities};
use crate::login::{AuthData, HandshakeResponse41, SslRequest};
use crate::{Malformed, Writer};
use reply::{Posture, decline_answer};

/// What the plugins that are spoken need of a challenge.
const NONCE: &str = "challenge of 20 bytes";

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Write this payload, do the TLS handshake, go on with [`StartTls::done`] or [`StartTls::decline`].
    StartTls {
        /// An SSLRequest.
        payload: Vec<u8>,
        /// Next state.
        then: Box<StartTls>,
    },
    /// Write this payload, read one, give it to `then`.
    Send {
        /// Payload; it may be empty, and is a packet then all the same.
        payload: AuthData,
        /// Next state.
        then: Box<ExpectReply>,
    },
    /// Read a payload, give it to `then`.
    Read {
        /// Next state.
        then: Box<ExpectReply>,
    },
    /// Logged in.
    Done(Box<LoggedIn>),
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What the server said of itself.
    pub greeting: Greeting,
    /// What both sides agree on.
    pub agreed: Capabilities,
    /// MariaDB's further capabilities that both sides agree on.
    pub agreed_mariadb: MariaDbCapabilities,
    /// The payload of the server's OK, to be read with the flags in `agreed`.
    pub ok: Vec<u8>,
}

/// The connection is open; the server's greeting is awaited.
#[derive(Debug)]
pub struct ExpectGreeting {
    options: ConnectOptions,
}

/// What all later states know.
#[derive(Debug)]
struct Known {
    options: ConnectOptions,
    greeting: Greeting,
    agreed: Capabilities,
    agreed_mariadb: MariaDbCapabilities,
    /// The challenge last seen.
    nonce: Nonce,
    is_secure: bool,
}

impl ExpectGreeting {
    /// After the connection was made.
    #[must_use]
    pub fn new(options: ConnectOptions) -> Self {
        Self { options }
    }

    /// Takes the server's first payload.
    ///
    /// # Errors
    /// The server refuses, is too old, or misbehaves.
    pub fn handle(self, payload: &[u8]) -> Result<Step, ConnectError> {
        let Self { options } = self;
        let greeting = match FirstServerPacket::parse(payload)? {
            FirstServerPacket::Greeting(greeting) => greeting,
            FirstServerPacket::Refusal(err) => return Err(ServerRefusal::from(err).into()),
        };
        let needed = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
        if !greeting.capabilities.contains(needed) {
            return Err(ConnectError::ServerTooOld);
        }
        if AuthPlugin::from_name(&greeting.plugin).is_some() && greeting.nonce().is_none() {
            return Err(Malformed { what: NONCE, at: 0 }.into());
        }
        let offers_tls = greeting.capabilities.contains(Capabilities::SSL);
        let wants_tls = options.tls != TlsWish::Off;
        let is_secure = options.is_local;
        let known = Known::new(options, greeting, wants_tls && offers_tls);
        if wants_tls && offers_tls {
            let payload = known.ssl_request();
            return Ok(Step::StartTls { payload, then: Box::new(StartTls { known }) });
        }
        if known.options.tls == TlsWish::Required {
            return Ok(known.decline_login(ConnectError::TlsNotOffered));
        }
        Ok(Known { is_secure, ..known }.log_in())
    }
}

/// The server awaits a TLS handshake.
#[derive(Debug)]
pub struct StartTls {
    known: Known,
}

impl StartTls {
    /// The transport is TLS now, and the server is who it should be.
    #[must_use]
    pub fn done(self) -> Step {
        Known { is_secure: true, ..self.known }.log_in()
    }

    /// The transport is TLS now, but its certificate is not one that a password may be shown to: ends the login in
    /// good form, as user '' without a password. The error at the end is [`ConnectError::Declined`].
    #[must_use]
    pub fn decline(self) -> Step {
        self.known.decline_login(ConnectError::Declined)
    }
}

impl Known {
    fn new(options: ConnectOptions, greeting: Greeting, is_tls: bool) -> Self {
        let always = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
        let by_options = Capabilities::SSL
            | Capabilities::CONNECT_WITH_DB
            | Capabilities::CONNECT_ATTRS
            | Capabilities::PLUGIN_AUTH_LENENC
            | Capabilities::MULTI_FACTOR_AUTHENTICATION
            | Capabilities::LONG_PASSWORD;
        let mut wanted = options.capabilities.difference(by_options) | always;
        wanted.set(Capabilities::SSL, is_tls);
        wanted.set(Capabilities::CONNECT_WITH_DB, options.database.is_some());
        wanted.set(Capabilities::CONNECT_ATTRS, !options.attributes.is_empty());
        let mut agreed = wanted & greeting.capabilities;
        let agreed_mariadb = options.mariadb & greeting.mariadb;
        // To MariaDB the clear bit means that extended capabilities follow; to MySQL it means nothing.
        agreed.set(Capabilities::LONG_PASSWORD, agreed_mariadb.is_empty());
        // A challenge of another form belongs to a plugin that is not spoken: the switch brings a better one.
        let nonce = greeting.nonce().unwrap_or_else(|| Nonce::from_random([0; 20]));
        Self { options, greeting, agreed, agreed_mariadb, nonce, is_secure: false }
    }

    fn ssl_request(&self) -> Vec<u8> {
        let request = SslRequest {
            capabilities: self.agreed,
            mariadb: self.agreed_mariadb,
            max_packet_size: self.options.max_packet_size,
            collation: self.options.collation,
        };
        let mut payload = Vec::new();
        request.write(&mut Writer::new(&mut payload));
        payload
    }

    /// Sends the login.
    fn log_in(self) -> Step {
        // Servers before plugins have the native one only.
        let named = match self.agreed.contains(Capabilities::PLUGIN_AUTH) {
            true => self.greeting.plugin.clone(),
            false => AuthPlugin::Native.name().into(),
        };
        match AuthPlugin::from_name(&named) {
            Some(plugin) => match self.options.credential.answer(plugin, &self.nonce) {
                Some(answer) => {
                    let payload = self.response(&self.options.user, named, answer);
                    self.send(payload, Posture::Willing { plugin })
                }
                None => self.hope_for_switch(named, ConnectError::PasswordUnknown),
            },
            None => {
                let reason = ConnectError::UnsupportedPlugin(String::from_utf8_lossy(&named).into_owned());
                self.hope_for_switch(named, reason)
            }
        }
    }

    /// This plugin cannot be answered, but the account may well have another: the server will ask for it then.
    fn hope_for_switch(self, named: Vec<u8>, reason: ConnectError) -> Step {
        let answer = decline_answer(&named);
        let payload = self.response(&self.options.user, named, answer);
        self.send(payload, Posture::UnlessSwitched { reason })
    }

    /// Logs in as nobody, so that the server says no.
    fn decline_login(self, reason: ConnectError) -> Step {
        let answer = decline_answer(&self.greeting.plugin);
        let payload = self.response(b"", self.greeting.plugin.clone(), answer);
        self.send(payload, Posture::Declining { reason })
    }

    fn response(&self, user: &[u8], plugin: Vec<u8>, auth_response: AuthData) -> AuthData {
        let response = HandshakeResponse41 {
            capabilities: self.agreed,
            mariadb: self.agreed_mariadb,
            max_packet_size: self.options.max_packet_size,
            collation: self.options.collation,
            user: user.to_vec(),
            auth_response,
            database: self.options.database.clone(),
            plugin: Some(plugin),
            attributes: self.options.attributes.clone(),
            zstd_level: Some(DEFAULT_ZSTD_LEVEL),
        };
        let mut payload = Vec::new();
        response.write(&mut Writer::new(&mut payload));
        AuthData::from(payload)
    }

    fn send(self, payload: AuthData, posture: Posture) -> Step {
        Step::Send { payload, then: Box::new(ExpectReply::new(self, posture)) }
    }

    /// Takes the challenge of a switch.
    fn challenged(self, data: &[u8]) -> Result<Self, ConnectError> {
        let nonce = Nonce::from_wire(data).ok_or(Malformed { what: NONCE, at: 0 })?;
        Ok(Self { nonce, ..self })
    }
}
