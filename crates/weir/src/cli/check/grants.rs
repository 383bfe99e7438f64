//! What an account on the servers may do beyond what its namespace needs.

use weir_catalog::namespace::{AllowedDatabases, Namespace};
use weir_catalog::user::UserAccess;

/// Privileges that let nobody see or change data.
const HARMLESS: &[&str] =
    &["USAGE", "SHOW DATABASES", "REPLICATION CLIENT", "BINLOG MONITOR", "SLAVE MONITOR", "REPLICA MONITOR"];
/// Privileges that read.
const READS: &[&str] = &["SELECT", "SHOW VIEW", "LOCK TABLES", "CREATE TEMPORARY TABLES", "EXECUTE"];
/// Privileges that change data or its definition.
const WRITES: &[&str] = &[
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "INDEX",
    "ALTER",
    "REFERENCES",
    "CREATE VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
    "TRIGGER",
    "DELETE HISTORY",
    "DELETE VERSIONING ROWS",
    "SHOW CREATE ROUTINE",
];
/// Privileges that are named before the rest is counted.
const MOST_SHOWN: usize = 6;
/// Both, as far as one database goes.
const ALL: &str = "ALL PRIVILEGES";

/// A line of SHOW GRANTS, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    /// Privileges in every database.
    Everywhere(Vec<String>),
    /// Privileges in one database, or in something of it. The name is without quotes; wildcards are kept.
    Database(String, Vec<String>),
    /// Roles, whose privileges are not shown.
    Roles(String),
}

