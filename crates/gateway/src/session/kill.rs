//! KILL: the ids that clients know are Weir's own.

use std::sync::Arc;

use weir_backend::KillMode;
use weir_plan::{Plan, Target, plan};
use weir_sql::{Effects, Kill, Statement, analyze};
use weir_wire::{
    Malformed, Reader,
    error_code::{self, ErrorCode},
    framer::{HEADER_LEN, Header},
    packet_with,
    query_attributes::query_head,
    response::TextRow,
    response_end::Expect,
};

use crate::{
    error::{Refused, SessionError},
    execute::{Job, interrupted, not_run},
    gateway::Gateway,
    handle::Signal,
    id::GatewayNumber,
};

use super::Session;

/// The text of a KILL, and the parameters that it is executed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct KillText<'a> {
    pub(super) text: &'a [u8],
    /// COM_STMT_EXECUTE, if the text was prepared.
    pub(super) execution: Option<&'a [u8]>,
}

impl Session {
    /// KILL as text, or prepared. `true` if it was answered with an error of the server's.
    pub(super) async fn kill(
        &mut self,
        statement: &Statement,
        source: KillText<'_>,
    ) -> Result<bool, SessionError> {
        if statement.statements > 1 {
            return Err(unsupported("KILL among several statements: send it alone"));
        }
        let Some(kill) = statement.kill else {
            return Err(unsupported("KILL inside another statement"));
        };
        let id = match kill.id {
            Some(id) => id,
            None => match self.killed_id(source).await? {
                Some(id) => id,
                None => return Ok(true),
            },
        };
        self.kill_session(id, kill).await.map(|()| false)
    }

    /// COM_PROCESS_KILL.
    pub(super) async fn process_kill(&mut self, id: u32) -> Result<(), SessionError> {
        let kill = Kill { id: Some(u64::from(id)), query_only: false, soft: false };
        self.kill_session(u64::from(id), kill).await
    }

    /// Everybody may end what is their own user's in their namespace; an admin, everything. The victim ends its
    /// statement itself, wherever it waits: as at the servers, nobody waits for that here.
    async fn kill_session(&mut self, id: u64, kill: Kill) -> Result<(), SessionError> {
        let victim = u32::try_from(id).ok().and_then(|id| self.gateway.session(id));
        let Some(victim) = victim else { return Err(unknown(&self.gateway, id)) };
        let is_own = self.handle.login().is_some_and(|own| victim.login() == Some(own));
        if !is_own && !self.user.admin {
            let text = format!("You are not owner of thread {id}");
            return Err(Refused::new(error_code::KILL_DENIED, text).into());
        }
        let is_self = victim.id == self.handle.id;
        match (is_self, kill.query_only) {
            (true, true) => return Err(interrupted().into()),
            (true, false) => return Err(SessionError::Fatal(self.killed_itself())),
            (false, true) => victim.interrupt(if kill.soft { KillMode::Soft } else { KillMode::Hard }),
            (false, false) => victim.send(Signal::Killed),
        }
        self.ok().await
    }

    /// What the servers say to who kills its own connection.
    fn killed_itself(&self) -> Refused {
        if self.is_mariadb() {
            Refused::new(error_code::CONNECTION_KILLED, "Connection was killed")
        } else {
            interrupted()
        }
    }

    /// The id that an operand other than a number stands for. `None`: the server answered with an error, which the
    /// client has.
    async fn killed_id(&mut self, source: KillText<'_>) -> Result<Option<u64>, SessionError> {
        let Some(operand) = operand(source.text) else {
            return Err(unsupported(
                "KILL USER, KILL QUERY ID and KILL with comments inside: name a connection id",
            ));
        };
        if operand.eq_ignore_ascii_case(b"connection_id()") {
            return Ok(Some(u64::from(self.handle.id)));
        }
        if operand == b"?" {
            let parameter = source.execution.map(bound_id);
            return match parameter {
                Some(Ok(Some(id))) => Ok(Some(id)),
                _ => Err(unsupported("KILL with a parameter that is neither an integer nor a string")),
            };
        }
        self.evaluate(operand).await
    }

