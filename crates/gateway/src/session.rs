//! One client connection after login: *next command → understand → plan → execute → settle*.

mod causes;
mod diagnostics;
mod guard;
mod kill;
pub mod login;
mod next_transaction;
pub mod pin;
mod prepared;
mod rights;
mod show;
mod state;
mod text;
mod texts;
mod transaction;
mod user_variables;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use weir_backend::{Checkout, Class, Identity, Opening, PerFact, state::State};
use weir_catalog::user::User;
use weir_plan::{Facts, Target};
use weir_sql::{Dialect, Statement};
use weir_wire::{
    Malformed,
    capability::{Capabilities, Status},
    command::Command,
    error_code,
    response::TrackWish,
};

use crate::{
    answer,
    census::Doing,
    client::{Client, ClientError, Request},
    error::{Refused, SessionError},
    gateway::Gateway,
    handle::{Handle, Phase, Signal},
    listener::Listener,
    metrics::bump,
    tenant::Tenant,
    worker::Worker,
};

pub(crate) use diagnostics::Row;
use diagnostics::{Diagnostics, OwnAnswer};
use pin::Pins;
use prepared::Statements;
pub(crate) use rights::only_sets_rights;
pub(crate) use state::{TRACKERS, has_tracker};
pub(crate) use texts::{USES_TEXTS, may_go_together};
use user_variables::{MOST_USER_VARIABLES, UserVariables};

/// A session. All changes of its state happen in [`settle`](Session::settle).
#[derive(Debug)]
pub struct Session {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) client: Client,
    pub(crate) handle: Arc<Handle>,
    pub(crate) tenant: Arc<Tenant>,
    /// Version of the configuration that `tenant` is of.
    version: u64,
    user: Arc<User>,
    /// As whom the session's connections are logged in, if not as the slice's own account.
    account: Option<Arc<Identity>>,
    /// `'name'@'host'`, for error messages.
    pub(crate) identity: Box<str>,
    capabilities: Capabilities,
    pub(crate) class: Class,
    /// MARIADB_CLIENT_STMT_BULK_OPERATIONS.
    bulk_operations: bool,
    collation: u16,
    login_database: Option<Box<[u8]>>,
    pub(crate) multi_statements: bool,
    /// What the session has set; unknown until a server was seen.
    pub(crate) wanted: Option<Wanted>,
    /// The backend connection, while a transaction or a pin needs it.
    pub(crate) held: Option<Held>,
    pub(crate) in_transaction: bool,
    /// What it has said of a transaction that no server has seen: see [`transaction`].
    pub(crate) opening: Opening,
    /// Where that is to run, once it is begun.
    begun_on: Target,
    /// COMMIT RELEASE: the session ends behind the answer, as at the server.
    pub(crate) released: bool,
    pub(crate) pins: Pins,
    /// What is known of their causes.
    causes: Option<Box<causes::Causes>>,
    /// Those that others may see: see [`show_pins`](Self::show_pins).
    shown_pins: Pins,
    pub(crate) status: Status,
    statements: Statements,
    /// What its own trackers are set to; `None` if it did not negotiate them.
    pub(crate) wish: Option<Arc<TrackWish>>,
    diagnostics: Diagnostics,
    pub(crate) user_variables: UserVariables,
    /// Statements that it has prepared as text, if it ever did.
    texts: Option<Box<texts::Texts>>,
    /// Variables that Weir keeps for the client instead of the server.
    pub(crate) virtuals: Vec<KeptVariable>,
    pub(crate) random: u64,
    /// COM_CHANGE_USER failed so often in a row.
    failed_changes: u8,
    peer: Option<IpAddr>,
    listener: Arc<Listener>,
}

/// A variable that Weir keeps for the client: name and value.
pub(crate) type KeptVariable = (Box<[u8]>, Box<[u8]>);

/// What a connection must have set for the session, on a primary and on a replica.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) primary: Arc<State>,
    pub(crate) replica: Arc<State>,
    pub(crate) dialect: Dialect,
}

/// A checkout that outlives its statement.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) checkout: Checkout,
    pub(crate) target: Target,
    /// Number of the session's last statement before it had the connection.
    pub(crate) since: u32,
    /// Statements that it had run there before, and about which the connection still knows something: one for each
    /// fact, 0 for none.
    pub(crate) ran_before: PerFact<u32>,
    /// The session had given it back, and took it again for what it knows.
    pub(crate) returned: bool,
    /// The session's own trackers are set on it in place of Weir's.
    pub(crate) trackers_lent: bool,
    /// Its LAST_INSERT_ID() is the session's.
    pub(crate) has_insert_id: bool,
    /// CONNECTION_ID() is the session's on it.
    pub(crate) id_lent: bool,
}

