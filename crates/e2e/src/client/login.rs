//! Logins: with any capabilities, by any plugin, on any path.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use weir_wire::auth::rsa::RsaPublicKey;
use weir_wire::auth::{AuthPlugin, Nonce, caching_sha2, native};
use weir_wire::capability::Capabilities;
use weir_wire::compress::{Algorithm, DEFAULT_ZSTD_LEVEL};
use weir_wire::greeting::{FirstServerPacket, MariaDbCapabilities};
use weir_wire::login::{
    Attributes, AuthData, AuthMoreData, ChangeUser, HandshakeResponse41, ServerAuthPacket, SslRequest,
};
use weir_wire::{Writer, write_packet};

use super::{Answer, Client, Expect, Failure, Packet, Transport, answer};

/// Long enough for a busy machine, short enough to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_PACKET: u32 = 1 << 30;
const FAST_AUTH_SUCCESS: u8 = 3;
const FULL_AUTHENTICATION: u8 = 4;
const REQUEST_PUBLIC_KEY: u8 = 2;
/// Packets between a login and its end; the longest way has five.
const MOST_REPLIES: usize = 8;

/// What today's drivers ask for, but for what tests switch on and off.
#[must_use]
pub fn modern() -> Capabilities {
    Capabilities::LONG_PASSWORD
        | Capabilities::LONG_FLAG
        | Capabilities::PROTOCOL_41
        | Capabilities::TRANSACTIONS
        | Capabilities::SECURE_CONNECTION
        | Capabilities::MULTI_RESULTS
        | Capabilities::PS_MULTI_RESULTS
        | Capabilities::PLUGIN_AUTH
        | Capabilities::PLUGIN_AUTH_LENENC
        | Capabilities::SESSION_TRACK
        | Capabilities::DEPRECATE_EOF
}

