//! COM_STMT_EXECUTE, and the values in it.

use weir_wire::Writer;
use weir_wire::command::com;

use super::{Bind, Cursor};

/// A parameter's value, and the type that it is sent with (`enum_field_types`; 0x80 in the flags is unsigned).
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// BIGINT UNSIGNED.
    UInt(u64),
    /// DOUBLE.
    Double(f64),
    /// VARCHAR.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
    /// A BLOB whose bytes went ahead with COM_STMT_SEND_LONG_DATA.
    SentAhead,
    /// DATETIME: year, month, day, hour, minute, second, microsecond.
    DateTime(u16, u8, u8, u8, u8, u8, u32),
}

impl Parameter {
    fn kind(&self) -> [u8; 2] {
        match self {
            Parameter::Null => [0x06, 0],
            Parameter::Int(_) => [0x08, 0],
            Parameter::UInt(_) => [0x08, 0x80],
            Parameter::Double(_) => [0x05, 0],
            Parameter::Text(_) => [0xfd, 0],
            Parameter::Blob(_) | Parameter::SentAhead => [0xfc, 0],
            Parameter::DateTime(..) => [0x0c, 0],
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Parameter::Null | Parameter::SentAhead => {}
            Parameter::Int(value) => {
                w.bytes(&value.to_le_bytes());
            }
            Parameter::UInt(value) => {
                w.u64(*value);
            }
            Parameter::Double(value) => {
                w.bytes(&value.to_le_bytes());
            }
            Parameter::Text(value) => {
                w.lenenc_bytes(value.as_bytes());
            }
            Parameter::Blob(value) => {
                w.lenenc_bytes(value);
            }
            Parameter::DateTime(year, month, day, hour, minute, second, micros) => {
                w.u8(11).u16(*year).u8(*month).u8(*day).u8(*hour).u8(*minute).u8(*second).u32(*micros);
            }
        }
    }
}

/// The payload of COM_STMT_EXECUTE.
#[must_use]
pub fn execution(id: u32, parameters: &[Parameter], cursor: Cursor, bind: Bind) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut w = Writer::new(&mut payload);
    w.u8(com::STMT_EXECUTE).u32(id).u8(u8::from(cursor == Cursor::ReadOnly)).u32(1);
    if parameters.is_empty() {
        return payload;
    }
    let mut nulls = vec![0_u8; parameters.len().div_ceil(8)];
    for (i, parameter) in parameters.iter().enumerate() {
        if let (Parameter::Null, Some(byte)) = (parameter, nulls.get_mut(i / 8)) {
            *byte |= 1 << (i % 8);
        }
    }
    w.bytes(&nulls).u8(u8::from(bind == Bind::New));
    if bind == Bind::New {
        for parameter in parameters {
            w.bytes(&parameter.kind());
        }
    }
    for parameter in parameters {
        parameter.write(&mut w);
    }
    payload
}

/// A query attribute: its name and its value.
pub type Attribute<'a> = (&'a str, Parameter);

/// The payload of a COM_QUERY with attributes.
pub(super) fn attributed(text: &[u8], attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut w = Writer::new(&mut payload);
    w.u8(com::QUERY).lenenc_int(attributes.len() as u64).lenenc_int(1);
    if !attributes.is_empty() {
        named(&mut w, attributes, Bind::New);
    }
    w.bytes(text);
    payload
}

/// The payload of a COM_STMT_EXECUTE where attributes were negotiated; they stand behind the statement's own parameters.
pub(super) fn execution_attributed(
    id: u32,
    parameters: &[Parameter],
    attributes: &[Attribute<'_>],
    bind: Bind,
) -> Vec<u8> {
    const PARAMETER_COUNT_AVAILABLE: u8 = 8;
    let mut payload = Vec::new();
    let mut w = Writer::new(&mut payload);
    let own = parameters.iter().map(|parameter| ("", parameter.clone()));
    let all: Vec<Attribute<'_>> = own.chain(attributes.iter().cloned()).collect();
    w.u8(com::STMT_EXECUTE).u32(id).u8(PARAMETER_COUNT_AVAILABLE).u32(1).lenenc_int(all.len() as u64);
    if !all.is_empty() {
        named(&mut w, &all, bind);
    }
    payload
}

fn named(w: &mut Writer<'_>, values: &[Attribute<'_>], bind: Bind) {
    let mut nulls = vec![0_u8; values.len().div_ceil(8)];
    for (i, (_, value)) in values.iter().enumerate() {
        if let (Parameter::Null, Some(byte)) = (value, nulls.get_mut(i / 8)) {
            *byte |= 1 << (i % 8);
        }
    }
    w.bytes(&nulls).u8(u8::from(bind == Bind::New));
    if bind == Bind::New {
        for (name, value) in values {
            w.bytes(&value.kind()).lenenc_bytes(name.as_bytes());
        }
    }
    for (_, value) in values {
        value.write(w);
    }
}
