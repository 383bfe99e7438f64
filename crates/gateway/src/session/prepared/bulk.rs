//! MariaDB's COM_STMT_BULK_EXECUTE: one statement with many rows of parameters, and one answer.

use std::{sync::Arc, time::Instant};

use weir_plan::{Plan, Target, plan};
use weir_wire::{
    error_code::{self, ErrorCode},
    framer::{HEADER_LEN, Header},
    response_end::Expect,
};

use super::{Entry, Session};
use crate::{
    client::Request,
    error::{Refused, SessionError},
    execute::{Job, Prepared},
};

/// Header, command and statement id stand before the flags.
const FLAGS_AT: usize = HEADER_LEN + 5;
/// Types stand behind the flags.
const TYPES_AT: usize = FLAGS_AT + 2;
/// The flag in the first byte that says so.
const SENDS_TYPES: u8 = 128;

impl Session {
    /// COM_STMT_BULK_EXECUTE. The server decides which statements may be executed so.
    pub(in crate::session) async fn execute_bulk(
        &mut self,
        id: u32,
        request: &mut Request,
    ) -> Result<(), SessionError> {
        let begin = Instant::now();
        if !self.bulk_operations && !self.is_mariadb() {
            return Err(Refused::new(error_code::UNKNOWN_COM, "Unknown command").into());
        }
        if !self.bulk_operations {
            return Err(Refused::new(
                ErrorCode { number: 1295, sqlstate: *b"HY000" },
                "This command is not supported in the prepared statement protocol yet",
            )
            .into());
        }
        let id = self.resolve(id);
        let Some(entry) = self.statements.by_id.get_mut(&id) else {
            return Err(self.unknown(id, "mysqld_stmt_execute"));
        };
        let long_data = std::mem::take(&mut entry.long_data);
        let _until_the_answer = entry.share.take();
        if let Some(refused) = entry.refused.take() {
            return Err(refused.into());
        }
        let definition = Arc::clone(&entry.definition);
        let statement = Arc::clone(&entry.statement);
        let with_types = entry.complete_bulk(request.packet());
        let target = match plan(&statement, self.facts(&statement), &self.tenant.namespace) {
            Plan::Forward(target) => target,
            Plan::Refuse(refusal) => {
                let (number, sqlstate) = refusal.code();
                let message = refusal.message(&self.identity);
                return Err(Refused::new(ErrorCode { number, sqlstate }, message).into());
            }
            // has no rows of parameters: the server says so
            _ => Target::Primary,
        };
        let packet = with_types.as_deref().unwrap_or_else(|| request.packet());
        let prepared = Prepared { definition: &definition, long_data: &long_data };
        let job = Job { packet, statement: &statement, expect: Expect::Results, prepared: Some(prepared) };
        let result = self.execute(&job, target).await;
        let failed = !matches!(result, Ok(false));
        self.tenant.counters(self.worker.id).answered(statement.kind, begin.elapsed(), failed);
        result.map(|_| ())
    }
}

impl Entry {
    /// As [`Entry::complete`]: the packet with the parameters' types in it, which are the same in both commands.
    fn complete_bulk(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let types_len = usize::from(self.parameters) * 2;
        let flags = *packet.get(FLAGS_AT)?;
        if flags & SENDS_TYPES != 0 {
            let types = packet.get(TYPES_AT..TYPES_AT + types_len)?;
            if *self.types != *types {
                self.types = types.into();
            }
            return None;
        }
        if types_len == 0 || self.types.len() != types_len {
            return None;
        }
        let len = packet.len() - HEADER_LEN + types_len;
        let mut out = Vec::with_capacity(HEADER_LEN + len);
        out.extend_from_slice(&Header::first_of(len, 0).to_bytes());
        out.extend_from_slice(packet.get(HEADER_LEN..FLAGS_AT)?);
        out.push(flags | SENDS_TYPES);
        out.extend_from_slice(packet.get(FLAGS_AT + 1..TYPES_AT)?);
        out.extend_from_slice(&self.types);
        out.extend_from_slice(packet.get(TYPES_AT..)?);
        Some(out)
    }
}
