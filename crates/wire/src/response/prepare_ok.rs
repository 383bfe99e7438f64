//! The first packet of the answer to COM_STMT_PREPARE.

use crate::{Malformed, Reader};

/// How many definitions follow, and the statement's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOk {
    /// Statement id on that server connection.
    pub statement: u32,
    /// Columns of the result.
    pub columns: u16,
    /// Parameters.
    pub parameters: u16,
    /// Number of warnings.
    pub warnings: u16,
}

impl PrepareOk {
    /// Payload bytes, at least; the servers send two more.
    pub const LEN: usize = 10;

    /// Where the statement id stands in the payload.
    pub const ID_OFFSET: usize = 1;

    /// Reads a payload whose first byte is 0x00.
    ///
    /// # Errors
    /// It is cut.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        r.u8("PREPARE_OK header")?;
        let statement = r.u32("statement id")?;
        let columns = r.u16("column count")?;
        let parameters = r.u16("parameter count")?;
        r.u8("PREPARE_OK filler")?;
        let warnings = if r.is_empty() { 0 } else { r.u16("PREPARE_OK warnings")? };
        Ok(Self { statement, columns, parameters, warnings })
    }
}
