//! `weir check` and `weir passwd`, as an operator meets them.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy allows it in tests themselves")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const NAMESPACE: &str = r#"allowed_databases = ["shop"]
users = [{ name = "app", password = "s3cret" }]
[[slices]]
name = "main"
primary = { address = "127.0.0.1:1" }
account = { user = "weir", password = "b4ckend" }
"#;

/// A folder with these files, which nobody else may read.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("namespaces")).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

fn weir(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn check(files: &[(&str, &str)], arguments: &[&str], status: i32, expected: &str) {
    let folder = folder(files);
    let output = weir(folder.path(), &[&["check", "--config", "weir.toml"], arguments].concat(), "");
    let got = text(&output.stdout);
    assert!(got == expected, "\ngot:\n{got}\nexpected:\n{expected}\n{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(status));
}

#[test]
fn a_valid_configuration_is_one_line_and_status_0() {
    check(
        &[("weir.toml", ""), ("namespaces/shop.toml", NAMESPACE)],
        &[],
        0,
        "settings and 1 namespace: no problem\n",
    );
}

#[test]
fn a_listener_serves_one_namespace_whose_users_are_a_servers() {
    let server = NAMESPACE.replace("[{ name = \"app\", password = \"s3cret\" }]", "\"server\"");
    let both = [("namespaces/one.toml", server.as_str()), ("namespaces/two.toml", server.as_str())];
    let shared = [&[("weir.toml", "[[listeners]]\n")], &both[..]].concat();
    check(
        &shared,
        &[],
        1,
        "\
weir.toml
  1:1  error    listeners[0]  namespaces `one` and `two` are both served here, and the users of both are accounts of their servers
                              a listener serves at most one such namespace: give each its own listener, with `namespaces`

settings and 2 namespaces: 1 error
",
    );
    let apart = "[[listeners]]\nnamespaces = [\"one\"]\n[[listeners]]\naddress = \"127.0.0.1:3307\"\nnamespaces = [\"two\"]\n";
    let apart = [&[("weir.toml", apart)], &both[..]].concat();
    check(&apart, &[], 0, "settings and 2 namespaces: no problem\n");
}

#[test]
fn warnings_leave_the_status_at_0() {
    let open = NAMESPACE.replace("\"s3cret\"", "\"\"");
    check(
        &[("weir.toml", ""), ("namespaces/shop.toml", &open)],
        &[],
        0,
        "\
namespaces/shop.toml
  2:37  warning  users[0].password  the password is empty: whoever knows the user's name may log in

settings and 1 namespace: 1 warning
",
    );
}

#[test]
fn problems_of_all_files_are_told_at_once_in_columns_and_without_colour_in_a_pipe() {
    let settings = r#"drain_timeout = 30
[[listeners]]
address = "localhost:3306"
tls = "prefered"
[metric]
"#;
    let typing = NAMESPACE.replace("allowed_databases", "allowed_database").replace(":1", ":0");
    let other = NAMESPACE.replace("s3cret", "0ther");
    check(
        &[
            ("weir.toml", settings),
            ("namespaces/shop.toml", &typing),
            ("namespaces/twin.toml", &other),
            ("namespaces/zwin.toml", &other),
        ],
        &[],
        1,
        r#"weir.toml
  1:17  error    drain_timeout              expected a duration, found the number 30
                                            for example "5s"
  3:11  error    listeners[0].address       "localhost:3306" is no IP address and port
                                            "127.0.0.1:3306", or "0.0.0.0:3306" and "[::]:3306" for every address of the machine
   4:7  error    listeners[0].tls           "prefered" is not allowed here
                                            did you mean "preferred"?
   5:2  error    metric                     unknown key `metric`
                                            did you mean `metrics`?

namespaces/shop.toml
   1:1  error    allowed_database           unknown key `allowed_database`
                                            did you mean `allowed_databases`?
  5:23  error    slices[0].primary.address  "127.0.0.1:0" is no address
                                            the port is a number from 1 to 65535

namespaces/zwin.toml
  2:10  error    users[0]                   user `app` has the same password as in namespaces/twin.toml:2:10
                                            user name and password together decide the namespace: change one of the passwords

settings and 3 namespaces: 7 errors
"#,
    );
}

#[test]
fn settings_and_namespaces_are_looked_at_together() {
    let settings = r#"
[[listeners]]
address = "127.0.0.1:3306"
namespaces = ["mine", "broken", "nowhere", "other"]
[[listeners]]
address = "unix:/run/weir.sock"
version = "8.0.36"
namespaces = ["other"]
"#;
    let flavour = |name: &str, password: &str| {
        NAMESPACE.replace("s3cret", password).replace("primary", &format!("flavour = \"{name}\"\nprimary"))
    };
    check(
        &[
            ("weir.toml", settings),
            ("namespaces/mine.toml", &flavour("mysql", "1")),
            ("namespaces/other.toml", &flavour("mariadb", "2")),
            ("namespaces/lonely.toml", &flavour("mariadb", "3")),
            ("namespaces/broken.toml", "allowed_databases = [\"*\"]\n"),
        ],
        &[],
        1,
        r#"weir.toml
   2:1  error    listeners[0]                slice `main` of namespace `mine` is served here, and it is MySQL; so is slice `main` of namespace `other`, and it is MariaDB
                                             a client is greeted before its namespace is known: give each its own listener, with `namespaces`
  4:33  error    listeners[0].namespaces[2]  there is no namespace `nowhere`
                                             its file would be namespaces/nowhere.toml
  7:11  error    listeners[1].version        clients are greeted as by MySQL, but slice `main` of namespace `other` is MariaDB
                                             leave out `flavour` and `version`, and the servers' own are told

namespaces/broken.toml
        error    users                       `users` needs at least one item
                                             a table [[users]] declares one
        error    slices                      `slices` needs at least one item
                                             a table [[slices]] declares one

namespaces/lonely.toml
        warning                              no listener serves this namespace
                                             name it in `namespaces` of a listener

settings and 4 namespaces: 5 errors, 1 warning
"#,
    );
}

#[test]
fn a_configuration_without_a_namespace_serves_nobody() {
    check(
        &[("weir.toml", "")],
        &[],
        0,
        "\
namespaces
    warning  there is no namespace, so nobody can log in

settings and 0 namespaces: 1 warning
",
    );
}

#[test]
fn keys_that_are_named_must_be_usable() {
    let settings = "[tls]\nrsa_key = \"nowhere.pem\"\n";
    check(
        &[("weir.toml", settings), ("namespaces/shop.toml", NAMESPACE)],
        &[],
        1,
        "\
weir.toml
  2:11  error    tls.rsa_key  nowhere.pem cannot be read: no such file
                              leave it out, and one is made and kept in `data_dir`

settings and 1 namespace: 1 error
",
    );
    let settings = "[tls]\ncertificate = \"cert.pem\"\nkey = \"cert.pem\"\n";
    check(
        &[("weir.toml", settings), ("cert.pem", "no certificate"), ("namespaces/shop.toml", NAMESPACE)],
        &[],
        1,
        "\
weir.toml
    error    tls.certificate  cert.pem holds no certificate in PEM form

settings and 1 namespace: 1 error
",
    );
}

#[test]
fn live_tells_servers_that_cannot_be_reached() {
    check(
        &[("weir.toml", ""), ("namespaces/shop.toml", NAMESPACE)],
        &["--live"],
        1,
        "\
namespaces/shop.toml
  5:11  error    slices[0].primary  cannot use 127.0.0.1:1 as `weir`: cannot connect: Connection refused

settings and 1 namespace: 1 error
",
    );
}

#[test]
fn a_missing_file_of_settings_is_a_problem_of_its_own() {
    check(
        &[],
        &[],
        1,
        "\
weir.toml
    error    the settings cannot be read: no such file
             --config names another file

settings and 0 namespaces: 1 error
",
    );
}

#[test]
fn json_says_the_same_and_no_secret() {
    let twins = NAMESPACE.replace(
        "users = [",
        "users = [{ name = \"app\", password = \"s3cret\" }, { name = \"x\", verifier = \"s3cret\" }, ",
    );
    let folder = folder(&[("weir.toml", ""), ("namespaces/shop.toml", &twins)]);
    let output = weir(folder.path(), &["check", "--json", "--config", "weir.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout) + &text(&output.stderr);
    assert!(!shown.contains("s3cret") && !shown.contains("b4ckend"), "{shown}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["errors"], &json["warnings"]), (&false.into(), &2.into(), &0.into()));
    let problem = &json["problems"][1];
    assert_eq!(problem["file"], "namespaces/shop.toml");
    assert_eq!((&problem["line"], &problem["column"]), (&2.into(), &86.into()));
    assert_eq!((&problem["path"], &problem["severity"]), (&"users[2]".into(), &"error".into()));
    assert_eq!(problem["message"], "user `app` has the same password as in users[0]");
}

#[test]
fn the_reference_is_printed() {
    let folder = folder(&[]);
    let output = weir(folder.path(), &["check", "--print-reference"], "");
    assert!(output.status.success());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    assert_eq!(text(&output.stdout), fs::read_to_string(kept).unwrap());
}

#[test]
fn serve_does_not_start_with_settings_that_are_not_valid() {
    let folder = folder(&[("weir.toml", "[limits]\nclient_connections = 0\n")]);
    let output = weir(folder.path(), &["serve", "--config", "weir.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "\
weir.toml
  2:22  error    limits.client_connections  0 is out of bounds
                                            allowed is 1 to 1000000

weir: not started: the settings have errors
"
    );
}

#[test]
fn passwd_turns_a_line_of_its_input_into_rows_of_a_namespace_file() {
    let folder = folder(&[("weir.toml", "")]);
    let output = weir(folder.path(), &["passwd", "--user", "app"], "s3cret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows = text(&output.stdout);
    assert!(!rows.contains("s3cret"));
    let namespace = NAMESPACE.replace("users = [{ name = \"app\", password = \"s3cret\" }]\n", "") + &rows;
    fs::write(folder.path().join("namespaces/shop.toml"), namespace).unwrap();
    let checked = weir(folder.path(), &["check", "--config", "weir.toml"], "");
    assert!(checked.status.success(), "{}", text(&checked.stdout));

    let json = weir(folder.path(), &["passwd", "--json"], "s3cret\n");
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(rows.contains(json["caching_sha2_password"].as_str().unwrap()));
    assert!(rows.contains(json["mysql_native_password"].as_str().unwrap()));

    let empty = weir(folder.path(), &["passwd"], "\n");
    assert_eq!(
        (empty.status.code(), text(&empty.stderr).as_str()),
        (Some(1), "weir: the password is empty\n")
    );
}
