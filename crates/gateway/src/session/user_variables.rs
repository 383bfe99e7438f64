//! User variables of a session. They travel: what a statement assigns is read from its connection when somebody else
//! needs that, or when the session goes on elsewhere (see `weir_backend::Left`).

use std::sync::Arc;

use weir_backend::{
    Goal,
    state::State,
    user_variable::{self, UserVariableName, Wish},
};
use weir_sql::{Effects, Kind, Statement};

use super::{Held, Session};

/// A connection on which more were assigned is reset before another session gets it.
pub(super) const MOST_USER_VARIABLES: usize = 256;

/// A session with more than that keeps its connection, bytes of names and values as SET takes them.
const LARGEST: usize = 64 << 10;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct UserVariables {
    /// Those whose values were read.
    pub(crate) known: Arc<user_variable::UserVariables>,
    /// Those assigned since, on one connection.
    pub(crate) assigned: Vec<UserVariableName>,
}

impl UserVariables {
    /// A statement ran on `held`. `true` if it may have assigned some.
    pub(super) fn note(&mut self, held: &mut Held, statement: &Statement) -> bool {
        if !statement.effects.contains(Effects::USER_VARIABLE_WRITE) || statement.kind == Kind::Prepare {
            return false;
        }
        held.checkout.assigned(statement.user_variables());
        for name in statement.user_variables() {
            if !self.assigned.iter().any(|known| **known == *name) {
                self.assigned.push(name.into());
            }
        }
        !self.assigned.is_empty()
    }

    /// One is on `held` of which only the server knew.
    pub(super) fn found(&mut self, held: &mut Held, name: &[u8]) {
        held.checkout.assigned(std::iter::once(name));
        if !self.assigned.iter().any(|known| **known == *name) {
            self.assigned.push(name.into());
        }
    }

    /// The values of all that were assigned.
    pub(super) fn learned(&mut self, values: user_variable::UserVariables) {
        Arc::make_mut(&mut self.known).extend(values);
        self.assigned.clear();
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.known.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LARGEST
    }

    /// Has the connection what the session must find?
    pub(crate) fn are_on(&self, held: &Held) -> bool {
        self.assigned.is_empty() && held.checkout.user_variables().is_given(&self.known)
    }

    /// What a connection must become. It is the one on which the session has assigned, if it has.
    pub(crate) fn goal(&self, state: &Arc<State>) -> Goal {
        let wish = Wish { variables: Arc::clone(&self.known), own: self.assigned.clone() };
        Goal { state: Arc::clone(state), user: Some(wish) }
    }
}

impl Session {
    /// Does the text name a variable that another session had on the connection? Its NULL has a type, which one that
    /// never was does not have, and which it keeps when it is set to NULL again.
    pub(crate) fn would_see_traces(&self, held: &Held, statement: &Statement) -> bool {
        let on = held.checkout.user_variables();
        let own = &self.user_variables;
        !on.is_empty()
            && statement.user_variables().any(|name| {
                on.remembers(name)
                    && !own.known.contains_key(name)
                    && !own.assigned.iter().any(|a| **a == *name)
            })
    }
}
