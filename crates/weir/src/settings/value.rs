//! Values of `weir.toml` that are no plain numbers, texts or times.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use tracing_subscriber::EnvFilter;
use weir_catalog::{
    document::{DeValue, Scalar, Wrong, quoted, text_of},
    slice::Address,
};
use weir_wire::server_version::{Flavour, ServerVersion};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// Unix socket.
    Unix(PathBuf),
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3306))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Scalar for ListenAddress {
    const KIND: &'static str = "an address to listen on";
    const EXAMPLE: &'static str = "\"127.0.0.1:3306\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        match Address::parse(text) {
            Ok(Address::Unix(path)) => Ok(Self::Unix(path)),
            Ok(Address::Tcp { port, .. }) => Err(Wrong::value(format!("\"{text}\" is no IP address and port"))
                .hint(format!("\"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" and \"[::]:{port}\" for every address of the machine"))),
            Err((message, hint)) => Err(Wrong::value(message).hint(hint)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricsAddress(pub Option<SocketAddr>);

impl Default for MetricsAddress {
    fn default() -> Self {
        Self(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9188)))
    }
}

impl Scalar for MetricsAddress {
    const KIND: &'static str = "an IP address and port, or \"off\"";
    const EXAMPLE: &'static str = "\"127.0.0.1:9188\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| {
            Wrong::value(format!("\"{text}\" is no IP address and port"))
                .hint("for example \"127.0.0.1:9188\", or \"off\"")
        })
    }

    fn to_toml(&self) -> String {
        self.0.map_or_else(|| quoted("off"), quoted)
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLevel(pub String);

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Scalar for LogLevel {
    const KIND: &'static str = "a log level";
    const EXAMPLE: &'static str = "\"info\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        let is_level = |word: &str| {
            ["off", "error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|level| word.trim().eq_ignore_ascii_case(level))
        };
        // a filter takes any word for the name of a part, so a mistyped level must be found here
        let plain = text.split(',').filter(|part| !part.contains(['=', '[']));
        if text.trim().is_empty() || !plain.into_iter().all(is_level) || EnvFilter::try_new(text).is_err() {
            return Err(Wrong::value(format!("\"{text}\" is no log level")).hint(
                "off, error, warn, info, debug or trace, for example \"info\" or \"info,weir_backend=debug\"",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// The version that a listener greets with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionText(pub ServerVersion);

impl VersionText {
    /// What is greeted with when only the family is known: its oldest long-term release that is still maintained.
    pub(crate) fn of(flavour: Flavour) -> ServerVersion {
        let (number, text) = match flavour {
            Flavour::MySql => (80_400, "8.4.0"),
            Flavour::MariaDb => (101_100, "10.11.0-MariaDB"),
        };
        ServerVersion { flavour, number, text: text.to_owned() }
    }
}

impl Scalar for VersionText {
    const KIND: &'static str = "a server's version";
    const EXAMPLE: &'static str = "\"9.7.4\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value)?;
        // it ends at a NUL byte on the wire, and clients keep it in short buffers
        let printable = text.len() <= 60 && text.chars().all(|c| c.is_ascii_graphic());
        ServerVersion::parse(text).filter(|_| printable).map(Self).ok_or_else(|| {
            Wrong::value(format!("{} is no server version", quoted(text)))
                .hint("for example \"9.7.4\" or \"11.8.3-MariaDB\", as SELECT VERSION() prints it")
        })
    }

    fn to_toml(&self) -> String {
        quoted(&self.0.text)
    }
}
