//! HandshakeV10: the packet with which a server greets.
//!
//! Source: "Protocol::HandshakeV10" in MySQL's protocol documentation, "Connection" in MariaDB's.

use bitflags::bitflags;

use crate::auth::Nonce;
use crate::capability::{Capabilities, Status};
use crate::response::{ERR, ErrPacket};
use crate::{Malformed, Reader, Writer};

/// The only protocol version that is spoken.
const PROTOCOL_VERSION: u8 = 10;

/// The first part of the authentication data is always this long.
const FIRST_PART_LEN: usize = 8;

bitflags! {
    /// MariaDB's capabilities beyond 32 bits. They count only where [`Capabilities::LONG_PASSWORD`] is not set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MariaDbCapabilities: u32 {
        /// Progress reports in ERR packets of number 0xFFFF.
        const PROGRESS = 1;
        /// COM_MULTI, withdrawn.
        const COM_MULTI = 1 << 1;
        /// COM_STMT_BULK_EXECUTE.
        const STMT_BULK_OPERATIONS = 1 << 2;
        /// Extended type and format of columns.
        const EXTENDED_METADATA = 1 << 3;
        /// COM_STMT_EXECUTE may leave out metadata that did not change.
        const CACHE_METADATA = 1 << 4;
        /// One result a row of a bulk execution.
        const BULK_UNIT_RESULTS = 1 << 5;
    }
}

/// What a server says of itself before anybody has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Version as on the wire, with MariaDB's `5.5.5-`: see [`crate::server_version::ServerVersion`].
    pub version: Vec<u8>,
    /// The server's id of this connection.
    pub connection_id: u32,
    /// The challenge, without the NUL that ends it: 20 bytes for the plugins that Weir speaks.
    pub auth_data: Vec<u8>,
    /// What the server offers.
    pub capabilities: Capabilities,
    /// What MariaDB offers beyond that; empty unless `LONG_PASSWORD` is clear.
    pub mariadb: MariaDbCapabilities,
    /// The server's default collation; ids above 255 are cut to their low byte by the servers.
    pub collation: u8,
    /// Status.
    pub status: Status,
    /// The default authentication plugin; empty where the server names none.
    pub plugin: Vec<u8>,
}

/// What a server may send first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstServerPacket<'a> {
    /// It greets.
    Greeting(Greeting),
    /// It refuses: too many connections (1040), host blocked (1129), not allowed from here (1130).
    Refusal(ErrPacket<'a>),
}

impl Greeting {
    /// The nonce, where it has the form that the plugins need.
    #[must_use]
    pub fn nonce(&self) -> Option<Nonce> {
        Nonce::from_wire(&self.auth_data)
    }

    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        let [low0, low1, high0, high1] = self.capabilities.bits().to_le_bytes();
        let mut auth_data = self.auth_data.clone();
        auth_data.push(0);
        auth_data.resize(auth_data.len().max(FIRST_PART_LEN + 13), 0);
        let (first, second) = auth_data.split_at(FIRST_PART_LEN);
        let named_len =
            if self.capabilities.contains(Capabilities::PLUGIN_AUTH) { auth_data.len() } else { 0 };

        w.u8(PROTOCOL_VERSION).nul_bytes(&self.version).u32(self.connection_id);
        w.bytes(first).u8(0);
        w.bytes(&[low0, low1]).u8(self.collation).u16(self.status.bits()).bytes(&[high0, high1]);
        w.u8(u8::try_from(named_len).unwrap_or(u8::MAX));
        w.zeros(6).u32(self.mariadb.bits());
        w.bytes(second);
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            w.nul_bytes(&self.plugin);
        }
    }

    /// Reads the payload of a greeting.
    ///
    /// # Errors
    /// It is cut, or of another protocol version.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        if r.u8("protocol version")? != PROTOCOL_VERSION {
            return Err(Malformed { what: "protocol version 10", at: 0 });
        }
        let version = r.nul_bytes("server version")?.to_vec();
        let connection_id = r.u32("connection id")?;
        let mut auth_data = r.bytes(FIRST_PART_LEN, "authentication data")?.to_vec();
        r.u8("filler")?;
        let [low0, low1] = r.array("capabilities")?;
        let collation = r.u8("collation")?;
        let status = Status::from_bits_retain(r.u16("status")?);
        let [high0, high1] = r.array("upper capabilities")?;
        let capabilities = Capabilities::from_bits_retain(u32::from_le_bytes([low0, low1, high0, high1]));
        let named_len = usize::from(r.u8("length of authentication data")?);
        r.bytes(6, "filler")?;
        let extended = MariaDbCapabilities::from_bits_retain(r.u32("extended capabilities")?);
        let is_extended = !capabilities.contains(Capabilities::LONG_PASSWORD);

        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            // At least 13 bytes, whatever the length says; it says nothing where there are no plugins. The last is a
            // NUL that is not part of the data.
            let has_plugins = capabilities.contains(Capabilities::PLUGIN_AUTH);
            let named_len = if has_plugins { named_len } else { 0 };
            let second_len = named_len.saturating_sub(FIRST_PART_LEN).max(13);
            let second = r.bytes(second_len, "authentication data, second part")?;
            auth_data.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        }
        // MySQL 5.5.7 to 5.5.9 forgot the NUL after the plugin's name (bug 59453).
        let plugin = match capabilities.contains(Capabilities::PLUGIN_AUTH) {
            true => r.rest().split(|b| *b == 0).next().unwrap_or_default().to_vec(),
            false => Vec::new(),
        };
        let mariadb = if is_extended { extended } else { MariaDbCapabilities::empty() };
        Ok(Self { version, connection_id, auth_data, capabilities, mariadb, collation, status, plugin })
    }
}

