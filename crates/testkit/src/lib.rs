//! Real MySQL and MariaDB servers for tests, and the programs that tests compare with. Never shipped.
//!
//! Servers come as packages from the machine's own mirror into `.weir/`, need no root and change nothing
//! of the system. [`Cluster::start`] gives a primary with replicas in seconds; [`shared`] gives the tests of
//! several binaries the same one; [`tool`] runs a command-line client or load generator.

mod accounts;
mod apt;
mod arguments;
mod cluster;
mod home;
mod instance;
mod packages;
mod process;
mod progress;
mod recipe;
mod relocate;
mod replication;
pub mod runtimes;
mod server;
mod shared;
pub mod sql;
mod state;
mod template;
pub mod tls;
mod tools;
mod wrapper;

pub use accounts::{ADMIN, Account, REPLICATION, SERVICE};
pub use arguments::Tls;
pub use cluster::Cluster;
pub use home::{home, workspace};
pub use instance::{Instance, Options, Role};
pub use packages::{Prefix, fetch};
pub use process::ProcessId;
pub use progress::say;
pub use recipe::Set;
pub use server::{Flavour, Programs};
pub use shared::{SHARED_SERVERS, describe, keep_up, shared, write_shared};
pub use tools::tool;
