//! The stock command-line clients: statements from a file, logins, Ctrl-C, and a value larger than a packet.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_testkit::{Flavour, home, tool};

use super::install::{sources, statements};
use super::login::{check, list};
use super::program::Cannot;
use super::run::{Endpoint, Outcome, Tls, lines, output, output_of};
use super::site::{Account, Site};
use super::tap::Tap;

const PATIENCE: Duration = Duration::from_secs(120);
/// 17 MiB and a bit, as in the other programs.
const BLOB_BYTES: usize = 17_829_632;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// `mysql`, of MySQL.
    MySql,
    /// `mariadb`.
    MariaDb,
}

impl CommandLine {
    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            CommandLine::MySql => "mysql",
            CommandLine::MariaDb => "mariadb",
        }
    }

    /// The client, told where to log in.
    pub(super) fn command(
        self,
        endpoint: &Endpoint,
        account: &Account,
        tls: Tls,
        port: u16,
    ) -> Result<Command> {
        let mut command = tool(self.name())?;
        connection(&mut command, self == CommandLine::MySql, endpoint, account, tls, port);
        command.arg("--default-character-set=utf8mb4");
        Ok(command)
    }

    /// All logins, a start of the client each.
    ///
    /// # Errors
    /// As for [`super::logins`].
    pub fn logins(self, site: &Site, endpoint: &Endpoint) -> Result<Outcome> {
        let tap = Tap::start(endpoint.address)?;
        let began = Instant::now();
        let list = list(site);
        let mut said = Vec::new();
        for login in &list {
            let mut command = self.command(endpoint, &login.account, login.tls, tap.address().port())?;
            let output = command
                .args(["--batch", "--skip-column-names", "--execute=SELECT 1"])
                .stdin(Stdio::null())
                .output()
                .context("cannot run the client")?;
            let text = lines(&[output.stdout, output.stderr].concat()).join(" ");
            said.push(format!("login.{} = {text}", login.name));
        }
        let outcome = Outcome { lines: said, seen: tap.seen(), took: began.elapsed() };
        check(Cannot::Nothing, &list, endpoint.flavour, &outcome)
            .map_err(|error| error.context(format!("logins of {} at {}", self.name(), endpoint.address)))?;
        Ok(outcome)
    }

    /// Everything the client prints for the common statements and those of `cli/facts.sql`, a fact a line.
    ///
    /// # Errors
    /// The client fails, or misses what it must show.
    pub fn facts(self, site: &Site, endpoint: &Endpoint) -> Result<Outcome> {
        let tap = Tap::start(endpoint.address)?;
        let port = tap.address().port();
        let script = self.script(endpoint)?;
        let client = || self.command(endpoint, &site.main, Tls::Off, port);
        let mut command = client()?;
        command
            .args([
                "-vvv",
                "--force",
                "--unbuffered",
                "--column-type-info",
                "--show-warnings",
                "--local-infile=1",
            ])
            .arg("--max-allowed-packet=128M")
            .arg(&endpoint.database)
            .stdin(File::open(&script).context("cannot open the script")?);
        let began = Instant::now();
        // refused statements are among them, and with --force the client's exit status does not tell
        let (out, err) = output_of(&mut command, PATIENCE)?;
        let mut facts = named(&lines(&out));
        facts.extend(lines(&err).into_iter().map(|line| format!("error = {line}")));
        facts.push(self.blob(&client, endpoint)?);
        facts.extend(self.load(client()?, endpoint)?);
        facts.extend(self.interrupt(client()?, site)?);
        let outcome = Outcome { lines: facts, seen: tap.seen(), took: began.elapsed() };
        self.check(&outcome).with_context(|| format!("at {}", endpoint.address))?;
        Ok(outcome)
    }

    /// Writes a blob larger than a packet as a literal, and reads it.
    fn blob(self, client: &dyn Fn() -> Result<Command>, endpoint: &Endpoint) -> Result<String> {
        let value = big_value();
        let path = self.file(endpoint, "blob.sql")?;
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(&path, format!("REPLACE INTO blobs VALUES (1, x'{hex}');\n"))
            .context("cannot write a file")?;
        let run = |prepare: &dyn Fn(&mut Command) -> Result<()>| {
            let mut command = client()?;
            command.args(["--batch", "--raw", "--skip-column-names", "--max-allowed-packet=128M"]);
            prepare(&mut command)?;
            output(command.arg(&endpoint.database), PATIENCE)
        };
        run(&|command| {
            command.stdin(File::open(&path).context("cannot open a file")?);
            Ok(())
        })?;
        std::fs::remove_file(&path).context("cannot remove a file")?;
        let read = run(&|command| {
            command.arg("--execute=SELECT b FROM blobs WHERE id = 1");
            Ok(())
        })?;
        let same = read.strip_suffix(b"\n").is_some_and(|read| read == value);
        Ok(format!("blob_17m = {} bytes, as they were written: {same}", read.len()))
    }

    /// LOAD DATA LOCAL: the server asks for a file in the middle of a statement.
    fn load(self, mut client: Command, endpoint: &Endpoint) -> Result<Vec<String>> {
        let path = self.file(endpoint, "rows.csv")?;
        let rows: String = (0..20_000).map(|i| format!("{i},crab 🦀 {i}\n")).collect();
        std::fs::write(&path, rows).context("cannot write the rows to load")?;
        let texts = [
            "CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)",
            &format!(
                "LOAD DATA LOCAL INFILE '{}' INTO TABLE loaded FIELDS TERMINATED BY ','",
                path.display()
            ),
            "SELECT COUNT(*), SUM(id), MAX(v) FROM loaded",
        ];
        client.args(["--batch", "--force", "--local-infile=1"]).arg(format!("--execute={}", texts.join(";")));
        let (out, err) = output_of(client.arg(&endpoint.database).stdin(Stdio::null()), PATIENCE)?;
        std::fs::remove_file(&path).context("cannot remove a file")?;
        Ok(lines(&[out, err].concat()).iter().map(|line| format!("local_infile = {line}")).collect())
    }

    /// Ctrl-C while a statement runs: the client logs in a second time and kills the statement.
    fn interrupt(self, mut client: Command, site: &Site) -> Result<Vec<String>> {
        let who = &site.database;
        let child = client
            .args(["--batch", "--unbuffered"])
            .arg(format!("--execute=SELECT SLEEP(90) AS slept, '{who}' AS who; SELECT 'after' AS next"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run the client")?;
        let began = Instant::now();
        let running = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(90) AS slept, ''{who}''%'"
        );
        while site.cluster.value(0, &running)? == "0" {
            if began.elapsed() > Duration::from_secs(60) {
                bail!("the client's statement does not run");
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mut signal = Command::new("kill");
        output(signal.arg("-INT").arg(child.id().to_string()), PATIENCE)?;
        let output = child.wait_with_output().context("cannot wait for the client")?;
        let mut facts = vec![format!("ctrl_c.in_time = {}", began.elapsed() < Duration::from_secs(90))];
        let text = lines(&[output.stdout, output.stderr].concat());
        facts.extend(text.iter().map(|line| format!("ctrl_c = {}", without_thread_id(line))));
        Ok(facts)
    }

    /// Statements as the client reads them, in a file.
    fn script(self, endpoint: &Endpoint) -> Result<PathBuf> {
        let path = self.file(endpoint, "facts.sql")?;
        let mut file = File::create(&path).context("cannot write the script")?;
        let common = std::fs::read_to_string(statements()).context("cannot read the statements")?;
        for line in common.lines().filter(|line| !line.starts_with('#')) {
            let parts: Vec<&str> = line.split('\t').collect();
            let [_, _, server, _, sql] = parts.as_slice() else { continue };
            if *server == "any" || *server == endpoint.flavour.name() {
                writeln!(file, "{};", sql.replace("{database}", &endpoint.database))
                    .context("cannot write")?;
            }
        }
        let own =
            std::fs::read_to_string(sources("cli").join("facts.sql")).context("cannot read facts.sql")?;
        let depth = match endpoint.flavour {
            Flavour::MySql => "cte_max_recursion_depth",
            Flavour::MariaDb => "max_recursive_iterations",
        };
        let own = own.replace("{depth}", depth);
        file.write_all(own.as_bytes()).context("cannot write the script")?;
        Ok(path)
    }

    /// A file of this test's own.
    fn file(self, endpoint: &Endpoint, name: &str) -> Result<PathBuf> {
        let folder = home().join("drivers/cli");
        std::fs::create_dir_all(&folder).context("cannot create a folder")?;
        Ok(folder.join(format!("{}-{}-{}-{name}", self.name(), endpoint.flavour, endpoint.database)))
    }

    fn check(self, outcome: &Outcome) -> Result<()> {
        let wanted = [
            ("SELECT c_decimal", "99999999999999999999999999999999999.999999999999999999999999999999"),
            ("SELECT c_json", "ключ"),
            ("SELECT c_datetime", "9999-12-31 23:59:59.999999"),
            ("SELECT c_ubig", "18446744073709551615"),
            ("SELECT NULL", "NULL"),
            ("error", "ERROR 1062 (23000)"),
            ("SELECT 1 AS first; SELECT 2 AS second", "second"),
            ("blob_17m", "17829633 bytes, as they were written: true"),
            ("ctrl_c.in_time", "true"),
            ("SELECT COUNT(*), SUM(id) FROM many", "50000"),
        ];
        for (name, value) in wanted {
            let holds = |line: &&String| {
                line.split_once(" = ").is_some_and(|(n, v)| n.contains(name) && v.contains(value))
            };
            if outcome.lines.iter().find(holds).is_none() {
                bail!("{} shows no `{name}` that says `{value}`", self.name());
            }
        }
        Ok(())
    }
}

/// Tells a client or a dump program of either server where to log in.
pub(super) fn connection(
    command: &mut Command,
    of_mysql: bool,
    endpoint: &Endpoint,
    account: &Account,
    tls: Tls,
    port: u16,
) {
    command.args(["--host=127.0.0.1", "--protocol=TCP"]).arg(format!("--port={port}"));
    command.arg(format!("--user={}", account.user)).arg(format!("--password={}", account.password));
    let ca = format!("--ssl-ca={}", endpoint.ca.display());
    match (of_mysql, tls) {
        (_, Tls::Default) => {}
        (true, Tls::Off) => drop(command.args(["--ssl-mode=DISABLED", "--get-server-public-key"])),
        (true, Tls::Required) => drop(command.arg("--ssl-mode=REQUIRED")),
        (true, Tls::Verify) => drop(command.arg("--ssl-mode=VERIFY_CA").arg(ca)),
        (false, Tls::Off) => drop(command.arg("--skip-ssl")),
        (false, Tls::Required) => drop(command.arg("--ssl")),
        (false, Tls::Verify) => drop(command.arg("--ssl").arg(ca)),
    }
}

/// The client's output with -vvv, each line named by the statement that it answers, without times.
fn named(lines: &[String]) -> Vec<String> {
    const RULE: &str = "--------------";
    let (mut facts, mut statement, mut reading) = (Vec::new(), String::new(), false);
    for line in lines {
        if line == RULE {
            reading = !reading;
            if reading {
                statement.clear();
            }
        } else if reading {
            statement += line;
        } else if !line.is_empty() {
            let name: String = statement.chars().take(90).collect();
            facts.push(format!("{} = {}", name.replace(" = ", "="), without_time(line)));
        }
    }
    facts
}

/// `1 row in set (0.01 sec)` without the time.
fn without_time(line: &str) -> &str {
    match line.rsplit_once(" (") {
        Some((front, time)) if time.ends_with(" sec)") => front,
        _ => line,
    }
}

/// `^C -- sending "KILL QUERY 17" to server ...` without the number.
fn without_thread_id(line: &str) -> String {
    line.split(' ')
        .map(
            |word| {
                if word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('"') {
                    "N\""
                } else {
                    word
                }
            },
        )
        .collect::<Vec<_>>()
        .join(" ")
}

/// Bytes that no compressor leaves small: a linear congruential generator's.
fn big_value() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..BLOB_BYTES).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_line_by_its_statement() {
        let rule = "--------------";
        let printed = [
            rule,
            "SELECT 1",
            rule,
            "",
            "| 1 |",
            "1 row in set (0.00 sec)",
            "",
            rule,
            "DO 1",
            rule,
            "",
            "Query OK, 0 rows affected (1 min 2.00 sec)",
        ];
        let printed: Vec<String> = printed.map(str::to_owned).to_vec();
        assert_eq!(
            named(&printed),
            ["SELECT 1 = | 1 |", "SELECT 1 = 1 row in set", "DO 1 = Query OK, 0 rows affected"]
        );
    }

    #[test]
    fn leaves_out_the_thread_id_that_a_client_kills() {
        assert_eq!(
            without_thread_id("^C -- sending \"KILL QUERY 17\" to server ..."),
            "^C -- sending \"KILL QUERY N\" to server ..."
        );
        assert_eq!(without_thread_id("1 row in set"), "1 row in set");
    }
}
