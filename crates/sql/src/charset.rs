//! How far one character reaches, for client charsets whose characters hide ASCII bytes.

use crate::{ClientCharset, HighBytes};

/// What a byte of 0x80 and above begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole character of so many bytes.
    Character(usize),
    /// A byte that belongs to no character; the servers then look at the next byte on its own.
    Stray,
    /// The bytes end before the character can be judged.
    More,
}

impl ClientCharset {
    /// Can a byte of a multi-byte character be one that means something in SQL?
    pub(crate) fn hides_ascii(self) -> bool {
        matches!(self, Self::Gbk | Self::Sjis | Self::Big5 | Self::Gb18030)
    }

    /// The character that starts `bytes`, whose first byte is >= 0x80. The rules are those of the servers'
    /// `my_ismbchar`: a pair with a wrong second byte is no character.
    pub(crate) fn step(self, bytes: &[u8]) -> Step {
        let mut rest = bytes.iter().copied();
        let Some(first) = rest.next() else { return Step::More };
        let (head, tail): (bool, fn(u8) -> bool) = match self {
            Self::AsciiSafe | Self::SingleByte(_) => return Step::Character(1),
            Self::Gbk => (matches!(first, 0x81..=0xfe), |b| matches!(b, 0x40..=0x7e | 0x80..=0xfe)),
            Self::Sjis => {
                (matches!(first, 0x81..=0x9f | 0xe0..=0xfc), |b| matches!(b, 0x40..=0x7e | 0x80..=0xfc))
            }
            Self::Big5 => (matches!(first, 0xa1..=0xf9), |b| matches!(b, 0x40..=0x7e | 0xa1..=0xfe)),
            Self::Gb18030 => return step_gb18030(bytes),
        };
        match rest.next() {
            _ if !head => Step::Stray,
            None => Step::More,
            Some(second) if tail(second) => Step::Character(2),
            Some(_) => Step::Stray,
        }
    }

    /// The lexing rules of a `character_set_client`, by its name as the servers write it (`utf8mb4`, `gbk`, ...).
    /// A name that is not known gives [`ClientCharset::AsciiSafe`]. Which bytes are white space or control
    /// characters was asked of MySQL 9.7 and MariaDB 10.11, byte by byte: the two agree.
    pub fn of_name(name: &[u8]) -> Self {
        let single = |space, control| Self::SingleByte(HighBytes { space, control });
        match name.to_ascii_lowercase().as_slice() {
            b"gbk" => Self::Gbk,
            b"sjis" | b"cp932" => Self::Sjis,
            b"big5" => Self::Big5,
            b"gb18030" => Self::Gb18030,
            b"latin1" | b"latin2" | b"latin5" | b"greek" | b"geostd8" | b"dec8" | b"armscii8" => single(0xa0, &[]),
            b"latin7" => single(0xa0, b"\x81\x83\x88\x8a\x8c\x90\x98\x9a\x9c\x9f\xa1\xa5"),
            b"cp1250" => single(0xa0, b"\x80\x81\x83\x88\x90\x98"),
            b"hebrew" => single(0xa0, b"\xfd\xfe"),
            b"cp852" | b"cp866" | b"keybcs2" => single(0xff, &[]),
            b"cp850" => single(0, b"\xff"),
            b"macroman" => single(0, b"\x80\xcb\xe5"),
            b"hp8" => single(
                0,
                b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\
                  \x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xb1\xb2\xf2\xf3\xf4\xf5\xff",
            ),
            _ => Self::AsciiSafe,
        }
    }
}

fn step_gb18030(bytes: &[u8]) -> Step {
    let lead = |b: u8| matches!(b, 0x81..=0xfe);
    match *bytes {
        // 0x80 and 0xFF are letters by themselves.
        [first, ..] if !lead(first) => Step::Character(1),
        [_, 0x40..=0x7e | 0x80..=0xfe, ..] => Step::Character(2),
        [_, 0x30..=0x39, third, fourth, ..] if lead(third) && fourth.is_ascii_digit() => Step::Character(4),
        [_] | [_, 0x30..=0x39] => Step::More,
        [_, 0x30..=0x39, third] if lead(third) => Step::More,
        _ => Step::Stray,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_takes_its_second_byte_only_where_the_server_does() {
        let rows: &[(ClientCharset, &[u8], Step)] = &[
            (ClientCharset::Gbk, &[0xbf, 0x5c], Step::Character(2)),
            (ClientCharset::Gbk, &[0xbf, 0x27], Step::Stray),
            (ClientCharset::Gbk, &[0xbf], Step::More),
            (ClientCharset::Gbk, &[0x80, 0x5c], Step::Stray),
            (ClientCharset::Sjis, &[0x83, 0x5c], Step::Character(2)),
            (ClientCharset::Sjis, &[0xb1, 0x5c], Step::Stray),
            (ClientCharset::Big5, &[0xa1, 0x5c], Step::Character(2)),
            (ClientCharset::Big5, &[0x81, 0x5c], Step::Stray),
            (ClientCharset::Gb18030, &[0x81, 0x30, 0x81, 0x30], Step::Character(4)),
            (ClientCharset::Gb18030, &[0x81, 0x30, 0x81], Step::More),
            (ClientCharset::Gb18030, &[0x81, 0x30, 0x27, 0x30], Step::Stray),
            (ClientCharset::Gb18030, &[0x81, 0x5c], Step::Character(2)),
            (ClientCharset::Gb18030, &[0x80, 0x5c], Step::Character(1)),
            (ClientCharset::AsciiSafe, &[0xbf, 0x5c], Step::Character(1)),
        ];
        for (charset, bytes, expected) in rows {
            assert_eq!(charset.step(bytes), *expected, "{charset:?} {bytes:x?}");
        }
    }
}
