//! Namespace files: what is taken, and what is said of what is not.

use std::{path::Path, time::Duration};

use weir_catalog::{
    admit::Admitted,
    namespace::{AllowedDatabases, Namespace, ServerAccounts},
    problem::Problem,
    secret::Secret,
    slice::{Address, BackendTlsMode},
    surroundings::{Exposure, Imagined, SecretFile},
    user::{Plugin, UserAccess},
};
use weir_wire::{auth::Verifier, server_version::Flavour};

fn machine() -> Imagined {
    let mut machine = Imagined::default();
    for (path, exposure) in [
        ("/etc/weir/private", Exposure::Private),
        ("/etc/weir/readable", Exposure::WorldReadable),
        ("/etc/weir/namespaces/../writable", Exposure::WorldWritable),
        ("/etc/weir/namespaces/beside", Exposure::Private),
        ("/etc/weir/ca.pem", Exposure::WorldReadable),
    ] {
        machine.files.insert(path.into(), SecretFile { secret: Secret::new("from-file"), exposure });
    }
    machine.variables.insert("SHOP_PASSWORD".into(), Secret::new("from-variable"));
    machine
}

fn admit(text: &str) -> Result<Admitted, Vec<Problem>> {
    Namespace::admit(text, Path::new("/etc/weir/namespaces/shop.toml"), &machine())
}

/// Problems as an operator reads them, without the directory.
fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|p| p.to_string().replace("/etc/weir/namespaces/", "")).collect()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let problems = match admit(text) {
        Ok(admitted) => admitted.warnings,
        Err(problems) => {
            assert!(problems.iter().any(Problem::is_error), "refused without an error");
            problems
        }
    };
    let got = lines(&problems).join("\n");
    let expected = expected.trim();
    assert!(got == expected, "\ngot:\n{got}\n\nexpected:\n{expected}\n");
}

const SHORTEST: &str = r#"
allowed_databases = ["shop"]
[[users]]
name = "app"
password = "s3cret"
[[slices]]
name = "main"
primary = { address = "127.0.0.1:3306" }
account = { user = "weir", password = "b4ckend" }
"#;

#[test]
fn the_shortest_file_gets_the_documented_defaults() {
    let Admitted { namespace, warnings, user_places, .. } = admit(SHORTEST).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(user_places[0].position.unwrap().line, 3);
    assert_eq!(namespace.name, "shop");
    let databases = ["shop".to_owned(), "information_schema".to_owned()];
    assert_eq!(namespace.allowed_databases, AllowedDatabases::Only(databases.to_vec()));
    assert_eq!(namespace.allowed_clients, []);
    let user = &namespace.users[0];
    assert_eq!((user.plugin, user.access, user.split), (Plugin::CachingSha2, UserAccess::ReadWrite, true));
    assert!(user.password.accepts_password(b"s3cret"));
    let slice = &namespace.slices[0];
    assert_eq!(slice.account.password.reveal(), "b4ckend");
    assert_eq!(slice.tls.mode, BackendTlsMode::Preferred);
    assert_eq!((slice.primary.weight, slice.flavour), (1, None));
    assert_eq!((namespace.pool.capacity, namespace.pool.min_idle), (32, 1));
    assert_eq!(namespace.pool.checkout_timeout, Duration::from_secs(10));
    assert_eq!(namespace.session.idle_timeout, Duration::from_secs(28_800));
    assert_eq!(namespace.limits.max_allowed_packet, 64 << 20);
    assert_eq!((namespace.limits.result_rows, namespace.slow_statement), (None, None));
    assert!(!namespace.local_infile);
}

