//! What of a session decides where its statements go.

use weir_catalog::user::UserAccess;
use weir_sql::Flavour;

use crate::Target;

/// Facts of a session at the moment of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What its user may do.
    pub access: UserAccess,
    /// Its user may see everybody's sessions.
    pub admin: bool,
    /// Its user's reads are split off to replicas.
    pub split: bool,
    /// Its slice has replicas.
    pub has_replicas: bool,
    /// A transaction may be open on the primary, or every statement opens one (`autocommit=0`).
    pub in_transaction: bool,
    /// It holds a connection to a replica: a transaction runs there.
    pub on_replica: bool,
    /// A transaction is open that no server has seen, and this is where it was begun for.
    pub begun: Option<Target>,
    /// A replica refused a statement of this fingerprint as a write before.
    pub known_write: bool,
    /// Its client said at login that it can send local files.
    pub local_files: bool,
    /// What its servers are.
    pub flavour: Flavour,
}
