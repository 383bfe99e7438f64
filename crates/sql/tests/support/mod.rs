//! What the tests share: dialects, the corpus, a comparable copy of a result, a seeded source of mutations.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail"
)]

use weir_sql::{
    Access, ClientCharset, Dialect, Effects, Flavour, Hint, Kill, Kind, ShowWeir, Statement, TransactionStep,
    analyze,
};

pub(crate) const MYSQL: Dialect = Dialect {
    flavour: Flavour::MySql,
    version: 90_704,
    ansi_quotes: false,
    no_backslash_escapes: false,
    charset: ClientCharset::AsciiSafe,
};

pub(crate) const MARIADB: Dialect = Dialect { flavour: Flavour::MariaDb, version: 101_119, ..MYSQL };

pub(crate) fn dialects() -> Vec<Dialect> {
    let mut all = Vec::new();
    for base in [MYSQL, MARIADB] {
        all.push(base);
        all.push(Dialect { ansi_quotes: true, ..base });
        all.push(Dialect { no_backslash_escapes: true, ..base });
        all.push(Dialect { charset: ClientCharset::Gbk, ..base });
        all.push(Dialect { charset: ClientCharset::Gb18030, ..base });
        all.push(Dialect { charset: ClientCharset::Sjis, ..base });
        all.push(Dialect { charset: ClientCharset::of_name(b"latin1"), ..base });
    }
    all
}

/// Everything that a [`Statement`] says.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    pub(crate) hint: Option<Hint>,
    pub(crate) transaction: TransactionStep,
    pub(crate) effects: Effects,
    pub(crate) statements: u32,
    pub(crate) kill: Option<Kill>,
    pub(crate) weir: Option<ShowWeir>,
    pub(crate) digest: u64,
    pub(crate) used: Option<Vec<u8>>,
    pub(crate) databases: Vec<Vec<u8>>,
    pub(crate) variables: Vec<Vec<u8>>,
}

pub(crate) fn read_out(statement: &Statement) -> Seen {
    Seen {
        kind: statement.kind,
        access: statement.access,
        hint: statement.hint,
        transaction: statement.transaction,
        effects: statement.effects,
        statements: statement.statements,
        kill: statement.kill,
        weir: statement.weir,
        digest: statement.digest,
        used: statement.use_database().map(<[u8]>::to_vec),
        databases: statement.databases().map(<[u8]>::to_vec).collect(),
        variables: statement.assigned_variables().map(<[u8]>::to_vec).collect(),
    }
}

pub(crate) fn seen(sql: &[u8], dialect: &Dialect) -> Seen {
    let mut statement = Statement::new();
    analyze(sql, dialect, &mut statement);
    read_out(&statement)
}

/// Names joined by a blank, as rows of data write them.
pub(crate) fn joined(names: &[Vec<u8>]) -> String {
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>().join(" ")
}

#[derive(serde::Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) sql: String,
}

/// The statements that every part of Weir is tried with.
pub(crate) fn corpus() -> Vec<Entry> {
    serde_json::from_str(include_str!("../../../../testdata/sql-corpus.json")).expect("the corpus is JSON")
}

/// A small generator, so that a failure can be repeated from its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap() % limit.max(1)
    }
}

/// What a lexer may stumble over.
pub(crate) const PIECES: &[&[u8]] = &[
    b"'",
    b"\"",
    b"`",
    b"\\",
    b"/*",
    b"*/",
    b"/*!",
    b"/*!50000",
    b"/*!99999 ",
    b"/*M!100100 ",
    b"/*+",
    b"--",
    b"-- ",
    b"#",
    b"\n",
    b" ",
    b"\t",
    b"\0",
    b"(",
    b")",
    b",",
    b";",
    b".",
    b"@",
    b"@@",
    b":=",
    b"=",
    b"<=>",
    b"->>",
    b"*",
    b"?",
    b"0x",
    b"0x1f",
    b"0b1",
    b"1e",
    b"1e5",
    b"1.",
    b".5",
    b"1a",
    b"x'",
    b"n'",
    b"_utf8mb4'",
    b"$$",
    b"$a$",
    b"\xbf",
    b"\x5c",
    b"\xbf\x27",
    b"\x81\x30",
    b"\xa0",
    b"\xe4\xbd\xa0",
    b"SELECT",
    b"FROM",
    b"WHERE",
    b"JOIN",
    b"ON",
    b"a",
    b"b.c",
    b"d.e.f",
    b"INSERT INTO",
    b"VALUES",
    b"VALUES (1,2),(3,4)",
    b"IN ((1,2),(3,4))",
    b"UPDATE",
    b"SET",
    b"DELETE",
    b"UNION",
    b"GET_LOCK(",
    b"LAST_INSERT_ID()",
    b"CREATE PROCEDURE p()",
    b"BEGIN",
    b"END",
    b"IF",
    b"CASE",
    b"THEN",
    b"PREPARE s FROM",
    b"EXECUTE IMMEDIATE",
    b"'SELECT 1'",
    b"USE",
    b"SHOW",
    b"KILL 5",
    b"/* weir: replica */",
    b"/*master*/",
    b"FOR UPDATE",
    b"GLOBAL",
    b"NAMES",
    b"TABLE",
    b"WITH",
    b"AS",
    b"LIKE",
    b"{",
    b"}",
    b"oj",
    b"\\N",
    b"N",
    b"e",
    b"\xe2\x84\xaa(",
];

pub(crate) fn mutate(sql: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(sql.len() + 1);
    match random.below(4) {
        0 => {
            let piece = PIECES[random.below(PIECES.len())];
            sql.splice(at..at, piece.iter().copied());
        }
        1 if at < sql.len() => {
            sql.remove(at);
        }
        2 if at < sql.len() => sql[at] = u8::try_from(random.below(256)).unwrap(),
        _ => {
            let to = at + random.below(sql.len() + 1 - at);
            let part = sql[at..to].to_vec();
            let back = random.below(sql.len() + 1);
            sql.splice(back..back, part);
        }
    }
}

/// The rows of a data file: columns split by tabs; `#` starts a comment line.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

/// The dialects that the first column of a row means.
pub(crate) fn dialects_of(column: &str) -> &'static [Dialect] {
    match column {
        "my" => &[MYSQL],
        "ma" => &[MARIADB],
        "both" => &[MYSQL, MARIADB],
        other => panic!("{other} is no dialect"),
    }
}