impl Held {
    /// A checkout in the session's hands; `since` as in the field.
    pub(crate) fn new(checkout: Checkout, target: Target, since: u32) -> Self {
        Self {
            checkout,
            target,
            since,
            ran_before: PerFact::default(),
            returned: false,
            trackers_lent: false,
            has_insert_id: false,
            id_lent: false,
        }
    }
}

impl Session {
    /// Serves commands until one side ends it.
    pub async fn run(mut self: Box<Self>) {
        let error = loop {
            match self.next_command().await {
                Ok(()) if self.released => break SessionError::Quit,
                Ok(()) | Err(SessionError::AnsweredWithError) => {}
                Err(SessionError::Refused(refused)) => {
                    if let Err(error) = self.refuse(&refused, 1).await {
                        break error;
                    }
                }
                Err(SessionError::RefusedAt(refused, sequence)) => {
                    if let Err(error) = self.refuse(&refused, sequence).await {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        };
        self.end(error).await;
    }

    async fn next_command(&mut self) -> Result<(), SessionError> {
        self.rest();
        let resting = || Doing {
            instance: self.held.as_ref().map(|held| held.checkout.pool().instance().to_owned()),
            in_transaction: self.in_transaction,
            ..Doing::default()
        };
        let mut request = self.handle.telling(resting, self.client.request(0)).await?;
        self.handle.begin_statement(self.worker.now());
        self.refresh()?;
        let served = self.serve(&mut request).await;
        if self.pins != self.shown_pins {
            self.show_pins(&request);
        }
        self.client.done(request);
        served
    }

    /// Between two commands.
    fn rest(&mut self) {
        let holding = self.held.is_some() || self.in_transaction;
        let phase = if holding { Phase::IdleHolding } else { Phase::Idle };
        if holding {
            self.handle.set_at_rest(!self.in_transaction && !self.pins.intersects(Pins::UNFINISHED));
            self.handle.works_on();
        }
        self.handle.enter(phase, self.worker.now());
        let counters = self.tenant.counters(self.worker.id);
        bump(&counters.bytes_in, std::mem::take(&mut self.client.read));
        bump(&counters.bytes_out, std::mem::take(&mut self.client.written));
    }

    /// Takes over a configuration published since the last command, unless a transaction is open.
    fn refresh(&mut self) -> Result<(), SessionError> {
        if self.version == self.gateway.version() || self.held.is_some() {
            return Ok(());
        }
        let (version, tenants) = self.gateway.tenants();
        match tenants.by_name.get(&*self.tenant.name) {
            Some(tenant) => {
                if let (Some(_), Some(settings)) = (&self.account, &tenant.namespace.server_accounts) {
                    self.user = Arc::new(User {
                        access: settings.access,
                        split: settings.split,
                        ..(*self.user).clone()
                    });
                } else if let Some(user) = tenant.namespace.users.iter().find(|u| u.name == self.user.name) {
                    self.user = Arc::new(user.clone());
                }
                self.tenant = Arc::clone(tenant);
                self.version = version;
                self.set_idle_limit();
                Ok(())
            }
            None => Err(SessionError::Fatal(Refused::new(
                error_code::SERVER_SHUTDOWN,
                format!("namespace {} was taken out of the configuration", self.tenant.name),
            ))),
        }
    }

    pub(crate) async fn serve(&mut self, request: &mut Request) -> Result<(), SessionError> {
        if request.large {
            return Box::pin(self.large(request)).await;
        }
        let command = match Command::parse(request.payload()) {
            Ok(command) => command,
            Err(error) => return Err(malformed(error)),
        };
        match command {
            Command::Query(_) => {
                self.find_text(request)?;
                self.query(request).await
            }
            Command::StmtExecute(execute) => {
                let id = execute.statement;
                self.execute_prepared(id, request).await
            }
            Command::StmtBulkExecute(id) => Box::pin(self.execute_bulk(id, request)).await,
            Command::Ping => self.ok().await,
            Command::Quit => Err(SessionError::Quit),
            Command::StmtClose(id) => {
                self.close_statement(id).await;
                Ok(())
            }
            Command::StmtSendLongData { statement, parameter, data } => {
                Box::pin(self.long_data(statement, parameter, data, None)).await;
                Ok(())
            }
            Command::StmtPrepare(_) => Box::pin(self.prepare(request)).await,
            Command::StmtReset(id) => Box::pin(self.reset_statement(id)).await,
            Command::StmtFetch { statement, .. } => Box::pin(self.fetch(statement, request)).await,
            Command::InitDb(_) => Box::pin(self.init_db(request)).await,
            Command::FieldList { .. } | Command::Statistics => Box::pin(self.simple(request)).await,
            Command::SetOption(option) => self.set_option(option).await,
            Command::ResetConnection => Box::pin(self.reset()).await,
            Command::ChangeUser(_) => Box::pin(self.change_user(request)).await,
            Command::ProcessKill(id) => self.process_kill(id).await,
            Command::Unserved(_) => Err(Refused::new(error_code::UNKNOWN_COM, "Unknown command").into()),
        }
    }

    /// The text of a COM_QUERY stands behind its attributes, if the client negotiated them.
    pub(crate) fn find_text(&self, request: &mut Request) -> Result<(), SessionError> {
        match self.class.query_attributes {
            true => request.skip_attributes().map_err(malformed),
            false => Ok(()),
        }
    }

    /// What the plan goes by.
    pub(crate) fn facts(&self, statement: &Statement) -> Facts {
        let autocommit_off = !self.status.contains(Status::AUTOCOMMIT);
        Facts {
            access: self.user.access,
            admin: self.user.admin,
            split: self.user.split,
            has_replicas: !self.tenant.replicas.is_empty(),
            in_transaction: self.in_transaction
                || autocommit_off
                || !self.pins.is_empty()
                || !self.opening.is_nothing(),
            on_replica: self
                .held
                .as_ref()
                .is_some_and(|held| held.target == Target::Replica && !held.returned),
            begun: self.opening.begin.map(|_| self.begun_on),
            known_write: self.tenant.shared.writes.contains(statement.digest),
            local_files: self.capabilities.contains(Capabilities::LOCAL_FILES),
            flavour: self.wanted.as_ref().map_or(weir_sql::Flavour::MySql, |wanted| wanted.dialect.flavour),
        }
    }

    /// Is a transaction open, or would any statement open one?
    pub(crate) fn may_be_in_transaction(&self) -> bool {
        self.in_transaction || !self.status.contains(Status::AUTOCOMMIT)
    }

    /// COM_SET_OPTION: multi-statements on (0) or off (1), kept here and given to each connection that needs it.
    async fn set_option(&mut self, option: u16) -> Result<(), SessionError> {
        match option {
            0 => self.multi_statements = true,
            1 => self.multi_statements = false,
            _ => return Err(Refused::new(error_code::UNKNOWN_COM, "Unknown command").into()),
        }
        self.answered_here(OwnAnswer::Eof);
        let mut out = self.worker.buffer();
        answer::eof(&mut out, 1, self.client.flags, self.status);
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        Ok(written?)
    }

    /// COM_RESET_CONNECTION: everything as after login. An open transaction is rolled back with its connection.
    async fn reset(&mut self) -> Result<(), SessionError> {
        let mysql = self.wanted.as_ref().is_some_and(|w| w.dialect.flavour == weir_sql::Flavour::MySql);
        let multi_statements = self.multi_statements;
        let before = self.wanted.as_ref().map(|wanted| Arc::clone(&wanted.primary));
        self.forget_everything();
        // both servers keep the default database and what COM_SET_OPTION set; MySQL forgets the login's collation
        self.multi_statements = multi_statements;
        if mysql {
            self.collation = 0;
        }
        if let Some(before) = before.filter(|state| state.has_rights()) {
            Box::pin(self.keep_rights(&before)).await?;
        }
        self.ok().await
    }

    fn forget_everything(&mut self) {
        if let Some(held) = self.held.take() {
            self.let_go(held, true);
        }
        let database = self.wanted.as_ref().and_then(|w| w.primary.database().map(Into::into));
        self.login_database = database.or_else(|| self.login_database.take());
        self.wanted = None;
        self.in_transaction = false;
        self.opening = Opening::default();
        self.pins = Pins::empty();
        if self.causes.take().is_some() {
            self.handle.set_locks_on(None);
        }
        self.status = Status::AUTOCOMMIT;
        self.statements = Statements::default();
        self.virtuals.clear();
        self.diagnostics = Diagnostics::default();
        self.user_variables = UserVariables::default();
        self.texts = None;
        self.wish = self.capabilities.contains(Capabilities::SESSION_TRACK).then(Arc::default);
        self.multi_statements = self.capabilities.contains(Capabilities::MULTI_STATEMENTS);
        self.set_idle_limit();
    }

    /// Ends the hold on a connection; `dirty` if something is set on it that only a reset takes away.
    pub(crate) fn let_go(&mut self, mut held: Held, dirty: bool) {
        self.leave(&mut held);
        if dirty {
            held.checkout.mark_dirty();
        }
        if held.checkout.user_variables().len() > MOST_USER_VARIABLES
            || held.checkout.texts.len() > texts::MOST_ON_CONNECTION
        {
            held.checkout.mark_dirty();
        }
        // a reset does not take back roles, and on MariaDB not profiles
        let survives_reset = self.pins.intersects(Pins::ROLE | Pins::PROFILING);
        if survives_reset {
            held.checkout.exchange_begins();
        }
        held.checkout.give_back();
    }

    async fn ok(&mut self) -> Result<(), SessionError> {
        self.answered_here(OwnAnswer::Ok);
        let mut out = self.worker.buffer();
        answer::ok(&mut out, 1, self.client.flags, self.status);
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        Ok(written?)
    }

    async fn refuse(&mut self, refused: &Refused, sequence: u8) -> Result<(), SessionError> {
        let mut out = self.worker.buffer();
        refused.write(&mut out, sequence);
        let written = self.client.write(&out).await;
        self.worker.recycle(out);
        Ok(written?)
    }

    /// A session that sends nothing ends after its own `wait_timeout`, or the namespace's.
    fn set_idle_limit(&self) {
        let own = self
            .virtuals
            .iter()
            .find(|(name, _)| &**name == b"wait_timeout")
            .and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse::<u64>().ok())
            .map(std::time::Duration::from_secs);
        let limit = own.unwrap_or(self.tenant.namespace.session.idle_timeout);
        self.handle.set_idle_limit(crate::gateway::ticks(limit));
    }

    /// Tells the client why, if it can still hear it, and gives back what the session holds.
    async fn end(&mut self, error: SessionError) {
        if let Some(held) = self.held.take() {
            self.let_go(held, true);
        }
        let farewell = match &error {
            SessionError::Fatal(refused)
            | SessionError::Refused(refused)
            | SessionError::RefusedAt(refused, _) => Some(refused.clone()),
            SessionError::FatalAt(refused, _) => Some(refused.clone()),
            SessionError::Client(ClientError::Told(signal)) => self.farewell(*signal),
            SessionError::Client(ClientError::OutOfOrder { .. }) => {
                Some(Refused::new(error_code::NET_PACKETS_OUT_OF_ORDER, "Got packets out of order"))
            }
            SessionError::Client(_)
            | SessionError::Quit
            | SessionError::ServerGone
            | SessionError::AnsweredWithError => None,
        };
        if let Some(refused) = farewell {
            let mut out = Vec::new();
            let told_while_idle = matches!(error, SessionError::Client(ClientError::Told(_)));
            let sequence = match error {
                SessionError::FatalAt(_, sequence) | SessionError::RefusedAt(_, sequence) => sequence,
                _ => u8::from(!told_while_idle),
            };
            refused.write(&mut out, sequence);
            self.handle.clear();
            self.handle.enter(Phase::Writing, self.worker.now());
            if self.client.write(&out).await.is_err() {
                tracing::debug!(session = self.handle.id, "the client was gone before it could be told why");
            }
        }
        tracing::debug!(session = self.handle.id, namespace = &*self.tenant.name, reason = %error, "session ended");
        self.tenant.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn farewell(&self, signal: Signal) -> Option<Refused> {
        let session = &self.tenant.namespace.session;
        let (code, text) = match signal {
            Signal::IdleTimeout => (
                error_code::CLIENT_INTERACTION_TIMEOUT,
                "The client was disconnected by the server because of inactivity. \
                 See wait_timeout and interactive_timeout for configuring this behavior."
                    .to_owned(),
            ),
            Signal::IdleInTransaction => (
                error_code::CLIENT_INTERACTION_TIMEOUT,
                format!(
                    "The client was disconnected and its transaction rolled back: it was in a transaction, or held a \
                     server connection, without sending anything for {:?} (idle_in_transaction_timeout)",
                    session.idle_in_transaction_timeout
                ),
            ),
            Signal::Killed => (error_code::QUERY_INTERRUPTED, "Connection was killed".to_owned()),
            Signal::Drain | Signal::DrainAtRest | Signal::Stop => {
                (error_code::SERVER_SHUTDOWN, "Server shutdown in progress".to_owned())
            }
            Signal::WriteTimeout | Signal::None => return None,
        };
        Some(Refused::new(code, text))
    }
}

fn malformed(error: Malformed) -> SessionError {
    let text = format!("Malformed communication packet: {error}");
    Refused::new(error_code::MALFORMED_PACKET, text).into()
}

impl Drop for Session {
    fn drop(&mut self) {
        self.gateway.forget(&self.handle, &self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a future that a function gives.
    fn task<F>(_: impl FnOnce(Arc<Gateway>, Arc<Worker>, Arc<Listener>, weir_backend::Socket) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_client_costs_little() {
        // thousands of them wait: what a statement may need is in their tasks all the time
        let (task, session) = (task(login::welcome), size_of::<Session>());
        assert!(task <= 2_700 && session <= 704, "task {task}, session {session} bytes");
    }
}