/// How a password was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No password was asked for.
    None,
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`, known from before.
    FastPath,
    /// `caching_sha2_password`, sent as it is over TLS or a Unix socket.
    FullSecure,
    /// `caching_sha2_password`, encrypted with the server's key.
    FullRsa,
}

/// What a client does about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Off,
    /// Any certificate will do.
    Encrypted,
    /// The certificate must be of this authority (PEM) and name 127.0.0.1.
    Verified(PathBuf),
}

/// How to log in. `Login::new`, then change what differs.
#[derive(Clone, Debug)]
pub struct Login {
    /// User name.
    pub user: Vec<u8>,
    /// Password.
    pub password: Vec<u8>,
    /// Default database.
    pub database: Option<Vec<u8>>,
    /// What is asked for; the server's own capabilities limit it.
    pub capabilities: Capabilities,
    /// What is asked for of MariaDB's further capabilities.
    pub mariadb: MariaDbCapabilities,
    /// Collation id.
    pub collation: u8,
    /// Connection attributes.
    pub attributes: Vec<(String, String)>,
    /// The plugin to begin with; the server's default if `None`.
    pub plugin: Option<AuthPlugin>,
    /// TLS.
    pub tls: Tls,
    /// Sent before anything else, as a PROXY header is.
    pub preamble: Vec<u8>,
    /// How long any read or write may take.
    pub patience: Duration,
}

impl Login {
    /// A modern client without TLS, in utf8mb4.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Login {
        Login {
            user: user.into(),
            password: password.into(),
            database: None,
            capabilities: modern(),
            mariadb: MariaDbCapabilities::empty(),
            collation: 45,
            attributes: Vec::new(),
            plugin: None,
            tls: Tls::Off,
            preamble: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// The same with a default database.
    #[must_use]
    pub fn database(mut self, database: &str) -> Login {
        self.database = Some(database.into());
        self
    }

    /// The same with further capabilities.
    #[must_use]
    pub fn with(mut self, capabilities: Capabilities) -> Login {
        self.capabilities |= capabilities;
        self
    }

    /// The same without some capabilities.
    #[must_use]
    pub fn without(mut self, capabilities: Capabilities) -> Login {
        self.capabilities -= capabilities;
        self
    }

    /// The same with another collation id.
    #[must_use]
    pub fn collation(mut self, id: u8) -> Login {
        self.collation = id;
        self
    }

    /// The same over TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Login {
        self.tls = tls;
        self
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, value) in &self.attributes {
            attributes.push(name.as_bytes(), value.as_bytes());
        }
        attributes
    }
}

/// The part of a login in which packets are exchanged until OK or ERR.
struct Exchange<'t> {
    transport: &'t mut Transport,
    password: &'t [u8],
    plugin: Vec<u8>,
    challenge: Vec<u8>,
    proof: Proof,
    packets: Vec<Packet>,
}

impl Exchange<'_> {
    fn read(&mut self) -> Result<Packet, Failure> {
        let packet = Packet::read(self.transport)?;
        self.packets.push(packet.clone());
        match answer::error_in(&packet) {
            Some(error) => Err(error.into()),
            None => Ok(packet),
        }
    }

    fn reply(&mut self, to: &Packet, payload: &[u8]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, to.next_sequence(), payload);
        self.transport.write_all(&bytes)?;
        Ok(self.transport.flush()?)
    }

    /// Goes on until the server says OK; gives that packet.
    fn run(&mut self) -> Result<Packet, Failure> {
        for _ in 0..MOST_REPLIES {
            let packet = self.read()?;
            match ServerAuthPacket::parse(&packet.payload)? {
                ServerAuthPacket::Ok(_) => return Ok(packet),
                ServerAuthPacket::Switch(switch) => {
                    self.plugin = switch.plugin.to_vec();
                    self.challenge = challenge_of(switch.data);
                    let scramble = scramble(&self.plugin, self.password, &self.challenge)?;
                    self.note_plugin();
                    self.reply(&packet, &scramble)?;
                }
                ServerAuthPacket::MoreData(AuthMoreData([FAST_AUTH_SUCCESS])) => self.proof = Proof::FastPath,
                ServerAuthPacket::MoreData(AuthMoreData([FULL_AUTHENTICATION])) => self.full(&packet)?,
                other => return Err(Failure::Login(format!("no way on after {other:?}"))),
            }
        }
        Err(Failure::Login("the login goes on and on".to_owned()))
    }

    fn note_plugin(&mut self) {
        self.proof = match AuthPlugin::from_name(&self.plugin) {
            Some(AuthPlugin::Native) if !self.password.is_empty() => Proof::Native,
            _ => Proof::None,
        };
    }

    fn full(&mut self, asked: &Packet) -> Result<(), Failure> {
        if self.transport.is_secure() {
            self.proof = Proof::FullSecure;
            return self.reply(asked, &[self.password, &[0]].concat());
        }
        self.proof = Proof::FullRsa;
        self.reply(asked, &[REQUEST_PUBLIC_KEY])?;
        let key = self.read()?;
        let ServerAuthPacket::MoreData(AuthMoreData(pem)) = ServerAuthPacket::parse(&key.payload)? else {
            return Err(Failure::Login("no key came".to_owned()));
        };
        let broken = |error| Failure::Login(format!("the server's key: {error}"));
        let public = RsaPublicKey::from_pem(pem).map_err(broken)?;
        let nonce = nonce_of(&self.challenge)?;
        let encrypted = public.encrypt_password(self.password, &nonce).map_err(broken)?;
        self.reply(&key, &encrypted)
    }
}

/// The challenge on the wire ends with a NUL that is not part of it.
fn challenge_of(data: &[u8]) -> Vec<u8> {
    data.strip_suffix(&[0]).unwrap_or(data).to_vec()
}

fn nonce_of(challenge: &[u8]) -> Result<Nonce, Failure> {
    Nonce::from_wire(challenge).ok_or_else(|| Failure::Login("the challenge has not 20 bytes".to_owned()))
}

fn scramble(plugin: &[u8], password: &[u8], challenge: &[u8]) -> Result<Vec<u8>, Failure> {
    let nonce = nonce_of(challenge)?;
    Ok(match AuthPlugin::from_name(plugin) {
        Some(AuthPlugin::Native) => native::scramble(password, &nonce).map(Vec::from).unwrap_or_default(),
        Some(AuthPlugin::CachingSha2) if password.is_empty() => Vec::new(),
        Some(AuthPlugin::CachingSha2) => {
            caching_sha2::scramble(password, &nonce).map(Vec::from).unwrap_or_default()
        }
        None => return Err(Failure::Login(format!("plugin {}", plugin.escape_ascii()))),
    })
}

pub(super) fn log_in(mut transport: Transport, login: &Login) -> Result<Client, Failure> {
    let first = Packet::read(&mut transport)?;
    let greeting = match FirstServerPacket::parse(&first.payload)? {
        FirstServerPacket::Greeting(greeting) => greeting,
        FirstServerPacket::Refusal(_) => {
            return Err(match answer::error_in(&first) {
                Some(error) => error.into(),
                None => Failure::Login("a refusal that is no ERR".to_owned()),
            });
        }
    };
    let mut wanted = login.capabilities;
    wanted.set(Capabilities::CONNECT_WITH_DB, login.database.is_some());
    wanted.set(Capabilities::CONNECT_ATTRS, !login.attributes.is_empty());
    wanted.set(Capabilities::SSL, login.tls != Tls::Off);
    let mut agreed = wanted & greeting.capabilities;
    // MariaDB clears this bit to tell its extended capabilities, and so does who asks for some of them
    let mariadb = login.mariadb & greeting.mariadb;
    let long_password = wanted.contains(Capabilities::LONG_PASSWORD) && mariadb.is_empty();
    agreed.set(Capabilities::LONG_PASSWORD, long_password);
    let mut sequence = first.next_sequence();
    if login.tls != Tls::Off {
        if !greeting.capabilities.contains(Capabilities::SSL) {
            return Err(Failure::Login("the server offers no TLS".to_owned()));
        }
        let request = SslRequest {
            capabilities: agreed,
            mariadb,
            max_packet_size: MAX_PACKET,
            collation: login.collation,
        };
        let mut payload = Vec::new();
        request.write(&mut Writer::new(&mut payload));
        let mut bytes = Vec::new();
        sequence = write_packet(&mut bytes, sequence, &payload);
        transport.write_all(&bytes)?;
        transport = match &login.tls {
            Tls::Verified(authority) => transport.with_tls(Some(authority))?,
            Tls::Encrypted | Tls::Off => transport.with_tls(None)?,
        };
    }
    let plugin = match login.plugin {
        Some(plugin) => plugin.name().as_bytes().to_vec(),
        None => greeting.plugin.clone(),
    };
    let challenge = greeting.auth_data.clone();
    let response = HandshakeResponse41 {
        capabilities: agreed,
        mariadb,
        max_packet_size: MAX_PACKET,
        collation: login.collation,
        user: login.user.clone(),
        auth_response: AuthData::from(scramble(&plugin, &login.password, &challenge)?),
        database: login.database.clone(),
        plugin: Some(plugin.clone()),
        attributes: login.attributes(),
        zstd_level: None,
    };
    let mut payload = Vec::new();
    response.write(&mut Writer::new(&mut payload));
    let mut bytes = Vec::new();
    write_packet(&mut bytes, sequence, &payload);
    transport.write_all(&bytes)?;
    transport.flush()?;
    let mut exchange = Exchange {
        transport: &mut transport,
        password: &login.password,
        plugin,
        challenge,
        proof: Proof::None,
        packets: vec![first],
    };
    exchange.note_plugin();
    exchange.run()?;
    let Exchange { plugin, challenge, proof, packets, .. } = exchange;
    // who asks for both gets zlib
    let algorithm = match agreed {
        both if both.contains(Capabilities::COMPRESS) => Some(Algorithm::Zlib),
        zstd if zstd.contains(Capabilities::ZSTD) => Some(Algorithm::Zstd { level: DEFAULT_ZSTD_LEVEL }),
        _ => None,
    };
    let transport = match algorithm {
        Some(algorithm) => transport.compressed(algorithm),
        None => transport,
    };
    Ok(Client { transport, greeting, capabilities: agreed, proof, login_packets: packets, challenge, plugin })
}

pub(super) fn change_user(client: &mut Client, login: &Login) -> Result<Answer, Failure> {
    let plugin = match login.plugin {
        Some(plugin) => plugin.name().as_bytes().to_vec(),
        None => client.plugin.clone(),
    };
    let change = ChangeUser {
        user: login.user.clone(),
        auth_response: AuthData::from(scramble(&plugin, &login.password, &client.challenge)?),
        database: login.database.clone(),
        collation: Some(u16::from(login.collation)),
        plugin: Some(plugin.clone()),
        attributes: login.attributes(),
    };
    let mut payload = Vec::new();
    change.write(client.capabilities, &mut Writer::new(&mut payload));
    client.send(&payload)?;
    let flags = client.flags();
    let mut exchange = Exchange {
        transport: &mut client.transport,
        password: &login.password,
        plugin,
        challenge: client.challenge.clone(),
        proof: Proof::None,
        packets: Vec::new(),
    };
    exchange.note_plugin();
    let last = exchange.run()?;
    let Exchange { plugin, challenge, proof, .. } = exchange;
    (client.plugin, client.challenge, client.proof) = (plugin, challenge, proof);
    Ok(Answer::of(vec![last], flags, Expect::One))
}
