//! The data plane: listeners, sessions, execution. Start reading at [`session`].

mod answer;
pub mod build;
pub mod census;
mod client;
mod error;
mod execute;
pub mod gateway;
pub mod handle;
pub mod id;
mod in_flight;
pub mod listener;
pub mod metrics;
mod proxy;
pub mod run;
pub mod session;
pub mod tenant;
pub mod worker;

pub use gateway::{Gateway, ProcessLimits};
pub use id::GatewayNumber;
pub use in_flight::{InFlight, Share};
pub use session::Session;
