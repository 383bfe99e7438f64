//! The PROXY protocol, versions 1 and 2: whom a load balancer speaks for.
//!
//! Source: "The PROXY protocol, versions 1 & 2", HAProxy's documentation. Only to be read from addresses that are
//! trusted to say so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::{Malformed, Reader};

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const V1_MAX_LEN: usize = 107;

/// Bytes of version 2 before the addresses.
const V2_FIXED_LEN: usize = 16;

/// The longest header of version 2 that is taken, in bytes. Addresses need at most 216; the rest are TLVs, which
/// are skipped.
pub const MAX_HEADER_LEN: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// More bytes are needed; what is there so far may be a header.
    Incomplete,
    /// A whole header.
    Complete {
        /// The client, if it is one with an IP address: `None` for health checks of the balancer itself (`LOCAL`,
        /// `UNKNOWN`) and for Unix sockets. The connection's own address counts then.
        source: Option<SocketAddr>,
        /// Length of the header in bytes; the client's bytes begin there.
        len: usize,
    },
    /// No header: these are the client's own bytes.
    Absent,
}

impl ProxyHeader {
    /// Looks at the first bytes of a connection; to be called again with more of them while it says `Incomplete`.
    /// Needs at most [`MAX_HEADER_LEN`] bytes.
    ///
    /// # Errors
    /// The bytes begin like a header and go on differently.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        for (signature, parse) in
            [(V1_SIGNATURE, parse_v1 as fn(&[u8]) -> Result<Self, Malformed>), (V2_SIGNATURE, parse_v2)]
        {
            if bytes.starts_with(signature) {
                return parse(bytes);
            }
            if signature.starts_with(bytes) {
                return Ok(Self::Incomplete);
            }
        }
        Ok(Self::Absent)
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 3306\r\n`
fn parse_v1(bytes: &[u8]) -> Result<ProxyHeader, Malformed> {
    let head = bytes.get(..V1_MAX_LEN).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', head) else {
        return match bytes.len() < V1_MAX_LEN {
            true => Ok(ProxyHeader::Incomplete),
            false => Err(Malformed { what: "end of a PROXY line", at: V1_MAX_LEN }),
        };
    };
    let malformed = |what| Malformed { what, at: V1_SIGNATURE.len() };
    let mut r = Reader::new(head);
    let line = r.bytes(end, "PROXY line")?;
    let line = line.strip_suffix(b"\r").ok_or(malformed("CR LF at the end of a PROXY line"))?;
    let line = std::str::from_utf8(line).map_err(|_| malformed("ASCII in a PROXY line"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    let source = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => None,
        "TCP4" => Some(v1_source::<Ipv4Addr>(words).ok_or(malformed("IPv4 addresses and ports"))?),
        "TCP6" => Some(v1_source::<Ipv6Addr>(words).ok_or(malformed("IPv6 addresses and ports"))?),
        _ => return Err(malformed("TCP4, TCP6 or UNKNOWN")),
    };
    Ok(ProxyHeader::Complete { source, len: end + 1 })
}

/// Source and destination address, source and destination port, and nothing else.
fn v1_source<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let source_port = v1_port(words.next()?)?;
    let _destination_port = v1_port(words.next()?)?;
    words.next().is_none().then(|| SocketAddr::new(source.into(), source_port))
}

/// A decimal number without sign and leading zeros.
fn v1_port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain)
}

fn parse_v2(bytes: &[u8]) -> Result<ProxyHeader, Malformed> {
    let mut r = Reader::new(bytes);
    r.bytes(V2_SIGNATURE.len(), "signature")?;
    if r.remaining() < V2_FIXED_LEN - V2_SIGNATURE.len() {
        return Ok(ProxyHeader::Incomplete);
    }
    let is_local = match r.u8("version and command")? {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed { what: "version 2, LOCAL or PROXY", at: V2_SIGNATURE.len() }),
    };
    let family = r.u8("address family")?;
    let len = V2_FIXED_LEN + usize::from(u16::from_be_bytes(r.array("length of addresses")?));
    if len > MAX_HEADER_LEN {
        return Err(Malformed { what: "PROXY header of at most 4096 bytes", at: V2_SIGNATURE.len() + 2 });
    }
    if bytes.len() < len {
        return Ok(ProxyHeader::Incomplete);
    }
    let mut addresses = Reader::new(r.bytes(len - V2_FIXED_LEN, "addresses")?);
    let outside = |_| Malformed { what: "addresses as long as their family needs", at: V2_FIXED_LEN };
    let source = match family {
        _ if is_local => None,
        // TCP and UDP over IPv4
        0x11 | 0x12 => Some(v2_source::<4>(&mut addresses).map_err(outside)?),
        // TCP and UDP over IPv6
        0x21 | 0x22 => Some(v2_source::<16>(&mut addresses).map_err(outside)?),
        // unspecified, and Unix sockets: no address that rules could be applied to
        0x00 | 0x31 | 0x32 => None,
        _ => {
            return Err(Malformed { what: "known address family and transport", at: V2_SIGNATURE.len() + 1 });
        }
    };
    Ok(ProxyHeader::Complete { source, len })
}

fn v2_source<const N: usize>(r: &mut Reader<'_>) -> Result<SocketAddr, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let source: [u8; N] = r.array("source address")?;
    r.array::<N>("destination address")?;
    let port = u16::from_be_bytes(r.array("source port")?);
    r.array::<2>("destination port")?;
    Ok(SocketAddr::new(source.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(source: Option<&str>, len: usize) -> Result<ProxyHeader, Malformed> {
        Ok(ProxyHeader::Complete { source: source.map(|s| s.parse().unwrap()), len })
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &len, addresses].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x0C, 0xEA];

    fn v6() -> Vec<u8> {
        let mut addresses = vec![0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        addresses.extend_from_within(..);
        addresses.extend_from_slice(&[0xDC, 0x04, 0x0C, 0xEA]);
        addresses
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 and so on until the line is as long\r\n";
        vec![
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 3306\r\n".to_vec(), Some("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 3306\r\n".to_vec(), Some("[2001:db8::1]:56324")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (longest.into(), None),
            (v2(0x21, 0x11, V4), Some("192.0.2.1:56324")),
            (v2(0x21, 0x12, V4), Some("192.0.2.1:56324")),
            (v2(0x21, 0x21, &v6()), Some("[2001:db8::1]:56324")),
            (v2(0x21, 0x11, &[V4, &[0x04, 0, 2, 7, 7]].concat()), Some("192.0.2.1:56324")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, V4), None),
            (v2(0x20, 0x11, b"x"), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, b"ignored"), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn reads_headers_of_both_versions_and_leaves_the_clients_bytes() {
        for (header, source) in good() {
            let shown = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(ProxyHeader::parse(&header), complete(source, header.len()), "{shown}");
            let with_login = [&header[..], b"\x20\0\0\x01"].concat();
            assert_eq!(ProxyHeader::parse(&with_login), complete(source, header.len()), "{shown}");
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_incomplete() {
        for (header, _) in good() {
            for cut in 0..header.len() {
                assert_eq!(ProxyHeader::parse(&header[..cut]), Ok(ProxyHeader::Incomplete), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_login_without_a_header_is_told_at_its_first_byte() {
        for bytes in [&b"\x20\0\0\x01"[..], b"X", b"PROXX", b"PROXY\t", b"\r\n\r\nX", b"proxy "] {
            assert_eq!(ProxyHeader::parse(bytes), Ok(ProxyHeader::Absent), "{bytes:?}");
        }
    }

    #[test]
    fn rejects_lines_of_another_form() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for line in [
            "PROXY \r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4 \u{660} 192.0.2.2 1 2\r\n",
            &long,
        ] {
            assert!(ProxyHeader::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(ProxyHeader::parse(b"PROXY \xFF\r\n").is_err());
    }

    #[test]
    fn rejects_headers_of_version_two_that_contradict_themselves() {
        let huge = [V2_SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat();
        for header in [
            v2(0x11, 0x11, V4),
            v2(0x22, 0x11, V4),
            v2(0x31, 0x11, V4),
            v2(0x21, 0x41, V4),
            v2(0x21, 0x13, V4),
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x21, V4),
            huge,
        ] {
            assert!(ProxyHeader::parse(&header).is_err(), "{header:?}");
        }
    }
}
