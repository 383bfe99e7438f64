//! COM_CHANGE_USER: a login on a connection that has one already.

use super::handshake_response::plugin_name;
use super::{Attributes, AuthData};
use crate::capability::Capabilities;
use crate::command::com;
use crate::{Malformed, Reader, Writer};

/// The body of a COM_CHANGE_USER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeUser {
    /// User name.
    pub user: Vec<u8>,
    /// Answer to the last challenge of this connection, by [`Self::plugin`].
    pub auth_response: AuthData,
    /// Default database, if the client names one that is not empty.
    pub database: Option<Vec<u8>>,
    /// Collation id; here with room for two bytes. `None` keeps the server's default.
    pub collation: Option<u16>,
    /// The plugin that made the answer; `None` from a client that knows no plugins.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes.
    pub attributes: Attributes,
}

impl ChangeUser {
    /// Reads what follows the command byte; `capabilities` are those of the connection.
    ///
    /// # Errors
    /// It is cut, or its strings are. Servers answer this with 1047.
    pub fn parse(body: &[u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let user = r.nul_bytes("user name")?.to_vec();
        let len = r.u8("length of authentication answer")?;
        let auth_response = AuthData::new(r.bytes(usize::from(len), "authentication answer")?);
        let database = Some(r.nul_bytes("database")?).filter(|d| !d.is_empty()).map(<[u8]>::to_vec);
        let mut change = Self { user, auth_response, database, ..Self::default() };
        // What follows is there or not: clients of MySQL 5.0 end here.
        if r.is_empty() {
            return Ok(change);
        }
        change.collation = Some(r.u16("collation")?);
        if capabilities.contains(Capabilities::PLUGIN_AUTH) && !r.is_empty() {
            change.plugin = Some(plugin_name(&mut r));
        }
        if capabilities.contains(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
            change.attributes = Attributes::parse(&mut r)?;
        }
        Ok(change)
    }

    /// Writes the payload with its command byte; which fields are written is decided by `capabilities`.
    /// An answer of more than 255 bytes is cut.
    pub fn write(&self, capabilities: Capabilities, w: &mut Writer<'_>) {
        let answer = self.auth_response.as_bytes();
        let answer = answer.get(..usize::from(u8::MAX)).unwrap_or(answer);
        w.u8(com::CHANGE_USER).nul_bytes(&self.user);
        w.u8(u8::try_from(answer.len()).unwrap_or(u8::MAX)).bytes(answer);
        w.nul_bytes(self.database.as_deref().unwrap_or_default());
        let Some(collation) = self.collation else { return };
        w.u16(collation);
        if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            w.nul_bytes(self.plugin.as_deref().unwrap_or_default());
        }
        if capabilities.contains(Capabilities::CONNECT_ATTRS) {
            self.attributes.write(w);
        }
    }
}