#[test]
fn the_users_may_be_the_accounts_of_the_server() {
    let server = SHORTEST.replace("[[users]]\nname = \"app\"\npassword = \"s3cret\"", "users = \"server\"");
    let Admitted { namespace, warnings, .. } = admit(&server).unwrap();
    assert_eq!((warnings, namespace.users), (vec![], vec![]));
    let hours = Duration::from_secs(8 * 3600);
    let defaults = ServerAccounts { access: UserAccess::ReadWrite, split: true, password_memory: hours };
    assert_eq!(namespace.server_accounts, Some(defaults));
    let section = "[server_accounts]\naccess = \"read-only\"\nsplit = false\npassword_memory = \"0s\"\n";
    let set = ServerAccounts { access: UserAccess::ReadOnly, split: false, password_memory: Duration::ZERO };
    assert_eq!(admit(&format!("{server}{section}")).unwrap().namespace.server_accounts, Some(set));
    check(
        &format!("{SHORTEST}{section}"),
        "shop.toml:10:1: warning: server_accounts: `server_accounts` has no effect: the users are declared here (users = \"server\" lets the accounts of the primary log in)",
    );
    check(
        &server.replace("\"server\"", "\"servers\""),
        "shop.toml:3:9: error: users: expected a list or \"server\", found the string \"servers\" (for example users = \"server\")",
    );
}

#[test]
fn every_setting_of_a_long_file_arrives() {
    let text = r#"
allowed_databases = ["shop", "INFORMATION_SCHEMA"]
allowed_clients = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]
slow_statement = "1m500ms"
local_infile = true

[[users]]
name = "app"
verifier = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
access = "read-only"
split = false

[[users]]
name = "Über"
verifier = "sha2:0000000000000000000000000000000000000000000000000000000000000000"
plugin = "caching_sha2_password"

[[slices]]
name = "main"
flavour = "mariadb"
primary = { address = "[::1]:3306", zone = "a" }
replicas = [
  { address = "db2.example:3306", weight = 3, zone = "b" },
  { address = "/run/mysqld/mysqld.sock", weight = 0 },
]
account = { user = "weir", password_file = "beside" }
tls = { mode = "required" }

[[slices]]
name = "more"
primary.address = "db3:3306"
[slices.account]
user = "weir"
password_env = "SHOP_PASSWORD"
[slices.tls]
mode = "verify-identity"
ca = "/etc/weir/ca.pem"
certificate = "../ca.pem"
key = "/etc/weir/private"

[pool]
capacity = 1_000
min_idle = 0x10
idle_timeout = "2m"
max_age = "1h30m"
checkout_timeout = "250ms"
max_waiters = 0
connect_timeout = "1s"

[session]
idle_timeout = "1d"
idle_in_transaction_timeout = "10s"
client_write_timeout = "5s"
charset = "utf8mb4"
collation = "utf8mb4_0900_ai_ci"

[limits]
client_connections = 7
result_rows = 1000000
max_allowed_packet = "1GiB"
"#;
    let mut machine = machine();
    let ca = machine.files[Path::new("/etc/weir/ca.pem")].clone();
    machine.files.insert("/etc/weir/namespaces/../ca.pem".into(), ca);
    let admitted = Namespace::admit(text, Path::new("/etc/weir/namespaces/shop.toml"), &machine).unwrap();
    assert_eq!(lines(&admitted.warnings), [""; 0]);
    let namespace = admitted.namespace;
    let databases = ["shop".to_owned(), "information_schema".to_owned()];
    assert_eq!(namespace.allowed_databases, AllowedDatabases::Only(databases.to_vec()));
    let clients: Vec<String> = namespace.allowed_clients.iter().map(ToString::to_string).collect();
    assert_eq!(clients, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"]);
    assert_eq!(namespace.slow_statement, Some(Duration::from_millis(60_500)));
    assert!(namespace.local_infile);
    let [app, uber] = &namespace.users[..] else { panic!("two users") };
    assert_eq!((app.plugin, app.access, app.split), (Plugin::Native, UserAccess::ReadOnly, false));
    assert_eq!(app.password, Verifier::native_of(b"password"));
    assert_eq!((uber.name.as_str(), uber.plugin), ("Über", Plugin::CachingSha2));
    let [main, more] = &namespace.slices[..] else { panic!("two slices") };
    assert_eq!(main.flavour, Some(Flavour::MariaDb));
    assert_eq!(main.primary.address, Address::Tcp { host: "::1".into(), port: 3306 });
    assert_eq!(main.primary.zone.as_deref(), Some("a"));
    assert_eq!((main.replicas[0].weight, main.replicas[0].zone.as_deref()), (3, Some("b")));
    assert_eq!(main.replicas[1].address, Address::Unix("/run/mysqld/mysqld.sock".into()));
    assert_eq!(main.account.password.reveal(), "from-file");
    assert_eq!(main.tls.mode, BackendTlsMode::Required);
    assert_eq!(more.account.password.reveal(), "from-variable");
    assert_eq!(more.tls.mode, BackendTlsMode::VerifyIdentity);
    assert_eq!(more.tls.ca.as_deref(), Some(Path::new("/etc/weir/ca.pem")));
    assert!(more.tls.client_certificate.is_some());
    assert_eq!((namespace.pool.capacity, namespace.pool.min_idle, namespace.pool.max_waiters), (1000, 16, 0));
    assert_eq!(namespace.pool.max_age, Duration::from_secs(5400));
    assert_eq!(namespace.session.idle_timeout, Duration::from_secs(86_400));
    assert_eq!(namespace.session.collation.as_deref(), Some("utf8mb4_0900_ai_ci"));
    assert_eq!((namespace.limits.client_connections, namespace.limits.result_rows), (7, Some(1_000_000)));
    assert_eq!(namespace.limits.max_allowed_packet, 1 << 30);
}