impl<'a> FirstServerPacket<'a> {
    /// Reads the first payload of a server.
    ///
    /// # Errors
    /// It is neither a greeting nor an ERR, or is cut.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        match payload.first() {
            Some(&ERR) => ErrPacket::parse(payload).map(Self::Refusal),
            _ => Greeting::parse(payload).map(Self::Greeting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting {
            version: b"9.7.4".to_vec(),
            connection_id: 0x0403_0201,
            auth_data: b"abcdefghijklmnopqrst".to_vec(),
            capabilities: Capabilities::from_bits_retain(0xDFFF_FFFF),
            mariadb: MariaDbCapabilities::empty(),
            collation: 255,
            status: Status::AUTOCOMMIT,
            plugin: b"caching_sha2_password".to_vec(),
        }
    }

    fn written(greeting: &Greeting) -> Vec<u8> {
        let mut out = Vec::new();
        greeting.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn the_bytes_are_those_of_a_mysql_server() {
        let mut expected = b"\x0A9.7.4\0\x01\x02\x03\x04abcdefgh\0\xFF\xFF\xFF\x02\0\xFF\xDF\x15".to_vec();
        expected.extend_from_slice(&[0; 10]);
        expected.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        assert_eq!(written(&greeting()), expected);
        assert_eq!(Greeting::parse(&expected), Ok(greeting()));
    }

    #[test]
    fn mariadb_extended_capabilities_count_only_without_long_password() {
        let mut mariadb = greeting();
        mariadb.mariadb = MariaDbCapabilities::EXTENDED_METADATA | MariaDbCapabilities::CACHE_METADATA;
        mariadb.capabilities.remove(Capabilities::LONG_PASSWORD);
        assert_eq!(Greeting::parse(&written(&mariadb)), Ok(mariadb.clone()));
        mariadb.capabilities.insert(Capabilities::LONG_PASSWORD);
        assert_eq!(Greeting::parse(&written(&mariadb)).unwrap().mariadb, MariaDbCapabilities::empty());
    }

    #[test]
    fn a_server_without_plugins_is_read() {
        let mut old = greeting();
        old.capabilities.remove(Capabilities::PLUGIN_AUTH);
        old.plugin.clear();
        let bytes = written(&old);
        assert!(bytes.ends_with(b"ijklmnopqrst\0"));
        assert_eq!(Greeting::parse(&bytes), Ok(old.clone()));
        assert!(
            Greeting::parse(&bytes[..bytes.len() - 1]).is_err(),
            "the NUL after the challenge is part of it"
        );
        let mut with_length = [bytes, vec![0; 200]].concat();
        assert_eq!(with_length[27], 0);
        with_length[27] = 200;
        assert_eq!(Greeting::parse(&with_length), Ok(old), "the length says nothing without plugins");
    }

    #[test]
    fn a_plugin_name_without_nul_is_read() {
        let bytes = written(&greeting());
        assert_eq!(Greeting::parse(&bytes[..bytes.len() - 1]), Ok(greeting()));
    }

    #[test]
    fn longer_authentication_data_is_read_whole() {
        let mut other = greeting();
        other.auth_data = b"0123456789abcdefghijklmnopqrstuv".to_vec();
        other.plugin = b"client_ed25519".to_vec();
        assert_eq!(Greeting::parse(&written(&other)), Ok(other.clone()));
        assert_eq!(other.nonce(), None);
        assert_eq!(greeting().nonce().map(|n| *n.as_bytes()), Some(*b"abcdefghijklmnopqrst"));
    }

    #[test]
    fn rejects_a_greeting_cut_before_its_plugin() {
        let bytes = written(&greeting());
        let plugin_at = bytes.len() - b"caching_sha2_password\0".len();
        for cut in 0..plugin_at {
            assert!(FirstServerPacket::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn refusals_before_login_are_read_in_both_forms() {
        for (bytes, number, message) in [
            (&b"\xFF\x10\x04Too many connections"[..], 1040, &b"Too many connections"[..]),
            (b"\xFF\x10\x04#08004Too many connections", 1040, b"Too many connections"),
            (b"\xFF\x69\x04Host '10.0.0.1' is blocked", 1129, b"Host '10.0.0.1' is blocked"),
        ] {
            let Ok(FirstServerPacket::Refusal(err)) = FirstServerPacket::parse(bytes) else {
                panic!("not read as a refusal: {bytes:?}");
            };
            assert_eq!((err.code.number, err.message), (number, message));
        }
        assert!(FirstServerPacket::parse(b"\xFF\x10").is_err());
        assert!(FirstServerPacket::parse(b"").is_err());
    }

    #[test]
    fn rejects_other_protocol_versions() {
        for version in (0..=u8::MAX).filter(|v| *v != PROTOCOL_VERSION && *v != ERR) {
            let mut bytes = written(&greeting());
            bytes[0] = version;
            assert!(FirstServerPacket::parse(&bytes).is_err(), "{version}");
        }
    }
}
