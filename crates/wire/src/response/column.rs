//! Column definitions and text result sets, for the few answers that Weir writes itself and the few it reads.

use super::{EofPacket, OkPacket, ResponseFlags};
use crate::{Malformed, Reader, Writer, packet_with};

/// Column types that Weir writes. Source: `enum_field_types`.
pub mod column_type {
    /// BIGINT.
    pub const LONGLONG: u8 = 0x08;
    /// INT.
    pub const LONG: u8 = 0x03;
    /// VARCHAR as the servers send it.
    pub const VAR_STRING: u8 = 0xFD;
}

/// `ColumnDefinition41`, the part that matters to an answer of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Schema, table and original table names; empty for expressions.
    pub schema: &'a [u8],
    /// Table alias.
    pub table: &'a [u8],
    /// Table.
    pub org_table: &'a [u8],
    /// Name as shown.
    pub name: &'a [u8],
    /// Name in its table.
    pub org_name: &'a [u8],
    /// Collation id.
    pub charset: u16,
    /// Longest value in bytes.
    pub length: u32,
    /// Type, see [`column_type`].
    pub kind: u8,
    /// NOT_NULL 1, UNSIGNED 32, BINARY 128.
    pub flags: u16,
    /// Decimals; 31 for strings of expressions.
    pub decimals: u8,
}

impl<'a> Column<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is cut.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        r.lenenc_bytes("catalog")?;
        let schema = r.lenenc_bytes("schema")?;
        let table = r.lenenc_bytes("table")?;
        let org_table = r.lenenc_bytes("original table")?;
        let name = r.lenenc_bytes("name")?;
        let org_name = r.lenenc_bytes("original name")?;
        r.lenenc_int("length of fixed part")?;
        Ok(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            charset: r.u16("charset")?,
            length: r.u32("length")?,
            kind: r.u8("type")?,
            flags: r.u16("flags")?,
            decimals: r.u8("decimals")?,
        })
    }

    /// Writes the payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.lenenc_bytes(b"def")
            .lenenc_bytes(self.schema)
            .lenenc_bytes(self.table)
            .lenenc_bytes(self.org_table);
        w.lenenc_bytes(self.name).lenenc_bytes(self.org_name).u8(0x0C);
        w.u16(self.charset).u32(self.length).u8(self.kind).u16(self.flags).u8(self.decimals).zeros(2);
    }
}

/// Writes a text result set of our own, packet by packet.
#[derive(Debug)]
pub struct ResultSet<'o> {
    out: &'o mut Vec<u8>,
    sequence: u8,
    flags: ResponseFlags,
}

impl<'o> ResultSet<'o> {
    /// Writes the columns; `sequence` is that of the first packet of the answer.
    pub fn begin(
        out: &'o mut Vec<u8>,
        sequence: u8,
        flags: ResponseFlags,
        columns: &[Column<'_>],
        end: &OkPacket<'_>,
    ) -> Self {
        let mut sequence = packet_with(out, sequence, |w| {
            w.lenenc_int(columns.len() as u64);
        });
        for column in columns {
            sequence = packet_with(out, sequence, |w| column.write(w));
        }
        if !flags.deprecate_eof {
            let eof = EofPacket { warnings: 0, status: end.status };
            sequence = packet_with(out, sequence, |w| eof.write(w));
        }
        Self { out, sequence, flags }
    }

    /// Writes a row; `None` is NULL.
    pub fn row<'v>(&mut self, values: impl IntoIterator<Item = Option<&'v [u8]>>) {
        self.sequence = packet_with(self.out, self.sequence, |w| {
            for value in values {
                match value {
                    None => w.u8(0xFB),
                    Some(bytes) => w.lenenc_bytes(bytes),
                };
            }
        });
    }

    /// Writes a row whose payload `write` knows.
    pub fn raw_row(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        self.sequence = packet_with(self.out, self.sequence, write);
    }

    /// Writes the end.
    pub fn end(self, end: &OkPacket<'_>) {
        packet_with(self.out, self.sequence, |w| end.write_end(self.flags, w));
    }
}

/// Iterates over the values of a text row; `None` is NULL.
#[derive(Clone, Debug)]
pub struct TextRow<'a>(Reader<'a>);

impl<'a> TextRow<'a> {
    /// Starts at the first value.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self(Reader::new(payload))
    }

    /// The next value.
    ///
    /// # Errors
    /// The row is cut or has no more values.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let mut ahead = self.0.clone();
        if ahead.u8("value")? == 0xFB {
            self.0 = ahead;
            return Ok(None);
        }
        self.0.lenenc_bytes("value").map(Some)
    }

    /// Are there no more values?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
