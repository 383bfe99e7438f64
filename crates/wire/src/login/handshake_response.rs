//! SSLRequest and HandshakeResponse41: how a client begins a login.
//!
//! Source: "Protocol::HandshakeResponse41" in the server's protocol documentation, and where that and the servers
//! differ, what MySQL 9.7 does (`parse_client_handshake_packet`).

use super::{Attributes, AuthData};
use crate::capability::Capabilities;
use crate::compress::DEFAULT_ZSTD_LEVEL;
use crate::greeting::MariaDbCapabilities;
use crate::{Malformed, Reader, Writer};

/// Bytes before the user name; an SSLRequest is nothing but these.
const FIXED_LEN: usize = 32;

/// Old Connector/J asks for TLS with its capabilities alone.
const SHORT_SSL_REQUEST_LEN: usize = 4;

/// The request to go on over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SslRequest {
    /// What the client wants, SSL among it.
    pub capabilities: Capabilities,
    /// MariaDB's further capabilities.
    pub mariadb: MariaDbCapabilities,
    /// The longest packet that the client takes, in bytes.
    pub max_packet_size: u32,
    /// Collation id.
    pub collation: u8,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse41 {
    /// What the client wants; what was not offered counts for nothing.
    pub capabilities: Capabilities,
    /// MariaDB's further capabilities; empty unless `LONG_PASSWORD` is clear.
    pub mariadb: MariaDbCapabilities,
    /// The longest packet that the client takes, in bytes.
    pub max_packet_size: u32,
    /// Collation id. Only one byte has room here: a client with a larger id says SET NAMES afterwards.
    pub collation: u8,
    /// User name.
    pub user: Vec<u8>,
    /// Answer to the greeting's challenge, by [`Self::plugin`].
    pub auth_response: AuthData,
    /// Default database, if the client names one that is not empty.
    pub database: Option<Vec<u8>>,
    /// The plugin that made the answer; `None` from a client that knows no plugins.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes.
    pub attributes: Attributes,
    /// The level wanted for zstd compression.
    pub zstd_level: Option<u8>,
}

/// What a client may send first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstClientPacket {
    /// It wants TLS before it says more.
    SslRequest(SslRequest),
    /// It logs in.
    Login(Box<HandshakeResponse41>),
    /// It speaks the protocol of MySQL 3.20 to 4.0, which nothing serves any more.
    OldProtocol,
}

impl FirstClientPacket {
    /// Reads the first payload of a client that has not begun TLS. As at the server, everything that asks for TLS
    /// is an SSLRequest, whatever follows its first bytes.
    ///
    /// # Errors
    /// It is cut, or its strings are.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let low = Capabilities::from_bits_retain(u32::from(r.clone().u16("capabilities")?));
        if low.contains(Capabilities::SSL) && payload.len() == SHORT_SSL_REQUEST_LEN {
            let capabilities = Capabilities::from_bits_retain(r.u32("capabilities")?);
            return Ok(Self::SslRequest(SslRequest {
                capabilities,
                mariadb: MariaDbCapabilities::empty(),
                max_packet_size: 0,
                collation: 0,
            }));
        }
        if !low.contains(Capabilities::PROTOCOL_41) {
            return Ok(Self::OldProtocol);
        }
        if low.contains(Capabilities::SSL) {
            return SslRequest::parse(&mut r).map(Self::SslRequest);
        }
        HandshakeResponse41::parse(payload).map(|login| Self::Login(Box::new(login)))
    }
}

impl SslRequest {
    fn parse(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let capabilities = Capabilities::from_bits_retain(r.u32("capabilities")?);
        let max_packet_size = r.u32("longest packet")?;
        let collation = r.u8("collation")?;
        r.bytes(19, "filler")?;
        let extended = MariaDbCapabilities::from_bits_retain(r.u32("extended capabilities")?);
        let is_extended = !capabilities.contains(Capabilities::LONG_PASSWORD);
        let mariadb = if is_extended { extended } else { MariaDbCapabilities::empty() };
        Ok(Self { capabilities, mariadb, max_packet_size, collation })
    }

    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.capabilities.bits()).u32(self.max_packet_size).u8(self.collation);
        w.zeros(19).u32(self.mariadb.bits());
    }
}

impl HandshakeResponse41 {
    /// Reads the payload of a login; over TLS this is the second packet.
    ///
    /// # Errors
    /// It is cut, its strings are, or it is of the old protocol.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let SslRequest { capabilities, mariadb, max_packet_size, collation } = SslRequest::parse(&mut r)?;
        if !capabilities.contains(Capabilities::PROTOCOL_41) {
            return Err(Malformed { what: "protocol 4.1", at: 0 });
        }
        debug_assert_eq!(r.position(), FIXED_LEN);
        let user = r.nul_bytes("user name")?.to_vec();
        // The documentation has a NUL-terminated answer for clients without SECURE_CONNECTION; servers read a
        // length all the same.
        let auth_response = match capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC) {
            true => r.lenenc_bytes("authentication answer")?,
            false => {
                let len = r.u8("length of authentication answer")?;
                r.bytes(usize::from(len), "authentication answer")?
            }
        };
        let auth_response = AuthData::new(auth_response);
        let database = match capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            true => Some(r.nul_bytes("database")?).filter(|d| !d.is_empty()).map(<[u8]>::to_vec),
            false => None,
        };
        let plugin = match capabilities.contains(Capabilities::PLUGIN_AUTH) {
            true => Some(plugin_name(&mut r)),
            false => None,
        };
        let attributes = match capabilities.contains(Capabilities::CONNECT_ATTRS) {
            true => Attributes::parse(&mut r)?,
            false => Attributes::new(),
        };
        let zstd_level = match capabilities.contains(Capabilities::ZSTD) && !r.is_empty() {
            true => Some(r.u8("zstd level")?),
            false => None,
        };
        Ok(Self {
            capabilities,
            mariadb,
            max_packet_size,
            collation,
            user,
            auth_response,
            database,
            plugin,
            attributes,
            zstd_level,
        })
    }

    /// Writes the payload. Which fields are written is decided by `capabilities`. An answer of more than 255 bytes
    /// needs `PLUGIN_AUTH_LENENC`; without, it is cut.
    pub fn write(&self, w: &mut Writer<'_>) {
        let Self { capabilities, mariadb, max_packet_size, collation, .. } = *self;
        SslRequest { capabilities, mariadb, max_packet_size, collation }.write(w);
        w.nul_bytes(&self.user);
        let answer = self.auth_response.as_bytes();
        if capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC) {
            w.lenenc_bytes(answer);
        } else {
            let answer = answer.get(..usize::from(u8::MAX)).unwrap_or(answer);
            w.u8(u8::try_from(answer.len()).unwrap_or(u8::MAX)).bytes(answer);
        }
        if capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            w.nul_bytes(self.database.as_deref().unwrap_or_default());
        }
        if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            w.nul_bytes(self.plugin.as_deref().unwrap_or_default());
        }
        if capabilities.contains(Capabilities::CONNECT_ATTRS) {
            self.attributes.write(w);
        }
        if capabilities.contains(Capabilities::ZSTD) {
            w.u8(self.zstd_level.unwrap_or(DEFAULT_ZSTD_LEVEL));
        }
    }
}

/// A plugin's name. Clients that send nothing after it may leave out its NUL, as MySQL allows.
pub(super) fn plugin_name(r: &mut Reader<'_>) -> Vec<u8> {
    let terminated = r.nul_bytes("plugin name").map(<[u8]>::to_vec);
    terminated.unwrap_or_else(|_| r.rest().to_vec())
}
