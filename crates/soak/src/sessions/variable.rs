//! Session variables that sessions set, and what a server shows of them.

use weir_testkit::Flavour;

/// A variable that a session may set.
#[derive(Debug)]
pub(super) struct Variable {
    /// As MySQL and as MariaDB call it.
    names: [&'static str; 2],
    values: Values,
}

/// Values of a variable, all other than its default.
#[derive(Debug)]
enum Values {
    /// `from`, `from + step` and so on.
    Numbers { from: u64, step: u64, count: u64 },
    /// Names, shown as they are set: several in the server's own order.
    Names(&'static [&'static str]),
    /// Minutes east of Greenwich.
    Zones,
    /// Set by SET NAMES utf8mb4 COLLATE.
    Collations(&'static [&'static str]),
}

/// A value, as it is set and as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Of SET: `SESSION sort_buffer_size=65536`.
    pub(super) assignment: String,
    pub(super) shown: String,
}

const fn numbers(name: &'static str, from: u64, step: u64, count: u64) -> Variable {
    Variable { names: [name, name], values: Values::Numbers { from, step, count } }
}

const fn names(name: &'static str, values: &'static [&'static str]) -> Variable {
    Variable { names: [name, name], values: Values::Names(values) }
}

/// Place of `time_zone` in [`VARIABLES`].
pub(super) const TIME_ZONE: usize = 0;
/// Place of `div_precision_increment` in [`VARIABLES`].
pub(super) const DIV_PRECISION_INCREMENT: usize = 1;

/// All of them. Most have so many values that two sessions rarely have the same.
pub(super) const VARIABLES: [Variable; 20] = [
    Variable { names: ["time_zone", "time_zone"], values: Values::Zones },
    numbers("div_precision_increment", 5, 1, 20),
    names(
        "sql_mode",
        &[
            "ANSI_QUOTES",
            "NO_BACKSLASH_ESCAPES",
            "PIPES_AS_CONCAT,ANSI_QUOTES",
            "NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES",
            "HIGH_NOT_PRECEDENCE",
            "",
        ],
    ),
    names("lc_time_names", &["de_DE", "fr_FR", "ru_RU", "es_ES", "it_IT", "pt_BR", "ja_JP"]),
    Variable {
        names: ["collation_connection", "collation_connection"],
        values: Values::Collations(&[
            "utf8mb4_bin",
            "utf8mb4_unicode_ci",
            "utf8mb4_swedish_ci",
            "utf8mb4_polish_ci",
            "utf8mb4_turkish_ci",
        ]),
    },
    Variable {
        names: ["transaction_isolation", "tx_isolation"],
        values: Values::Names(&["READ-COMMITTED", "READ-UNCOMMITTED"]),
    },
    numbers("sort_buffer_size", 65_536, 1024, 1_000),
    numbers("join_buffer_size", 65_536, 1024, 1_000),
    numbers("read_buffer_size", 16_384, 4096, 200),
    numbers("read_rnd_buffer_size", 16_384, 1024, 200),
    // MariaDB takes multiples of 16 KiB
    numbers("tmp_table_size", 2 << 20, 16_384, 2_000),
    numbers("max_heap_table_size", 2 << 20, 16_384, 2_000),
    numbers("group_concat_max_len", 2_000, 1, 100_000),
    numbers("max_sort_length", 128, 8, 800),
    numbers("max_error_count", 100, 1, 10_000),
    numbers("lock_wait_timeout", 200, 1, 10_000),
    numbers("innodb_lock_wait_timeout", 60, 1, 1_000),
    numbers("min_examined_row_limit", 1, 1, 100_000),
    numbers("eq_range_index_dive_limit", 11, 1, 150),
    numbers("optimizer_search_depth", 3, 1, 50),
];

impl Variable {
    pub(super) fn name(&self, flavour: Flavour) -> &'static str {
        let [mysql, mariadb] = self.names;
        match flavour {
            Flavour::MySql => mysql,
            Flavour::MariaDb => mariadb,
        }
    }

    /// One of its values.
    pub(super) fn draw(&self, flavour: Flavour, random: &mut fastrand::Rng) -> Value {
        let name = self.name(flavour);
        let quoted =
            |shown: &str| Value { assignment: format!("SESSION {name}='{shown}'"), shown: shown.to_owned() };
        match &self.values {
            Values::Numbers { from, step, count } => {
                let value = from + step * random.u64(0..*count);
                Value { assignment: format!("SESSION {name}={value}"), shown: value.to_string() }
            }
            Values::Names(list) => quoted(random.choice(*list).copied().unwrap_or_default()),
            Values::Zones => {
                // Both servers take 12 hours either way; none is the default SYSTEM. Quarters of an hour only: MariaDB
                // 10.11 takes offsets whose bytes are letters that differ in case for the same one, such as -01:54
                // for -04:10 if a session has set that before.
                let minutes = random.i32(-12 * 4..=12 * 4) * 15;
                let sign = if minutes < 0 { '-' } else { '+' };
                quoted(&format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
            }
            Values::Collations(list) => {
                let shown = random.choice(*list).copied().unwrap_or_default();
                Value { assignment: format!("NAMES utf8mb4 COLLATE {shown}"), shown: shown.to_owned() }
            }
        }
    }
}

/// 2001-09-09 01:46:40 of Greenwich, which is `FROM_UNIXTIME(1000000000)`, in a zone such as `+03:30`.
pub(super) fn billion_seconds(zone: &str) -> Option<String> {
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let east = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
    let east = if zone.starts_with('-') { -east } else { east };
    let minutes = 9 * 24 * 60 + 60 + 46 + east;
    Some(format!("2001-09-{:02} {:02}:{:02}:40", minutes / 1440, minutes / 60 % 24, minutes % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_other_zones() {
        for (zone, expected) in [
            ("+00:00", "2001-09-09 01:46:40"),
            ("+12:00", "2001-09-09 13:46:40"),
            ("-01:47", "2001-09-08 23:59:40"),
            ("-12:00", "2001-09-08 13:46:40"),
        ] {
            assert_eq!(billion_seconds(zone).as_deref(), Some(expected), "{zone}");
        }
        assert_eq!(billion_seconds("SYSTEM"), None);
    }

    #[test]
    fn places_are_those_of_the_names() {
        assert_eq!(VARIABLES[TIME_ZONE].name(Flavour::MySql), "time_zone");
        assert_eq!(VARIABLES[DIV_PRECISION_INCREMENT].name(Flavour::MySql), "div_precision_increment");
    }
}
