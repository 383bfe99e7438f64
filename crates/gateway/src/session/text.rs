//! COM_QUERY and the simple commands: understand, plan, and hand over to execution.

use std::time::Instant;

use weir_plan::{Plan, Target, plan};
use weir_sql::{Kind, Statement, analyze};
use weir_wire::{
    error_code::ErrorCode,
    framer::{HEADER_LEN, Header},
    packet_with,
    query_attributes::query_head,
    response_end::Expect,
};

use crate::{
    client::Request,
    error::{Refused, SessionError},
    execute::Job,
};

use super::{
    Row, Session,
    diagnostics::{self, Asked, PutIn},
    kill::KillText,
};

impl Session {
    /// COM_QUERY.
    pub(super) async fn query(&mut self, request: &mut Request) -> Result<(), SessionError> {
        let begin = Instant::now();
        if let Some(what) = self.shows_without_servers(request.text()) {
            let shown = Box::pin(self.show_weir(what, Row::Text)).await;
            self.tenant.counters(self.worker.id).answered(Kind::Show, begin.elapsed(), shown.is_err());
            return shown.map(|_| ());
        }
        if self.wanted.is_none()
            && let Err(error) = Box::pin(self.learn_state_unless_told()).await
        {
            // counted all the same: else nobody sees the errors of a server that was never reached
            self.tenant.counters(self.worker.id).answered(Kind::Other, begin.elapsed(), true);
            return Err(error);
        }
        let mut statement = self.worker.statement();
        if let Some(wanted) = &self.wanted {
            analyze(request.text(), &wanted.dialect, &mut statement);
        }
        let kind = statement.kind;
        if statement.kind == Kind::Prepare {
            Box::pin(self.understand_text(&mut statement)).await?;
        }
        let mut put_in = None;
        if statement.effects.intersects(diagnostics::ANSWERED_HERE) {
            match Box::pin(self.answer_question(request, &statement)).await? {
                Asked::Answered(failed) => {
                    self.tenant.counters(self.worker.id).answered(statement.kind, begin.elapsed(), failed);
                    return Ok(());
                }
                Asked::PutIn(counts) => put_in = Some(Box::new(counts)),
                Asked::AsItIs => {}
            }
        }
        let plan = plan(&statement, self.facts(&statement), &self.tenant.namespace);
        let result = match plan {
            Plan::Forward(target) => match (put_in, self.own_step(&statement, request.text())) {
                (Some(counts), _) => {
                    Box::pin(self.execute_with_counts(request, &statement, &counts, target)).await
                }
                (None, Some(step)) => Box::pin(self.take_step(step, target)).await.map(|()| false),
                (None, None) => {
                    let job = Job {
                        packet: request.packet(),
                        statement: &statement,
                        expect: Expect::Results,
                        prepared: None,
                    };
                    self.execute(&job, target).await
                }
            },
            Plan::Refuse(refusal) => {
                let (number, sqlstate) = refusal.code();
                Err(Refused::new(ErrorCode { number, sqlstate }, refusal.message(&self.identity)).into())
            }
            Plan::Kill => {
                let text = request.text();
                Box::pin(self.kill(&statement, KillText { text, execution: None })).await
            }
            Plan::ShowWeir(what) => Box::pin(self.show_weir(what, Row::Text)).await,
            Plan::ForwardProcesslist => {
                let packet = request.packet();
                let text = request.text();
                let job = Job { packet, statement: &statement, expect: Expect::Results, prepared: None };
                Box::pin(self.show_processlist(&job, Row::Text, text)).await
            }
            Plan::ForwardDatabases => {
                let packet = request.packet();
                let job = Job { packet, statement: &statement, expect: Expect::Results, prepared: None };
                Box::pin(self.show_databases(&job, Row::Text)).await
            }
        };
        let failed = !matches!(result, Ok(false));
        self.tenant.counters(self.worker.id).answered(kind, begin.elapsed(), failed);
        self.report_slow(begin, request, &statement);
        self.worker.recycle_statement(statement);
        result.map(|_| ())
    }

    /// A text with counts in it runs in place of the client's.
    async fn execute_with_counts(
        &mut self,
        request: &Request,
        statement: &Statement,
        counts: &PutIn,
        target: Target,
    ) -> Result<bool, SessionError> {
        let sequence = Header::parse(request.packet()).map_or(0, |header| header.sequence);
        let mut packet = Vec::with_capacity(counts.text.len() + HEADER_LEN + 3);
        packet_with(&mut packet, sequence, |w| {
            w.bytes(query_head(self.class.query_attributes)).bytes(&counts.text);
        });
        let job = Job { packet: &packet, statement, expect: Expect::Results, prepared: None };
        let (answer, _) = self.run_job(&job, target).await?;
        let named = if answer.streamed { None } else { counts.set_names_right(&answer.rest) };
        let written = self.client.write(named.as_deref().unwrap_or(&answer.rest)).await;
        self.worker.recycle(answer.rest);
        written?;
        Ok(answer.summary.error.is_some())
    }

    /// COM_INIT_DB: allowed databases hold here too.
    pub(super) async fn init_db(&mut self, request: &mut Request) -> Result<(), SessionError> {
        let database = request.payload().get(1..).unwrap_or_default();
        self.check_database(database)?;
        self.forward_simple(request, Kind::Use, Expect::One).await
    }

    /// COM_FIELD_LIST, COM_STATISTICS.
    pub(super) async fn simple(&mut self, request: &mut Request) -> Result<(), SessionError> {
        let expect = match request.payload().first() {
            Some(&weir_wire::command::com::FIELD_LIST) => Expect::Columns,
            _ => Expect::One,
        };
        self.forward_simple(request, Kind::Other, expect).await
    }

    async fn forward_simple(
        &mut self,
        request: &Request,
        kind: Kind,
        expect: Expect,
    ) -> Result<(), SessionError> {
        let begin = Instant::now();
        if self.wanted.is_none() {
            Box::pin(self.learn_state_unless_told()).await?;
        }
        let mut statement = Statement::new();
        statement.kind = kind;
        let job = Job { packet: request.packet(), statement: &statement, expect, prepared: None };
        let result = self.execute(&job, self.target_of_transaction()).await;
        let failed = !matches!(result, Ok(false));
        self.tenant.counters(self.worker.id).answered(kind, begin.elapsed(), failed);
        result.map(|_| ())
    }

    /// Is the database one that the namespace allows?
    pub(super) fn check_database(&self, database: &[u8]) -> Result<(), SessionError> {
        if self.tenant.namespace.allowed_databases.allows(database) {
            return Ok(());
        }
        let refusal = weir_plan::Refusal::Database(database.to_vec());
        let (number, sqlstate) = refusal.code();
        Err(Refused::new(ErrorCode { number, sqlstate }, refusal.message(&self.identity)).into())
    }

    fn report_slow(&self, begin: Instant, request: &Request, statement: &Statement) {
        let Some(threshold) = self.tenant.namespace.slow_statement else { return };
        let took = begin.elapsed();
        if took < threshold {
            return;
        }
        let dialect = self.wanted.as_ref().map(|w| w.dialect);
        let fingerprint =
            dialect.map(|d| weir_sql::fingerprint(request.text(), &d, 1024)).unwrap_or_default();
        tracing::warn!(
            namespace = &*self.tenant.name,
            user = self.user.name.as_str(),
            session = self.handle.id,
            millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            digest = format_args!("{:016x}", statement.digest),
            statement = fingerprint,
            "slow statement"
        );
    }
}
