//! Compares what a program printed directly with what it printed through the gateway.

use std::collections::BTreeMap;

/// A fact that may differ, with the reason. Kept short: a program prints only what ought to be equal.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// The program's name, or empty for all of them.
    pub program: &'static str,
    /// What the fact's name begins with.
    pub fact: &'static str,
    /// Why it is right that it differs.
    pub reason: &'static str,
}

/// How much of a value a message shows, in characters.
const SHOWN: usize = 300;
/// How many differences a message lists.
const LISTED: usize = 25;

/// What differs between two outputs, one text a difference; nothing if they are equal.
pub fn differences(program: &str, direct: &[String], through: &[String], allowed: &[Allowed]) -> Vec<String> {
    let excused = |name: &str| {
        let fits =
            |one: &&Allowed| (one.program.is_empty() || one.program == program) && name.starts_with(one.fact);
        allowed.iter().find(fits).is_some()
    };
    let (left, right) = (by_name(direct), by_name(through));
    let mut found = Vec::new();
    let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
    for name in names.filter(|name| !excused(name)) {
        let empty = Vec::new();
        let (a, b) = (left.get(name).unwrap_or(&empty), right.get(name).unwrap_or(&empty));
        if a == b {
            continue;
        }
        let first = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i)).unwrap_or(0);
        let show = |values: &[&str]| values.get(first).map_or("(nothing)".to_owned(), |value| cut(value));
        found.push(format!("{name}\n    directly: {}\n    through:  {}", show(a), show(b)));
    }
    if found.is_empty() {
        let order = |lines: &[String]| lines.iter().map(|line| name_of(line).to_owned()).collect::<Vec<_>>();
        let (a, b) = (order(direct), order(through));
        if a != b && !a.iter().chain(&b).any(|name| excused(name)) {
            found.push("the same facts in another order".to_owned());
        }
    }
    let more = found.len().saturating_sub(LISTED);
    found.truncate(LISTED);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn name_of(line: &str) -> &str {
    line.split_once(" = ").map_or(line, |(name, _)| name)
}

fn by_name(lines: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut facts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        facts.entry(name_of(line)).or_default().push(line.split_once(" = ").map_or("", |(_, value)| value));
    }
    facts
}

fn cut(value: &str) -> String {
    let shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: [Allowed; 2] = [
        Allowed { program: "", fact: "thread_id", reason: "every session has its own" },
        Allowed { program: "one", fact: "plan.", reason: "costs depend on statistics" },
    ];

    #[test]
    fn finds_what_differs_and_nothing_else() {
        let rows: [(&str, &[&str], &[&str], usize); 9] = [
            ("one", &["a = 1", "b = 2"], &["a = 1", "b = 2"], 0),
            ("one", &["a = 1", "b = 2"], &["a = 1", "b = 3"], 1),
            ("one", &["a = 1", "b = 2"], &["a = 1"], 1),
            ("one", &["a = 1"], &["a = 1", "b = 2"], 1),
            ("one", &["row = 1", "row = 2"], &["row = 2", "row = 1"], 1),
            ("one", &["a = 1", "b = 2"], &["b = 2", "a = 1"], 1),
            ("one", &["thread_id = 7"], &["thread_id = 8"], 0),
            ("one", &["plan.cost = 7"], &["plan.cost = 8"], 0),
            ("two", &["plan.cost = 7"], &["plan.cost = 8"], 1),
        ];
        for (program, direct, through, expected) in rows {
            let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let found = differences(program, &lines(direct), &lines(through), &ALLOWED);
            assert_eq!(found.len(), expected, "{program} {direct:?} {through:?}: {found:?}");
        }
    }
}
