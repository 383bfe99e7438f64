//! What a server says to a login, and what is said to that.

use super::{ConnectError, Known, LoggedIn, ServerKey, ServerRefusal, Step};
use crate::auth::AuthPlugin;
use crate::auth::caching_sha2::{FAST_AUTH_SUCCESS, FULL_AUTHENTICATION, REQUEST_PUBLIC_KEY};
use crate::auth::rsa::RsaPublicKey;
use crate::login::{AuthData, AuthMoreData, AuthSwitchRequest, ServerAuthPacket};

/// Packets that a server may send between a login and its OK. The longest exchange has four.
const MAX_REPLIES: u8 = 8;

/// A packet of the server is awaited.
#[derive(Debug)]
pub struct ExpectReply {
    known: Known,
    posture: Posture,
    replies: u8,
}

/// What this side is about.
#[derive(Debug)]
pub(super) enum Posture {
    /// It answered by this plugin.
    Willing { plugin: AuthPlugin },
    /// It asked for the server's RSA key.
    AskedForKey,
    /// It gave a wrong answer by a plugin that it does not speak, and hopes to be asked for another.
    UnlessSwitched { reason: ConnectError },
    /// It waits to be refused.
    Declining { reason: ConnectError },
}

impl ExpectReply {
    pub(super) fn new(known: Known, posture: Posture) -> Self {
        Self { known, posture, replies: 0 }
    }

    /// Takes the server's payload.
    ///
    /// # Errors
    /// The server refuses or misbehaves, or this side declined.
    pub fn handle(self, payload: &[u8]) -> Result<Step, ConnectError> {
        let replies = self.replies + 1;
        if replies > MAX_REPLIES {
            return Err(ConnectError::TooManySteps);
        }
        let this = Self { replies, ..self };
        match ServerAuthPacket::parse(payload)? {
            ServerAuthPacket::Ok(ok) => this.ok(ok),
            ServerAuthPacket::Err(err) => Err(this.refused(err.into())),
            ServerAuthPacket::Switch(switch) => this.switch(switch),
            ServerAuthPacket::OldSwitch(_) => Ok(this.decline_plugin(b"mysql_old_password")),
            ServerAuthPacket::MoreData(data) => this.more_data(data),
            ServerAuthPacket::NextFactor(plugin) => Ok(this.decline_plugin(plugin)),
        }
    }

    fn ok(self, ok: &[u8]) -> Result<Step, ConnectError> {
        let Self { known: Known { greeting, agreed, agreed_mariadb, .. }, posture, .. } = self;
        match posture {
            Posture::Willing { .. } | Posture::AskedForKey => {
                Ok(Step::Done(Box::new(LoggedIn { greeting, agreed, agreed_mariadb, ok: ok.to_vec() })))
            }
            // Somebody is let in without a password; that was not the login that was asked for.
            Posture::UnlessSwitched { reason } | Posture::Declining { reason } => Err(reason),
        }
    }

    fn refused(self, refusal: ServerRefusal) -> ConnectError {
        match self.posture {
            Posture::Willing { .. } | Posture::AskedForKey => refusal.into(),
            Posture::UnlessSwitched { reason } | Posture::Declining { reason } => reason,
        }
    }

    fn switch(self, switch: AuthSwitchRequest<'_>) -> Result<Step, ConnectError> {
        if let Posture::Declining { .. } = self.posture {
            return Ok(self.send(decline_answer(switch.plugin)));
        }
        let Some(plugin) = AuthPlugin::from_name(switch.plugin) else {
            return Ok(self.decline_plugin(switch.plugin));
        };
        let Self { known, replies, .. } = self;
        let known = known.challenged(switch.data)?;
        let answer = known.options.credential.answer(plugin, &known.nonce);
        let this = Self { known, posture: Posture::Willing { plugin }, replies };
        Ok(match answer {
            Some(answer) => this.send(answer),
            None => this.decline(ConnectError::PasswordUnknown, decline_answer(switch.plugin).as_bytes()),
        })
    }

    fn more_data(self, AuthMoreData(data): AuthMoreData<'_>) -> Result<Step, ConnectError> {
        match (&self.posture, data) {
            (Posture::Declining { .. }, _) => Ok(self.send(AuthData::new(&[0]))),
            (Posture::Willing { plugin: AuthPlugin::CachingSha2 }, [FAST_AUTH_SUCCESS]) => {
                Ok(Step::Read { then: Box::new(self) })
            }
            (Posture::Willing { plugin: AuthPlugin::CachingSha2 }, [FULL_AUTHENTICATION]) => {
                Ok(self.full_authentication())
            }
            (Posture::AskedForKey, pem) => match RsaPublicKey::from_pem(pem) {
                Ok(key) => Ok(self.send_encrypted(&key)),
                Err(e) => Ok(self.decline(ConnectError::Rsa(e), &[0])),
            },
            _ => Err(ConnectError::Unexpected("authentication data")),
        }
    }

    /// The server wants the password itself.
    fn full_authentication(self) -> Step {
        let options = &self.known.options;
        let Some(password) = options.credential.password() else {
            return self.decline(ConnectError::PasswordUnknown, &[0]);
        };
        if self.known.is_secure {
            let mut password = password.to_vec();
            password.push(0);
            return self.send(AuthData::from(password));
        }
        match options.server_key.clone() {
            ServerKey::Pinned(key) => self.send_encrypted(&key),
            ServerKey::Ask => {
                Self { posture: Posture::AskedForKey, ..self }.send(AuthData::new(&[REQUEST_PUBLIC_KEY]))
            }
            ServerKey::Refuse => self.decline(ConnectError::InsecureTransport, &[0]),
        }
    }

    fn send_encrypted(self, key: &RsaPublicKey) -> Step {
        let Some(password) = self.known.options.credential.password() else {
            return self.decline(ConnectError::PasswordUnknown, &[0]);
        };
        match key.encrypt_password(password, &self.known.nonce) {
            Ok(ciphertext) => {
                let posture = Posture::Willing { plugin: AuthPlugin::CachingSha2 };
                Self { posture, ..self }.send(AuthData::from(ciphertext))
            }
            Err(e) => self.decline(ConnectError::Rsa(e), &[0]),
        }
    }

    fn decline_plugin(self, plugin: &[u8]) -> Step {
        let reason = ConnectError::UnsupportedPlugin(String::from_utf8_lossy(plugin).into_owned());
        self.decline(reason, decline_answer(plugin).as_bytes())
    }

    /// Gives a wrong answer; what was declined first stays the reason.
    fn decline(self, reason: ConnectError, answer: &[u8]) -> Step {
        let posture = match self.posture {
            Posture::Declining { reason } => Posture::Declining { reason },
            _ => Posture::Declining { reason },
        };
        Self { posture, ..self }.send(AuthData::new(answer))
    }

    fn send(self, payload: AuthData) -> Step {
        Step::Send { payload, then: Box::new(self) }
    }
}

/// An answer that the plugin's server half takes for a wrong or an empty password, not for a broken packet.
pub(super) fn decline_answer(plugin: &[u8]) -> AuthData {
    match plugin {
        b"mysql_native_password" => AuthData::default(),
        // A signature, of the wrong key.
        b"client_ed25519" => AuthData::new(&[0; 64]),
        _ => AuthData::new(&[0]),
    }
}
