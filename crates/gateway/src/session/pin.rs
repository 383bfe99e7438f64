//! Why a session keeps its backend connection beyond a transaction.

use bitflags::bitflags;
use weir_sql::{Effects, Kind, Statement};

bitflags! {
    /// Reasons, each named in metrics and in the list of sessions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Pins: u32 {
        /// User variables of odd names, or more of them than travel.
        const USER_VARIABLE = 1 << 0;
        /// Temporary tables.
        const TEMPORARY_TABLE = 1 << 1;
        /// GET_LOCK.
        const USER_LOCK = 1 << 2;
        /// LOCK TABLES, FLUSH TABLES WITH READ LOCK, FOR EXPORT.
        const TABLE_LOCK = 1 << 3;
        /// LOCK INSTANCE FOR BACKUP, BACKUP STAGE.
        const BACKUP_LOCK = 1 << 4;
        /// HANDLER OPEN.
        const HANDLER = 1 << 5;
        /// A statement prepared as text that Weir does not know, or more of them than travel.
        const TEXT_PREPARE = 1 << 6;
        /// Roles or a resource group of names that cannot be set again.
        const ROLE = 1 << 7;
        /// CALL: a routine may leave anything behind.
        const CALL = 1 << 8;
        /// A system variable that does not travel.
        const SESSION_VARIABLE = 1 << 9;
        /// SET TRANSACTION for the next transaction, on a connection, until it is used.
        const NEXT_TRANSACTION = 1 << 10;
        /// XA.
        const XA = 1 << 11;
        /// An open cursor of a prepared statement.
        const CURSOR = 1 << 12;
        /// SET profiling.
        const PROFILING = 1 << 13;
        /// The server says that something changed, and the text does not explain what.
        const UNEXPLAINED_STATE = 1 << 14;
        /// `/* weir: pin */`.
        const HINT = 1 << 15;
    }
}

/// Names of the reasons, in the order of their bits.
pub const REASONS: [&str; 16] = [
    "user_variable",
    "temporary_table",
    "user_lock",
    "table_lock",
    "backup_lock",
    "handler",
    "text_prepare",
    "role",
    "call",
    "session_variable",
    "next_transaction",
    "xa",
    "cursor",
    "profiling",
    "unexplained_state",
    "hint",
];

/// Which effects of a text pin, and why.
const BY_EFFECT: [(Effects, Pins); 13] = [
    (Effects::ODD_USER_VARIABLE, Pins::USER_VARIABLE),
    (Effects::TEMPORARY_TABLE, Pins::TEMPORARY_TABLE),
    (Effects::USER_LOCK, Pins::USER_LOCK),
    (Effects::LOCK_TABLES, Pins::TABLE_LOCK),
    (Effects::GLOBAL_READ_LOCK, Pins::TABLE_LOCK),
    (Effects::BACKUP_LOCK, Pins::BACKUP_LOCK),
    (Effects::HANDLER_OPEN, Pins::HANDLER),
    (Effects::TEXT_PREPARE, Pins::TEXT_PREPARE),
    (Effects::TEXT_EXECUTE, Pins::TEXT_PREPARE),
    (Effects::CALL, Pins::CALL),
    (Effects::XA, Pins::XA),
    (Effects::PROFILING, Pins::PROFILING),
    (Effects::PIN, Pins::HINT),
];

impl Pins {
    /// Begun, and to be finished: a drain waits for it as for a transaction. The others only keep something.
    pub const UNFINISHED: Self = Self::USER_LOCK
        .union(Self::TABLE_LOCK)
        .union(Self::BACKUP_LOCK)
        .union(Self::HANDLER)
        .union(Self::NEXT_TRANSACTION)
        .union(Self::XA)
        .union(Self::CURSOR)
        .union(Self::HINT);

    /// What a statement pins by its text. Whether it failed does not matter: a part of it may have happened.
    #[must_use]
    pub fn of(statement: &Statement) -> Self {
        if (statement.effects & Effects::all()).is_empty() {
            return Self::empty();
        }
        BY_EFFECT
            .iter()
            .filter(|(effect, _)| statement.effects.intersects(*effect))
            .fold(Self::empty(), |pins, (_, pin)| pins | *pin)
    }

    /// Does the text itself explain that the server reports a change of state without a name?
    #[must_use]
    pub fn explain_state_change(statement: &Statement) -> bool {
        // functions and triggers may assign others than those that the text names
        let only_assigns =
            statement.kind == Kind::Set || statement.effects.contains(Effects::READS_DIAGNOSTICS);
        let assigns = only_assigns
            && statement.statements == 1
            && !statement.effects.contains(Effects::FUNCTION_CALL)
            && statement.effects.contains(Effects::USER_VARIABLE_WRITE);
        assigns
            || statement.effects.intersects(
                Effects::TEMPORARY_TABLE
                    | Effects::DROP_TEMPORARY
                    | Effects::TEXT_PREPARE
                    | Effects::TEXT_EXECUTE
                    | Effects::SET_SESSION
                    | Effects::NEXT_TRANSACTION
                    | Effects::ROLE
                    | Effects::RESOURCE_GROUP
                    | Effects::CALL
                    | Effects::SET_STATEMENT
                    | Effects::VARIABLE_HINT,
            )
    }

    /// Names of the reasons.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        REASONS.iter().enumerate().filter(move |(i, _)| self.bits() & (1 << i) != 0).map(|(_, name)| *name)
    }

    /// Reasons that end with a statement of their own and leave nothing that a reset must take away.
    #[must_use]
    pub fn leave_nothing(self) -> bool {
        const NOTHING: Pins = Pins::NEXT_TRANSACTION
            .union(Pins::CURSOR)
            .union(Pins::TABLE_LOCK)
            .union(Pins::BACKUP_LOCK)
            .union(Pins::USER_LOCK)
            .union(Pins::HANDLER)
            .union(Pins::XA)
            .union(Pins::CALL)
            .union(Pins::UNEXPLAINED_STATE)
            .union(Pins::HINT);
        NOTHING.contains(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_documentation() {
        let page = include_str!("../../../../docs/show-weir.md");
        for reason in REASONS {
            assert!(page.contains(&format!("`{reason}`")), "{reason}");
        }
    }

    #[test]
    fn every_reason_has_a_name_in_its_place() {
        assert_eq!(Pins::all().names().count(), REASONS.len());
        assert_eq!(Pins::CURSOR.names().collect::<Vec<_>>(), ["cursor"]);
        assert_eq!(Pins::UNEXPLAINED_STATE.names().collect::<Vec<_>>(), ["unexplained_state"]);
    }
}
