//! Prints what the analysis finds in each line of standard input; `--mariadb` for that flavour.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::BufRead;

use weir_sql::{ClientCharset, Dialect, Flavour, Statement, analyze, fingerprint};

fn main() -> std::io::Result<()> {
    let mariadb = std::env::args().any(|argument| argument == "--mariadb");
    let dialect = Dialect {
        flavour: if mariadb { Flavour::MariaDb } else { Flavour::MySql },
        version: if mariadb { 101_119 } else { 90_704 },
        ansi_quotes: false,
        no_backslash_escapes: false,
        charset: ClientCharset::AsciiSafe,
    };
    let mut statement = Statement::new();
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        analyze(&line, &dialect, &mut statement);
        let names = |names: Vec<&[u8]>| {
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>().join(" ")
        };
        println!("{}", String::from_utf8_lossy(&line));
        println!(
            "    {:?} {:?} {:?} {:?} n={} kill={:?} [{}] set[{}] {:?}",
            statement.kind,
            statement.access,
            statement.transaction,
            statement.hint,
            statement.statements,
            statement.kill,
            names(statement.databases().collect()),
            names(statement.assigned_variables().collect()),
            statement.effects,
        );
        println!("    {:016x} {}", statement.digest, fingerprint(&line, &dialect, 200));
    }
    Ok(())
}
