//! Namespaces joined, and what changed between two joins.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy allows it in tests themselves")]

use std::path::Path;

use weir_catalog::{
    admit::Admitted, diff::Diff, namespace::Namespace, problem::Problem, snapshot::Snapshot,
    surroundings::Imagined, user::Plugin,
};

/// A namespace with these users, one a line from line 2 on.
fn namespace(name: &str, users: &[&str]) -> Admitted {
    let users: String = users.iter().map(|user| format!("{{ {user} }},\n")).collect();
    text(
        name,
        &format!(
            "users = [\n{users}]\nallowed_databases = [\"*\"]\n[[slices]]\nname = \"main\"\nprimary.address = \"db1:1\"\naccount = {{ user = \"w\", password = \"p\" }}\n"
        ),
    )
}

fn text(name: &str, text: &str) -> Admitted {
    Namespace::admit(text, Path::new(&format!("{name}.toml")), &Imagined::default()).unwrap()
}

fn problems(namespaces: Vec<Admitted>) -> Vec<String> {
    Snapshot::build(1, namespaces).unwrap_err().iter().map(Problem::to_string).collect()
}

const PLUGIN_HINT: &str = "the plugin must be known before the password tells the namespaces apart: give all entries of a user name the same `plugin`";
const PASSWORD_HINT: &str =
    "user name and password together decide the namespace: change one of the passwords";

