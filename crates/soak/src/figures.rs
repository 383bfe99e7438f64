//! What a run came to, for people and for programs.

use serde::Serialize;

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// `mysql` or `mariadb`.
    pub server: &'static str,
    /// Measured time.
    pub seconds: f64,
    /// Commands of clients that were answered as they must be.
    pub statements: u64,
    /// Answers that were others.
    pub wrong_answers: u64,
    /// Errors where none was due, and connections that ended.
    pub errors: u64,
    /// Logins of clients.
    pub logins: u64,
    /// KILL and KILL QUERY of clients.
    pub kills: u64,
    /// Times that a pin began, for 1,000 statements.
    pub pins_per_1000: f64,
    /// SET statements that servers ran beyond those of the clients, for 1,000 statements.
    pub sets_per_1000: f64,
    /// Round trips only to give a connection a session's state, for 1,000 statements.
    pub extra_round_trips_per_1000: f64,
    /// Most prepared statements at all servers together.
    pub prepared_stmt_count_max: u64,
    /// Most connections of Weir's to one server.
    pub backend_connections_max: u64,
    /// Resident memory of Weir's when the measured time began.
    pub rss_bytes_start: u64,
    /// The same when it ended.
    pub rss_bytes_end: u64,
    /// What only one kind of run has.
    #[serde(flatten)]
    pub of_sessions: Option<OfSessions>,
    /// What only one kind of run has.
    #[serde(flatten)]
    pub of_churn: Option<OfChurn>,
}

/// Figures of `soak sessions` alone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfSessions {
    /// Sessions with a state of their own.
    pub sessions: u32,
    /// Latency of a point select in them, microseconds.
    pub p99_us: u32,
    /// The same in sessions that set nothing, in the same run.
    pub clean_p99_us: u32,
}

/// Figures of `soak churn` alone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfChurn {
    /// Distinct texts, half of them prepared.
    pub texts: u64,
    /// Resident memory at the end of each minute.
    pub rss_bytes_each_minute: Vec<u64>,
    /// Growth over the last third of the time, percent in ten minutes.
    pub slope_percent_in_10_minutes: f64,
    /// Open files of Weir before the first client.
    pub open_files_start: u64,
    /// The same after the last, at rest.
    pub open_files_end: u64,
    /// `Threads_connected` of all servers before the first client.
    pub threads_connected_start: u64,
    /// The same after the last, at rest.
    pub threads_connected_end: u64,
    /// `Prepared_stmt_count` of all servers before the first client.
    pub prepared_stmt_count_start: u64,
    /// The same after the last, at rest.
    pub prepared_stmt_count_end: u64,
}

/// Figures, and which bounds they miss.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The figures.
    pub figures: Figures,
    /// A line for each bound that was missed, with what to look at.
    pub missed: Vec<String>,
}

/// For each 1,000 statements.
pub(crate) fn per_1000(count: f64, statements: u64) -> f64 {
    let rate = count * 1000.0 / (statements.max(1) as f64);
    (rate * 1000.0).round() / 1000.0
}

/// Notes bounds that are missed.
#[derive(Debug, Default)]
pub(crate) struct Bounds(Vec<String>);

impl Bounds {
    /// `next`: what to do about it.
    pub(crate) fn holds(&mut self, is_met: bool, what: impl Into<String>, next: &str) {
        if !is_met {
            self.0.push(format!("{}: {next}", what.into()));
        }
    }

    pub(crate) fn missed(self) -> Vec<String> {
        self.0
    }
}

impl Bounds {
    /// What every run must hold to.
    pub(crate) fn of(figures: &Figures) -> Bounds {
        let mut bounds = Bounds::default();
        let Figures { wrong_answers, errors, statements, .. } = figures;
        bounds.holds(
            *wrong_answers == 0,
            format!("{wrong_answers} wrong answers"),
            "the first of them are shown above, each with its statement and its session",
        );
        bounds.holds(
            *errors == 0,
            format!("{errors} errors"),
            "the first of them are shown above; WEIR_E2E_LOG=1 shows the log of Weir as well",
        );
        bounds.holds(
            *statements > 0,
            "no statement was answered",
            "look at the log of Weir (WEIR_E2E_LOG=1)",
        );
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_names_that_programs_read() {
        let figures = Figures {
            of_sessions: Some(OfSessions { sessions: 2_000, p99_us: 9, clean_p99_us: 7 }),
            ..Figures::default()
        };
        let text = serde_json::to_value(&figures).unwrap();
        for name in [
            "statements",
            "wrong_answers",
            "errors",
            "pins_per_1000",
            "sets_per_1000",
            "extra_round_trips_per_1000",
            "prepared_stmt_count_max",
            "backend_connections_max",
            "rss_bytes_start",
            "rss_bytes_end",
            "p99_us",
        ] {
            assert!(text.get(name).is_some_and(serde_json::Value::is_number), "{name}: {text}");
        }
        let churn = Figures { of_churn: Some(OfChurn::default()), ..Figures::default() };
        let text = serde_json::to_value(&churn).unwrap();
        assert!(text.get("slope_percent_in_10_minutes").is_some() && text.get("p99_us").is_none(), "{text}");
    }

    #[test]
    fn a_wrong_answer_and_an_error_are_bounds() {
        let figures = Figures { statements: 9, ..Figures::default() };
        assert!(Bounds::of(&figures).missed().is_empty());
        let figures = Figures { statements: 9, wrong_answers: 1, errors: 2, ..figures };
        assert_eq!(Bounds::of(&figures).missed().len(), 2);
        assert_eq!(per_1000(1.0, 3_000), 0.333);
    }
}
