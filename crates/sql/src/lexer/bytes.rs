//! What single bytes are to the lexer.

/// For each byte that may stand in a name: itself in lower case; 0 for all others.
static LOWER_NAME: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut b = 0u8;
    loop {
        let at = b as usize;
        if b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80 {
            set(&mut table, at, b.to_ascii_lowercase());
        }
        if b == 255 {
            break;
        }
        b += 1;
    }
    table
};

#[allow(clippy::indexing_slicing, reason = "runs at compile time, where a wrong index is a build error")]
const fn set(table: &mut [u8; 256], at: usize, value: u8) {
    table[at] = value;
}

/// The byte in lower case if it may stand in a name, else 0.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a byte is always inside a table of 256")]
pub(super) fn lower_name(b: u8) -> u8 {
    LOWER_NAME[usize::from(b)]
}

/// May the byte stand in an unquoted name?
#[inline]
pub(super) fn is_name(b: u8) -> bool {
    lower_name(b) != 0
}

/// White space, and the zero byte: the servers refuse it there, so whatever follows it must be looked at.
#[inline]
pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t'..=b'\r' | 0)
}
