//! Roles and resource groups of a session. They travel: no tracker tells them, so the server is asked for the roles once
//! SET ROLE was accepted, and the text names the resource group.

use std::sync::Arc;

use weir_backend::{ConnectionError, Goal, state::State};
use weir_sql::{Detail, Effects, Statement};

use super::{Held, Session, pin::Pins};
use crate::{
    error::{Refused, SessionError, lost},
    execute::{Answer, Job},
};

/// What changes them.
pub(super) const RIGHTS: Effects = Effects::ROLE.union(Effects::RESOURCE_GROUP);

/// Does the statement do nothing but set them?
pub(crate) fn only_sets_rights(statement: &Statement) -> bool {
    statement.effects.intersects(RIGHTS) && statement.statements == 1
}

/// What a connection must become for a statement that sets them: those before must not be set for it. They may have been
/// taken from the user, who could never set others then.
fn state_before(statement: &Statement, wanted: &State, on_connection: &State) -> State {
    let mut state = wanted.clone();
    if statement.effects.contains(Effects::ROLE) {
        state.set_role(on_connection.role());
    }
    if statement.effects.contains(Effects::RESOURCE_GROUP) {
        state.set_resource_group(on_connection.resource_group());
    }
    state
}

impl Session {
    /// A statement ran that sets them. Returns what that pins.
    pub(super) async fn note_rights(
        &mut self,
        held: &mut Held,
        job: &Job<'_>,
        answer: &Answer,
    ) -> Result<Pins, SessionError> {
        let statement = job.statement;
        let alone = statement.statements == 1;
        if alone && answer.summary.error.is_some() {
            return self.set_rights_again(held).await.map(|()| Pins::empty());
        }
        let mut pins = Pins::empty();
        if statement.effects.contains(Effects::ROLE) {
            self.leave(held);
            match held.checkout.active_roles().await {
                Ok(Some(role)) => {
                    let role = Some(role).filter(|role| **role != *held.checkout.roles_by_login());
                    self.change(held, |state| state.set_role(role.as_deref()));
                }
                // they cannot be set on another connection
                Ok(None) | Err(ConnectionError::Server { .. }) => pins |= Pins::ROLE,
                Err(error) => {
                    return Err(SessionError::Fatal(lost(held.checkout.pool().instance(), &error)));
                }
            }
        }
        if statement.effects.contains(Effects::RESOURCE_GROUP) {
            match statement.detail.as_deref() {
                Some(Detail::ResourceGroup { name }) if alone => {
                    let quoted = [b"`", &**name, b"`"].concat();
                    let group = Some(quoted).filter(|_| **name != *b"usr_default");
                    self.change(held, |state| state.set_resource_group(group.as_deref()));
                }
                _ => pins |= Pins::ROLE,
            }
        }
        Ok(pins)
    }

    /// Others were refused: those that the session has must be there, if it keeps the connection.
    async fn set_rights_again(&mut self, held: &mut Held) -> Result<(), SessionError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let same = |state: &State| {
            state.role() == wanted.primary.role() && state.resource_group() == wanted.primary.resource_group()
        };
        if !self.in_transaction || same(held.checkout.state()) {
            return Ok(());
        }
        let mut state = (**held.checkout.state()).clone();
        state.set_rights_of(&wanted.primary);
        let goal = Goal { state: self.gateway.share(state), user: None };
        self.leave(held);
        match held.checkout.become_state(&goal).await {
            Ok(()) => Ok(()),
            // the transaction cannot go on with other rights than it has
            Err(ConnectionError::Server { code, text }) => Err(SessionError::Fatal(Refused::new(code, text))),
            Err(error) => Err(SessionError::Fatal(lost(held.checkout.pool().instance(), &error))),
        }
    }

    /// The session was reset, which takes neither roles nor resource groups away.
    pub(super) async fn keep_rights(&mut self, before: &State) -> Result<(), SessionError> {
        self.learn_state_unless_told().await?;
        if let Some(wanted) = &self.wanted {
            let (mut state, dialect) = ((*wanted.primary).clone(), wanted.dialect);
            state.set_rights_of(before);
            self.want(self.gateway.share(state), dialect);
        }
        Ok(())
    }

    /// See [`state_before`].
    pub(crate) fn wanted_before(&self, held: &Held, statement: &Statement, state: &State) -> Arc<State> {
        self.gateway.share(state_before(statement, state, held.checkout.state()))
    }
}
