//! What a person watching sees while servers are fetched and started.

use std::fmt::Display;

/// Prints one line of progress to standard error, which keeps standard output free for results.
#[expect(clippy::print_stderr, reason = "progress for the person who runs the tests is this function's job")]
pub fn say(line: impl Display) {
    eprintln!("  {line}");
}