#[test]
fn a_file_full_of_mistakes_yields_every_one_of_them_with_its_line() {
    let text = r#"allowed_database = ["shop"]
allowed_clients = ["10.0.0.0/8", "10.0.0.1/8", "localhost", 7]
slow_statement = "soon"
checkout_timeout = "5s"
name = "shop"

[[users]]
name = "app"
pasword = "s3cret"
access = "readonly"
split = "yes"

[[users]]
name = "a name that is longer than MySQL allows it"
password = 1234
verifier = "sha2:00"

[[users]]
verifier = "s3cret"
plugin = "sha256_password"

[[slices]]
name = "Main"
flavour = "percona"
primary = { address = "db1", weight = 1001 }
replicas = [{ adress = "db2:3306" }, { address = "db3:0", weight = -1, zone = "a b" }]
account = { user = "weir", password = "b4ckend", password_env = "X" }
tls = { mode = "verify_ca", ca = "missing.pem" }

[[slices]]

[pool]
capacity = 0
min_idle = 100
max_age = 60
chekout_timeout = "5s"
connect_timeout = "1h"

[session]
charset = "UTF8"
collation = "latin1_bin"

[limits]
max_allowed_packet = "64MB"
result_rows = "many"
client_connections = 99999999999999999999

[colour]
"#;
    check(
        text,
        r#"
shop.toml:1:1: error: allowed_database: unknown key `allowed_database` (did you mean `allowed_databases`?)
shop.toml:2:34: error: allowed_clients[1]: "10.0.0.1/8" has bits set behind its prefix length (the network is "10.0.0.0/8", the address alone "10.0.0.1")
shop.toml:2:48: error: allowed_clients[2]: "localhost" is no network (for example "10.0.0.0/8", "2001:db8::/32" or one address such as "192.0.2.7")
shop.toml:2:61: error: allowed_clients[3]: expected a network (CIDR) or an IP address, found the number 7 (for example "10.0.0.0/8")
shop.toml:3:18: error: slow_statement: "soon" is no duration (a whole number and its unit (us, ms, s, m, h, d), for example "500ms", "5s", "10m", "1h30m")
shop.toml:4:1: error: checkout_timeout: unknown key `checkout_timeout` (`checkout_timeout` belongs in [pool])
shop.toml:5:1: error: name: unknown key `name` (the file's name without .toml is the namespace's name)
shop.toml:9:1: error: users[0].pasword: unknown key `pasword` (did you mean `password`?)
shop.toml:10:10: error: users[0].access: "readonly" is not allowed here (did you mean "read-only"?)
shop.toml:11:9: error: users[0].split: expected true or false, found the string "yes" (for example true)
shop.toml:14:8: error: users[1].name: "a name that is longer than MySQL allows it" is not a user name (1 to 32 characters, none of them a control character)
shop.toml:15:12: error: users[1].password: expected a string, found a number (for example "…")
shop.toml:16:12: error: users[1].verifier: a sha2 verifier is `sha2:` and 64 hexadecimal digits (`weir passwd` prints verifiers)
shop.toml:18:1: error: users[2].name: `name` is missing (for example name = "app")
shop.toml:19:12: error: users[2].verifier: not a password verifier: expected `*` with 40 hexadecimal digits, `sha2:` with 64, or `$A$005$…` (also in hexadecimal) (`weir passwd` prints verifiers; a plain password is written as `password`)
shop.toml:20:10: error: users[2].plugin: "sha256_password" is not allowed here (one of "caching_sha2_password", "mysql_native_password")
shop.toml:23:8: error: slices[0].name: "Main" is not a name (1 to 64 of a-z, 0-9, _ and -)
shop.toml:24:11: error: slices[0].flavour: "percona" is not allowed here (one of "mysql", "mariadb")
shop.toml:25:23: error: slices[0].primary.address: "db1" is no address (a port is missing: "db1:3306")
shop.toml:25:39: error: slices[0].primary.weight: 1001 is out of bounds (allowed is 0 to 1000)
shop.toml:26:15: error: slices[0].replicas[0].adress: unknown key `adress` (did you mean `address`?)
shop.toml:26:50: error: slices[0].replicas[1].address: "db3:0" is no address (the port is a number from 1 to 65535)
shop.toml:26:68: error: slices[0].replicas[1].weight: -1 is out of bounds (allowed is 0 to 1000)
shop.toml:26:79: error: slices[0].replicas[1].zone: "a b" is not a zone's name (1 to 64 of a-z, A-Z, 0-9, _, - and .)
shop.toml:27:65: error: slices[0].account.password_env: the account has more than one password (exactly one of `password_file`, `password_env` and `password`)
shop.toml:28:16: error: slices[0].tls.mode: "verify_ca" is not allowed here (did you mean "verify-ca"?)
shop.toml:28:34: error: slices[0].tls.ca: missing.pem cannot be read: no such file
shop.toml:30:1: error: slices[1].name: `name` is missing (for example name = "main")
shop.toml:30:1: error: slices[1].primary: `primary` is missing (for example primary = { address = "db1.example:3306" })
shop.toml:30:1: error: slices[1].account: `account` is missing (for example account = { user = "weir", password_file = "weir.password" })
shop.toml:33:12: error: pool.capacity: 0 is out of bounds (allowed is 1 to 10000)
shop.toml:35:11: error: pool.max_age: expected a duration, found the number 60 (for example "5s")
shop.toml:36:1: error: pool.chekout_timeout: unknown key `chekout_timeout` (did you mean `checkout_timeout`?)
shop.toml:37:19: error: pool.connect_timeout: "1h" is out of bounds (allowed is 10ms to 5m)
shop.toml:40:11: error: session.charset: "UTF8" is not a name as SHOW CHARACTER SET and SHOW COLLATION print it (1 to 64 of a-z, 0-9 and _)
shop.toml:44:22: error: limits.max_allowed_packet: "64MB" is no size (a whole number and its unit (B, KiB, MiB, GiB, TiB), for example "512KiB", "64MiB")
shop.toml:45:15: error: limits.result_rows: expected a whole number, found the string "many" (for example 10)
shop.toml:46:22: error: limits.client_connections: 99999999999999999999 is out of bounds (allowed is 1 to 1000000)
shop.toml:48:2: error: colour: unknown key `colour` (known here: `allowed_databases`, `allow_information_schema`, `local_infile`, `allowed_clients`, `slow_statement`, `users`, `server_accounts`, `slices`, `pool`, `session`, `limits`)
"#,
    );
}

