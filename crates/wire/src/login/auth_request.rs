//! What a server says between a login and its OK or ERR.

use crate::response::{ERR, ErrPacket, OK};
use crate::{Malformed, Reader, Writer};

/// First byte of an AuthSwitchRequest.
const AUTH_SWITCH: u8 = 0xFE;

/// First byte of AuthMoreData.
const AUTH_MORE_DATA: u8 = 0x01;

/// First byte of AuthNextFactor.
const AUTH_NEXT_FACTOR: u8 = 0x02;

/// "Answer with this plugin, and to this challenge, instead."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSwitchRequest<'a> {
    /// The plugin.
    pub plugin: &'a [u8],
    /// Its challenge, as on the wire: mostly 20 bytes and a NUL.
    pub data: &'a [u8],
}

/// The switch to the authentication of MySQL 4.0: a lone 0xFE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldAuthSwitch;

/// Data of the plugin that is being spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMoreData<'a>(
    /// What the plugin says.
    pub &'a [u8],
);

/// A packet of a server that has seen a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAuthPacket<'a> {
    /// Logged in; the whole payload, to be read with the connection's flags.
    Ok(&'a [u8]),
    /// Refused.
    Err(ErrPacket<'a>),
    /// Another plugin is wanted.
    Switch(AuthSwitchRequest<'a>),
    /// The oldest plugin is wanted.
    OldSwitch(OldAuthSwitch),
    /// The plugin goes on.
    MoreData(AuthMoreData<'a>),
    /// A second factor is wanted, by the plugin of this name.
    NextFactor(&'a [u8]),
}

impl<'a> ServerAuthPacket<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is none of these, or is cut.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        match r.u8("authentication packet")? {
            OK => Ok(Self::Ok(payload)),
            ERR => ErrPacket::parse(payload).map(Self::Err),
            AUTH_SWITCH if r.is_empty() => Ok(Self::OldSwitch(OldAuthSwitch)),
            AUTH_SWITCH => {
                let plugin = r.nul_bytes("plugin name")?;
                Ok(Self::Switch(AuthSwitchRequest { plugin, data: r.rest() }))
            }
            AUTH_MORE_DATA => Ok(Self::MoreData(AuthMoreData(r.rest()))),
            AUTH_NEXT_FACTOR => r.nul_bytes("plugin name").map(Self::NextFactor),
            _ => Err(Malformed { what: "OK, ERR or an authentication request", at: 0 }),
        }
    }
}

impl AuthSwitchRequest<'_> {
    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(AUTH_SWITCH).nul_bytes(self.plugin).bytes(self.data);
    }
}

impl AuthMoreData<'_> {
    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(AUTH_MORE_DATA).bytes(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_packet_of_a_server_by_its_first_byte() {
        let switch = AuthSwitchRequest { plugin: b"mysql_native_password", data: b"abcdefghijklmnopqrst\0" };
        let mut bytes = Vec::new();
        switch.write(&mut Writer::new(&mut bytes));
        assert_eq!(bytes, b"\xFEmysql_native_password\0abcdefghijklmnopqrst\0");
        assert_eq!(ServerAuthPacket::parse(&bytes), Ok(ServerAuthPacket::Switch(switch)));

        let mut bytes = Vec::new();
        AuthMoreData(&[4]).write(&mut Writer::new(&mut bytes));
        assert_eq!(bytes, [1, 4]);
        assert_eq!(ServerAuthPacket::parse(&bytes), Ok(ServerAuthPacket::MoreData(AuthMoreData(&[4]))));

        assert_eq!(ServerAuthPacket::parse(&[0xFE]), Ok(ServerAuthPacket::OldSwitch(OldAuthSwitch)));
        assert_eq!(ServerAuthPacket::parse(&[0, 0, 0]), Ok(ServerAuthPacket::Ok(&[0, 0, 0])));
        assert_eq!(
            ServerAuthPacket::parse(b"\x02webauthn\0x"),
            Ok(ServerAuthPacket::NextFactor(b"webauthn"))
        );
        assert!(matches!(ServerAuthPacket::parse(b"\xFF\x15\x04#28000no"), Ok(ServerAuthPacket::Err(_))));
    }

    #[test]
    fn rejects_cut_and_unknown_packets() {
        for bytes in [&b""[..], b"\xFEmysql_native", b"\x02webauthn", b"\xFF\x15", b"\x03", b"\xFB"] {
            assert!(ServerAuthPacket::parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
