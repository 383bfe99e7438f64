//! The authentication plugins that Weir speaks, on both legs.

/// An authentication plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthPlugin {
    /// `mysql_native_password`: MySQL up to 8.4, MariaDB's default.
    Native,
    /// `caching_sha2_password`: MySQL's default since 8.0.
    CachingSha2,
}

impl AuthPlugin {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The plugin of this name; `None` for one that Weir does not speak.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::CachingSha2].into_iter().find(|p| p.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for AuthPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
