//! Where a statement goes. Read this file first.

use weir_catalog::{
    namespace::{AllowedDatabases, Namespace},
    user::UserAccess,
};
use weir_sql::{Access, Effects, Hint, Kind, ShowWeir, Statement, TransactionStep};

use crate::{Facts, Refusal};

/// What is done with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Its bytes go to one server, and that server's answer to the client.
    Forward(Target),
    /// The client gets an error, and no server sees the statement.
    Refuse(Refusal),
    /// The list of databases, without those that the namespace does not allow.
    ForwardDatabases,
    /// Weir tells about itself.
    ShowWeir(ShowWeir),
    /// SHOW PROCESSLIST: this gateway's sessions, in the shape of the server's answer.
    ForwardProcesslist,
    /// KILL is carried out by Weir: the ids that clients know are not the servers'.
    Kill,
}

/// Which server of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that takes writes.
    Primary,
    /// Any healthy replica; the primary if there is none.
    Replica,
}

/// Decides about one text, which may hold several statements. First what must not happen, then where it goes.
#[must_use]
pub fn plan(statement: &Statement, facts: Facts, namespace: &Namespace) -> Plan {
    if let Some(refusal) = refusal(statement, facts, namespace) {
        return Plan::Refuse(refusal);
    }
    if statement.effects.contains(Effects::KILL) {
        return Plan::Kill;
    }
    if let Some(what) = statement.weir {
        return match what {
            _ if statement.statements > 1 => Plan::Refuse(Refusal::NotAlone("SHOW WEIR")),
            _ if !facts.admin => Plan::Refuse(Refusal::NotAdmin),
            ShowWeir::Unknown => Plan::Refuse(Refusal::NotShown),
            what => Plan::ShowWeir(what),
        };
    }
    if statement.effects.contains(Effects::SHOW_PROCESSLIST) {
        if statement.statements > 1 {
            return Plan::Refuse(Refusal::NotAlone("SHOW PROCESSLIST"));
        }
        return Plan::ForwardProcesslist;
    }
    let restricted = namespace.allowed_databases != AllowedDatabases::All;
    if restricted && statement.effects.contains(Effects::SHOW_DATABASES) {
        if statement.statements > 1 {
            return Plan::Refuse(Refusal::NotAlone("SHOW DATABASES"));
        }
        return Plan::ForwardDatabases;
    }
    Plan::Forward(target(statement, facts))
}

fn refusal(statement: &Statement, facts: Facts, namespace: &Namespace) -> Option<Refusal> {
    if namespace.allowed_databases != AllowedDatabases::All {
        if statement.effects.contains(Effects::UNREADABLE) {
            return Some(Refusal::Unreadable);
        }
        let forbidden = statement.databases().find(|name| !namespace.allowed_databases.allows(name));
        if let Some(name) = forbidden {
            return Some(Refusal::Database(name.to_vec()));
        }
    }
    if statement.effects.contains(Effects::LOCAL_INFILE) && !(namespace.local_infile && facts.local_files) {
        return Some(Refusal::LocalFile(facts.flavour));
    }
    if facts.on_replica && statement.effects.intersects(LEFT_BEHIND) {
        return Some(Refusal::OnReplica);
    }
    let guarded = Effects::ADMINISTRATIVE | Effects::LIFTS_READ_ONLY;
    let harmless_kill = statement.effects.contains(Effects::KILL) && statement.statements == 1;
    // a routine may lift the guard, and what stands behind it in the same text runs before Weir can put it back
    let alone = statement.statements == 1 && matches!(statement.kind, Kind::Call | Kind::Prepare);
    let routine_among_others = statement.effects.intersects(Effects::CALL | Effects::TEXT_EXECUTE) && !alone;
    let refused = statement.effects.intersects(guarded) && !harmless_kill || routine_among_others;
    (facts.access == UserAccess::ReadOnly && refused).then_some(Refusal::ReadOnlyUser)
}

/// What holds the session to the server that runs it: on a replica the session could never write again.
const LEFT_BEHIND: Effects = Effects::USER_VARIABLE_WRITE
    .union(Effects::TEMPORARY_TABLE)
    .union(Effects::USER_LOCK)
    .union(Effects::LOCK_TABLES)
    .union(Effects::GLOBAL_READ_LOCK)
    .union(Effects::BACKUP_LOCK)
    .union(Effects::HANDLER_OPEN)
    .union(Effects::TEXT_PREPARE)
    .union(Effects::TEXT_EXECUTE)
    .union(Effects::ROLE)
    .union(Effects::RESOURCE_GROUP)
    .union(Effects::CALL)
    .union(Effects::SET_SESSION)
    .union(Effects::NEXT_TRANSACTION)
    .union(Effects::XA)
    .union(Effects::PIN)
    .union(Effects::PROFILING);

fn target(statement: &Statement, facts: Facts) -> Target {
    if let Some(begun) = facts.begun {
        // its first statement chooses; another BEGIN, or a COMMIT with more behind it, may write
        let begins = matches!(statement.transaction, TransactionStep::Begin | TransactionStep::BeginReadOnly);
        let stays = statement.effects.intersects(LEFT_BEHIND) || begins || statement.statements != 1;
        let may_leave = facts.split && facts.has_replicas && statement.hint != Some(Hint::Primary);
        return if may_leave && !stays { begun } else { Target::Primary };
    }
    let may_leave_primary = facts.split && facts.has_replicas && !facts.in_transaction;
    let pinned_there = statement.effects.contains(Effects::PIN);
    if !may_leave_primary || pinned_there || statement.hint == Some(Hint::Primary) || facts.known_write {
        return Target::Primary;
    }
    // whether the transaction will set a variable or take a lock is not known when it begins: who says that it will not,
    // gets a replica for it
    let begins_reading = statement.transaction == TransactionStep::BeginReadOnly && statement.statements == 1;
    let hinted = statement.hint == Some(Hint::Replica) && (begins_reading || may_be_hinted(statement));
    if statement.access == Access::Read || hinted { Target::Replica } else { Target::Primary }
}

/// A hint sends a statement to a replica although its text alone would not go there, unless the text is known to
/// write or to leave something in the session.
fn may_be_hinted(statement: &Statement) -> bool {
    let stays = Effects::ADMINISTRATIVE
        | Effects::LIFTS_READ_ONLY
        | Effects::IMPLICIT_COMMIT
        | Effects::UNREADABLE
        | Effects::SET_SESSION
        | Effects::USER_VARIABLE_WRITE
        | Effects::USER_LOCK
        | Effects::TEMPORARY_TABLE
        | Effects::CALL;
    matches!(statement.kind, Kind::Select | Kind::Show | Kind::Explain)
        && !statement.effects.intersects(stays)
}
