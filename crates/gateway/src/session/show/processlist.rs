//! Rows of SHOW PROCESSLIST, in the columns of a server's own answer.

use weir_wire::{
    command::com,
    framer::{HEADER_LEN, Header},
    packet_with,
    response::Column,
};

use super::{Row, table::null_bitmap};
use crate::{census::Seen, handle::Phase};

/// Without FULL, so many characters of a statement are shown.
const SHORT: usize = 100;

/// What is listed.
#[derive(Debug)]
pub(super) struct List<'a> {
    /// The session that asks.
    pub(super) own: u32,
    /// What it asks with.
    pub(super) text: &'a [u8],
    pub(super) full: bool,
    pub(super) seen: &'a [Seen],
}

impl List<'_> {
    /// A server's answer, with these rows in place of its own.
    pub(super) fn put_into(&self, answer: &[u8], deprecate_eof: bool, row: Row) -> Option<Vec<u8>> {
        let mut packets = Vec::new();
        let mut rest = answer;
        while !rest.is_empty() {
            let header = Header::parse(rest)?;
            packets.push(rest.get(HEADER_LEN..HEADER_LEN + header.len)?);
            rest = rest.get(HEADER_LEN + header.len..)?;
        }
        let count = usize::from(*packets.first()?.first()?);
        let columns: Vec<Column<'_>> =
            packets.get(1..=count)?.iter().map(|p| Column::parse(p).ok()).collect::<Option<_>>()?;
        let head = 1 + count + usize::from(!deprecate_eof);
        let mut out = Vec::with_capacity(answer.len());
        let mut sequence = 1;
        let mut write = |payload: &[u8]| {
            sequence = packet_with(&mut out, sequence, |w| {
                w.bytes(payload);
            });
        };
        packets.get(..head)?.iter().for_each(|packet| write(packet));
        for seen in self.seen {
            let values: Vec<Option<Vec<u8>>> = columns.iter().map(|c| self.value(c.name, seen)).collect();
            let mut payload = Vec::new();
            match row {
                Row::Text => write_text(&values, &mut payload),
                Row::Binary => write_binary(&values, &columns, &mut payload)?,
            }
            write(&payload);
        }
        write(packets.last().filter(|_| packets.len() > head)?);
        Some(out)
    }

    fn value(&self, column: &[u8], seen: &Seen) -> Option<Vec<u8>> {
        let is_own = seen.id == self.own;
        let doing = seen.doing.as_ref();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        match column.to_ascii_lowercase().as_slice() {
            b"id" => text(&seen.id.to_string()),
            b"user" => match &seen.login {
                Some(login) => text(&login.user),
                None => text("unauthenticated user"),
            },
            b"host" => text(&seen.host),
            b"db" => seen.database.as_deref().map(<[u8]>::to_vec),
            b"command" => text(command(seen)),
            b"time" => text(&(seen.ticks / 10).to_string()),
            b"state" => match (is_own, doing) {
                (true, _) => text("executing"),
                (false, Some(doing)) => text(doing.state),
                (false, None) => text(""),
            },
            b"info" => {
                let statement =
                    if is_own { Some(self.text) } else { doing.and_then(|d| d.statement.as_deref()) };
                statement.map(|text| if self.full { text.to_vec() } else { shortened(text) })
            }
            // MariaDB
            b"progress" => text("0.000"),
            _ => None,
        }
    }
}

fn command(seen: &Seen) -> &'static str {
    match seen.phase {
        Phase::Login => return "Connect",
        Phase::Idle | Phase::IdleHolding => return "Sleep",
        Phase::Busy | Phase::Writing | Phase::Reading => {}
    }
    match seen.doing.as_ref().map(|doing| doing.command) {
        Some(com::STMT_EXECUTE) => "Execute",
        Some(com::STMT_PREPARE) => "Prepare",
        Some(com::STMT_FETCH) => "Fetch",
        Some(com::INIT_DB) => "Init DB",
        Some(com::FIELD_LIST) => "Field List",
        Some(com::STATISTICS) => "Statistics",
        _ => "Query",
    }
}

/// Whole characters, if it is UTF-8.
fn shortened(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().take(SHORT).collect::<String>().into_bytes(),
        Err(_) => text.get(..SHORT).unwrap_or(text).to_vec(),
    }
}

fn write_text(values: &[Option<Vec<u8>>], out: &mut Vec<u8>) {
    let mut w = weir_wire::Writer::new(out);
    for value in values {
        match value {
            None => w.u8(0xFB),
            Some(bytes) => w.lenenc_bytes(bytes),
        };
    }
}

/// `None`: a number that is none.
fn write_binary(values: &[Option<Vec<u8>>], columns: &[Column<'_>], out: &mut Vec<u8>) -> Option<()> {
    let nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
    let mut w = weir_wire::Writer::new(out);
    w.u8(0).bytes(&null_bitmap(&nulls));
    for (value, column) in values.iter().zip(columns) {
        let Some(bytes) = value else { continue };
        // source: enum_field_types of both servers
        let width = match column.kind {
            3 | 9 => 4,
            8 => 8,
            _ => {
                w.lenenc_bytes(bytes);
                continue;
            }
        };
        let number: u64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
        w.bytes(number.to_le_bytes().get(..width)?);
    }
    Some(())
}
