//! What clients do, and what each answer must look like.

use std::io::Write as _;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use weir_wire::{command::com, packet_with};

use crate::dirt::Dirt;
use crate::generator::answer::{Expected, RowFormat};
use crate::random::Random;

/// The database of all workloads.
pub(crate) const DATABASE: &str = "bench";
/// Bytes in the one large value.
pub(crate) const BLOB_BYTES: u32 = 16 << 20;
/// Rows of a range select.
pub(crate) const RANGE_ROWS: u32 = 100;
/// What [`Workload::PointSelectPrepared`] prepares, once for each client.
pub(crate) const PREPARED: &str = "SELECT id, c FROM bench.points WHERE id = ?";

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Workload {
    /// One row by its primary key, as text.
    PointSelect,
    /// The same, executing a prepared statement, with a binary row as the answer.
    PointSelectPrepared,
    /// [`Workload::PointSelect`] by a client that did not negotiate DEPRECATE_EOF.
    PointSelectEof,
    /// 100 rows by a range of the primary key, as text.
    Rows100,
    /// One row with a value of 16 MiB.
    Blob16m,
    /// BEGIN, two point selects, UPDATE, DELETE, INSERT, COMMIT.
    ReadWrite,
    /// [`Workload::PointSelect`], to compare the next with.
    CleanSessions,
    /// The same by clients that differ in what they have set: see [`Dirt`].
    DirtySessions,
}

/// Statements of one [`Workload::ReadWrite`] transaction.
pub(crate) const TRANSACTION_STATEMENTS: usize = 7;
/// A client with user variables assigns its own anew after so many statements.
const USES_OF_A_VARIABLE: usize = 5;

impl Workload {
    /// All, in the order of the table.
    pub(crate) const ALL: [Workload; 8] = [
        Workload::PointSelect,
        Workload::PointSelectPrepared,
        Workload::PointSelectEof,
        Workload::Rows100,
        Workload::Blob16m,
        Workload::ReadWrite,
        Workload::CleanSessions,
        Workload::DirtySessions,
    ];

    /// Its name in tables, options and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::PointSelect => "point_select",
            Workload::PointSelectPrepared => "point_select_prepared",
            Workload::PointSelectEof => "point_select_eof",
            Workload::Rows100 => "rows_100",
            Workload::Blob16m => "blob_16m",
            Workload::ReadWrite => "read_write",
            Workload::CleanSessions => "clean_sessions",
            Workload::DirtySessions => "dirty_sessions",
        }
    }

    /// Whether a replica can serve it.
    pub(crate) fn is_read(self) -> bool {
        self != Workload::ReadWrite
    }

    /// Whether its clients negotiate DEPRECATE_EOF.
    pub(crate) fn deprecates_eof(self) -> bool {
        self != Workload::PointSelectEof
    }

    /// Statements that belong together: a client that is told to stop does so after the last.
    pub(crate) fn statements(self) -> usize {
        match self {
            Workload::ReadWrite => TRANSACTION_STATEMENTS,
            _ => 1,
        }
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> String {
        workload.name().to_owned()
    }
}

impl TryFrom<String> for Workload {
    type Error = anyhow::Error;

    fn try_from(name: String) -> Result<Workload> {
        match Workload::ALL.into_iter().find(|workload| workload.name() == name) {
            Some(workload) => Ok(workload),
            None => bail!("no workload is called `{name}`"),
        }
    }
}

/// One client's sequence of statements.
#[derive(Debug)]
pub(crate) struct Script {
    workload: Workload,
    /// Rows in `bench.points`, whose ids count from 1 without gaps.
    rows: u32,
    /// Clients write disjoint rows, so that no two transactions wait for each other: client `index` of `clients`
    /// has the ids that leave remainder `index`.
    index: u32,
    clients: u32,
    random: Random,
    step: usize,
    written: u32,
    dirt: Dirt,
}

impl Script {
    /// The script of client `index` among `clients`.
    pub(crate) fn new(workload: Workload, rows: u32, index: u32, clients: u32) -> Self {
        let dirt = match workload {
            Workload::DirtySessions => Dirt::of(index),
            _ => Dirt { prepares: workload == Workload::PointSelectPrepared, ..Dirt::default() },
        };
        Self { workload, rows, index, clients, random: Random::new(index), step: 0, written: 1, dirt }
    }

