//! Logins of every kind: first ones that need the whole password, later ones by the fast path, wrong ones.

use anyhow::{Result, bail};
use weir_testkit::Flavour;

use super::program::{Cannot, Program};
use super::run::{Endpoint, Outcome, Tls, run};
use super::site::{Account, Site};
use super::tap::Authentication;

/// One login to try.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// What it is called in the program's output.
    pub name: &'static str,
    /// User name and password, right or wrong.
    pub account: Account,
    /// What the driver is told about TLS.
    pub tls: Tls,
    /// How a driver without faults proves the password to a MySQL server that met the account never before, given
    /// the logins before this one.
    pub authentication: Authentication,
    /// Whether it succeeds.
    pub succeeds: bool,
}

/// The logins in their order: what each needs depends on those before.
pub(super) fn list(site: &Site) -> Vec<Login> {
    let [first, second] = &site.fresh;
    let wrong = |account: &Account| Account { password: "wrong".to_owned(), ..account.clone() };
    let nobody = Account { user: format!("{}_nobody", site.main.user), ..wrong(first) };
    let row = |name, account: &Account, tls, authentication, succeeds| Login {
        name,
        account: account.clone(),
        tls,
        authentication,
        succeeds,
    };
    use Authentication::{BehindTls, FastPath, FullRsa};
    let mut list = vec![
        row("full_by_tls", first, Tls::Required, BehindTls, true),
        row("fast_path", first, Tls::Off, FastPath, true),
        row("fast_path_in_tls", first, Tls::Required, BehindTls, true),
        row("verified_certificate", first, Tls::Verify, BehindTls, true),
        row("full_by_rsa", second, Tls::Off, FullRsa, true),
        row("fast_path_after_rsa", second, Tls::Off, FastPath, true),
        row("wrong_in_tls", &wrong(first), Tls::Required, BehindTls, false),
        row("wrong_by_rsa", &wrong(second), Tls::Off, FullRsa, false),
        row("after_wrong", second, Tls::Required, BehindTls, true),
        // the facts come next, with drivers among them that cannot do without an earlier login by TLS
        row("before_facts", &site.main, Tls::Required, BehindTls, true),
    ];
    if site.cluster.flavour() == Flavour::MariaDb {
        // MySQL hides that it knows no such account behind a plugin chosen by the name, which some drivers lack (1251)
        list.push(row("nobody_in_tls", &nobody, Tls::Required, BehindTls, false));
        list.push(row("nobody", &nobody, Tls::Off, Authentication::Native, false));
    }
    list
}

/// All logins of a program at an endpoint, in one start of it.
///
/// # Errors
/// The program fails; a login ends otherwise than it must; the wire shows another way of proving the password.
pub fn logins(program: &Program, site: &Site, endpoint: &Endpoint) -> Result<Outcome> {
    let list = list(site);
    let mut text = String::new();
    for login in &list {
        let Account { user, password, .. } = &login.account;
        text += &format!("{}\t{user}\t{password}\t{}\n", login.name, login.tls.word());
    }
    let mut command = program.command()?;
    command.env("DRIVER_ACTION", "logins").env("DRIVER_LOGINS", text.trim_end());
    let outcome = run(&mut command, endpoint)?;
    check(program.cannot, &list, endpoint.flavour, &outcome)
        .map_err(|error| error.context(format!("logins of {} at {}", program.name(), endpoint.address)))?;
    Ok(outcome)
}

/// Holds what was seen against what must be.
pub(super) fn check(cannot: Cannot, list: &[Login], flavour: Flavour, outcome: &Outcome) -> Result<()> {
    if outcome.seen.len() != list.len() {
        bail!("{} logins made {} connections", list.len(), outcome.seen.len());
    }
    // a driver that cannot ask for the RSA key never gets the second account in without TLS
    let rsa_only =
        |login: &Login| matches!(login.name, "full_by_rsa" | "fast_path_after_rsa" | "wrong_by_rsa");
    for (login, seen) in list.iter().zip(&outcome.seen) {
        let by_sha2 = flavour == Flavour::MySql;
        let refused_by_driver = by_sha2 && cannot == Cannot::Rsa && rsa_only(login);
        let said = fact(&outcome.lines, login.name);
        match said {
            None => bail!("no line tells of the login `{}`", login.name),
            Some(said) if login.succeeds && !refused_by_driver && said.contains("28000") => {
                bail!("the login `{}` was refused: {said}", login.name)
            }
            Some(said)
                if !(login.succeeds
                    || refused_by_driver
                    || said.contains("1045") && said.contains("28000")) =>
            {
                bail!("the login `{}` ended with {said}, not with 1045 (28000)", login.name)
            }
            Some(_) => {}
        }
        let expected = match login.authentication {
            Authentication::BehindTls => Authentication::BehindTls,
            _ if !by_sha2 => Authentication::Native,
            _ if refused_by_driver => Authentication::FullRsa,
            Authentication::FastPath if cannot == Cannot::FastPath => Authentication::FullRsa,
            other => other,
        };
        if seen.authentication != expected {
            bail!("the login `{}` went by {:?}, not by {expected:?}", login.name, seen.authentication);
        }
    }
    Ok(())
}

fn fact<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let wanted = format!("login.{name} = ");
    lines.iter().find_map(|line| line.strip_prefix(&wanted))
}
