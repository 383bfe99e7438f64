//! Long runs that check every answer: `cargo xtask soak`.
//!
//! [`sessions()`] keeps thousands of sessions, each with a state of its own, on few connections; [`churn()`] sends texts
//! that never come again, and logs in again and again. Both look at what Weir and the servers hold meanwhile.

mod churn;
mod data;
mod figures;
mod order;
mod sessions;
mod stage;
mod tally;
mod watch;

pub use churn::churn;
pub use figures::{Figures, Outcome};
pub use order::{ChurnOrder, SessionsOrder};
pub use sessions::sessions;
