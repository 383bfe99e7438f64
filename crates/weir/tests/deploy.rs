//! The examples in `deploy` are what they say they are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn check(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).arg("check").arg("--config").arg(config).output().unwrap()
}

#[test]
fn weir_check_accepts_the_examples() {
    let output = check(&deploy().join("weir.toml"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 namespace"), "the example namespace was looked at: {said}");
}

/// A line `#key = value` shows a default or an example; with the `#` taken away it must be valid, too.
#[test]
fn weir_check_accepts_every_line_that_is_commented_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("namespaces")).unwrap();
    for file in ["weir.toml", "namespaces/example.toml"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
        let lines: Vec<&str> = text
            .lines()
            .map(|line| if is_setting(line) { line.trim_start_matches('#') } else { line })
            .collect();
        assert!(text.lines().any(is_setting), "{file} shows something");
        fs::write(dir.path().join(file), lines.join("\n")).unwrap();
    }
    let output = check(&dir.path().join("weir.toml"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // files that the examples name are not there; nothing else may be wrong
    let errors: Vec<&str> =
        said.lines().filter(|line| line.contains("error") && !line.contains(".pem")).collect();
    assert!(errors.iter().all(|line| line.starts_with("settings and")), "{said}");
}