    /// Asks the server for the value of an expression.
    async fn evaluate(&mut self, expression: &[u8]) -> Result<Option<u64>, SessionError> {
        let Some(wanted) = self.wanted.clone() else { return Ok(Some(0)) };
        let text = [b"SELECT ", expression].concat();
        let mut statement = Statement::new();
        analyze(&text, &wanted.dialect, &mut statement);
        let plain = statement.statements == 1 && !statement.effects.contains(Effects::READS_CONNECTION_ID);
        if !plain {
            return Err(unsupported("KILL of an expression with CONNECTION_ID() in it"));
        }
        match plan(&statement, self.facts(&statement), &self.tenant.namespace) {
            Plan::Forward(_) => {}
            Plan::Refuse(refusal) => {
                let (number, sqlstate) = refusal.code();
                let code = ErrorCode { number, sqlstate };
                return Err(Refused::new(code, refusal.message(&self.identity)).into());
            }
            _ => return Err(unsupported("KILL of this expression")),
        }
        let mut packet = Vec::with_capacity(HEADER_LEN + 1 + text.len());
        packet_with(&mut packet, 0, |w| {
            w.bytes(query_head(self.class.query_attributes)).bytes(&text);
        });
        let job = Job { packet: &packet, statement: &statement, expect: Expect::Results, prepared: None };
        let (answer, _) = self.run_job(&job, Target::Primary).await?;
        if answer.summary.error.is_some() || answer.streamed {
            self.client.write(&answer.rest).await?;
            return Ok(None);
        }
        let value = first_value(&answer.rest, self.client.flags.deprecate_eof);
        Ok(Some(value.as_deref().map(as_id).unwrap_or_default()))
    }

    /// Finds out what the session has set, unless it is told to end meanwhile, or its statement.
    pub(crate) async fn learn_state_unless_told(&mut self) -> Result<(), SessionError> {
        let handle = Arc::clone(&self.handle);
        handle.unless_told(self.learn_state()).await.map_err(not_run)?
    }
}

fn unsupported(what: &str) -> SessionError {
    Refused::new(ErrorCode { number: 1235, sqlstate: *b"42000" }, what).into()
}

fn unknown(gateway: &Gateway, id: u64) -> SessionError {
    let mut text = format!("Unknown thread id: {id}");
    if let Some(other) = GatewayNumber::of_session(id).filter(|other| *other != gateway.number()) {
        text.push_str(&format!(
            " (a connection of gateway {}; this is gateway {})",
            other.get(),
            gateway.number().get()
        ));
    }
    Refused::new(error_code::NO_SUCH_THREAD, text).into()
}

/// What follows KILL and its options. `None`: nothing that could be evaluated on its own.
fn operand(text: &[u8]) -> Option<&[u8]> {
    let mut rest = after_word(text.trim_ascii(), b"kill")?;
    for option in [&b"hard"[..], b"soft", b"connection", b"query"] {
        rest = after_word(rest, option).unwrap_or(rest);
    }
    let rest = rest.strip_suffix(b";").unwrap_or(rest).trim_ascii();
    let has_comment = rest.contains(&b'#')
        || rest.windows(2).any(|two| two == b"/*" || two == b"--")
        || rest.contains(&b';');
    let special = [&b"user"[..], b"id"].iter().any(|word| after_word(rest, word).is_some());
    (!rest.is_empty() && !has_comment && !special).then_some(rest)
}

/// The text behind a word that stands at its beginning and ends there.
fn after_word<'t>(text: &'t [u8], word: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = rest.first().is_some_and(|b| !b.is_ascii_alphanumeric() && *b != b'_' && *b != b'$');
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_ascii_start())
}

