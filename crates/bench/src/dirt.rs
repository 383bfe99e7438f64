//! How clients of `dirty_sessions` differ from those that set nothing.

/// What one client does beside selecting rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dirt {
    /// Variables that it sets when it has logged in.
    pub(crate) sets: Option<String>,
    /// Assigns a user variable, and selects by it.
    pub(crate) user_variables: bool,
    /// Prepares its select and executes it.
    pub(crate) prepares: bool,
}

const SQL_MODES: [&str; 3] = ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "HIGH_NOT_PRECEDENCE"];
const TIME_ZONES: [&str; 5] = ["+01:00", "-03:30", "+05:45", "+09:00", "-08:00"];
const CHARSETS: [&str; 2] = ["latin1", "utf8mb4 COLLATE utf8mb4_bin"];

impl Dirt {
    /// That of client `index`: a quarter set variables, one in twenty uses user variables, one in five prepares.
    pub(crate) fn of(index: u32) -> Dirt {
        let one = |of: &[&'static str]| of.get(index as usize / 4 % of.len()).copied().unwrap_or_default();
        Dirt {
            sets: (index % 4 == 1).then(|| {
                let (mode, zone, charset) = (one(&SQL_MODES), one(&TIME_ZONES), one(&CHARSETS));
                format!("SET SESSION sql_mode = '{mode}', SESSION time_zone = '{zone}', NAMES {charset}")
            }),
            user_variables: index % 20 == 7,
            prepares: index % 5 == 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_clients_each_kind_has_its_share() {
        let all: Vec<Dirt> = (0..100).map(Dirt::of).collect();
        let count = |is: fn(&Dirt) -> bool| all.iter().filter(|dirt| is(dirt)).count();
        let shares = [count(|d| d.sets.is_some()), count(|d| d.user_variables), count(|d| d.prepares)];
        assert_eq!(shares, [25, 5, 20]);
        let mut states: Vec<&String> = all.iter().filter_map(|dirt| dirt.sets.as_ref()).collect();
        states.sort_unstable();
        states.dedup();
        assert!(states.len() >= 15, "they are to differ: {states:?}");
    }
}
