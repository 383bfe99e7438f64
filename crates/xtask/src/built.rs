//! Everything that the tests run, built in one go: cargo chooses the features of what all packages share by the packages
//! that it is asked for, so that asking for some and then for others builds the same libraries again and again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo;
use crate::interrupt::Interrupt;

/// What cargo built for the tests.
#[derive(Debug, Default)]
pub(crate) struct Built {
    programs: Vec<TestProgram>,
    /// The binary `weir`.
    pub(crate) weir: PathBuf,
}

/// A program with tests in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The package that it belongs to.
    pub(crate) package: String,
    /// `unit`, or the name of the file in the package's `tests`.
    pub(crate) name: String,
    folder: PathBuf,
    executable: PathBuf,
}

impl Built {
    /// Builds all test programs of the workspace, and the binaries that they run.
    pub(crate) fn everything(interrupt: &Interrupt) -> Result<Built> {
        let mut build = cargo::command();
        build.args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]);
        let mut child =
            build.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
        let output = child.stdout.take().context("no output from cargo")?;
        let reader = std::thread::spawn(move || -> Result<Built> {
            let mut built = Built::default();
            for text in BufReader::new(output).lines() {
                built.note(&text.context("cannot read cargo's output")?);
            }
            Ok(built)
        });
        let status = interrupt.wait(&mut child)?;
        let mut built =
            reader.join().map_err(|_| anyhow::anyhow!("the reader of cargo's output ended early"))??;
        if !status.success() {
            bail!("the tests do not build");
        }
        if built.programs.is_empty() || built.weir.as_os_str().is_empty() {
            bail!("cargo names no test programs, or no binary called weir");
        }
        built.programs.sort_by(|a, b| {
            (&a.package, a.name != "unit", &a.name).cmp(&(&b.package, b.name != "unit", &b.name))
        });
        Ok(built)
    }

    /// Those of the packages for which `wanted` says so, by package and name.
    pub(crate) fn programs(&self, wanted: impl Fn(&TestProgram) -> bool) -> Vec<&TestProgram> {
        self.programs.iter().filter(|program| wanted(program)).collect()
    }

    /// Takes over what one of cargo's messages tells.
    fn note(&mut self, message: &str) {
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        let (Some(executable), Some(manifest), Some(target)) =
            (text("/executable"), text("/manifest_path"), text("/target/name"))
        else {
            return;
        };
        let folder = Path::new(manifest).parent().map(Path::to_owned).unwrap_or_default();
        let kind = text("/target/kind/0").unwrap_or_default();
        if message.pointer("/profile/test").and_then(Value::as_bool) != Some(true) {
            if (kind, target) == ("bin", "weir") {
                self.weir = PathBuf::from(executable);
            }
            return;
        }
        let name = if kind == "test" { target } else { "unit" };
        self.programs.push(TestProgram {
            package: package_of(text("/package_id").unwrap_or_default(), &folder),
            name: name.to_owned(),
            folder,
            executable: PathBuf::from(executable),
        });
    }
}

impl TestProgram {
    /// The program, told what cargo tells the tests that it runs.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        if let Some(cargo) = std::env::var_os("CARGO") {
            command.env("CARGO", cargo);
        }
        command
    }
}

/// The package's name: `path+file:///…/crates/wire#weir-wire@0.1.0`, or `…/xtask#0.1.0` where the folder has its name.
fn package_of(id: &str, folder: &Path) -> String {
    let named =
        id.rsplit_once('#').and_then(|(_, rest)| rest.split_once('@')).map(|(name, _)| name.to_owned());
    named.unwrap_or_else(|| folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_and_the_binary_are_read_from_what_cargo_tells() {
        let mut built = Built::default();
        let lines = [
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/wire#weir-wire@0.1.0","manifest_path":"/w/crates/wire/Cargo.toml","target":{"kind":["test"],"name":"fuzz_smoke"},"profile":{"test":true},"executable":"/t/fuzz_smoke-1"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/xtask#0.1.0","manifest_path":"/w/crates/xtask/Cargo.toml","target":{"kind":["bin"],"name":"xtask"},"profile":{"test":true},"executable":"/t/xtask-2"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/weir#0.1.0","manifest_path":"/w/crates/weir/Cargo.toml","target":{"kind":["bin"],"name":"weir"},"profile":{"test":false},"executable":"/t/weir"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/wire#weir-wire@0.1.0","manifest_path":"/w/crates/wire/Cargo.toml","target":{"kind":["lib"],"name":"weir_wire"},"profile":{"test":false},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "   Compiling weir-wire v0.1.0",
        ];
        for line in lines {
            built.note(line);
        }
        assert_eq!(built.weir, Path::new("/t/weir"));
        let seen: Vec<_> = built.programs.iter().map(|p| (p.package.as_str(), p.name.as_str())).collect();
        assert_eq!(seen, [("weir-wire", "fuzz_smoke"), ("xtask", "unit")]);
        let of_wire = built.programs(|program| program.package == "weir-wire");
        assert_eq!(
            of_wire.iter().map(|p| p.executable.as_path()).collect::<Vec<_>>(),
            [Path::new("/t/fuzz_smoke-1")]
        );
    }
}