#[test]
fn a_user_name_leads_to_every_namespace_that_has_it() {
    let snapshot = Snapshot::build(
        7,
        vec![
            namespace(
                "a",
                &[
                    r#"name = "app", password = "1""#,
                    r#"name = "old", password = "1", plugin = "mysql_native_password""#,
                ],
            ),
            namespace("b", &[r#"name = "app", password = "2""#, r#"name = "app", password = "3""#]),
        ],
    )
    .unwrap();
    assert_eq!(snapshot.version, 7);
    assert_eq!(snapshot.namespaces.keys().collect::<Vec<_>>(), ["a", "b"]);
    let app = &snapshot.logins["app"];
    assert_eq!(app.plugin, Plugin::CachingSha2);
    let found: Vec<(&str, bool)> = app
        .entries
        .iter()
        .map(|entry| (entry.namespace.name.as_str(), entry.user.password.accepts_password(b"3")))
        .collect();
    assert_eq!(found, [("a", false), ("b", false), ("b", true)]);
    assert_eq!(snapshot.logins["old"].plugin, Plugin::Native);
}

#[test]
fn one_user_name_has_one_plugin_in_all_namespaces() {
    let a = namespace("a", &[r#"name = "app", password = "1""#]);
    let b = namespace(
        "b",
        &[
            r#"name = "x", password = "1""#,
            r#"name = "app", password = "2", plugin = "mysql_native_password""#,
        ],
    );
    assert_eq!(
        problems(vec![a.clone(), b.clone()]),
        [format!(
            "b.toml:3:1: error: users[1]: user `app` logs in with mysql_native_password here, but with caching_sha2_password in a.toml:2:1 ({PLUGIN_HINT})"
        )]
    );
    assert_eq!(
        problems(vec![b, a]),
        [format!(
            "a.toml:2:1: error: users[0]: user `app` logs in with caching_sha2_password here, but with mysql_native_password in b.toml:3:1 ({PLUGIN_HINT})"
        )],
        "the later one in the list is blamed"
    );
}

#[test]
fn provably_equal_passwords_of_one_user_name_are_refused_whatever_their_form() {
    let plain = r#"name = "app", password = "password", plugin = "PLUGIN""#;
    let sha2 =
        r#"name = "app", verifier = "sha2:73641c99f7719f57d8f4beb11a303afcd190243a51ced8782ca6d3dbe014d146""#;
    let native = r#"name = "app", verifier = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19""#;
    for (one, other, plugin) in [
        (plain, plain, "caching_sha2_password"),
        (plain, sha2, "caching_sha2_password"),
        (sha2, sha2, "caching_sha2_password"),
        (plain, native, "mysql_native_password"),
        (native, native, "mysql_native_password"),
    ] {
        let a = namespace("a", &[&one.replace("PLUGIN", plugin)]);
        let b = namespace("b", &[&other.replace("PLUGIN", plugin)]);
        assert_eq!(
            problems(vec![a, b]),
            [format!(
                "b.toml:2:1: error: users[0]: user `app` has the same password as in a.toml:2:1 ({PASSWORD_HINT})"
            )],
            "{one} {other}"
        );
    }
}

#[test]
fn who_is_refused_is_not_held_against_others() {
    let a = namespace("a", &[r#"name = "app", password = "1""#]);
    let b = namespace("b", &[r#"name = "app", password = "1""#, r#"name = "other", password = "1""#]);
    let c = namespace("c", &[r#"name = "other", password = "1""#]);
    let found = problems(vec![a, b, c]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("b.toml:2:1"), "{found:?}");
}

#[test]
fn what_is_in_force_is_not_compared_again() {
    let a = namespace("a", &[r#"name = "app", password = "1""#]);
    let b = namespace("b", &[r#"name = "app", password = "1""#]);
    assert!(Snapshot::join(1, vec![a.clone(), b.clone()], Vec::new()).is_ok());
    let found = Snapshot::join(1, vec![b], vec![a]).unwrap_err();
    assert_eq!((found.len(), found[0].file.as_str()), (1, "a.toml"), "the newcomer is blamed");
}

#[test]
fn one_name_is_one_namespace() {
    let a = namespace("a", &[r#"name = "app", password = "1""#]);
    let mut other = namespace("a", &[r#"name = "app", password = "2""#]);
    other.file = "elsewhere/a.toml".to_owned();
    assert_eq!(
        problems(vec![a, other]),
        ["elsewhere/a.toml: error: namespace `a` is declared in a.toml already"]
    );
}

#[test]
fn a_diff_names_the_parts_that_differ_and_whether_pools_live_on() {
    const BASE: &str = r#"
allowed_databases = ["a"]
allowed_clients = []
slow_statement = "1s"
users = [{ name = "u", password = "1" }, { name = "v", password = "1" }]
[[slices]]
name = "one"
primary = { address = "db1:1" }
replicas = [{ address = "db2:1", weight = 1 }]
account = { user = "w", password = "p" }
[[slices]]
name = "two"
primary = { address = "db3:1" }
account = { user = "w", password = "p" }
[pool]
capacity = 8
[session]
idle_timeout = "1h"
[limits]
result_rows = 5
"#;
    let snapshot = |text_: &str| Snapshot::build(1, vec![text("n", text_)]).unwrap();
    for (from, to, expected, keeps) in [
        ("", "", "", true),
        (r#"["a"]"#, r#"["a", "b"]"#, "allowed databases", true),
        ("clients = []", r#"clients = ["::/0"]"#, "allowed clients", true),
        (r#""1s""#, r#""2s""#, "slow_statement", true),
        ("slow_statement", "local_infile = true\nslow_statement", "local_infile", false),
        (r#"name = "u", password = "1""#, r#"name = "u", password = "2""#, "users (u)", true),
        (r#"name = "v", password = "1""#, r#"name = "w", password = "1""#, "users (v, w)", true),
        ("result_rows = 5", "", "limits", true),
        (r#""1h""#, r#""2h""#, "session", true),
        ("capacity = 8", "capacity = 9", "pool", false),
        (r#"password = "p""#, r#"password = "q""#, "slice one changed; slice two changed", false),
        ("weight = 1", "weight = 2", "slice one changed", false),
        (r#"name = "two""#, "name = \"two\"\ncompression = \"zlib\"", "slice two changed", false),
        (r#"name = "two""#, r#"name = "three""#, "slice three added; slice two removed", false),
        ("idle_timeout", "client_write_timeout", "session", true),
    ] {
        let (old, new) = (snapshot(BASE), snapshot(&BASE.replace(from, to)));
        let diff = Diff::between(&old, &new);
        let expected = if expected.is_empty() { String::new() } else { format!("n changed: {expected}") };
        assert_eq!(diff.to_string(), expected, "{from} → {to}");
        assert_eq!(diff.is_empty(), expected.is_empty());
        assert_eq!(diff.keeps_pools("n"), keeps, "{from} → {to}");
    }
    let (first, second) = BASE.split_once("[[slices]]\nname = \"two\"").unwrap();
    let (two, rest) = second.split_once("[pool]").unwrap();
    let (head, one) = first.split_once("[[slices]]").unwrap();
    let swapped = format!("{head}[[slices]]\nname = \"two\"{two}[[slices]]{one}[pool]{rest}");
    let diff = Diff::between(&snapshot(BASE), &snapshot(&swapped));
    assert_eq!(diff.to_string(), "n changed: order of slices");
    assert!(!diff.keeps_pools("n"));
}

#[test]
fn a_diff_names_what_came_and_what_went() {
    let a = namespace("a", &[r#"name = "app", password = "1""#]);
    let b = namespace("b", &[r#"name = "app", password = "2""#]);
    let (old, new) = (Snapshot::build(1, vec![a]).unwrap(), Snapshot::build(2, vec![b]).unwrap());
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.to_string(), "a removed\nb added");
    assert!(!diff.keeps_pools("a") && !diff.keeps_pools("b") && diff.keeps_pools("c"));
}
