//! Addresses of instances, as files write them.

use std::{fmt, net::IpAddr, path::PathBuf};

use toml::de::DeValue;

use crate::{
    document::{Scalar, Wrong, quoted, text_of},
    slice::Address,
};

/// Longest path of a Unix socket, bytes: what fits in `sockaddr_un` with its NUL.
pub const MAX_SOCKET_PATH: usize = 107;
/// Longest host name, bytes (RFC 1035).
const MAX_HOST: usize = 253;

impl Address {
    /// Reads `host:port`, `[::1]:3306`, `/path` or `unix:/path`.
    ///
    /// # Errors
    /// It is none of them: what is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
        match path {
            Some(path) => socket_path(path).map(Self::Unix),
            None => tcp(text),
        }
    }
}

fn socket_path(path: &str) -> Result<PathBuf, (String, String)> {
    if !path.starts_with('/') {
        let hint = "for example \"unix:/run/mysqld/mysqld.sock\"";
        return Err((format!("\"unix:{path}\" is no absolute path"), hint.to_owned()));
    }
    if path.len() > MAX_SOCKET_PATH || path.contains('\0') {
        let hint = format!("a socket's path may have {MAX_SOCKET_PATH} bytes");
        return Err((format!("the path of the socket has {} bytes", path.len()), hint));
    }
    Ok(PathBuf::from(path))
}

fn tcp(text: &str) -> Result<Address, (String, String)> {
    let wrong = |hint: String| Err((format!("\"{text}\" is no address"), hint));
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return wrong(format!("an IPv6 address stands in brackets, and a port follows: \"[{text}]:3306\""));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                (host, port.strip_prefix(':'))
            }
            _ => return wrong("brackets hold an IPv6 address: \"[2001:db8::7]:3306\"".to_owned()),
        },
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let Some(port) = port else {
        return wrong(format!("a port is missing: \"{text}:3306\""));
    };
    let port = match port.parse::<u16>() {
        Ok(number) if number != 0 && !port.starts_with('+') => number,
        _ => return wrong("the port is a number from 1 to 65535".to_owned()),
    };
    let host = host_name(host).map_err(|hint| (format!("\"{text}\" is no address"), hint))?;
    Ok(Address::Tcp { host, port })
}

/// IP addresses in their shortest form, names in lower case: two ways to write one place compare equal.
fn host_name(host: &str) -> Result<String, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let fits = !host.is_empty() && host.len() <= MAX_HOST;
    if !fits || !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err("for example \"db1.example:3306\", \"192.0.2.7:3306\", \"[2001:db8::7]:3306\", \"/run/mysqld/mysqld.sock\"".to_owned());
    }
    Ok(host.to_ascii_lowercase())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Scalar for Address {
    const KIND: &'static str = "an address";
    const EXAMPLE: &'static str = "\"db1.example:3306\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Self::parse(text_of(value)?).map_err(|(message, hint)| Wrong::value(message).hint(hint))
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back_in_its_shortest_form() {
        for (text, shown) in [
            ("db1.example:3306", "db1.example:3306"),
            ("DB1_a-2:1", "db1_a-2:1"),
            ("192.0.2.7:65535", "192.0.2.7:65535"),
            ("[::1]:3306", "[::1]:3306"),
            ("[2001:DB8:0::7]:3306", "[2001:db8::7]:3306"),
            ("/run/mysqld.sock", "unix:/run/mysqld.sock"),
            ("unix:/run/mysqld.sock", "unix:/run/mysqld.sock"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown), Ok(address));
        }
    }

    #[test]
    fn refuses_what_is_no_address_and_says_what_would_be() {
        for (text, hint) in [
            ("", "a port is missing"),
            ("db1", "\"db1:3306\""),
            ("db1:", "from 1 to 65535"),
            ("db1:0", "from 1 to 65535"),
            ("db1:65536", "from 1 to 65535"),
            ("db1:+1", "from 1 to 65535"),
            ("db1:mysql", "from 1 to 65535"),
            (":3306", "for example"),
            ("mysql://db1:3306", "for example"),
            ("db 1:3306", "for example"),
            ("::1", "\"[::1]:3306\""),
            ("::1:3306", "\"[::1:3306]:3306\""),
            ("[::1]", "a port is missing"),
            ("[::1]3306", "a port is missing"),
            ("[db1]:3306", "brackets hold an IPv6 address"),
            ("[::1:3306", "brackets hold an IPv6 address"),
            ("unix:run/x", "\"unix:/run"),
            ("unix:", "\"unix:/run"),
        ] {
            let (_, got) = Address::parse(text).unwrap_err();
            assert!(got.contains(hint), "{text}: {got}");
        }
        assert!(Address::parse(&format!("/{}", "a".repeat(106))).is_ok());
        assert!(Address::parse(&format!("/{}", "a".repeat(107))).is_err());
        assert!(Address::parse(&format!("{}:1", "a".repeat(254))).is_err());
    }
}
