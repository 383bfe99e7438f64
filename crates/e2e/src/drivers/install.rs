//! Installs what each driver's program needs below `.weir/drivers/<language>`, once: a stamp holds what it was
//! made from, so that a second run finds everything in place and a change makes it anew.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_testkit::{home, runtimes, say, workspace};

use super::run::output;

/// Compiling sqlx and all below it takes two minutes on two cores.
const PATIENCE: Duration = Duration::from_secs(900);

/// The folder of a language's sources in the project.
pub(super) fn sources(language: &str) -> PathBuf {
    workspace().join("crates/e2e/drivers").join(language)
}

/// The statements that every program runs.
pub(super) fn statements() -> PathBuf {
    sources("statements.tsv")
}

/// Python with the packages of `requirements.txt` on its path.
pub(super) fn python(program: &str) -> Result<Command> {
    let python = runtimes::python()?;
    let source = sources("python");
    let version = output_text(Command::new(&python).arg("--version"))?;
    let folder = prepared("python", &[source.join("requirements.txt")], &version, |folder| {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--root-user-action=ignore", "--only-binary=:all:", "--target"])
            .arg(folder.join("packages"))
            .arg("--requirement")
            .arg(source.join("requirements.txt"));
        finish(&mut pip)
    })?;
    let mut command = Command::new(&python);
    command
        .env("PYTHONPATH", folder.join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8")
        .args(["-W", "ignore"])
        .arg(source.join(program));
    Ok(command)
}

/// What drivers' own tests need: each in a folder of its own, as their registry has it.
pub(super) struct Suites {
    /// Python.
    pub python: PathBuf,
    /// PyMySQL and what it needs.
    pub driver: PathBuf,
    /// The last release of PyMySQL that came with its tests.
    pub pymysql: PathBuf,
    /// Django's source release, which has its tests.
    pub django: PathBuf,
    /// What Django needs.
    pub packages: PathBuf,
}

/// Django, whose tests are run.
const DJANGO: &str = "5.2.8";
/// Later releases of PyMySQL came without its tests.
const PYMYSQL_WITH_TESTS: &str = "0.8.1";

/// Fetches the suites.
pub(super) fn suites() -> Result<Suites> {
    python("pymysql_facts.py")?;
    let python = runtimes::python()?;
    let source = sources("suites");
    let version = output_text(Command::new(&python).arg("--version"))? + DJANGO + PYMYSQL_WITH_TESTS;
    let folder = prepared("suites", &[source.join("requirements.txt")], &version, |folder| {
        let pip = |how: &str| {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", how, "--quiet", "--disable-pip-version-check", "--no-input"]);
            pip
        };
        let packages = folder.join("packages");
        let mut install = pip("install");
        install.args(["--root-user-action=ignore", "--only-binary=:all:", "--target"]).arg(&packages);
        finish(install.arg("--requirement").arg(source.join("requirements.txt")))?;
        let fetched = folder.join("fetched");
        let mut pymysql = pip("download");
        pymysql.args(["--no-deps", "--only-binary=:all:", "--dest"]).arg(&fetched);
        finish(pymysql.arg(format!("PyMySQL=={PYMYSQL_WITH_TESTS}")))?;
        let mut django = pip("download");
        django.args(["--no-deps", "--no-binary=:all:", "--dest"]).arg(&fetched);
        finish(django.arg(format!("Django=={DJANGO}")))?;
        let unpack = "import glob, shutil, sys, zipfile\n\
             for name in glob.glob(sys.argv[1] + '/*.whl'): zipfile.ZipFile(name).extractall(sys.argv[2] + '/pymysql')\n\
             for name in glob.glob(sys.argv[1] + '/*.tar.gz'): shutil.unpack_archive(name, sys.argv[2])\n";
        finish(Command::new(&python).args(["-c", unpack]).arg(&fetched).arg(&packages))
    })?;
    let packages = folder.join("packages");
    Ok(Suites {
        python,
        driver: home().join("drivers/python/packages"),
        pymysql: packages.join("pymysql"),
        django: packages.join(format!("django-{DJANGO}")),
        packages,
    })
}

/// Node.js with the packages of `package-lock.json`.
pub(super) fn node(program: &str) -> Result<Command> {
    let (node, npm) = (runtimes::node()?, runtimes::npm()?);
    let source = sources("node");
    let version = output_text(Command::new(&node).arg("--version"))?;
    let inputs = ["package.json", "package-lock.json"].map(|name| source.join(name));
    let folder = prepared("node", &inputs, &version, |folder| {
        for input in &inputs {
            let name = input.file_name().unwrap_or_default();
            fs::copy(input, folder.join(name)).with_context(|| format!("cannot copy {}", input.display()))?;
        }
        let mut install = Command::new(&npm);
        install
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder);
        install.env("PATH", path_with(&node)?);
        finish(&mut install)
    })?;
    let mut command = Command::new(node);
    command.env("NODE_PATH", folder.join("node_modules")).arg(source.join(program));
    Ok(command)
}

