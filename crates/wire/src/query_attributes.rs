//! Query attributes: values with names that stand between the command byte of COM_QUERY and its text, on connections
//! that negotiated [`QUERY_ATTRIBUTES`](crate::capability::Capabilities::QUERY_ATTRIBUTES).
//!
//! Source: "COM_QUERY" in MySQL's protocol documentation, and what MySQL 9.7 does. Where a gateway and the server could
//! come to different ends of the block, and so to different texts, the block is malformed here.

use crate::{Malformed, Reader, command::com};

/// COM_QUERY up to its text.
const PLAIN: [u8; 1] = [com::QUERY];
/// The same with no attributes: none of them, in one set.
const WITHOUT_ATTRIBUTES: [u8; 3] = [com::QUERY, 0, 1];

/// A COM_QUERY without attributes up to its text. `negotiated`: on a connection that knows them.
#[must_use]
pub fn query_head(negotiated: bool) -> &'static [u8] {
    if negotiated { &WITHOUT_ATTRIBUTES } else { &PLAIN }
}

/// Where in the payload of a COM_QUERY its text begins, on a connection that knows attributes.
///
/// # Errors
/// The block is cut, or is not one that the server reads the same way.
pub fn text_at(payload: &[u8]) -> Result<usize, Malformed> {
    if payload.starts_with(&WITHOUT_ATTRIBUTES) {
        return Ok(WITHOUT_ATTRIBUTES.len());
    }
    let mut r = Reader::new(payload);
    r.u8("command byte")?;
    let count = r.lenenc_int("number of query attributes")?;
    if r.lenenc_int("number of attribute sets")? != 1 {
        return Err(r.malformed("one set of query attributes"));
    }
    if count > 0 {
        skip_values(&mut r, count)?;
    }
    Ok(r.position())
}

fn skip_values(r: &mut Reader<'_>, count: u64) -> Result<(), Malformed> {
    let too_many = r.malformed("query attributes");
    let count = usize::try_from(count).map_err(|_| too_many)?;
    let nulls = r.bytes(count.div_ceil(8), "NULL bitmap of query attributes")?;
    if r.u8("types of query attributes")? != 1 {
        return Err(r.malformed("types of query attributes"));
    }
    let mut types = r.clone();
    for _ in 0..count {
        r.u16("type of a query attribute")?;
        r.lenenc_bytes("name of a query attribute")?;
    }
    for i in 0..count {
        let kind = types.u16("type of a query attribute")?;
        types.lenenc_bytes("name of a query attribute")?;
        let null = nulls.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0);
        if !null {
            skip_value(r, kind)?;
        }
    }
    Ok(())
}

/// One value of the binary protocol. The upper byte of `kind` says that it is unsigned.
fn skip_value(r: &mut Reader<'_>, kind: u16) -> Result<(), Malformed> {
    const VALUE: &str = "value of a query attribute";
    let [kind, _] = kind.to_le_bytes();
    match kind {
        // TINY; SHORT; LONG, FLOAT; DOUBLE, LONGLONG
        1 => r.bytes(1, VALUE)?,
        2 => r.bytes(2, VALUE)?,
        3 | 4 => r.bytes(4, VALUE)?,
        5 | 8 => r.bytes(8, VALUE)?,
        // DECIMAL; TIMESTAMP; DATE to DATETIME; VARCHAR; VECTOR; JSON to GEOMETRY
        0 | 7 | 10..=12 | 15 | 242 | 245..=255 => r.lenenc_bytes(VALUE)?,
        _ => return Err(r.malformed("type of a query attribute")),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    const KINDS: [(u16, &[u8]); 7] = [
        (1, b"\x07"),
        (2, b"\x07\x08"),
        (0x8003, b"\x07\x08\x09\x0A"),
        (8, b"\x07\x08\x09\x0A\x0B\x0C\x0D\x0E"),
        (5, b"\x07\x08\x09\x0A\x0B\x0C\x0D\x0E"),
        (12, b"\x04\xEA\x07\x01\x02"),
        (254, b"\x05value"),
    ];

    fn block(nulls: u8) -> Vec<u8> {
        let mut out = vec![com::QUERY];
        let mut w = Writer::new(&mut out);
        w.lenenc_int(KINDS.len() as u64).lenenc_int(1).u8(nulls).u8(1);
        for (kind, _) in KINDS {
            w.u16(kind).lenenc_bytes(b"name");
        }
        for (i, (_, value)) in KINDS.iter().enumerate() {
            if nulls & (1 << i) == 0 {
                w.bytes(value);
            }
        }
        out
    }

    #[test]
    fn the_text_begins_behind_the_attributes() {
        for nulls in 0..0x80 {
            let block = block(nulls);
            let payload = [&block[..], b"SELECT 1"].concat();
            assert_eq!(text_at(&payload), Ok(block.len()), "{nulls:b}");
        }
        assert_eq!(text_at(b"\x03\x00\x01SELECT 1"), Ok(3));
        assert_eq!(text_at(&[query_head(true), b""].concat()), Ok(3));
    }

    #[test]
    fn a_cut_block_is_malformed_at_every_byte() {
        let block = block(0b10);
        for cut in 0..block.len() {
            assert!(text_at(&block[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(text_at(&block), Ok(block.len()));
    }

    #[test]
    fn what_a_server_might_read_otherwise_is_malformed() {
        let sets = b"\x03\x00\x02SELECT 1";
        let types_as_before = b"\x03\x01\x01\x00\x00SELECT 1";
        let null_type = b"\x03\x01\x01\x00\x01\x06\x00\x00SELECT 1";
        let year = b"\x03\x01\x01\x00\x01\x0D\x00\x00\x07\x07SELECT 1";
        let huge = b"\x03\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x00\x01";
        let many = b"\x03\xFD\xFF\xFF\xFF\x01\x00\x01";
        for payload in [&sets[..], types_as_before, null_type, year, huge, many] {
            assert!(text_at(payload).is_err(), "{payload:?}");
        }
    }
}