/// An integer, a decimal number or the number that a string begins with, as the servers take it.
fn as_id(value: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// The first value of a text result set.
fn first_value(answer: &[u8], deprecate_eof: bool) -> Option<Vec<u8>> {
    // column count, column, perhaps EOF
    let mut rest = answer;
    for _ in 0..if deprecate_eof { 2 } else { 3 } {
        let header = Header::parse(rest)?;
        rest = rest.get(HEADER_LEN + header.len..)?;
    }
    let header = Header::parse(rest)?;
    let row = rest.get(HEADER_LEN..HEADER_LEN + header.len)?;
    TextRow::new(row).value().ok()?.map(<[u8]>::to_vec)
}

/// The only parameter of a COM_STMT_EXECUTE, if it is an integer or a string.
fn bound_id(execution: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut r = Reader::new(execution);
    // command, statement, flags, iterations
    r.bytes(10, "head of COM_STMT_EXECUTE")?;
    let null = r.u8("NULL bitmap")? & 1 != 0;
    if r.u8("new parameters flag")? != 1 || null {
        return Ok(None);
    }
    let kind = r.u16("parameter type")?;
    let unsigned = kind & 0x8000 != 0;
    let width = match kind & 0xFF {
        // source: enum_field_types of both servers
        1 => 1,
        2 | 13 => 2,
        3 | 9 => 4,
        8 => 8,
        15 | 249..=254 => return Ok(Some(as_id(r.lenenc_bytes("parameter")?))),
        _ => return Ok(None),
    };
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(r.bytes(width, "parameter")?) {
        *to = *from;
    }
    let value = u64::from_le_bytes(bytes);
    let negative = !unsigned && width < 8 && value >> (8 * width - 1) == 1;
    Ok(Some(if negative { u64::MAX } else { value }))
}

#[cfg(test)]
mod tests {
    use weir_wire::command::com;

    use super::*;

    #[test]
    fn what_is_killed_is_behind_the_options() {
        for (text, expected) in [
            (&b"KILL @a"[..], Some(&b"@a"[..])),
            (b" kill  query\t CONNECTION_ID() ; ", Some(b"CONNECTION_ID()")),
            (b"KILL SOFT QUERY 1+1", Some(b"1+1")),
            (b"KILL HARD CONNECTION(5)", Some(b"(5)")),
            (b"KILL ?", Some(b"?")),
            (b"KILL queryable", Some(b"queryable")),
            (b"KILL QUERY ID 5", None),
            (b"KILL USER x", None),
            (b"KILL /* 5 */ @a", None),
            (b"KILL @a -- b", None),
            (b"KILL", None),
            (b"KILLING 5", None),
        ] {
            assert_eq!(operand(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_parameter_is_an_integer_or_a_string() {
        let execution = |kind: u16, value: &[u8]| {
            [&[com::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &kind.to_le_bytes(), value].concat()
        };
        for (kind, value, expected) in [
            (8, &1_073_741_825_u64.to_le_bytes()[..], Some(1_073_741_825)),
            (3, &7_u32.to_le_bytes(), Some(7)),
            (3 | 0x8000, &u32::MAX.to_le_bytes(), Some(u64::from(u32::MAX))),
            (3, &u32::MAX.to_le_bytes(), Some(u64::MAX)),
            (253, b"\x0242", Some(42)),
            (253, b"\x03x42", Some(0)),
            (5, &1.5_f64.to_le_bytes(), None),
        ] {
            assert_eq!(bound_id(&execution(kind, value)), Ok(expected), "{kind} {value:?}");
        }
        let whole = execution(8, &5_u64.to_le_bytes());
        for cut in 0..whole.len() {
            assert!(bound_id(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_value_begins_with_its_number() {
        for (value, id) in [(&b"5"[..], 5), (b"5.7", 5), (b" 12abc", 12), (b"-5", 0), (b"", 0), (b"x", 0)] {
            assert_eq!(as_id(value), id);
        }
    }
}