/// The Go program, built.
pub(super) fn go() -> Result<Command> {
    let go = runtimes::go()?;
    let source = sources("go");
    let version = output_text(Command::new(&go).arg("version"))?;
    let inputs = ["main.go", "go.mod", "go.sum"].map(|name| source.join(name));
    let folder = prepared("go", &inputs, &version, |folder| {
        let mut build = Command::new(&go);
        build
            .args(["build", "-mod=readonly", "-modcacherw", "-o"])
            .arg(folder.join("facts"))
            .arg(".")
            .current_dir(&source);
        build
            .env("GOMODCACHE", folder.join("modules"))
            .env("GOCACHE", folder.join("cache"))
            .env("GOTOOLCHAIN", "local");
        finish(&mut build)
    })?;
    Ok(Command::new(folder.join("facts")))
}

/// Java with the program's class and both drivers on the class path.
pub(super) fn java() -> Result<Command> {
    let (java, javac, maven) = (runtimes::java()?, runtimes::javac()?, runtimes::maven()?);
    let source = sources("java");
    let version = output_text(Command::new(&java).arg("-version"))?;
    let inputs = ["pom.xml", "Facts.java"].map(|name| source.join(name));
    let folder = prepared("java", &inputs, &version, |folder| {
        let mut fetch = Command::new(&maven);
        fetch.args(["--quiet", "--batch-mode", "--file"]).arg(source.join("pom.xml"));
        fetch.arg(define("maven.repo.local", &folder.join("repository")));
        // the goal's plugin is named with its version, as maven without one takes what is newest
        fetch.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        fetch.arg("-DexcludeTransitive=true").arg(define("outputDirectory", &folder.join("jars")));
        finish(&mut fetch)?;
        let mut compile = Command::new(&javac);
        compile.args(["-encoding", "UTF-8", "-d"]).arg(folder.join("classes"));
        compile.arg("-cp").arg(folder.join("jars/*")).arg(source.join("Facts.java"));
        finish(&mut compile)
    })?;
    let mut command = Command::new(java);
    let path = env::join_paths([folder.join("classes"), folder.join("jars/*")])
        .context("a folder's name has a colon")?;
    // two compilers' threads fight for two cores in a program that lives for seconds
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-cp"])
        .arg(path)
        .arg("Facts");
    Ok(command)
}

/// The sqlx program, built from its own manifest and lock file.
pub(super) fn sqlx() -> Result<Command> {
    let source = sources("sqlx");
    let version = output_text(cargo().arg("--version"))?;
    let inputs = ["Cargo.toml", "Cargo.lock", "src/main.rs"].map(|name| source.join(name));
    let folder = prepared("sqlx", &inputs, &version, |folder| {
        let mut build = cargo();
        build.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
        build.arg("--target-dir").arg(folder.join("target"));
        finish(&mut build)
    })?;
    Ok(Command::new(folder.join("target/debug/sqlx-facts")))
}

/// The release of mysql_async whose tests are run.
const MYSQL_ASYNC: &str = "0.37.1";