    /// What the client does beside its statements.
    pub(crate) fn dirt(&self) -> &Dirt {
        &self.dirt
    }

    /// Statements that belong together.
    fn cycle(&self) -> usize {
        if self.dirt.user_variables { USES_OF_A_VARIABLE } else { self.workload.statements() }
    }

    /// Starts again from the beginning, with the same random numbers.
    pub(crate) fn rewind(&mut self) {
        self.random = Random::new(self.index);
        self.step = 0;
    }

    /// Whether the statement just answered ended what belongs together.
    pub(crate) fn is_at_end(&self) -> bool {
        self.step == 0
    }

    /// After an error: what is begun is given up.
    pub(crate) fn give_up(&mut self, request: &mut Vec<u8>) -> Option<Expected> {
        if self.step == 0 {
            return None;
        }
        self.step = 0;
        query(request, format_args!("ROLLBACK"));
        Some(Expected::Changed { rows: 0 })
    }

    /// Writes the next request, and says how its answer must look.
    pub(crate) fn next(&mut self, prepared: u32, request: &mut Vec<u8>) -> Expected {
        let step = self.step;
        self.step = (step + 1) % self.cycle();
        match self.workload {
            _ if self.dirt.user_variables => self.by_variable(step, request),
            _ if self.dirt.prepares => {
                let id = self.any_id();
                execute(request, prepared, id);
                Expected::Rows { format: RowFormat::Binary, first: id, count: 1 }
            }
            Workload::PointSelect
            | Workload::PointSelectPrepared
            | Workload::PointSelectEof
            | Workload::CleanSessions
            | Workload::DirtySessions => self.point_select(request),
            Workload::Rows100 => {
                let first = self.random.below(self.rows.saturating_sub(RANGE_ROWS).saturating_add(1)) + 1;
                range_select(request, first);
                Expected::Rows { format: RowFormat::Text, first, count: RANGE_ROWS }
            }
            Workload::Blob16m => {
                query(request, format_args!("SELECT id, data FROM bench.blobs WHERE id = 1"));
                Expected::Blob { bytes: BLOB_BYTES }
            }
            Workload::ReadWrite => self.read_write(step, request),
        }
    }

    fn any_id(&mut self) -> u32 {
        self.random.below(self.rows) + 1
    }

    fn own_id(&mut self) -> u32 {
        let each = (self.rows / self.clients.max(1)).max(1);
        self.random.below(each).wrapping_mul(self.clients).wrapping_add(self.index) % self.rows + 1
    }

    fn point_select(&mut self, request: &mut Vec<u8>) -> Expected {
        let id = self.any_id();
        query(request, format_args!("SELECT id, c FROM bench.points WHERE id = {id}"));
        Expected::Rows { format: RowFormat::Text, first: id, count: 1 }
    }

    fn by_variable(&mut self, step: usize, request: &mut Vec<u8>) -> Expected {
        if step == 0 {
            self.written = self.any_id();
            query(request, format_args!("SET @id = {}", self.written));
            return Expected::Changed { rows: 0 };
        }
        query(request, format_args!("SELECT id, c FROM bench.points WHERE id = @id"));
        Expected::Rows { format: RowFormat::Text, first: self.written, count: 1 }
    }

    fn read_write(&mut self, step: usize, request: &mut Vec<u8>) -> Expected {
        let rows = match step {
            0 => {
                query(request, format_args!("BEGIN"));
                0
            }
            1 | 2 => return self.point_select(request),
            3 => {
                let id = self.own_id();
                query(request, format_args!("UPDATE bench.points SET k = k + 1 WHERE id = {id}"));
                1
            }
            4 => {
                self.written = self.own_id();
                query(request, format_args!("DELETE FROM bench.points WHERE id = {}", self.written));
                1
            }
            5 => {
                let id = self.written;
                let k = self.random.below(self.rows);
                let insert = "INSERT INTO bench.points (id, k, c, pad) VALUES";
                query(request, format_args!("{insert} ({id}, {k}, '{id:0119}', '{k:059}')"));
                1
            }
            _ => {
                query(request, format_args!("COMMIT"));
                0
            }
        };
        Expected::Changed { rows }
    }
}

