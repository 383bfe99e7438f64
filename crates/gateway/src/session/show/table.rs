//! A result set of Weir's own, as text or as prepared statements have it.

use weir_wire::{
    Writer,
    capability::Status,
    packet_with,
    response::{self, EofPacket, OkPacket, ResponseFlags, ResultSet, column_type},
};

use super::Row;

/// utf8mb4_general_ci and binary: both servers know them by these ids.
const UTF8MB4: u16 = 45;
const BINARY: u16 = 63;
/// NOT NULL, UNSIGNED, BINARY.
const NUMBER_FLAGS: u16 = 32 | 128;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
}

impl Column {
    /// BIGINT UNSIGNED.
    pub(super) const fn number(name: &'static str) -> Self {
        Self { name, is_number: true }
    }

    /// VARCHAR.
    pub(super) const fn text(name: &'static str) -> Self {
        Self { name, is_number: false }
    }

    fn definition(&self) -> response::Column<'static> {
        response::Column {
            schema: b"",
            table: b"",
            org_table: b"",
            name: self.name.as_bytes(),
            org_name: b"",
            charset: if self.is_number { BINARY } else { UTF8MB4 },
            length: if self.is_number { 20 } else { 4 * 1024 },
            kind: if self.is_number { column_type::LONGLONG } else { column_type::VAR_STRING },
            flags: if self.is_number { NUMBER_FLAGS } else { 0 },
            decimals: if self.is_number { 0 } else { 31 },
        }
    }
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Number(u64),
    Text(String),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn optional(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }
}

/// Columns and rows.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Value>>,
}

impl Table {
    fn definitions(&self) -> Vec<response::Column<'static>> {
        self.columns.iter().map(Column::definition).collect()
    }

    /// The answer to a statement.
    pub(super) fn write(&self, out: &mut Vec<u8>, flags: ResponseFlags, status: Status, row: Row) {
        let end = OkPacket { status, ..OkPacket::default() };
        let mut set = ResultSet::begin(out, 1, flags, &self.definitions(), &end);
        for values in &self.rows {
            match row {
                Row::Binary => set.raw_row(|w| write_binary(values, w)),
                Row::Text => set.raw_row(|w| write_text(values, w)),
            }
        }
        set.end(&end);
    }

    /// The answer to COM_STMT_PREPARE.
    pub(super) fn write_prepared(&self, out: &mut Vec<u8>, flags: ResponseFlags, status: Status, id: u32) {
        let columns = u16::try_from(self.columns.len()).unwrap_or(u16::MAX);
        let mut sequence = packet_with(out, 1, |w| {
            // no parameters, a filler, no warnings
            w.u8(0).u32(id).u16(columns).u16(0).u8(0).u16(0);
        });
        for column in self.definitions() {
            sequence = packet_with(out, sequence, |w| column.write(w));
        }
        if !flags.deprecate_eof {
            packet_with(out, sequence, |w| EofPacket { warnings: 0, status }.write(w));
        }
    }
}

fn write_text(values: &[Value], w: &mut Writer<'_>) {
    for value in values {
        match value {
            Value::Null => w.u8(0xFB),
            Value::Number(n) => w.lenenc_bytes(n.to_string().as_bytes()),
            Value::Text(text) => w.lenenc_bytes(text.as_bytes()),
        };
    }
}

fn write_binary(values: &[Value], w: &mut Writer<'_>) {
    let nulls: Vec<bool> = values.iter().map(|value| *value == Value::Null).collect();
    w.u8(0).bytes(&null_bitmap(&nulls));
    for value in values {
        match value {
            Value::Null => {}
            Value::Number(n) => {
                w.u64(*n);
            }
            Value::Text(text) => {
                w.lenenc_bytes(text.as_bytes());
            }
        }
    }
}

/// Of a binary row: two bits stay unused.
pub(super) fn null_bitmap(nulls: &[bool]) -> Vec<u8> {
    let mut bitmap = vec![0; (nulls.len() + 9) / 8];
    for (i, _) in nulls.iter().enumerate().filter(|(_, null)| **null) {
        if let Some(byte) = bitmap.get_mut((i + 2) / 8) {
            *byte |= 1 << ((i + 2) % 8);
        }
    }
    bitmap
}
