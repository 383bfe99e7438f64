//! Problems for people and for programs.

use std::{io::Write, path::Path};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use weir_catalog::problem::{Problem, Severity};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const FILE: Style = Style::new().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
/// A path of a setting wider than this moves what follows to the right in its own row only.
const WIDEST_PATH: usize = 36;

/// Brings the problems of a file together and into the order of its lines; those of `first` come first.
pub(crate) fn sort(problems: &mut [Problem], first: &Path) {
    let first = first.display().to_string();
    problems.sort_by(|a, b| {
        let key = |problem: &Problem| (problem.file != first, problem.file.clone(), problem.position);
        key(a).cmp(&key(b))
    });
}

/// Sorted problems in aligned columns, under the name of their file; coloured (see [`to_stderr`]).
pub(crate) fn problems(problems: &[Problem]) -> String {
    let positions = problems.iter().map(|problem| position(problem).len()).max().unwrap_or(0);
    let width = |problem: &Problem| problem.path.chars().count();
    let paths = problems.iter().map(width).filter(|width| *width <= WIDEST_PATH).max().unwrap_or(0);
    let mut out = String::new();
    for of_file in problems.chunk_by(|one, next| one.file == next.file) {
        let file = of_file.first().map(|problem| problem.file.as_str()).unwrap_or_default();
        out.push_str(&format!("{FILE}{file}{FILE:#}\n"));
        out.extend(of_file.iter().map(|problem| row(problem, positions, paths)));
        out.push('\n');
    }
    out
}

fn row(problem: &Problem, positions: usize, paths: usize) -> String {
    let style = match problem.severity {
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
    };
    let severity = problem.severity.to_string();
    let gap = if paths == 0 { "" } else { "  " };
    let mut row = format!(
        "  {:>positions$}  {style}{severity:<7}{style:#}  {:<paths$}{gap}{}\n",
        position(problem),
        problem.path,
        problem.message
    );
    if let Some(hint) = &problem.hint {
        let indent = 2 + positions + 2 + 7 + 2 + paths + gap.len();
        row.push_str(&format!("{:indent$}{HINT}{hint}{HINT:#}\n", ""));
    }
    row
}

fn position(problem: &Problem) -> String {
    problem.position.map(|position| position.to_string()).unwrap_or_default()
}

/// The last line: what was looked at, and how it went.
pub(crate) fn summary(problems: &[Problem], namespaces: usize) -> String {
    let (errors, warnings) = count(problems);
    let number = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let looked_at = number(namespaces, "namespace", "namespaces");
    let warned = number(warnings, "warning", "warnings");
    match (errors, warnings) {
        (0, 0) => format!("{GOOD}settings and {looked_at}: no problem{GOOD:#}\n"),
        (0, _) => format!("{WARNING}settings and {looked_at}: {warned}{WARNING:#}\n"),
        (_, 0) => {
            format!("{ERROR}settings and {looked_at}: {}{ERROR:#}\n", number(errors, "error", "errors"))
        }
        _ => format!(
            "{ERROR}settings and {looked_at}: {}, {warned}{ERROR:#}\n",
            number(errors, "error", "errors")
        ),
    }
}

/// Errors and warnings.
fn count(problems: &[Problem]) -> (usize, usize) {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    (errors, problems.len() - errors)
}

/// For programs.
pub(crate) fn as_json(problems: &[Problem], namespaces: usize) -> Value {
    let (errors, warnings) = count(problems);
    let list: Vec<Value> = problems
        .iter()
        .map(|problem| {
            json!({
                "severity": problem.severity.to_string(),
                "file": problem.file,
                "line": problem.position.map(|position| position.line),
                "column": problem.position.map(|position| position.column),
                "path": problem.path,
                "message": problem.message,
                "hint": problem.hint,
            })
        })
        .collect();
    json!({
        "valid": errors == 0,
        "errors": errors,
        "warnings": warnings,
        "namespaces": namespaces,
        "problems": list,
    })
}

/// Writes to the standard output; colours only where there is a terminal, and `NO_COLOR` is not set.
pub(crate) fn to_stdout(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to the standard error stream, likewise. If that is closed there is nobody to tell.
pub(crate) fn to_stderr(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}
