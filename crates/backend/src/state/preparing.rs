//! What of a session's state matters when a statement is prepared.
//!
//! A server reads a text in the state in which it is prepared (which quotes mean a name, which database a table is in)
//! and executes it in the state in which it is executed. Two sessions whose states differ only in what makes no
//! difference to reading share a statement, and a session that changes only such need not have it prepared again.

use super::{Other, State, VARIABLES, Variable};

/// Variables that make no difference to how a statement is prepared: sizes of buffers, times, what transactions are like,
/// how much is told. Of all others it is assumed that they do. Source: both servers were asked, with statements prepared
/// under one value and executed under another (`prepared` in the end-to-end tests).
pub const NOT_FOR_PREPARING: [&str; 40] = [
    "auto_increment_increment",
    "auto_increment_offset",
    "autocommit",
    "binlog_row_image",
    "bulk_insert_buffer_size",
    "character_set_results",
    "eq_range_index_dive_limit",
    "foreign_key_checks",
    "idle_transaction_timeout",
    "innodb_lock_wait_timeout",
    "interactive_timeout",
    "join_buffer_size",
    "lc_messages",
    "lock_wait_timeout",
    "long_query_time",
    "max_error_count",
    "max_execution_time",
    "max_heap_table_size",
    "max_length_for_sort_data",
    "max_statement_time",
    "min_examined_row_limit",
    "mrr_buffer_size",
    "net_read_timeout",
    "net_retry_count",
    "net_write_timeout",
    "optimizer_prune_level",
    "optimizer_search_depth",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "slow_query_log",
    "sort_buffer_size",
    "sql_notes",
    "sql_warnings",
    "tmp_table_size",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "unique_checks",
    "wait_timeout",
];

fn matters(name: &[u8]) -> bool {
    !NOT_FOR_PREPARING.iter().any(|known| known.as_bytes() == name)
}

impl Variable {
    fn matters(&self) -> bool {
        [self.mysql, self.mariadb].into_iter().flatten().all(|name| matters(name.as_bytes()))
    }
}

impl Other {
    fn matters(&self) -> bool {
        matters(&self.name)
    }
}

impl State {
    /// Only what matters when a statement is prepared: equal for two sessions that can share one.
    #[must_use]
    pub fn for_preparing(&self) -> State {
        let values = self.values.iter().zip(VARIABLES);
        State {
            database: self.database.clone(),
            values: values
                .map(|(value, variable)| if variable.matters() { value.clone() } else { Box::default() })
                .collect(),
            results_collation: Box::default(),
            others: self.others.iter().filter(|other| other.matters()).cloned().collect(),
            role: None,
            resource_group: None,
        }
    }

    /// This state, but for what matters when a statement is prepared: that is as in `prepared`.
    #[must_use]
    pub fn preparing_as(&self, prepared: &State) -> State {
        let values = self.values.iter().zip(&prepared.values).zip(VARIABLES);
        let kept = self.others.iter().filter(|other| !other.matters());
        let mut others: Vec<Other> =
            kept.chain(prepared.others.iter().filter(|other| other.matters())).cloned().collect();
        others.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        State {
            // who had none when it prepared names no table without its database
            database: prepared.database.clone().or_else(|| self.database.clone()),
            values: values
                .map(|((now, then), variable)| if variable.matters() { then.clone() } else { now.clone() })
                .collect(),
            results_collation: self.results_collation.clone(),
            others: others.into(),
            role: self.role.clone(),
            resource_group: self.resource_group.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AUTOCOMMIT, SQL_MODE, TIME_ZONE, TRANSACTION_ISOLATION, variable_count};

    fn state(change: impl FnOnce(&mut State)) -> State {
        let mut state = State::from_values(Some(b"shop"), vec![Box::from(*b"x"); variable_count()]).unwrap();
        change(&mut state);
        state
    }

    #[test]
    fn states_that_read_a_text_alike_are_one() {
        let plain = state(|_| ()).for_preparing();
        for (change, same) in [
            ((|s| s.set(AUTOCOMMIT, b"0")) as fn(&mut State), true),
            (|s| s.set(TRANSACTION_ISOLATION, b"SERIALIZABLE"), true),
            (|s| s.set_other(b"sort_buffer_size", b"65536"), true),
            (|s| s.set_results_collation(b"utf8mb4_bin"), true),
            (|s| s.set(SQL_MODE, b"ANSI_QUOTES"), false),
            (|s| s.set_database(Some(b"other")), false),
            (|s| s.set_other(b"old_mode", b"''"), false),
        ] {
            assert_eq!(state(change).for_preparing() == plain, same);
        }
    }

    #[test]
    fn what_matters_comes_from_then_and_everything_else_from_now() {
        let then = state(|s| {
            s.set(SQL_MODE, b"ANSI_QUOTES");
            s.set_other(b"old_mode", b"'1'");
            s.set_other(b"sort_buffer_size", b"1");
        });
        let now = state(|s| {
            s.set(TIME_ZONE, b"+01:00");
            s.set(AUTOCOMMIT, b"0");
            s.set_other(b"big_tables", b"1");
            s.set_other(b"sort_buffer_size", b"2");
            s.set_database(Some(b"other"));
        });
        let preparing = now.preparing_as(&then.for_preparing());
        let expected = state(|s| {
            s.set(SQL_MODE, b"ANSI_QUOTES");
            s.set(AUTOCOMMIT, b"0");
            s.set_other(b"old_mode", b"'1'");
            s.set_other(b"sort_buffer_size", b"2");
        });
        assert_eq!(preparing, expected);
        assert_eq!(now.preparing_as(&now.for_preparing()), now, "nothing to change, as a rule");
    }

    #[test]
    fn a_statement_prepared_without_a_database_is_prepared_in_any() {
        let none = state(|s| s.set_database(None)).for_preparing();
        assert_eq!(state(|_| ()).preparing_as(&none).database(), Some(&b"shop"[..]));
    }
}
