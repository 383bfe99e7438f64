//! KILL: the ids that clients know are Weir's own.

use weir_sql::Statement;
use weir_wire::error_code::{self, ErrorCode};

use crate::{
    error::{Refused, SessionError},
    handle::Signal,
};

use super::Session;

impl Session {
    /// KILL [CONNECTION | QUERY] id, for sessions of the same namespace and user.
    pub(super) async fn kill(&mut self, statement: &Statement) -> Result<(), SessionError> {
        if statement.statements > 1 {
            let code = ErrorCode { number: 1235, sqlstate: *b"42000" };
            return Err(Refused::new(code, "KILL among several statements: send it alone").into());
        }
        let Some((kill, id)) = statement.kill.and_then(|k| Some((k, u32::try_from(k.id?).ok()?))) else {
            let id = statement.kill.and_then(|k| k.id).map_or_else(|| "?".to_owned(), |id| id.to_string());
            return Err(unknown(&id));
        };
        let own = self.handle.login();
        let victim = self.gateway.session(id).filter(|victim| victim.login() == own);
        let Some(victim) = victim else { return Err(unknown(&id.to_string())) };
        if !kill.query_only {
            victim.send(Signal::Killed);
        }
        if let Some(running) = victim.aim() {
            let killed = running.pool.kill_query(running.thread_id, running.identity).await;
            victim.kill_answered();
            if let Err(error) = killed {
                return Err(Refused::new(
                    error_code::UNKNOWN,
                    format!("the statement could not be killed: {error}"),
                )
                .into());
            }
        }
        self.ok().await
    }
}

fn unknown(id: &str) -> SessionError {
    Refused::new(error_code::NO_SUCH_THREAD, format!("Unknown thread id: {id}")).into()
}
