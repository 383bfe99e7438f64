//! Prints what understanding a statement costs, in nanoseconds. Run with `--release`; a name as argument
//! runs that text only.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use weir_sql::{ClientCharset, Dialect, Flavour, Statement, analyze};

const TEXTS: &[(&str, &str)] = &[
    ("ping", "SELECT 1"),
    ("point select", "SELECT c FROM sbtest1 WHERE id=12345"),
    ("range", "SELECT c FROM sbtest1 WHERE id BETWEEN 5012 AND 5111 ORDER BY c"),
    ("update", "UPDATE sbtest1 SET k=k+1 WHERE id=4711"),
    (
        "insert",
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (5013, 4990, '68487932199-96439406143-93774651418-41631865787-\
         96406072701-20604855487-25459966574-28203206787-41238978918-19503783441', \
         '22195207048-70116052123-74140395089-76317954521-98694025897')",
    ),
    ("begin", "BEGIN"),
    (
        "orm select",
        "SELECT `u`.`id`, `u`.`name`, `u`.`email`, `o`.`id`, `o`.`total` FROM `users` AS `u` LEFT OUTER JOIN `orders` \
         AS `o` ON `u`.`id` = `o`.`user_id` WHERE `u`.`status` = 'active' AND `o`.`created_at` > '2024-01-01' ORDER BY \
         `o`.`created_at` DESC LIMIT 20 OFFSET 40",
    ),
];

fn main() {
    let dialect = Dialect {
        flavour: Flavour::MySql,
        version: 90_704,
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };
    let in_list = format!("SELECT * FROM t WHERE id IN ({})", vec!["123456"; 1000].join(","));
    let blob = format!("INSERT INTO t VALUES ('{}')", "x".repeat(1_000_000));
    let long = [("1000 literals", in_list.as_str()), ("1 MB literal", blob.as_str())];
    let only = std::env::args().nth(1);
    let mut statement = Statement::new();
    for (name, text) in TEXTS.iter().copied().chain(long) {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let rounds = 20_000_000 / (text.len() + 50);
        let mut best = f64::MAX;
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..rounds {
                analyze(black_box(text.as_bytes()), &dialect, &mut statement);
                black_box(&statement);
            }
            let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / rounds as f64;
            best = best.min(nanoseconds);
        }
        println!("{name:>14} {:>8} bytes {best:>10.1} ns", text.len());
    }
}
