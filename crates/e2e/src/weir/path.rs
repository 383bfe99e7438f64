//! Keys of nested tables, named by a path.

use toml::{Table, Value};

/// Sets the key at `path`: `pool.capacity`, `slices.0.replicas.1.weight`. Tables on the way are made; where the path
/// leads nowhere (a list that is too short), nothing is set.
pub(super) fn set(table: &mut Table, path: &str, value: Value) {
    let mut steps: Vec<&str> = path.split('.').collect();
    let Some(last) = steps.pop() else { return };
    let mut at = table;
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        let entry = at.entry(step).or_insert_with(|| Table::new().into());
        let index = steps.next_if(|next| next.parse::<usize>().is_ok());
        let inside = match (entry, index.and_then(|index| index.parse::<usize>().ok())) {
            (Value::Array(list), Some(index)) => list.get_mut(index),
            (other, _) => Some(other),
        };
        match inside {
            Some(Value::Table(table)) => at = table,
            _ => return,
        }
    }
    at.insert(last.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_where_its_path_leads() {
        let mut table: Table = "a = [{ b = [{}, {}] }]\nc = 1\n".parse().unwrap();
        let rows = [
            ("top", 1),
            ("made.below", 2),
            ("a.0.x", 3),
            ("a.0.b.1.weight", 4),
            ("a.0.made.below", 5),
            ("c", 6),
        ];
        for (path, value) in rows {
            set(&mut table, path, Value::Integer(value));
        }
        set(&mut table, "a.7.x", 7.into());
        set(&mut table, "c.x", 8.into());
        let expected: Table = "a = [{ x = 3, made = { below = 5 }, b = [{}, { weight = 4 }] }]\n\
                               top = 1\nmade = { below = 2 }\nc = 6\n"
            .parse()
            .unwrap();
        assert_eq!(table, expected);
    }
}