/// COM_QUERY with a text.
pub(crate) fn query(request: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    request.clear();
    request.extend_from_slice(&[0, 0, 0, 0, com::QUERY]);
    // Writing into a vector cannot fail.
    let _infallible = request.write_fmt(text);
    finish(request);
}

/// COM_QUERY of 100 rows.
pub(crate) fn range_select(request: &mut Vec<u8>, first: u32) {
    let last = first.saturating_add(RANGE_ROWS).saturating_sub(1);
    let text = format_args!("SELECT id, c FROM bench.points WHERE id BETWEEN {first} AND {last} ORDER BY id");
    query(request, text);
}

/// COM_STMT_EXECUTE with one INT parameter, its type sent along as most drivers do.
pub(crate) fn execute(request: &mut Vec<u8>, statement: u32, id: u32) {
    const NO_CURSOR: u8 = 0;
    const TYPES_FOLLOW: u8 = 1;
    const TYPE_LONG: u16 = 3;
    request.clear();
    packet_with(request, 0, |w| {
        w.u8(com::STMT_EXECUTE).u32(statement).u8(NO_CURSOR).u32(1);
        w.u8(0).u8(TYPES_FOLLOW).u16(TYPE_LONG).u32(id);
    });
}

/// Fills in the length of the one packet in `request`.
fn finish(request: &mut [u8]) {
    let length = u32::try_from(request.len().saturating_sub(4)).unwrap_or(u32::MAX);
    let [a, b, c, _] = length.to_le_bytes();
    if let Some(header) = request.get_mut(..3) {
        header.copy_from_slice(&[a, b, c]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::framer::first_packet;

    #[test]
    fn every_request_is_one_whole_packet() {
        for workload in Workload::ALL {
            let mut script = Script::new(workload, 1_000, 3, 16);
            let mut request = Vec::new();
            for _ in 0..50 {
                script.next(7, &mut request);
                let (header, payload) = first_packet(&request).expect("a whole packet");
                assert_eq!((header.sequence, payload.len() + 4), (0, request.len()), "{workload:?}");
            }
        }
    }

    #[test]
    fn a_rewound_script_says_the_same_again() {
        let mut script = Script::new(Workload::ReadWrite, 1_000, 3, 16);
        let said = |script: &mut Script| {
            let mut request = Vec::new();
            (0..21).map(|_| (script.next(0, &mut request), request.clone())).collect::<Vec<_>>()
        };
        let first = said(&mut script);
        script.rewind();
        assert_eq!(said(&mut script), first);
    }

    #[test]
    fn clients_write_rows_of_their_own_only() {
        let clients = 64;
        let mut owners = std::collections::HashMap::new();
        for index in 0..clients {
            let mut script = Script::new(Workload::ReadWrite, 1_000, index, clients);
            for _ in 0..200 {
                let id = script.own_id();
                assert!((1..=1_000).contains(&id));
                assert_eq!(*owners.entry(id).or_insert(index), index, "row {id}");
            }
        }
    }

    #[test]
    fn a_client_with_a_user_variable_selects_what_it_assigned() {
        let mut script = Script::new(Workload::DirtySessions, 1_000, 7, 64);
        let mut request = Vec::new();
        for _ in 0..3 {
            assert_eq!(script.next(0, &mut request), Expected::Changed { rows: 0 });
            let assigned =
                String::from_utf8_lossy(&request[5..]).rsplit(' ').next().unwrap().parse().unwrap();
            for _ in 1..USES_OF_A_VARIABLE {
                let expected = script.next(0, &mut request);
                assert_eq!(expected, Expected::Rows { format: RowFormat::Text, first: assigned, count: 1 });
            }
            assert!(script.is_at_end());
        }
    }

    #[test]
    fn a_range_stays_within_the_table() {
        let mut script = Script::new(Workload::Rows100, 100, 0, 1);
        let mut request = Vec::new();
        for _ in 0..20 {
            let expected = script.next(0, &mut request);
            assert_eq!(expected, Expected::Rows { format: RowFormat::Text, first: 1, count: 100 });
        }
    }
}
