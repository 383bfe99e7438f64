//! Answers about Weir itself: SHOW WEIR, and SHOW PROCESSLIST in the shape of the server's.

mod processlist;
mod table;

use std::sync::Arc;

use weir_backend::Definition;
use weir_plan::Target;
use weir_sql::{ClientCharset, Dialect, Flavour, ShowWeir, Statement, analyze};

use crate::{
    census::{PinNote, Seen},
    client::Request,
    error::{Refused, SessionError},
    tenant::Tenant,
};

use super::{OwnAnswer, Row, Session, prepared::Entry};
use table::{Column, Table, Value};

/// So much of a statement is shown, bytes.
const MOST_SHOWN: usize = 1024;

const SESSIONS: [Column; 10] = [
    Column::number("id"),
    Column::text("user"),
    Column::text("namespace"),
    Column::text("host"),
    Column::text("phase"),
    Column::number("seconds"),
    Column::text("database"),
    Column::text("pins"),
    Column::text("instance"),
    Column::text("statement"),
];
const POOLS: [Column; 13] = [
    Column::text("namespace"),
    Column::text("instance"),
    Column::text("role"),
    Column::number("up"),
    Column::number("capacity"),
    Column::number("open"),
    Column::number("idle"),
    Column::number("in_use"),
    Column::number("waiting"),
    Column::number("control"),
    Column::number("checkouts"),
    Column::number("timeouts"),
    Column::text("error"),
];
const PREPARED: [Column; 3] =
    [Column::text("database"), Column::number("holders"), Column::text("statement")];
const PINS: [Column; 6] = [
    Column::number("id"),
    Column::text("user"),
    Column::text("namespace"),
    Column::text("reason"),
    Column::number("seconds"),
    Column::text("statement"),
];

fn columns(what: ShowWeir) -> &'static [Column] {
    match what {
        ShowWeir::Sessions => &SESSIONS,
        ShowWeir::Pools => &POOLS,
        ShowWeir::Prepared => &PREPARED,
        ShowWeir::Pins => &PINS,
        ShowWeir::Unknown => &[],
    }
}

impl Session {
    /// SHOW WEIR of an admin's: needs no server.
    pub(super) async fn show_weir(&mut self, what: ShowWeir, row: Row) -> Result<bool, SessionError> {
        let rows = match what {
            ShowWeir::Sessions => self.sessions().await,
            ShowWeir::Pools => self.pools(),
            ShowWeir::Prepared => self.definitions(),
            ShowWeir::Pins => self.pin_rows().await,
            ShowWeir::Unknown => Vec::new(),
        };
        self.answered_here(OwnAnswer::Eof);
        let table = Table { columns: columns(what), rows };
        let mut out = self.worker.buffer();
        table.write(&mut out, self.client.flags, self.status, row);
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        written?;
        Ok(false)
    }