/// mysql_async's own tests, as its registry has them, at a URL.
pub(super) fn mysql_async(url: &str) -> Result<Command> {
    let folder = prepared("mysql_async", &[], MYSQL_ASYNC, |folder| {
        let fetch = folder.join("fetch");
        fs::create_dir_all(&fetch).context("cannot create a folder")?;
        let manifest = fetch.join("Cargo.toml");
        let wanted = format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[lib]\npath = \"lib.rs\"\n\
             [dependencies]\nmysql_async = {{ version = \"={MYSQL_ASYNC}\", default-features = false }}\n"
        );
        fs::write(&manifest, wanted).context("cannot write a manifest")?;
        fs::write(fetch.join("lib.rs"), "").context("cannot write a file")?;
        let mut metadata = cargo();
        metadata.args(["metadata", "--quiet", "--format-version", "1", "--manifest-path"]).arg(&manifest);
        let told = output(metadata.stdin(Stdio::null()), PATIENCE)?;
        let told: serde_json::Value =
            serde_json::from_slice(&told).context("cannot read cargo's metadata")?;
        let packages = told.get("packages").and_then(serde_json::Value::as_array).context("no packages")?;
        let found =
            packages.iter().find(|package| package.get("name").is_some_and(|name| name == "mysql_async"));
        let found =
            found.and_then(|package| package.get("manifest_path")?.as_str()).context("no mysql_async")?;
        let source = Path::new(found).parent().context("a manifest without a folder")?;
        remove(&folder.join("packages"))?;
        let mut copy = Command::new("cp");
        finish(copy.arg("-r").arg(source).arg(folder.join("packages")))?;
        // it lies below a workspace that it does not belong to
        let copied = folder.join("packages/Cargo.toml");
        let manifest = fs::read_to_string(&copied).context("cannot read a manifest")? + "\n[workspace]\n";
        fs::write(&copied, manifest).context("cannot write a manifest")
    })?;
    let mut tests = cargo();
    tests.args(["test", "--lib", "--test", "generic", "--no-fail-fast", "--no-default-features"]);
    tests.args(["--features", "minimal-rust,derive"]);
    tests.arg("--manifest-path").arg(folder.join("packages/Cargo.toml"));
    tests.arg("--target-dir").arg(folder.join("target"));
    tests.args(["--", "--test-threads=1"]).env("DATABASE_URL", url);
    Ok(tests)
}

/// Cargo, without what it was told for another build.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// The folder of a language, filled by `install` unless its stamp says that it was made from the same inputs.
fn prepared(
    language: &str,
    inputs: &[PathBuf],
    version: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = home().join("drivers").join(language);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut wanted = version.to_owned();
    for input in inputs {
        wanted += &fs::read_to_string(input).with_context(|| format!("cannot read {}", input.display()))?;
    }
    let stamp = folder.join("stamp");
    // one test at a time installs; the others wait and find it done
    let lock = File::create(folder.join("lock")).context("cannot create a lock file")?;
    lock.lock().context("cannot lock the drivers' folder")?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    let began = Instant::now();
    say(format!("installing the {language} drivers into .weir/drivers/{language}"));
    for made in ["packages", "node_modules", "jars", "classes", "stamp"] {
        remove(&folder.join(made))?;
    }
    install(&folder).with_context(|| format!("cannot install the {language} drivers"))?;
    fs::write(&stamp, &wanted).context("cannot write a stamp")?;
    say(format!("the {language} drivers are ready after {:.1} s", began.elapsed().as_secs_f32()));
    Ok(folder)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn finish(command: &mut Command) -> Result<()> {
    output(command.stdin(Stdio::null()), PATIENCE).map(drop)
}

fn output_text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The PATH with a program's folder first, for programs that start it by its name.
fn path_with(program: &Path) -> Result<std::ffi::OsString> {
    let folder = program.parent().map(Path::to_owned);
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(folder.into_iter().chain(env::split_paths(&others)))
        .context("a folder's name has a colon")
}

fn define(name: &str, path: &Path) -> String {
    format!("-D{name}={}", path.display())
}
