//! Logins of a namespace.

use weir_wire::auth::{AuthPlugin, Verifier};

use crate::choice;

/// A login: the pair (name, password) decides the namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// User name, case-sensitive, at most 32 characters.
    pub name: String,
    /// What proves the password; its debug output is redacted.
    pub password: Verifier,
    /// The plugin that this user logs in with; one for all entries of a user name.
    pub plugin: Plugin,
    /// May the user write?
    pub access: UserAccess,
    /// Read/write splitting: reads to replicas. Off: everything goes to the primary.
    pub split: bool,
    /// May it see and end everybody's sessions at this gateway?
    pub admin: bool,
}

choice! {
    /// Authentication plugin that a user is asked to use.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Plugin {
        /// MySQL's default since 8.0, and Weir's.
        CachingSha2 = "caching_sha2_password",
        /// For clients that know nothing newer; its verifiers are weaker.
        Native = "mysql_native_password",
    }
}

impl From<Plugin> for AuthPlugin {
    fn from(plugin: Plugin) -> Self {
        match plugin {
            Plugin::Native => Self::Native,
            Plugin::CachingSha2 => Self::CachingSha2,
        }
    }
}

choice! {
    /// What a user may do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum UserAccess {
        /// Statements run with `transaction_read_only=1`, administrative statements are refused.
        ReadOnly = "read-only",
        /// Everything that the backend account may do.
        ReadWrite = "read-write",
    }
}
