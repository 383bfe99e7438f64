//! Logins of a namespace.

use weir_wire::auth::Verifier;

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
}

/// Authentication plugin that a user is asked to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    CachingSha2,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAccess {
    /// Statements run with `transaction_read_only=1`, administrative statements are refused.
    ReadOnly,
    /// Everything that the backend account may do.
    ReadWrite,
}
