//! `weir passwd`: verifiers for a namespace file, so that the file need not hold the password.

use std::{
    io::{BufRead, IsTerminal, stdin},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustls::crypto::aws_lc_rs;
use serde_json::json;
use weir_wire::auth::{Verifier, sha2_crypt::SALT_LEN};
use zeroize::Zeroizing;

use super::render;

/// Longest password, bytes; `caching_sha2_password` takes no longer one.
const MAX_PASSWORD: usize = 256;
/// What a salt is made of: letters that pass through files, shells and clients unharmed.
const SALT_LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whose password, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct PasswdArguments {
    /// Print rows for a namespace file, for a user of this name.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Verifiers of a password.
struct Verifiers {
    native: String,
    sha2: String,
    stored: String,
}

/// Reads a password, twice from a terminal, else one line of the standard input, and prints its verifiers.
///
/// # Errors
/// There is no password, it is too long, or the two differ.
pub(crate) fn run(arguments: &PasswdArguments) -> Result<ExitCode> {
    let password = if stdin().is_terminal() { from_terminal()? } else { first_line(stdin().lock())? };
    let verifiers = Verifiers::of(password.as_bytes(), salt()?)?;
    let text = match (arguments.json, &arguments.user) {
        (true, user) => format!("{:#}\n", verifiers.as_json(user.as_deref())),
        (false, Some(user)) => verifiers.as_rows(user),
        (false, None) => verifiers.as_table(),
    };
    render::to_stdout(&text).context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}

fn from_terminal() -> Result<Zeroizing<String>> {
    let ask =
        |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot read the password");
    let first = ask("Password: ")?;
    check(&first)?;
    let second = ask("Password again: ")?;
    ensure!(first == second, "the two passwords differ");
    Ok(first)
}

fn first_line(input: impl BufRead) -> Result<Zeroizing<String>> {
    // room for all of it from the start, so that growing leaves no copies behind
    let mut line = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 4));
    input.take(MAX_PASSWORD as u64 + 3).read_line(&mut line).context("cannot read the password")?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let password = Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned());
    check(&password)?;
    Ok(password)
}

fn check(password: &str) -> Result<()> {
    ensure!(!password.is_empty(), "the password is empty");
    ensure!(password.len() <= MAX_PASSWORD, "the password has more than {MAX_PASSWORD} bytes");
    if password.contains('\0') {
        bail!("the password holds a NUL character, which no client can send");
    }
    Ok(())
}

fn salt() -> Result<[u8; SALT_LEN]> {
    let mut salt = [0; SALT_LEN];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut salt).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(printable(salt))
}

/// Any bytes as letters; each letter stands for as many bytes as any other.
fn printable(bytes: [u8; SALT_LEN]) -> [u8; SALT_LEN] {
    bytes.map(|byte| SALT_LETTERS.get(usize::from(byte & 63)).copied().unwrap_or(b'.'))
}

impl Verifiers {
    fn of(password: &[u8], salt: [u8; SALT_LEN]) -> Result<Self> {
        let text = |verifier: Verifier| verifier.to_text().context("a plain password is no verifier");
        Ok(Self {
            native: text(Verifier::native_of(password))?,
            sha2: text(Verifier::sha2_double_of(password))?,
            stored: text(Verifier::sha2_crypt_of(password, salt))?,
        })
    }

    fn as_table(&self) -> String {
        let Self { native, sha2, stored } = self;
        format!(
            "caching_sha2_password  {sha2}\n\
             \x20                      {stored}\n\
             mysql_native_password  {native}\n\n\
             Take one line as `verifier` of a user. The first is checked fast from the first login on. The second is what\n\
             MySQL itself stores: harder to guess from, but each user's first login must send the password over TLS or RSA.\n"
        )
    }

    fn as_rows(&self, user: &str) -> String {
        let quoted = weir_catalog::document::quoted;
        format!(
            "[[users]]\nname = {}\nverifier = {}\n\n\
             # or, for clients that know nothing newer than mysql_native_password:\n# verifier = {}\n\
             # or, as MySQL stores it: harder to guess from, but the first login must send the password over TLS or RSA:\n\
             # verifier = {}\n",
            quoted(user),
            quoted(&self.sha2),
            quoted(&self.native),
            quoted(&self.stored),
        )
    }

    fn as_json(&self, user: Option<&str>) -> serde_json::Value {
        json!({
            "user": user,
            "caching_sha2_password": self.sha2,
            "caching_sha2_password_stored": self.stored,
            "mysql_native_password": self.native,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verifier_that_is_printed_accepts_the_password_and_no_other() {
        let verifiers = Verifiers::of(b"pass word", printable([0xA7; SALT_LEN])).unwrap();
        for text in [&verifiers.native, &verifiers.sha2, &verifiers.stored] {
            let verifier = Verifier::parse(text).unwrap();
            assert!(
                verifier.accepts_password(b"pass word") && !verifier.accepts_password(b"password"),
                "{text}"
            );
            for shown in [verifiers.as_table(), verifiers.as_rows("app"), verifiers.as_json(None).to_string()]
            {
                assert!(shown.contains(text.as_str()) && !shown.contains("pass word"), "{shown}");
            }
        }
    }

    #[test]
    fn the_rows_are_those_of_a_namespace_file() {
        let rows = Verifiers::of(b"x", printable([7; SALT_LEN])).unwrap().as_rows("o'app \"1\"");
        let table: toml_rows::Table = toml_rows::parse(&rows);
        assert_eq!(table, ("o'app \"1\"".to_owned(), Verifier::sha2_double_of(b"x").to_text().unwrap()));
    }

    /// A namespace with these users is admitted.
    mod toml_rows {
        use std::path::Path;

        use weir_catalog::{namespace::Namespace, surroundings::Imagined};

        pub(super) type Table = (String, String);

        pub(super) fn parse(rows: &str) -> Table {
            let text = format!(
                "allowed_databases = [\"*\"]\n[[slices]]\nname = \"m\"\nprimary.address = \"db:1\"\n\
                 account = {{ user = \"w\", password = \"p\" }}\n{rows}"
            );
            let admitted = Namespace::admit(&text, Path::new("n.toml"), &Imagined::default()).unwrap();
            let user = admitted.namespace.users.into_iter().next().unwrap();
            (user.name, user.password.to_text().unwrap())
        }
    }

    #[test]
    fn one_line_of_the_input_is_the_password_without_its_end() {
        for (input, expected) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            (" se cret \nrest\n", " se cret "),
            ("pässword\n", "pässword"),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap().as_str(), expected, "{input:?}");
        }
        let longest = "x".repeat(MAX_PASSWORD);
        assert_eq!(first_line(format!("{longest}\r\n").as_bytes()).unwrap().len(), MAX_PASSWORD);
    }

    #[test]
    fn refuses_no_password_and_one_that_no_client_can_send() {
        let long = "x".repeat(MAX_PASSWORD + 1);
        for (input, expected) in [
            ("", "is empty"),
            ("\n", "is empty"),
            ("\r\nsecret", "is empty"),
            ("a\0b\n", "a NUL"),
            (long.as_str(), "more than 256 bytes"),
        ] {
            let error = first_line(input.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{input:?}: {error}");
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_salt_is_printable_whatever_the_random_bytes() {
        for byte in 0..=255 {
            assert!(printable([byte; SALT_LEN]).iter().all(|c| c.is_ascii_graphic() && *c != b'$'));
        }
    }
}