    /// COM_STMT_PREPARE of SHOW WEIR, which no server knows.
    pub(super) async fn prepare_show_weir(
        &mut self,
        statement: Statement,
        text: &[u8],
    ) -> Result<(), SessionError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let definition = self.gateway.define(text, &wanted.primary);
        let what = statement.weir.unwrap_or(ShowWeir::Unknown);
        let id = self.statements.add(Entry::without_parameters(definition, statement));
        let mut out = self.worker.buffer();
        Table { columns: columns(what), rows: Vec::new() }.write_prepared(
            &mut out,
            self.client.flags,
            self.status,
            id,
        );
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        Ok(written?)
    }

    /// What SHOW WEIR asks, when no server has told yet how texts are to be read.
    pub(super) fn shows_without_servers(&self, text: &[u8]) -> Option<ShowWeir> {
        if !self.user.admin || self.wanted.is_some() {
            return None;
        }
        let dialect = Dialect {
            flavour: Flavour::MySql,
            version: 80_400,
            ansi_quotes: false,
            no_backslash_escapes: false,
            charset: ClientCharset::AsciiSafe,
        };
        let mut statement = Statement::new();
        analyze(text, &dialect, &mut statement);
        statement.weir.filter(|what| *what != ShowWeir::Unknown && statement.statements == 1)
    }

    async fn sessions(&self) -> Vec<Vec<Value>> {
        let seen = self.gateway.census(self.handle.id, |_| true).await;
        seen.iter().map(|seen| self.session_row(seen)).collect()
    }

    fn session_row(&self, seen: &Seen) -> Vec<Value> {
        let own = seen.id == self.handle.id;
        let doing = seen.doing.as_ref();
        let mut pins: Vec<&str> = seen.pins.iter().map(|pin| pin.reason).collect();
        if doing.is_some_and(|doing| doing.in_transaction) || own && self.in_transaction {
            pins.insert(0, "transaction");
        }
        let login = seen.login.as_ref();
        let own_instance = || {
            let held = self.held.as_ref().filter(|_| own);
            held.map(|held| held.checkout.pool().instance().to_owned())
        };
        let statement = if own {
            Value::text("SHOW WEIR SESSIONS")
        } else {
            shown(doing.and_then(|d| d.statement.as_deref()))
        };
        vec![
            Value::Number(u64::from(seen.id)),
            Value::optional(login.map(|login| &*login.user)),
            Value::optional(login.map(|login| &*login.namespace)),
            Value::text(&seen.host),
            Value::text(seen.phase.name()),
            Value::Number(u64::from(seen.ticks / 10)),
            shown(seen.database.as_deref()),
            Value::text(&pins.join(",")),
            Value::optional(doing.and_then(|doing| doing.instance.clone()).or_else(own_instance).as_deref()),
            statement,
        ]
    }

    async fn pin_rows(&self) -> Vec<Vec<Value>> {
        let seen = self.gateway.census(self.handle.id, |_| true).await;
        let now = self.worker.now();
        let mut rows = Vec::new();
        for seen in &seen {
            let own = seen.id == self.handle.id && self.in_transaction;
            let in_transaction = own || seen.doing.as_ref().is_some_and(|doing| doing.in_transaction);
            let row = |reason: &str, seconds: Value, statement: Value| {
                let login = seen.login.as_ref();
                vec![
                    Value::Number(u64::from(seen.id)),
                    Value::optional(login.map(|login| &*login.user)),
                    Value::optional(login.map(|login| &*login.namespace)),
                    Value::text(reason),
                    seconds,
                    statement,
                ]
            };
            if in_transaction {
                rows.push(row("transaction", Value::Null, Value::Null));
            }
            for pin in &seen.pins {
                let ticks = now.wrapping_sub(pin.since);
                let seconds = if ticks > u32::MAX / 2 { 0 } else { ticks / 10 };
                rows.push(row(pin.reason, Value::Number(u64::from(seconds)), shown(Some(&pin.statement))));
            }
        }
        rows
    }

    fn pools(&self) -> Vec<Vec<Value>> {
        let (_, tenants) = self.gateway.tenants();
        let mut tenants: Vec<&Arc<Tenant>> = tenants.by_name.values().collect();
        tenants.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let now = std::time::Instant::now();
        let of_tenant = |tenant: &&Arc<Tenant>| {
            let rows = tenant.pools().enumerate().map(|(i, pool)| {
                let metrics = pool.metrics();
                let up = pool.health().is_up();
                vec![
                    Value::text(&tenant.name),
                    Value::text(pool.instance()),
                    Value::text(if i == 0 { "primary" } else { "replica" }),
                    Value::Number(u64::from(up)),
                    Value::Number(u64::from(pool.settings().capacity)),
                    Value::Number(metrics.open),
                    Value::Number(metrics.idle),
                    Value::Number(metrics.in_use),
                    Value::Number(metrics.waiting),
                    Value::Number(metrics.control),
                    Value::Number(metrics.checkouts),
                    Value::Number(metrics.timeouts),
                    Value::optional(pool.health().view(now).error.as_deref().filter(|_| !up)),
                ]
            });
            rows.collect::<Vec<_>>()
        };
        tenants.iter().flat_map(of_tenant).collect()
    }

    fn definitions(&self) -> Vec<Vec<Value>> {
        let mut rows: Vec<(Option<Vec<u8>>, usize, Arc<Definition>)> = self
            .gateway
            .definitions()
            .into_iter()
            .map(|(d, holders)| (d.state.database().map(<[u8]>::to_vec), holders, d))
            .collect();
        rows.sort_unstable_by(|a, b| (&a.0, &a.2.text).cmp(&(&b.0, &b.2.text)));
        rows.into_iter()
            .map(|(database, holders, definition)| {
                vec![shown(database.as_deref()), Value::Number(holders as u64), shown(Some(&definition.text))]
            })
            .collect()
    }

    /// The session's reasons to keep its connection changed with the command in `request`: others may see them.
    pub(super) fn show_pins(&mut self, request: &Request) {
        let before = self.handle.pins();
        let text = self.statements.text_of(request);
        let text = text.get(..MOST_SHOWN).unwrap_or(text);
        let notes = self.pins.names().map(|reason| {
            before.iter().find(|note| note.reason == reason).cloned().unwrap_or_else(|| PinNote {
                reason,
                since: self.worker.now(),
                statement: text.into(),
                dialect: self.wanted.as_ref().map(|wanted| wanted.dialect),
                warned: false,
            })
        });
        self.handle.set_pins(notes.collect());
        self.shown_pins = self.pins;
    }

    /// SHOW PROCESSLIST: runs at the server for the shape of its answer, and lists this gateway's sessions.
    pub(crate) async fn show_processlist(
        &mut self,
        job: &crate::execute::Job<'_>,
        row: Row,
        text: &[u8],
    ) -> Result<bool, SessionError> {
        let admin = self.user.admin;
        let own = self.handle.login();
        let seen = self.gateway.census(self.handle.id, |h| admin || h.login() == own).await;
        let full = job.statement.effects.contains(weir_sql::Effects::FULL_PROCESSLIST);
        let (answer, _) = self.run_job(job, Target::Primary).await?;
        let failed = answer.summary.error.is_some();
        let out = if failed {
            answer.rest
        } else {
            let list = processlist::List { own: self.handle.id, text, full, seen: &seen };
            list.put_into(&answer.rest, self.client.flags.deprecate_eof, row).ok_or_else(|| {
                Refused::new(
                    weir_wire::error_code::UNKNOWN,
                    "the server's list of processes could not be read",
                )
            })?
        };
        self.client.write(&out).await?;
        Ok(failed)
    }
}

/// A text from a client, as far as it is shown.
fn shown(text: Option<&[u8]>) -> Value {
    match text {
        Some(text) => {
            Value::Text(String::from_utf8_lossy(text.get(..MOST_SHOWN).unwrap_or(text)).into_owned())
        }
        None => Value::Null,
    }
}
