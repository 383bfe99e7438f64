//! Which databases a text names: the rows of `data/databases.txt`.

mod support;

use support::{joined, seen};

#[test]
fn every_database_in_a_table_position_is_named_and_no_alias_is() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in support::rows(include_str!("data/databases.txt")) {
        let [dialect, expected, sql] = row[..] else { panic!("a row needs three columns: {row:?}") };
        let expected = if expected == "-" { "" } else { expected };
        let sql = sql.replace('␤', "\n");
        for dialect in support::dialects_of(dialect) {
            count += 1;
            let found = joined(&seen(sql.as_bytes(), dialect).databases);
            if found != expected {
                wrong.push(format!(
                    "{:?}: {sql}\n    expected [{expected}], found [{found}]",
                    dialect.flavour
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}
