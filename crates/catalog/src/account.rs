//! Accounts as a server declares them, and which of them it takes a client for.
//!
//! An account is a user name and a host: a pattern of addresses or names that its clients come from. Of the accounts
//! that fit a client, the servers take the one with the most specific host; what that is, they see differently. Source:
//! "Access Control, Stage 1: Connection Verification", and what both servers do (`facts.rs` of the end-to-end tests).
//! Where hosts are equally specific, the servers take any of them: then only `CURRENT_USER()` tells.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_wire::{auth::Verifier, server_version::Flavour};

use crate::user::Plugin;

/// An account of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name; empty for one that anybody may use who has no account of his own.
    pub user: String,
    /// Where its clients come from, as the server writes it.
    pub host: String,
    /// How it is proven.
    pub proof: Proof,
    /// What the transport must be.
    pub transport: Transport,
    /// Changes whenever anything of the account changes, its global privileges and roles included.
    pub version: u64,
}

/// How an account is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a password.
    Password {
        /// The plugin that asks for it.
        plugin: Plugin,
        /// What proves it: a second one while a password is being changed (`RETAIN CURRENT PASSWORD`).
        verifiers: Vec<Verifier>,
    },
    /// By something that cannot be shown to the server through Weir; what it is, in words.
    Unsupported(String),
}

/// What REQUIRE demands of an account's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing.
    Any,
    /// TLS.
    Tls,
    /// TLS with a certificate of the client's.
    Certificate,
}

/// Where a client is, as a server would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// Does the server look names up (`skip_name_resolve` is off)? Then loopback addresses are also `localhost`.
    pub names: bool,
    /// What the server is.
    pub flavour: Flavour,
}

impl Account {
    /// `'user'@'host'`, as the servers write it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("'{}'@'{}'", self.user, self.host)
    }

    /// `user@host`, as `CURRENT_USER()` gives it.
    #[must_use]
    pub fn current_user(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }
}

/// The account that a server takes a client of this name and origin for.
#[must_use]
pub fn pick<'a>(
    accounts: impl IntoIterator<Item = &'a Account>,
    user: &str,
    origin: &Origin,
) -> Option<&'a Account> {
    let fitting = accounts.into_iter().filter_map(|account| {
        let is_named = match account.user.as_str() {
            "" => false,
            name if name == user => true,
            _ => return None,
        };
        let specificity = HostPattern::parse(&account.host, origin.flavour).specificity(origin)?;
        Some(((specificity, is_named), account))
    });
    let mut best: Option<((Specificity, bool), &Account)> = None;
    for (rank, account) in fitting {
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, account));
        }
    }
    best.map(|(_, account)| account)
}

/// How specific a host is: larger is more.
type Specificity = (usize, usize, usize);

const ADDRESS: Specificity = (9, 2, 0);
const CIDR: Specificity = (9, 1, 0);
const NETMASK: Specificity = (9, 0, 0);
const EMPTY: Specificity = (0, 0, 0);

/// The host of an account, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern<'a> {
    /// Any host, the last to be tried.
    Empty,
    /// An address and its mask, as `10.0.0.0/255.0.0.0` or `10.0.0.0/8`.
    Network(IpNet, Specificity),
    /// A name or an address, with `%` and `_` as wildcards.
    Text(&'a str),
}

impl<'a> HostPattern<'a> {
    fn parse(host: &'a str, flavour: Flavour) -> Self {
        if host.is_empty() {
            return Self::Empty;
        }
        let network = host.split_once('/').and_then(|(address, mask)| {
            let address: IpAddr = address.parse().ok()?;
            match mask.parse::<u8>() {
                // MariaDB knows netmasks only
                Ok(_) if flavour == Flavour::MariaDb => None,
                Ok(prefix) => IpNet::new(address, prefix).ok().map(|net| Self::Network(net, CIDR)),
                Err(_) => {
                    let mask: IpAddr = mask.parse().ok()?;
                    IpNet::with_netmask(address, mask).ok().map(|net| Self::Network(net, NETMASK))
                }
            }
        });
        network.unwrap_or(Self::Text(host))
    }

    /// `None` if it does not fit.
    fn specificity(&self, origin: &Origin) -> Option<Specificity> {
        let address = origin.address.map(|address| address.to_canonical());
        match self {
            Self::Empty => Some(EMPTY),
            Self::Network(net, kind) => address.filter(|address| net.contains(address)).map(|_| *kind),
            Self::Text(pattern) => {
                let local = match address {
                    None => true,
                    Some(address) => origin.names && address.is_loopback(),
                };
                let by_name = local && is_like(pattern, "localhost");
                let by_address = address.is_some_and(|address| is_like(pattern, &address.to_string()));
                (by_name || by_address).then(|| specificity(pattern, origin.flavour))
            }
        }
    }
}

/// MySQL looks where the first wildcard stands. To MariaDB a pattern without `%` comes first, then the longer text that
/// it stands for at least, then the one with fewer `_`.
fn specificity(pattern: &str, flavour: Flavour) -> Specificity {
    let (mut first, mut many, mut one, mut fixed) = (None, 0, 0, 0);
    let mut escaped = false;
    for (position, byte) in pattern.bytes().enumerate() {
        match byte {
            b'%' if !escaped => many += 1,
            b'_' if !escaped => one += 1,
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => {
                escaped = false;
                fixed += 1;
                continue;
            }
        }
        first = first.or(Some(position));
    }
    match (first, flavour) {
        (None, _) => ADDRESS,
        // alone it is less than one that something follows
        (Some(_), _) if pattern == "%" => (1, 0, 0),
        (Some(first), Flavour::MySql) => (2, first, 0),
        (Some(_), Flavour::MariaDb) => (if many == 0 { 3 } else { 2 }, fixed + one, usize::MAX - one),
    }
}

