//! The only owner of sockets to MySQL: dial, log in, pool, reset, probe.

mod accounts;
mod balance;
mod checkout;
mod compressed;
mod connection;
mod control;
mod dial;
mod health;
mod left;
mod login;
mod metrics;
mod opening;
mod pool;
mod prepared;
mod probe;
mod remains;
mod shard;
mod shed;
pub mod state;
mod stream;
mod text;
mod tls;
pub mod user_variable;
pub mod variable;

pub use accounts::{
    Accounts, Identities, Identity, IdentityId, Secrets, Shown, account_tables, follow_accounts,
    try_to_read_accounts,
};
pub use balance::{Candidate, pick_replica};
pub use checkout::{Checkout, CheckoutError};
pub use compressed::Peer;
pub use connection::{Connection, ConnectionError, Goal, Reply};
pub use control::{KillError, KillMode};
pub use dial::{DialError, Dialer, DialerOptions, ServerFacts, end_logins};
pub use health::{Health, HealthView};
pub use left::{Fact, Left, Memory, Numbers, PerFact, Questions};
pub use metrics::PoolMetrics;
pub use opening::{Begin, Isolation, Mode, Opening};
pub use pool::{Class, Pool, PoolOptions, Ride, Want};
pub use prepared::{Definition, Definitions, PreparedOnServer};
pub use probe::probe_forever;
pub use remains::{Found, Remains, Remnants};
pub use stream::{Detached, Socket, Stream};
pub use text::{Becomes, TextChange, TextName, TextsOnServer};
pub use tls::{TlsError, TlsSettings, tls_settings};
