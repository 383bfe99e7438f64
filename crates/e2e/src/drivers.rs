//! Other people's drivers, run directly and through the gateway. The same program runs twice and prints a line
//! per fact; the two outputs must be equal. What each program needs is installed below `.weir/drivers`.

mod cli;
mod compare;
mod dump;
mod install;
mod login;
mod program;
mod run;
mod site;
mod suite;
mod tap;

pub use cli::CommandLine;
pub use compare::{Allowed, differences};
pub use dump::dump_and_restore;
pub use login::logins;
pub use program::{PROGRAMS, Program};
pub use run::{Endpoint, Outcome, Tls};
pub use site::{Account, Site};
pub use suite::{Extent, Suite};
pub use tap::{Authentication, Command, Seen, Tap};