/// A valid file with other rows in place of some of its own.
fn with(databases: &str, users: &str, slices: &str, rest: &str) -> String {
    let or =
        |given: &str, default: &str| if given.is_empty() { default.to_owned() } else { given.to_owned() };
    let databases = or(databases, "[\"shop\"]");
    let users = or(users, "[{ name = \"app\", password = \"s3cret\" }]");
    let account = "account = { user = \"weir\", password = \"b4ckend\" }";
    let slices = or(slices, "[{ name = \"main\", primary = { address = \"db1:3306\" }, ACCOUNT }]")
        .replace("ACCOUNT", account);
    format!("allowed_databases = {databases}\nusers = {users}\nslices = {slices}\n{rest}\n")
}

#[test]
fn an_empty_file_says_what_is_needed() {
    check(
        "",
        r#"
shop.toml: error: allowed_databases: `allowed_databases` needs at least one item (for example allowed_databases = ["shop"])
shop.toml: error: users: `users` needs at least one item (a table [[users]] declares one)
shop.toml: error: slices: `slices` needs at least one item (a table [[slices]] declares one)
"#,
    );
    check(
        "allowed_databases = []\nusers = []\nslices = []",
        r#"
shop.toml:1:21: error: allowed_databases: `allowed_databases` needs at least one item (for example allowed_databases = ["shop"])
shop.toml:2:9: error: users: `users` needs at least one item (a table [[users]] declares one)
shop.toml:3:10: error: slices: `slices` needs at least one item (a table [[slices]] declares one)
"#,
    );
}

