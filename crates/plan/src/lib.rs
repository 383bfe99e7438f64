//! Statement + session facts + namespace → where it goes. Knows no socket, no clock and no server.

mod facts;
mod plan;
mod refusal;

pub use facts::Facts;
pub use plan::{Plan, Target, plan};
pub use refusal::Refusal;
