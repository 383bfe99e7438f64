//! The session that is shown, and what the servers say of each statement.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use weir_wire::server_version::Flavour;

use super::{
    DATABASE, NO_TERMINAL,
    client::Client,
    server::{Role, Server},
};

/// What the script makes in its database.
pub(super) const TABLES: [&str; 2] = ["orders", "this_server"];

/// A step of the script.
enum Step {
    /// Moves on the binary log of the server that it runs on.
    Write(String),
    /// A transaction that writes: its statements, from the first to COMMIT.
    Transaction(Vec<&'static str>),
    /// Returns the id of the server that answered in its last column; expected from a server of this role.
    Read(&'static str, Role),
    /// Changes the session alone.
    Session(String),
    /// Not a statement: wait until replicas have everything.
    CatchUp,
}

/// The same read everywhere. `this_server` is a view that shows the id of the server that reads it.
const READ: &str = "SELECT item, server FROM orders, this_server";

fn script(flavour: Flavour) -> Vec<Step> {
    // both tables of variables say the same; `@@server_id` would not do, since Weir sends that to the primary
    let variables = match flavour {
        Flavour::MySql => "performance_schema.global_variables",
        Flavour::MariaDb => "information_schema.GLOBAL_VARIABLES",
    };
    let view = format!(
        "CREATE VIEW this_server AS SELECT VARIABLE_VALUE AS server FROM {variables} WHERE VARIABLE_NAME = 'server_id'"
    );
    let table = "CREATE TABLE orders (id INT PRIMARY KEY, item VARCHAR(20))";
    let mut steps = vec![
        Step::Write(format!("CREATE DATABASE {DATABASE}")),
        Step::Session(format!("USE {DATABASE}")),
        Step::Write(table.to_owned()),
        Step::Write(view),
    ];
    for (id, item) in [(1, "tea"), (2, "coffee"), (3, "water")] {
        steps.push(Step::Write(format!("INSERT INTO orders VALUES ({id}, '{item}')")));
    }
    steps.push(Step::CatchUp);
    for _ in 0..4 {
        steps.push(Step::Read(READ, Role::Replica));
    }
    steps.push(Step::Transaction(vec![
        "START TRANSACTION",
        READ,
        "UPDATE orders SET item = 'milk' WHERE id = 3",
        "COMMIT",
    ]));
    steps.push(Step::CatchUp);
    steps.push(Step::Read(READ, Role::Replica));
    steps.push(Step::Read("SELECT item, server FROM orders, this_server FOR UPDATE", Role::Primary));
    steps.push(Step::Read("/* weir: primary */ SELECT item, server FROM orders, this_server", Role::Primary));
    steps.push(Step::Write("DELETE FROM orders WHERE id = 1".to_owned()));
    steps
}

/// Runs the script through Weir and prints who answered what. Returns whether everything went where it should.
pub(super) async fn run(client: &mut Client, servers: &mut [Server]) -> Result<bool> {
    let flavour = servers.first().context("no server")?.flavour();
    let mut table = Table::begin(std::io::stdout())?;
    for step in script(flavour) {
        match step {
            Step::Write(sql) => write(client, servers, &[&sql], &mut table).await?,
            Step::Transaction(statements) => write(client, servers, &statements, &mut table).await?,
            Step::Read(sql, expected) => {
                let (rows, took) = timed(client, sql).await?;
                let expected = if servers.len() == 1 { Role::Primary } else { expected };
                let id = rows.first().and_then(|row| row.last()).context("the read has no row")?;
                let server = servers.iter().find(|server| server.id == *id);
                table.row(sql, "read", server.map(seen), Some(expected), took)?;
            }
            Step::Session(sql) => {
                let (_, took) = timed(client, &sql).await?;
                table.row(&sql, "session", None, None, took)?;
            }
            Step::CatchUp => {
                let written = servers.first_mut().context("no server")?.written().await?;
                for replica in servers.iter_mut().skip(1) {
                    replica.catch_up(&written).await?;
                }
            }
        }
    }
    table.end()
}

/// Statements that write together: the server whose binary log they moved on is where they ran.
async fn write(
    client: &mut Client,
    servers: &mut [Server],
    statements: &[&str],
    table: &mut Table<impl Write>,
) -> Result<()> {
    let mut before = Vec::new();
    for server in servers.iter_mut() {
        before.push(evidence(server).await?);
    }
    let mut took = Vec::new();
    for sql in statements {
        took.push(timed(client, sql).await?.1);
    }
    let mut wrote = Vec::new();
    for (server, before) in servers.iter_mut().zip(&before) {
        if evidence(server).await? != *before {
            wrote.push(&*server);
        }
    }
    // a write on two servers is wrong, whoever the first one is
    let server = match wrote.as_slice() {
        [one] => Some(*one),
        several => several.iter().find(|server| server.role == Role::Replica).copied(),
    };
    for (sql, took) in statements.iter().zip(took) {
        let kind = match *sql {
            READ => "read",
            "START TRANSACTION" | "COMMIT" => "transaction",
            _ => "write",
        };
        table.row(sql, kind, server.map(seen), Some(Role::Primary), took)?;
    }
    Ok(())
}

/// What changes when a client writes on this server.
async fn evidence(server: &mut Server) -> Result<String> {
    match server.role {
        Role::Primary => server.written().await,
        // its binary log moves on by replication, too
        Role::Replica => server.own_writes().await,
    }
}

async fn timed(client: &mut Client, sql: &str) -> Result<(Vec<Vec<String>>, Duration)> {
    let start = Instant::now();
    let rows = client.query(sql).await?;
    Ok((rows, start.elapsed()))
}

/// A server's role and address.
type Seen<'a> = (Role, &'a str);

fn seen(server: &Server) -> Seen<'_> {
    (server.role, &server.address)
}