#[test]
fn tables_and_lists_are_told_from_values() {
    check(
        "allowed_databases = \"shop\"\nusers = { name = \"app\" }\nslices = [7]\npool = 7\n[[limits]]\n",
        r#"
shop.toml:1:21: error: allowed_databases: expected a list, found the string "shop" (for example ["shop"])
shop.toml:2:9: error: users: expected a list, found a table (for example [{ name = "app", verifier = "sha2:…" }])
shop.toml:3:11: error: slices[0]: expected a table, found a number (for example { name = "main", primary = { address = "db1.example:3306" }, account = { user = "weir", password_file = "weir.password" } })
shop.toml:4:8: error: pool: expected a table, found a number (for example { capacity = 32 })
shop.toml:5:1: error: limits: expected a table, found a list (for example { client_connections = 10000 })
"#,
    );
}

#[test]
fn databases_are_named_once_and_without_contradiction() {
    check(
        &with(r#"["shop", "shop", "*"]"#, "", "", ""),
        r#"
shop.toml:1:30: error: allowed_databases[1]: database `shop` is named in allowed_databases[0] already
shop.toml:1:38: error: allowed_databases[2]: "*" allows every database, so no other needs to be named (either ["*"] or the names of databases)
"#,
    );
    check(
        &with(r#"["*"]"#, "", "", "allow_information_schema = false"),
        r#"
shop.toml:4:28: error: allow_information_schema: every database is allowed, so information_schema is, too (name the databases that are allowed instead of "*")
"#,
    );
    check(
        &with(r#"["INFORMATION_schema"]"#, "", "", "allow_information_schema = false"),
        r#"
shop.toml:1:22: error: allowed_databases[0]: information_schema is named here, but `allow_information_schema` is false (take one of them away)
"#,
    );
    let admitted = admit(&with(r#"["*"]"#, "", "", "")).unwrap();
    assert_eq!(admitted.namespace.allowed_databases, AllowedDatabases::All);
    let admitted = admit(&with(r#"["a"]"#, "", "", "allow_information_schema = false")).unwrap();
    assert_eq!(admitted.namespace.allowed_databases, AllowedDatabases::Only(vec!["a".into()]));
}

#[test]
fn users_of_one_name_differ_in_password_and_agree_on_the_plugin() {
    check(
        &with(
            "",
            r#"[
  { name = "app", password = "one" },
  { name = "app", password = "two" },
  { name = "other", password = "one" },
  { name = "app", verifier = "sha2:b6d52a6b2ac85e5f3ffb8ddd9d8bc9a1b3d4ad27da1b05ecc1d7c03e7ea0f47e" },
  { name = "app", password = "one" },
  { name = "app", verifier = "sha2:313db63e0283ab2a9bc72e9a0ac749da1d3acf708fcd1a7848767244dd2f17e8" },
  { name = "app", verifier = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19" },
  { name = "app", password = "three", plugin = "mysql_native_password" },
]"#,
            "",
            "",
        ),
        r#"
shop.toml:7:3: error: users[4]: user `app` has the same password as in users[0] (take one of them away, or change its password)
shop.toml:8:3: error: users[5]: user `app` has the same password as in users[1] (take one of them away, or change its password)
shop.toml:9:3: error: users[6]: user `app` logs in with mysql_native_password here, but with caching_sha2_password in users[0] (all entries of a user name need the same `plugin`: it must be known before the password is)
shop.toml:10:48: error: users[7].plugin: user `app` logs in with mysql_native_password here, but with caching_sha2_password in users[0] (all entries of a user name need the same `plugin`: it must be known before the password is)
"#,
    );
}

#[test]
fn a_verifier_must_serve_the_plugin() {
    check(
        &with(
            "",
            r#"[
  { name = "a", verifier = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", plugin = "caching_sha2_password" },
  { name = "b", verifier = "sha2:b6d52a6b2ac85e5f3ffb8ddd9d8bc9a1b3d4ad27da1b05ecc1d7c03e7ea0f47e", plugin = "mysql_native_password" },
  { name = "c", password = "plain", plugin = "mysql_native_password" },
  { name = "d", password = "plain", verifier = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19" },
  { name = "e" },
  { name = "f", password = "" },
  { name = "g", password = "x", plugin = "" },
]"#,
            "",
            "",
        ),
        r#"
shop.toml:3:82: error: users[0].plugin: this verifier cannot serve caching_sha2_password, only mysql_native_password (`weir passwd` prints verifiers for both plugins)
shop.toml:4:110: error: users[1].plugin: this verifier cannot serve mysql_native_password, only caching_sha2_password (`weir passwd` prints verifiers for both plugins)
shop.toml:6:48: error: users[3].verifier: both `password` and `verifier` are set (`verifier` is enough, and the password need not be known then)
shop.toml:7:3: error: users[4]: the user has neither `password` nor `verifier` (for example verifier = "sha2:…", as `weir passwd` prints it)
shop.toml:8:28: warning: users[5].password: the password is empty: whoever knows the user's name may log in
shop.toml:9:42: error: users[6].plugin: "" is not allowed here (one of "caching_sha2_password", "mysql_native_password")
"#,
    );
}

#[test]
fn a_server_and_a_slice_s_name_have_one_place() {
    check(
        &with(
            "",
            "",
            r#"[
  { name = "a", ACCOUNT, primary = { address = "db1:3306" }, replicas = [{ address = "DB1:3306" }, { address = "[::1]:1" }] },
  { name = "a", ACCOUNT, primary = { address = "[0:0::1]:1" }, replicas = [{ address = "/x", weight = 0 }, { address = "unix:/x", weight = 0 }] },
]"#,
            "",
        ),
        r#"
shop.toml:4:128: error: slices[0].replicas[0].address: db1:3306 is declared in slices[0].primary.address already (a server has one place in a namespace)
shop.toml:5:12: error: slices[1].name: slice `a` is named in slices[0].name already
shop.toml:5:90: error: slices[1].primary.address: [::1]:1 is declared in slices[0].replicas[1].address already (a server has one place in a namespace)
shop.toml:5:117: warning: slices[1].replicas: every replica has weight 0, so the primary answers all reads (a weight of 1 or more takes reads)
shop.toml:5:162: error: slices[1].replicas[1].address: unix:/x is declared in slices[1].replicas[0].address already (a server has one place in a namespace)
"#,
    );
}

#[test]
fn passwords_of_accounts_come_from_exactly_one_place() {
    let slices: Vec<String> = [
        r#"user = "weir""#,
        r#"user = "weir", password_file = "nowhere""#,
        r#"user = "weir", password_file = "/etc/weir/private""#,
        r#"user = "weir", password_file = "/etc/weir/readable""#,
        r#"user = "weir", password_file = "../writable""#,
        r#"user = "weir", password_env = "NOT_SET""#,
        r#"user = "weir", password_env = "a-b""#,
        r#"user = "weir", password_env = "SHOP_PASSWORD", password_file = "/etc/weir/private""#,
        r#"password = 7"#,
        r#"user = "weir", passwd = "x""#,
    ]
    .iter()
    .enumerate()
    .map(|(i, account)| {
        format!(
            "  {{ name = \"s{i}\", account = {{ {account} }}, primary = {{ address = \"db{i}:1\" }} }},\n"
        )
    })
    .collect();
    check(
        &with("", "", &format!("[\n{}]", slices.concat()), ""),
        r#"
shop.toml:4:28: error: slices[0].account: the account has no password (one of `password_file`, `password_env` and `password`)
shop.toml:5:61: error: slices[1].account.password_file: nowhere cannot be read: no such file
shop.toml:7:61: warning: slices[3].account.password_file: everybody on this machine can read /etc/weir/readable (chmod 600 /etc/weir/readable)
shop.toml:8:61: error: slices[4].account.password_file: everybody on this machine can change ../writable (chmod 600 ../writable)
shop.toml:9:60: error: slices[5].account.password_env: environment variable NOT_SET is not set (it is taken from the environment of `weir serve`)
shop.toml:10:60: error: slices[6].account.password_env: "a-b" is not the name of an environment variable (letters, digits and _; the value is taken from the environment of `weir serve`)
shop.toml:11:93: error: slices[7].account.password_file: the account has more than one password (exactly one of `password_file`, `password_env` and `password`)
shop.toml:12:28: error: slices[8].account.user: `user` is missing (for example user = "app")
shop.toml:12:41: error: slices[8].account.password: expected a string, found a number (for example "…")
shop.toml:13:45: error: slices[9].account.passwd: unknown key `passwd` (did you mean `password`?)
"#,
    );
}

#[test]
fn tls_settings_that_have_no_effect_or_are_incomplete_are_named() {
    let slices: Vec<String> = [
        r#"mode = "verify-ca""#,
        r#"mode = "verify-identity", ca = "/etc/weir/ca.pem""#,
        r#"mode = "required", ca = "/etc/weir/ca.pem""#,
        r#"certificate = "/etc/weir/ca.pem""#,
        r#"key = "/etc/weir/ca.pem""#,
        r#"mode = "off", certificate = "/etc/weir/ca.pem", key = "/etc/weir/nowhere""#,
        r#"ca = """#,
    ]
    .iter()
    .enumerate()
    .map(|(i, tls)| {
        format!("  {{ name = \"s{i}\", ACCOUNT, tls = {{ {tls} }}, primary = {{ address = \"/run/{i}.sock\" }} }},\n")
    })
    .collect();
    check(
        &with("", "", &format!("[\n{}]", slices.concat()), ""),
        r#"
shop.toml:4:84: error: slices[0].tls.mode: mode "verify-ca" needs `ca` (the PEM file of the authorities that signed the servers' certificates)
shop.toml:4:121: warning: slices[0].primary.address: mode "verify-ca" checks nothing on a Unix socket
shop.toml:5:152: warning: slices[1].primary.address: mode "verify-identity" checks nothing on a Unix socket
shop.toml:6:101: warning: slices[2].tls.ca: `ca` has no effect in mode "required": no certificate is checked (mode = "verify-identity" or "verify-ca")
shop.toml:7:91: error: slices[3].tls.certificate: `certificate` needs `key`
shop.toml:8:83: error: slices[4].tls.key: `key` needs `certificate`
shop.toml:9:105: warning: slices[5].tls.certificate: `certificate` has no effect in mode "off"
shop.toml:9:131: error: slices[5].tls.key: /etc/weir/nowhere cannot be read: no such file
shop.toml:10:82: error: slices[6].tls.ca: "" is no path
"#,
    );
}

#[test]
fn numbers_and_names_that_contradict_each_other_are_refused() {
    check(
        &with("", "", "", "pool = { capacity = 4, min_idle = 5 }\nsession = { charset = \"utf16\" }"),
        r#"
shop.toml:4:35: error: pool.min_idle: `min_idle` is 5, but there are at most 4 connections (at most `capacity`)
shop.toml:5:23: error: session.charset: character set utf16 cannot be used by clients (for example "utf8mb4")
"#,
    );
    check(
        &with("", "", "", "[session]\ncharset = \"latin1\"\ncollation = \"utf8mb4_bin\""),
        r#"
shop.toml:6:13: error: session.collation: collation utf8mb4_bin does not belong to character set latin1 (its collations start with "latin1_")
"#,
    );
    check(
        &with("", "", "", "[session]\ncollation = \"utf8mb4_bin\""),
        r#"
shop.toml:5:13: error: session.collation: `collation` is set without `charset` (for example charset = "utf8mb4")
"#,
    );
}

#[test]
fn mistakes_of_syntax_are_reported_with_what_can_still_be_read() {
    check(
        r#"allowed_databases = ["shop"]
pool = { capacity = 0 }
[[users]
name = app
password = "s3cret
[[slices]]
name = "main" primary = "db1:3306"
[session]
idle_timeout = 5s
idle_timeout = "5s"
charset = "utf\8"
collation = 7
"#,
        r#"
shop.toml:2:21: error: pool.capacity: 0 is out of bounds (allowed is 1 to 10000)
shop.toml:3:9: error: not TOML: unclosed array table, expected `]`
shop.toml:7:15: error: not TOML: unexpected key or value, expected newline, `#`
shop.toml:9:16: error: not TOML: string values must be quoted, expected literal string
shop.toml:10:1: error: not TOML: duplicate key
shop.toml:11:16: error: not TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\`, `"`, `x`, `u`, `U`
shop.toml:12:13: error: session.collation: expected a name as SHOW CHARACTER SET and SHOW COLLATION print it, found the number 7 (for example "utf8mb4")
"#,
    );
}

#[test]
fn a_bracket_that_is_not_closed_is_reported_once() {
    check(
        "pool = { capacity = 0 }\nallowed_databases = [\"shop\"\nallowed_clients = []\n[session]\nidle_timeout = 5\n",
        r#"
shop.toml:1:21: error: pool.capacity: 0 is out of bounds (allowed is 1 to 10000)
shop.toml:3:1: error: not TOML: missing comma between array elements, expected `,`
"#,
    );
}

#[test]
fn the_file_s_name_must_be_a_namespace_s_name() {
    for (file, expected) in [
        (
            "/x/Shop.toml",
            "/x/Shop.toml: error: the file's name \"Shop\" cannot name a namespace (1 to 64 of a-z, 0-9, _ and -)",
        ),
        (
            "/x/my shop.toml",
            "/x/my shop.toml: error: the file's name \"my shop\" cannot name a namespace (1 to 64 of a-z, 0-9, _ and -)",
        ),
    ] {
        let problems = Namespace::admit(SHORTEST, Path::new(file), &machine()).unwrap_err();
        assert_eq!(lines(&problems), [expected]);
    }
}

#[test]
fn no_secret_appears_in_debug_output_or_in_a_problem() {
    let text = with(
        "",
        r#"[
  { name = "a", password = "s3cret-one" },
  { name = "b", verifier = "s3cret-two" },
  { name = "c", password = ["s3cret-three"] },
  { name = "d", password = "s3cret-four", verifier = "*s3cret-five" },
  { name = "e", password = "s3cret-six" },
  { name = "e", password = "s3cret-six" },
]"#,
        r#"[{ name = "main", primary = { address = "db1:3306" }, account = { user = "u", password = "s3cret-7", password_env = "SHOP_PASSWORD" } }]"#,
        "x = \"s3cret-8\nsession = 2001-01-01",
    );
    let problems = admit(&text).unwrap_err();
    assert!(problems.len() > 5, "{problems:?}");
    let shown = format!("{problems:?} {}", lines(&problems).concat());
    assert!(!shown.contains("s3cret") && !shown.contains("from-variable"), "{shown}");

    let admitted = admit(SHORTEST).unwrap();
    let shown = format!("{admitted:?} {admitted:#?}");
    assert!(!shown.contains("s3cret") && !shown.contains("b4ckend"), "{shown}");
}
