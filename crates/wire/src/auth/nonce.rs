//! The random bytes that a server sends and that a password is scrambled with.

/// Bytes in a nonce of the plugins that Weir speaks.
pub const NONCE_LEN: usize = 20;

/// A server's challenge: 20 bytes, followed on the wire by a NUL that is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// Makes a nonce of random bytes as MySQL does (`generate_user_salt`): seven bits each, so that it is valid
    /// UTF-8, without NUL and `$`, so that clients may treat it as a C string. About 139 random bits remain.
    #[must_use]
    pub fn from_random(random: [u8; NONCE_LEN]) -> Self {
        Self(random.map(|byte| match byte & 0x7F {
            b @ (0 | b'$') => b + 1,
            b => b,
        }))
    }

    /// Takes a server's nonce: 20 bytes and at most one NUL after them.
    #[must_use]
    pub fn from_wire(data: &[u8]) -> Option<Self> {
        let nonce = match data.split_at_checked(NONCE_LEN)? {
            (nonce, [] | [0]) => nonce,
            _ => return None,
        };
        nonce.try_into().ok().map(Self)
    }

    /// The 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_holds_no_nul_no_dollar_and_only_ascii() {
        for byte in 0..=u8::MAX {
            let nonce = Nonce::from_random([byte; NONCE_LEN]);
            assert!(nonce.as_bytes().iter().all(|b| (1..=127).contains(b) && *b != b'$'), "{byte}");
        }
    }

    #[test]
    fn takes_twenty_bytes_with_or_without_the_nul() {
        for (len, ok) in
            [(0, false), (8, false), (19, false), (20, true), (21, true), (22, false), (255, false)]
        {
            let mut data = vec![1; len.min(NONCE_LEN)];
            data.resize(len, 0);
            assert_eq!(Nonce::from_wire(&data).is_some(), ok, "{len} bytes");
        }
        assert_eq!(Nonce::from_wire(&[1; 21]), None, "the byte after the nonce must be a NUL");
    }
}