/// Prints rows as they come.
struct Table<W> {
    out: W,
    writes: usize,
    reads: usize,
    wrong: usize,
}

/// Characters of a statement that are shown.
const STATEMENT_WIDTH: usize = 64;

impl<W: Write> Table<W> {
    fn begin(mut out: W) -> Result<Self> {
        let head =
            format!("{:<STATEMENT_WIDTH$}  {:<11}  {:<28}  {:>9}", "statement", "kind", "server", "time");
        writeln!(out, "{head}\n{}", "─".repeat(head.chars().count())).context(NO_TERMINAL)?;
        Ok(Self { out, writes: 0, reads: 0, wrong: 0 })
    }

    fn row(
        &mut self,
        sql: &str,
        kind: &str,
        server: Option<Seen<'_>>,
        expected: Option<Role>,
        took: Duration,
    ) -> Result<()> {
        let place = match (server, expected) {
            (Some((role, address)), _) => format!("{} {address}", role.name()),
            (None, Some(_)) => "not seen on any server".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let right = expected.is_none() || server.map(|(role, _)| role) == expected;
        self.writes += usize::from(kind == "write");
        self.reads += usize::from(kind == "read" && expected == Some(Role::Replica));
        self.wrong += usize::from(!right);
        let mark = if right { "" } else { "  WRONG" };
        let shown = shorten(sql);
        let millis = took.as_secs_f64() * 1e3;
        writeln!(self.out, "{shown:<STATEMENT_WIDTH$}  {kind:<11}  {place:<28}  {millis:>6.2} ms{mark}")
            .context(NO_TERMINAL)
    }

    /// Returns whether everything ran where it should.
    fn end(mut self) -> Result<bool> {
        let Self { writes, reads, wrong, .. } = self;
        let sum = match (wrong, reads) {
            (0, 0) => format!("{writes} writes on the primary; there is no replica to read from"),
            (0, _) => format!("{writes} writes on the primary and on no replica, {reads} reads on replicas"),
            _ => format!("{wrong} statements ran on a server where they should not"),
        };
        let how = "(as the servers tell: writes by their binary logs, reads by the server_id in the result)";
        writeln!(self.out, "\n{sum}\n{how}").context(NO_TERMINAL)?;
        Ok(wrong == 0)
    }
}

fn shorten(sql: &str) -> String {
    match sql.char_indices().nth(STATEMENT_WIDTH - 1) {
        Some((at, _)) if sql.len() > STATEMENT_WIDTH => format!("{}…", sql.get(..at).unwrap_or(sql)),
        _ => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_statement_is_cut_to_the_width_of_its_column() {
        let long = "ä".repeat(100);
        assert_eq!(shorten(&long).chars().count(), STATEMENT_WIDTH);
        let fits = "x".repeat(STATEMENT_WIDTH);
        assert_eq!(shorten(&fits), fits);
    }

    #[test]
    fn one_statement_on_the_wrong_server_or_on_none_spoils_the_session() {
        let (primary, replica) = (Some((Role::Primary, "a:1")), Some((Role::Replica, "b:2")));
        for (server, expected, good) in [
            (primary, Some(Role::Primary), true),
            (replica, Some(Role::Replica), true),
            (None, None, true),
            (primary, Some(Role::Replica), false),
            (replica, Some(Role::Primary), false),
            (None, Some(Role::Primary), false),
        ] {
            let mut printed = Vec::new();
            let mut table = Table::begin(&mut printed).unwrap();
            table.row("SELECT 1", "read", replica, Some(Role::Replica), Duration::ZERO).unwrap();
            table.row("SELECT 2", "read", server, expected, Duration::ZERO).unwrap();
            assert_eq!(table.end().unwrap(), good, "{server:?} {expected:?}");
            let printed = String::from_utf8(printed).unwrap();
            assert_eq!(printed.contains("WRONG"), !good, "{printed}");
        }
    }

    #[test]
    fn every_read_shows_the_server_in_its_last_column() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            for step in script(flavour) {
                if let Step::Read(sql, _) = step {
                    assert!(sql.contains("server FROM"), "{sql}");
                }
            }
        }
    }
}