/// What the account may do that no user of the namespace needs; a sentence each. Lines that cannot be read are told,
/// too, but never shown: they may hold a password's hash.
pub(super) fn excess(lines: &[String], namespace: &Namespace) -> Vec<String> {
    let mut found = Vec::new();
    if lines.iter().any(|line| ends_with_grant_option(line)) {
        found.push("it may pass its privileges on (GRANT OPTION)".to_owned());
    }
    if namespace.server_accounts.is_some() {
        found.extend(beyond_accounts(lines));
        return found;
    }
    let mut server_wide = Vec::new();
    for line in lines {
        match parse(line) {
            Some(Grant::Everywhere(privileges)) => server_wide.extend(privileges),
            Some(Grant::Database(name, privileges)) => {
                found.extend(in_database(&name, &privileges, namespace));
            }
            Some(Grant::Roles(roles)) => {
                found.push(format!("it has the roles {roles}, which were not looked into"));
            }
            None => found.push("a line of SHOW GRANTS was not understood: look at it".to_owned()),
        }
    }
    found.extend(everywhere(&server_wide, namespace));
    let mut told: Vec<String> = Vec::new();
    for text in found {
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

/// Where the users have accounts of their own, the slice's account needs to read them, and nothing else.
fn beyond_accounts(lines: &[String]) -> Vec<String> {
    let told = lines.iter().filter_map(|line| {
        let (place, privileges) = match parse(line) {
            Some(Grant::Everywhere(privileges)) => ("every database".to_owned(), privileges),
            Some(Grant::Database(name, privileges)) => (format!("`{name}`"), privileges),
            Some(Grant::Roles(roles)) => {
                return Some(format!("it has the roles {roles}, which were not looked into"));
            }
            None => return Some("a line of SHOW GRANTS was not understood: look at it".to_owned()),
        };
        let needless = |p: &&str| !HARMLESS.contains(p) && (*p != "SELECT" || place != "`mysql`");
        let privileges: Vec<&str> = privileges.iter().map(String::as_str).filter(needless).collect();
        (!privileges.is_empty()).then(|| {
            format!("it may {} in {place}, though the users have accounts of their own", shown(&privileges))
        })
    });
    told.collect()
}

fn is_read_only(namespace: &Namespace) -> bool {
    namespace.users.iter().all(|user| user.access == UserAccess::ReadOnly)
}

fn in_database(name: &str, privileges: &[String], namespace: &Namespace) -> Option<String> {
    let privileges: Vec<&str> =
        privileges.iter().map(String::as_str).filter(|p| !HARMLESS.contains(p)).collect();
    if privileges.is_empty() {
        return None;
    }
    let shown = shown(&privileges);
    let allowed = namespace.allowed_databases.allows(unescape(name).as_bytes()) && !name.contains('%');
    if !allowed && namespace.allowed_databases != AllowedDatabases::All {
        return Some(format!("it may {shown} in database `{name}`, which the namespace does not allow"));
    }
    let writes = privileges.iter().any(|p| *p == ALL || WRITES.contains(p));
    (is_read_only(namespace) && writes)
        .then(|| format!("it may {shown} in `{name}`, though every user of the namespace is read-only"))
}

fn everywhere(privileges: &[String], namespace: &Namespace) -> Vec<String> {
    let mut found = Vec::new();
    let is_data = |p: &str| READS.contains(&p) || WRITES.contains(&p);
    let of = |keep: &dyn Fn(&str) -> bool| -> Vec<&str> {
        privileges.iter().map(String::as_str).filter(|p| keep(p)).collect()
    };
    let administrative = of(&|p| !HARMLESS.contains(&p) && !is_data(p));
    if !administrative.is_empty() {
        found.push(format!("it administers the server ({})", shown(&administrative)));
    }
    let (data, writes) = (of(&is_data), of(&|p| WRITES.contains(&p)));
    let all = namespace.allowed_databases == AllowedDatabases::All;
    if !all && !data.is_empty() {
        found.push(format!("it may {} in every database, and the namespace allows only some", shown(&data)));
    } else if all && is_read_only(namespace) && !writes.is_empty() {
        let shown = shown(&writes);
        found.push(format!(
            "it may {shown} in every database, though every user of the namespace is read-only"
        ));
    }
    found
}

/// The first few of them.
fn shown(privileges: &[&str]) -> String {
    let first: Vec<&str> = privileges.iter().copied().take(MOST_SHOWN).collect();
    match privileges.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn ends_with_grant_option(line: &str) -> bool {
    outside_quotes(line).to_ascii_uppercase().contains(" WITH GRANT OPTION")
}

/// `GRANT SELECT, INSERT (a, b) ON `shop`.`t` TO …`.
fn parse(line: &str) -> Option<Grant> {
    let rest = line.strip_prefix("GRANT ")?;
    let Some((privileges, rest)) = split_outside_quotes(rest, " ON ") else {
        let (roles, _) = split_outside_quotes(rest, " TO ")?;
        return Some(Grant::Roles(roles.to_owned()));
    };
    let (object, _) = split_outside_quotes(rest, " TO ")?;
    let privileges = privileges_of(privileges);
    if privileges.iter().any(|p| p == "PROXY") {
        return Some(Grant::Everywhere(privileges));
    }
    let object = ["PROCEDURE ", "FUNCTION ", "PACKAGE BODY ", "PACKAGE ", "TABLE "]
        .iter()
        .find_map(|kind| object.strip_prefix(kind))
        .unwrap_or(object);
    let (database, _) = split_outside_quotes(object, ".")?;
    Some(match database {
        "*" => Grant::Everywhere(privileges),
        name => Grant::Database(unquote(name), privileges),
    })
}

/// Names of privileges, without lists of columns.
fn privileges_of(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let without_columns: String = text
        .chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect();
    without_columns.split(',').map(|p| p.trim().to_ascii_uppercase()).filter(|p| !p.is_empty()).collect()
}

/// Splits at the first `mark` that stands outside of quotes.
fn split_outside_quotes<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    let at = outside_quotes(text).find(mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// The text with everything in quotes blanked, byte for byte.
fn outside_quotes(text: &str) -> String {
    let mut quote = None;
    text.bytes()
        .map(|byte| match (quote, byte) {
            (None, b'`' | b'\'' | b'"') => {
                quote = Some(byte);
                '_'
            }
            (Some(open), _) if open == byte => {
                quote = None;
                '_'
            }
            (Some(_), _) => '_',
            (None, byte) if byte.is_ascii() => char::from(byte),
            (None, _) => '_',
        })
        .collect()
}

fn unquote(name: &str) -> String {
    match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        Some(name) => name.replace("``", "`"),
        None => name.to_owned(),
    }
}

/// In the name of a database `_` and `%` are wildcards unless escaped. `_` is common in names and seldom meant as one,
/// so it is taken by its word.
fn unescape(name: &str) -> String {
    name.replace("\\_", "_").replace("\\%", "%")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_catalog::surroundings::Imagined;

    use super::*;

    fn namespace(databases: &str, access: &str) -> Namespace {
        let text = format!(
            "allowed_databases = {databases}\nusers = [{{ name = \"a\", password = \"x\", access = \"{access}\" }}]\n\
             [[slices]]\nname = \"main\"\nprimary.address = \"db1:1\"\naccount = {{ user = \"w\", password = \"p\" }}\n"
        );
        Namespace::admit(&text, Path::new("n.toml"), &Imagined::default()).unwrap().namespace
    }

    #[test]
    fn only_what_goes_beyond_the_namespace_is_told() {
        let shop = || namespace(r#"["shop", "my_shop"]"#, "read-write");
        let all = || namespace(r#"["*"]"#, "read-write");
        let reads = || namespace(r#"["shop"]"#, "read-only");
        let reads_all = || namespace(r#"["*"]"#, "read-only");
        let to = "TO `weir`@`%`";
        for (namespace, line, expected) in [
            (shop(), "GRANT USAGE ON *.* TO", &[] as &[&str]),
            (shop(), "GRANT SELECT, INSERT, UPDATE (a, `b c`) ON `shop`.* TO", &[]),
            (shop(), "GRANT ALL PRIVILEGES ON `shop`.* TO", &[]),
            (shop(), r"GRANT SELECT ON `my\_shop`.* TO", &[]),
            (shop(), "GRANT SELECT ON `my_shop`.`t` TO", &[]),
            (shop(), "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO", &[]),
            (
                shop(),
                "GRANT SELECT, DELETE ON `other`.* TO",
                &["it may SELECT, DELETE in database `other`, which the namespace does not allow"],
            ),
            (
                shop(),
                "GRANT SELECT ON `shop%`.* TO",
                &["it may SELECT in database `shop%`, which the namespace does not allow"],
            ),
            (
                shop(),
                "GRANT SELECT ON `a``b ON c`.* TO",
                &["it may SELECT in database `a`b ON c`, which the namespace does not allow"],
            ),
            (
                shop(),
                "GRANT SELECT, SUPER, PROCESS ON *.* TO",
                &[
                    "it administers the server (SUPER, PROCESS)",
                    "it may SELECT in every database, and the namespace allows only some",
                ],
            ),
            (shop(), "GRANT ALL PRIVILEGES ON *.* TO", &["it administers the server (ALL PRIVILEGES)"]),
            (shop(), "GRANT PROXY ON ``@`` TO", &["it administers the server (PROXY)"]),
            (shop(), "GRANT `reader`@`%` TO", &["it has the roles `reader`@`%`, which were not looked into"]),
            (all(), "GRANT SELECT, INSERT ON *.* TO", &[]),
            (all(), "GRANT SELECT ON `any`.* TO", &[]),
            (all(), "GRANT SELECT, FILE ON *.* TO", &["it administers the server (FILE)"]),
            (reads(), "GRANT SELECT ON `shop`.* TO", &[]),
            (
                reads(),
                "GRANT SELECT, INSERT ON `shop`.* TO",
                &["it may SELECT, INSERT in `shop`, though every user of the namespace is read-only"],
            ),
            (
                reads_all(),
                "GRANT SELECT, INSERT, DROP ON *.* TO",
                &["it may INSERT, DROP in every database, though every user of the namespace is read-only"],
            ),
        ] {
            let line = line.replace("TO", to);
            assert_eq!(excess(std::slice::from_ref(&line), &namespace), expected, "{line}");
        }
    }

    #[test]
    fn where_users_have_their_own_accounts_reading_these_is_enough() {
        let text = "allowed_databases = [\"*\"]\nusers = \"server\"\n[[slices]]\nname = \"main\"\nprimary.address = \"db1:1\"\n\
                    account = { user = \"w\", password = \"p\" }\n";
        let server = Namespace::admit(text, Path::new("n.toml"), &Imagined::default()).unwrap().namespace;
        for (line, expected) in [
            ("GRANT USAGE ON *.* TO `w`@`%`", &[] as &[&str]),
            ("GRANT SELECT ON `mysql`.`user` TO `w`@`%`", &[]),
            (
                "GRANT SELECT, SUPER ON *.* TO `w`@`%`",
                &["it may SELECT, SUPER in every database, though the users have accounts of their own"],
            ),
            (
                "GRANT UPDATE ON `mysql`.`user` TO `w`@`%`",
                &["it may UPDATE in `mysql`, though the users have accounts of their own"],
            ),
        ] {
            assert_eq!(excess(&[line.to_owned()], &server), expected, "{line}");
        }
    }

    #[test]
    fn long_lists_of_privileges_are_cut() {
        let lines =
            ["GRANT A, B, C, D ON *.* TO `w`@`%`".to_owned(), "GRANT E,F,G,H,I ON *.* TO `w`@`%`".to_owned()];
        let found = excess(&lines, &namespace(r#"["shop"]"#, "read-write"));
        assert_eq!(found, ["it administers the server (A, B, C, D, E, F and 3 more)"]);
    }

    #[test]
    fn grant_option_is_told_but_not_when_it_is_a_name() {
        let shop = namespace(r#"["shop", " WITH GRANT OPTION"]"#, "read-write");
        let lines = ["GRANT SELECT ON `shop`.* TO `w`@`%` WITH GRANT OPTION".to_owned()];
        assert_eq!(excess(&lines, &shop), ["it may pass its privileges on (GRANT OPTION)"]);
        let lines = ["GRANT SELECT ON ` WITH GRANT OPTION`.* TO `w`@`%`".to_owned()];
        assert_eq!(excess(&lines, &shop), [""; 0]);
    }

    #[test]
    fn hashes_of_passwords_are_never_repeated() {
        let shop = namespace(r#"["shop"]"#, "read-write");
        for line in [
            "GRANT SUPER ON *.* TO `w`@`%` IDENTIFIED BY PASSWORD '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'",
            "GRANT SELECT IDENTIFIED BY PASSWORD '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'",
            "GRANT ",
            "",
        ] {
            let found = excess(&[line.to_owned()], &shop);
            assert_eq!(found.len(), 1, "{line}");
            assert!(!found.concat().contains("2470"), "{found:?}");
        }
    }
}