/// SQL's LIKE, without regard to the case of ASCII letters.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // positions after the last `%` and of the text that it was tried with
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(b'%'), _) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some(b'_'), Some(_)) => Some(1),
            (Some(b'\\'), Some(byte)) => {
                pattern.get(p + 1).filter(|wanted| wanted.eq_ignore_ascii_case(byte)).map(|_| 2)
            }
            (Some(wanted), Some(byte)) if wanted.eq_ignore_ascii_case(byte) => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after, tried))) if tried < text.len() => {
                retry = Some((after, tried + 1));
                p = after;
                t = tried + 1;
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: &str, host: &str) -> Account {
        Account {
            user: user.to_owned(),
            host: host.to_owned(),
            proof: Proof::Unsupported(String::new()),
            transport: Transport::Any,
            version: 0,
        }
    }

    fn from(address: &str) -> Origin {
        Origin { address: address.parse().ok(), names: true, flavour: Flavour::MySql }
    }

    /// Which of the hosts is taken.
    #[track_caller]
    fn check(hosts: &[&str], origin: &Origin, expected: Option<&str>) {
        let mut accounts: Vec<Account> = hosts.iter().map(|host| account("u", host)).collect();
        for _ in 0..2 {
            let picked = pick(&accounts, "u", origin).map(|account| account.host.as_str());
            assert_eq!(picked, expected, "{hosts:?} for {origin:?}");
            accounts.reverse();
        }
    }

    #[test]
    fn the_most_specific_host_is_taken() {
        check(&["%", "10.%", "10.1.%", "10.1.2.3", ""], &from("10.1.2.3"), Some("10.1.2.3"));
        check(&["%", "10.%", "10.1.%", "10.1.2.4", ""], &from("10.1.2.3"), Some("10.1.%"));
        check(&["%", "10.%", "10.1.%", ""], &from("10.2.2.3"), Some("10.%"));
        check(&["%", "10.%", ""], &from("192.0.2.1"), Some("%"));
        check(&["10.%", ""], &from("192.0.2.1"), Some(""));
        check(&["10.%"], &from("192.0.2.1"), None);
        check(&["10.0.0.0/8", "10.1.2.3"], &from("10.1.2.3"), Some("10.1.2.3"));
        check(&["10.0.0.0/8", "10.0.0.0/255.0.0.0"], &from("10.1.2.3"), Some("10.0.0.0/8"));
        check(&["10.0.0.0/255.255.255.0", "10.%"], &from("10.0.0.3"), Some("10.0.0.0/255.255.255.0"));
        check(&["10.0.0.0/255.255.255.0", "10.%"], &from("10.0.1.3"), Some("10.%"));
        check(&["2001:db8::%", "%"], &from("2001:db8::7"), Some("2001:db8::%"));
        check(&["10.%"], &from("::ffff:10.0.0.1"), Some("10.%"));
    }

    #[test]
    fn the_servers_differ_in_what_is_specific() {
        let mysql = from("127.0.0.1");
        let mariadb = Origin { flavour: Flavour::MariaDb, ..mysql };
        for (hosts, by_mysql, by_mariadb) in [
            (["_27.0.0.1", "127%"], "127%", "_27.0.0.1"),
            (["127.%", "%.0.0.1"], "127.%", "%.0.0.1"),
            (["12%", "1_7%"], "12%", "1_7%"),
            (["127.0.0.%", "1%.0.0.1"], "127.0.0.%", "127.0.0.%"),
            (["%", "%0.0.1"], "%0.0.1", "%0.0.1"),
            (["127.0.0.0/24", "127.0.0.%"], "127.0.0.0/24", "127.0.0.%"),
        ] {
            check(&hosts, &mysql, Some(by_mysql));
            check(&hosts, &mariadb, Some(by_mariadb));
        }
    }

    #[test]
    fn localhost_is_a_socket_and_where_names_are_looked_up_the_loopback_address() {
        let socket = Origin { address: None, names: false, flavour: Flavour::MySql };
        check(&["%", "localhost"], &socket, Some("localhost"));
        check(&["%"], &socket, Some("%"));
        check(&["127.0.0.1"], &socket, None);
        check(&["%", "localhost"], &from("127.0.0.1"), Some("localhost"));
        check(&["%", "localhost"], &from("192.0.2.1"), Some("%"));
        check(&["%", "localhost"], &Origin { names: false, ..from("127.0.0.1") }, Some("%"));
    }

    #[test]
    fn an_anonymous_account_with_a_better_host_wins_and_with_an_equal_one_loses() {
        let accounts =
            [account("", "localhost"), account("u", "%"), account("", "10.%"), account("u", "10.%")];
        let picked = |origin| pick(&accounts, "u", &origin).map(Account::current_user);
        assert_eq!(picked(from("127.0.0.1")).as_deref(), Some("@localhost"));
        assert_eq!(picked(from("10.0.0.1")).as_deref(), Some("u@10.%"));
        assert_eq!(picked(from("192.0.2.1")).as_deref(), Some("u@%"));
        assert_eq!(pick(&accounts, "v", &from("192.0.2.1")), None);
    }

    #[test]
    fn patterns_are_those_of_like() {
        for (pattern, text, expected) in [
            ("%", "", true),
            ("a%c", "abbc", true),
            ("a%c", "abbcd", false),
            ("%b%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            (r"a\_c", "a_c", true),
            (r"a\_c", "abc", false),
            ("LOCALHOST", "localhost", true),
            ("10.1.%.3", "10.1.22.3", true),
            ("", "a", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
