//! Users that are the accounts of the server: logins, rights, changes, and a pool that all of them share.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Client, Failure, Login, Proof, Tls};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, instance};
use weir_e2e::weir::{Namespace, Options, Weir};
use weir_testkit::{Cluster, Flavour, SERVICE};

on_both_servers!(
    accounts_log_in_by_every_way,
    refusals_are_the_servers_own,
    every_user_has_his_own_rights_in_one_pool,
    the_row_of_the_clients_address_is_the_servers_row_for_weir,
    accounts_that_cannot_work_say_why,
    changes_of_accounts_are_so_within_seconds,
    accounts_changed_through_the_gateway_are_so_at_once,
    all_users_share_the_budget,
    a_limit_of_connections_is_shared_by_the_accounts_sessions,
    com_change_user_changes_the_account,
    a_reload_keeps_sessions_and_turns_accounts_off,
    no_password_is_in_the_log,
    one_server_is_served_without_any_other_configuration,
    check_says_what_the_account_lacks,
    a_user_kills_his_own_statement_though_the_slices_account_may_not,
    without_memory_every_login_shows_its_password,
    a_restarted_server_lets_running_clients_go_on,
);

const PASSWORD: &str = "pässw0rd of a test";
/// Accounts are looked at once a second.
const SECONDS: Duration = Duration::from_secs(15);

/// Accounts of one test, dropped at its end.
struct Accounts {
    cluster: &'static Cluster,
    prefix: String,
    created: Vec<String>,
}

impl Accounts {
    fn new(cluster: &'static Cluster) -> Accounts {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Accounts { cluster, prefix: format!("sa{}_{number}_", std::process::id()), created: Vec::new() }
    }

    /// The user name that stands for `name` in this test.
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Creates `name`@`host` with the rest of the statement, and returns its user name.
    fn create_at(&mut self, name: &str, host: &str, rest: &str) -> Result<String> {
        let user = self.name(name);
        self.sql(&format!("CREATE USER '{user}'@'{host}' {rest}"))?;
        self.created.push(format!("'{user}'@'{host}'"));
        Ok(user)
    }

    /// With [`PASSWORD`], from anywhere.
    fn create(&mut self, name: &str) -> Result<String> {
        self.create_at(name, "%", &format!("IDENTIFIED BY '{PASSWORD}'"))
    }

    fn sql(&self, sql: &str) -> Result<()> {
        self.cluster.sql(0, sql).with_context(|| sql.to_owned()).map(|_| ())
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        for account in &self.created {
            if let Err(error) = self.sql(&format!("DROP USER IF EXISTS {account}")) {
                weir_testkit::say(format!("{account} was not dropped: {error:#}"));
            }
        }
    }
}

fn options(cluster: &Cluster) -> Result<Options> {
    let namespace = Namespace::on(cluster, "app")?.users_of_server();
    Ok(Options::of(vec![namespace]).greeting(cluster.version()))
}

fn login(user: &str) -> Login {
    Login::new(user, PASSWORD)
}

/// Tries until the outcome is the wanted one.
#[track_caller]
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + SECONDS;
    loop {
        if let Some(outcome) = attempt()? {
            return Ok(outcome);
        }
        ensure!(Instant::now() < deadline, "not so after {SECONDS:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Logs in once the account is known to Weir.
fn log_in(weir: &Weir, login: &Login) -> Result<Client> {
    let user = String::from_utf8_lossy(&login.user).into_owned();
    eventually(&format!("{user} logs in"), || match weir.connect(login) {
        Ok(client) => Ok(Some(client)),
        Err(failure) if failure.number() == Some(1045) => Ok(None),
        Err(failure) => Err(failure.into()),
    })
}

/// Number and text of a refusal.
fn refusal(outcome: Result<Client, Failure>) -> String {
    match outcome {
        Ok(_) => "logged in".to_owned(),
        Err(failure) => failure.to_string(),
    }
}

fn accounts_log_in_by_every_way(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let first = match cluster.flavour() {
        Flavour::MySql => [Proof::FullRsa, Proof::FullSecure, Proof::FullSecure],
        Flavour::MariaDb => [Proof::Native; 3],
    };
    let users = [accounts.create("rsa")?, accounts.create("tls")?, accounts.create("socket")?];
    let empty = accounts.create_at("empty", "%", "")?;
    let weir = Weir::start(&Options { unix_socket: true, ..options(cluster)? })?;
    let ways = [(weir.endpoint(), Tls::Off), (weir.endpoint(), Tls::Encrypted), (weir.socket(), Tls::Off)];
    for ((user, first), (endpoint, tls)) in users.iter().zip(first).zip(ways) {
        let login = login(user).tls(tls);
        let mut client = Client::connect(&endpoint, &login).with_context(|| user.clone())?;
        ensure!(client.proof == first, "{user}: {:?}", client.proof);
        let mut direct = Client::connect(&instance(cluster, 0)?, &login)?;
        for sql in ["SELECT CURRENT_USER()", "SELECT USER()", "SHOW GRANTS"] {
            ensure!(client.rows(sql)? == direct.rows(sql)?, "{user}: {sql}");
        }
        let again = Client::connect(&endpoint, &login)?;
        let fast = if first == Proof::Native { Proof::Native } else { Proof::FastPath };
        ensure!(again.proof == fast, "{user}, again: {:?}", again.proof);
        let wrong = Client::connect(&endpoint, &Login { password: b"wrong".to_vec(), ..login });
        ensure!(wrong.as_ref().is_err_and(|e| e.number() == Some(1045)), "{wrong:?}");
    }
    let mut client = weir.connect(&Login::new(&empty, ""))?;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{empty}@%"));
    ensure!(weir.connect(&Login::new(&empty, "x")).is_err_and(|e| e.number() == Some(1045)));
    weir.stop()
}

fn refusals_are_the_servers_own(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let databases = Databases::create(cluster, "sa")?;
    let user = accounts.create("u")?;
    let weir = Weir::start(&options(cluster)?)?;
    drop(log_in(&weir, &login(&user))?);
    let direct = instance(cluster, 0)?;
    for (what, login) in [
        ("wrong password", Login::new(&user, "wrong")),
        ("no password", Login::new(&user, "")),
        ("unknown database", login(&user).database("nosuchdb")),
        ("a database that is not his", login(&user).database(&databases.direct)),
    ] {
        let (ours, theirs) = (refusal(weir.connect(&login)), refusal(Client::connect(&direct, &login)));
        ensure!(ours == theirs && theirs != "logged in", "{what}: {ours}; directly: {theirs}");
    }
    let unknown = refusal(weir.connect(&Login::new("nobody_at_all", "x")));
    ensure!(unknown.contains("Access denied for user 'nobody_at_all'@'127.0.0.1'"), "{unknown}");
    weir.stop()
}

fn every_user_has_his_own_rights_in_one_pool(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let databases = Databases::create(cluster, "sa")?;
    let database = &databases.direct;
    accounts.sql(&format!(
        "CREATE TABLE {database}.a (n INT); CREATE TABLE {database}.b (n INT); \
         CREATE DEFINER = CURRENT_USER PROCEDURE {database}.who() SQL SECURITY INVOKER SELECT CURRENT_USER()"
    ))?;
    let (one, two) = (accounts.create("one")?, accounts.create("two")?);
    accounts.sql(&format!("GRANT SELECT, INSERT ON {database}.a TO '{one}'@'%'"))?;
    accounts.sql(&format!("GRANT SELECT ON {database}.b TO '{two}'@'%'"))?;
    accounts.sql(&format!("GRANT EXECUTE ON {database}.* TO '{one}'@'%', '{two}'@'%'"))?;
    let role = accounts.name("r");
    accounts.sql(&format!("CREATE ROLE '{role}'"))?;
    accounts.created.push(match cluster.flavour() {
        Flavour::MySql => format!("'{role}'@'%'"),
        Flavour::MariaDb => format!("'{role}'"),
    });
    accounts.sql(&format!("GRANT INSERT ON {database}.b TO '{role}'; GRANT '{role}' TO '{two}'@'%'"))?;
    accounts.sql(&match cluster.flavour() {
        Flavour::MySql => format!("SET DEFAULT ROLE '{role}' TO '{two}'@'%'"),
        Flavour::MariaDb => format!("SET DEFAULT ROLE '{role}' FOR '{two}'@'%'"),
    })?;
    cluster.wait_for_replicas(SECONDS)?;
    let weir = Weir::start(&options(cluster)?.set("pool.capacity", 2))?;
    let direct = instance(cluster, 0)?;
    let connect = |user: &str| -> Result<(Client, Client)> {
        let login = login(user).database(database);
        Ok((log_in(&weir, &login)?, Client::connect(&direct, &login)?))
    };
    let mut pairs = [connect(&one)?, connect(&two)?];
    for round in 0..3 {
        for (through, at) in &mut pairs {
            for sql in [
                "SELECT COUNT(*) FROM a",
                "SELECT COUNT(*) FROM b",
                "INSERT INTO a VALUES (1)",
                "INSERT INTO b VALUES (1)",
                "CREATE TABLE c (n INT)",
                "CALL who()",
                "SELECT CURRENT_USER(), CURRENT_ROLE()",
                "SHOW GRANTS",
                "SHOW TABLES",
            ] {
                // what the statement wrote shows in the next count
                let ours = through.query(format!("/* weir: primary */ {sql}"))?;
                let counts = sql.contains("COUNT");
                let theirs = at.query(format!("/* weir: primary */ {sql}"))?;
                let seen =
                    |answer: &weir_e2e::client::Answer| (answer.error(), counts || answer.rows().is_ok());
                ensure!(seen(&ours) == seen(&theirs), "round {round}, {sql}: {ours:?}, directly {theirs:?}");
                if !counts && ours.error().is_none() {
                    ensure!(ours.rows()? == theirs.rows()?, "round {round}, {sql}: {:?}", ours.rows());
                }
            }
        }
    }
    drop(pairs);
    weir.stop()
}

/// A login that seems to come from another address, by way of a load balancer.
fn from_address(login: Login, address: &str) -> Login {
    Login { preamble: format!("PROXY TCP4 {address} 127.0.0.1 40000 3306\r\n").into_bytes(), ..login }
}

fn the_row_of_the_clients_address_is_the_servers_row_for_weir(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let same = accounts.create("same")?;
    let other = accounts.create_at("other", "127.0.0.%", &format!("IDENTIFIED BY '{PASSWORD}'"))?;
    accounts.create_at("other", "10.%", &format!("IDENTIFIED BY '{PASSWORD}'"))?;
    let best = accounts.create_at("best", "%", "IDENTIFIED BY 'not this one'")?;
    accounts.create_at("best", "127.%", "IDENTIFIED BY 'nor this one'")?;
    accounts.create_at("best", "127.0.0.0/255.255.255.0", &format!("IDENTIFIED BY '{PASSWORD}'"))?;
    let weir = Weir::start(&options(cluster)?.process("listeners.0.proxy_protocol_from", vec!["127.0.0.1"]))?;
    let try_from = |user: &str, address: &str| {
        eventually(&format!("the account {user} is known"), || {
            let tried = weir.connect(&from_address(login(user), address));
            let unknown = tried.as_ref().is_err_and(|e| e.to_string().contains("using password"));
            Ok((!unknown).then_some(tried))
        })
    };
    let mut client = try_from(&same, "10.1.2.3")??;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{same}@%"));
    let mut client = try_from(&other, "127.0.0.9")??;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{other}@127.0.0.%"));
    let mut client = try_from(&best, "127.0.0.9")??;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{best}@127.0.0.0/255.255.255.0"));
    let refused = try_from(&other, "10.1.2.3")?;
    let text = refusal(refused);
    ensure!(
        text.contains(&format!("'{other}@127.0.0.%'")) && text.contains(&format!("'{other}@10.%'")),
        "{text}"
    );
    let nowhere = refusal(weir.connect(&from_address(login(&other), "192.0.2.1")));
    ensure!(nowhere.contains(&format!("Access denied for user '{other}'@'192.0.2.1'")), "{nowhere}");
    weir.stop()
}

fn accounts_that_cannot_work_say_why(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let by = format!("IDENTIFIED BY '{PASSWORD}'");
    let locked = accounts.create_at("locked", "%", &format!("{by} ACCOUNT LOCK"))?;
    let expired = accounts.create_at("expired", "%", &format!("{by} PASSWORD EXPIRE"))?;
    let tls = accounts.create_at("tls", "%", &format!("{by} REQUIRE SSL"))?;
    let certificate = accounts.create_at("x509", "%", &format!("{by} REQUIRE X509"))?;
    let (plugin, rest) = match cluster.flavour() {
        Flavour::MySql => ("sha256_password", format!("IDENTIFIED WITH sha256_password BY '{PASSWORD}'")),
        Flavour::MariaDb => ("unix_socket", "IDENTIFIED VIA unix_socket".to_owned()),
    };
    let foreign = accounts.create_at("foreign", "%", &rest)?;
    let weir = Weir::start(&options(cluster)?)?;
    let direct = instance(cluster, 0)?;
    let encrypted = |user: &str| login(user).tls(Tls::Encrypted);
    let ours = |login: &Login| refusal(weir.connect(login));
    ensure!(ours(&encrypted(&locked)) == refusal(Client::connect(&direct, &encrypted(&locked))));
    ensure!(ours(&Login::new(&locked, "wrong")).contains("(using password: YES)"));
    let text = ours(&encrypted(&expired));
    let number = if cluster.flavour() == Flavour::MySql { "1862" } else { "1820" };
    ensure!(text.contains(number), "{text}");
    let text = ours(&login(&tls));
    ensure!(text.contains("REQUIRE SSL") && text.contains("1045"), "{text}");
    let mut client = weir.connect(&encrypted(&tls))?;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{tls}@%"));
    let text = ours(&encrypted(&certificate));
    ensure!(text.contains("REQUIRE X509") && text.contains("through Weir"), "{text}");
    let text = ours(&encrypted(&foreign));
    ensure!(text.contains(plugin) && text.contains("1251"), "{text}");
    weir.stop()
}

fn changes_of_accounts_are_so_within_seconds(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let user = accounts.create("u")?;
    let weir = Weir::start(&options(cluster)?)?;
    let with = |password: &str| Login::new(&user, password).tls(Tls::Encrypted);
    let refused = |password: &str, number: u16| {
        eventually(&format!("{password} is refused with {number}"), || {
            Ok(weir.connect(&with(password)).is_err_and(|e| e.number() == Some(number)).then_some(()))
        })
    };
    let mut running = log_in(&weir, &with(PASSWORD))?;
    ensure!(running.value("SELECT 1")? == "1");

    accounts.sql(&format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'second'"))?;
    let mut second = log_in(&weir, &with("second"))?;
    refused(PASSWORD, 1045)?;
    ensure!(running.value("SELECT 1")? == "1", "a session goes on, as at the server");

    accounts.sql(&format!("GRANT PROCESS ON *.* TO '{user}'@'%'"))?;
    eventually("a global privilege is there at the next login", || {
        let mut client = weir.connect(&with("second"))?;
        let reads = client.query("SELECT COUNT(*) FROM information_schema.INNODB_METRICS")?;
        Ok(reads.error().is_none().then_some(()))
    })?;

    let (number, unlocked) = match cluster.flavour() {
        Flavour::MySql => (3118, "ACCOUNT UNLOCK"),
        Flavour::MariaDb => (4151, "ACCOUNT UNLOCK"),
    };
    accounts.sql(&format!("ALTER USER '{user}'@'%' ACCOUNT LOCK"))?;
    refused("second", number)?;
    ensure!(second.value("SELECT 1")? == "1", "a session goes on, as at the server");
    accounts.sql(&format!("ALTER USER '{user}'@'%' {unlocked}"))?;
    eventually("the account is unlocked", || Ok(weir.connect(&with("second")).ok()))?;

    accounts.sql(&format!("DROP USER '{user}'@'%'"))?;
    refused("second", 1045)?;
    accounts.create_at("u", "%", "IDENTIFIED BY 'third'")?;
    let mut third = log_in(&weir, &with("third"))?;
    ensure!(third.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
    weir.stop()
}

fn accounts_changed_through_the_gateway_are_so_at_once(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let weir = Weir::start(&options(cluster)?)?;
    let admin = accounts.create("admin")?;
    accounts.sql(&format!("GRANT ALL ON *.* TO '{admin}'@'%' WITH GRANT OPTION"))?;
    let mut admin = log_in(&weir, &login(&admin))?;
    for number in 0..5 {
        let user = accounts.name(&format!("made{number}"));
        // no second attempt: whoever was told that it is done finds it done
        admin.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'"))?;
        drop(weir.connect(&login(&user))?);
        admin.run(&format!("SET PASSWORD FOR '{user}'@'%' = {}", other_password(cluster)))?;
        ensure!(refusal(weir.connect(&login(&user))).contains("1045"), "the old password is taken");
        drop(weir.connect(&Login::new(&user, "another"))?);
        admin.run(&format!("DROP USER '{user}'@'%'"))?;
        let gone = refusal(weir.connect(&Login::new(&user, "another")));
        ensure!(gone.contains("1045"), "a dropped account: {gone}");
    }
    drop(admin);
    weir.stop()
}

/// A password as SET PASSWORD takes it.
fn other_password(cluster: &Cluster) -> &'static str {
    match cluster.flavour() {
        Flavour::MySql => "'another'",
        Flavour::MariaDb => "PASSWORD('another')",
    }
}

fn all_users_share_the_budget(cluster: &'static Cluster) -> Result<()> {
    const USERS: usize = 30;
    const CAPACITY: usize = 4;
    let mut accounts = Accounts::new(cluster);
    let users: Vec<String> = (0..USERS).map(|n| accounts.create(&format!("b{n}"))).collect::<Result<_>>()?;
    let namespace = Namespace::at("app", cluster.primary()?.port, &[])
        .users_of_server()
        .set("pool.capacity", CAPACITY as i64)
        .set("pool.checkout_timeout", "30s");
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    drop(log_in(&weir, &login(&users[USERS - 1]).tls(Tls::Encrypted))?);
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| -> Result<usize> {
        let watcher = scope.spawn(|| -> Result<usize> {
            let mut client = cluster.client(0)?;
            let mut most = 0;
            let sql = format!(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND <> 'Quit' AND USER LIKE '{}%'",
                accounts.prefix.replace('_', "\\_")
            );
            while !done.load(Ordering::Relaxed) {
                let row = client.rows(&sql)?;
                let count: usize = format!("{:?}", row).chars().filter(char::is_ascii_digit).collect::<String>().parse()?;
                most = most.max(count);
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(most)
        });
        let sessions: Vec<_> = users
            .iter()
            .map(|user| {
                let weir = &weir;
                scope.spawn(move || -> Result<()> {
                    let mut client = weir.connect(&login(user).tls(Tls::Encrypted))?;
                    for _ in 0..5 {
                        ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
                    }
                    client.run("BEGIN")?;
                    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
                    client.run("COMMIT")?;
                    Ok(())
                })
            })
            .collect();
        let outcomes: Vec<Result<()>> = sessions.into_iter().map(|s| s.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap()?;
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(most)
    })?;
    ensure!((1..=CAPACITY).contains(&most), "{most} connections were open at once");
    weir.stop()
}

fn a_limit_of_connections_is_shared_by_the_accounts_sessions(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let rest = format!("IDENTIFIED BY '{PASSWORD}' WITH MAX_USER_CONNECTIONS 1");
    let user = accounts.create_at("u", "%", &rest)?;
    let weir = Weir::start(&options(cluster)?)?;
    let login = login(&user).tls(Tls::Encrypted);
    let mut first = log_in(&weir, &login)?;
    ensure!(
        Client::connect(&instance(cluster, 0)?, &login).is_err_and(|e| e.number() == Some(1226)),
        "Weir has the only connection that the account may have"
    );
    let mut second = weir.connect(&login)?;
    std::thread::scope(|scope| {
        let clients = [&mut first, &mut second].map(|client| {
            scope.spawn(move || -> Result<()> {
                for _ in 0..20 {
                    ensure!(client.value("/* weir: primary */ SELECT SLEEP(0.01)")? == "0");
                }
                Ok(())
            })
        });
        clients.into_iter().try_for_each(|client| client.join().unwrap())
    })?;
    weir.stop()
}

fn com_change_user_changes_the_account(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let (one, two) = (accounts.create("one")?, accounts.create("two")?);
    let weir = Weir::start(&options(cluster)?)?;
    let mut client = log_in(&weir, &login(&one).tls(Tls::Encrypted))?;
    drop(log_in(&weir, &login(&two).tls(Tls::Encrypted))?);
    for user in [&two, &one, &two] {
        let answer = client.change_user(&login(user))?;
        ensure!(answer.error().is_none(), "{answer:?}");
        ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
    }
    weir.stop()
}

fn a_reload_keeps_sessions_and_turns_accounts_off(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let user = accounts.create("u")?;
    let mut options = options(cluster)?;
    let mut weir = Weir::start(&options)?;
    let login = login(&user).tls(Tls::Encrypted);
    let mut client = log_in(&weir, &login)?;
    ensure!(client.value("SELECT 1")? == "1");
    let namespace = options.namespaces.remove(0);
    weir.write_namespaces(&[namespace.set("server_accounts.access", "read-only")])?;
    weir.reload()?;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
    let sql = match cluster.flavour() {
        Flavour::MySql => "/* weir: primary */ SELECT @@transaction_read_only",
        Flavour::MariaDb => "/* weir: primary */ SELECT @@tx_read_only",
    };
    let mut second = weir.connect(&login)?;
    ensure!(second.value(sql)? == "1");
    weir.write_namespaces(&[Namespace::on(cluster, "app")?])?;
    weir.reload()?;
    ensure!(weir.connect(&login).is_err_and(|e| e.number() == Some(1045)));
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"), "a session goes on");
    weir.stop()
}

fn no_password_is_in_the_log(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let user = accounts.create("u")?;
    let weir = Weir::start(&options(cluster)?.process("log.level", "trace"))?;
    for tls in [Tls::Off, Tls::Encrypted] {
        drop(log_in(&weir, &login(&user).tls(tls))?);
    }
    ensure!(weir.connect(&Login::new(&user, "another secret")).is_err());
    accounts.sql(&format!("ALTER USER '{user}'@'%' ACCOUNT LOCK"))?;
    eventually("the account is locked", || Ok(weir.connect(&login(&user)).is_err().then_some(())))?;
    let log = weir.log();
    ensure!(log.contains("DEBUG"), "nothing is logged at that level");
    let stored = match cluster.flavour() {
        Flavour::MySql => "SELECT HEX(authentication_string) FROM mysql.user WHERE User=",
        Flavour::MariaDb => {
            "SELECT JSON_VALUE(Priv,'$.authentication_string') FROM mysql.global_priv WHERE User="
        }
    };
    let stored = cluster.value(0, &format!("{stored}'{user}'"))?;
    for secret in [PASSWORD, "another secret", SERVICE.password, &stored, "$A$005"] {
        ensure!(!log.contains(secret), "the log holds {secret}");
    }
    weir.stop()
}

/// An account that may read the others and nothing else.
fn reader(accounts: &mut Accounts) -> Result<String> {
    let tables: &[&str] = match accounts.cluster.flavour() {
        Flavour::MySql => &["user", "global_grants", "default_roles", "role_edges"],
        Flavour::MariaDb => &["global_priv", "roles_mapping"],
    };
    let reader = accounts.create("reader")?;
    for table in tables {
        accounts.sql(&format!("GRANT SELECT ON mysql.{table} TO '{reader}'@'%'"))?;
    }
    Ok(reader)
}

fn one_server_is_served_without_any_other_configuration(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let (reader, user) = (reader(&mut accounts)?, accounts.create("u")?);
    let account = format!("user = \"{reader}\"\npassword = \"{PASSWORD}\"\n");
    let weir = Weir::in_front_of(cluster.primary()?.port, &account, cluster.version())?;
    let mut client = log_in(&weir, &login(&user))?;
    ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
    let mut admin = log_in(&weir, &Login::new(SERVICE.user, SERVICE.password))?;
    ensure!(admin.value("SELECT CURRENT_USER()")? == format!("{}@%", SERVICE.user));
    drop((client, admin));
    weir.stop()
}

fn a_user_kills_his_own_statement_though_the_slices_account_may_not(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let (reader, user) = (reader(&mut accounts)?, accounts.create("u")?);
    let account = format!("user = \"{reader}\"\npassword = \"{PASSWORD}\"\n");
    let weir = Weir::in_front_of(cluster.primary()?.port, &account, cluster.version())?;
    let mut victim = log_in(&weir, &login(&user).tls(Tls::Encrypted))?;
    let mut killer = weir.connect(&login(&user).tls(Tls::Encrypted))?;
    let id = victim.id();
    std::thread::scope(|scope| -> Result<()> {
        let asleep = scope.spawn(move || {
            let began = Instant::now();
            (victim.query("SELECT SLEEP(30), 'of a victim'"), began.elapsed())
        });
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='{user}' AND INFO LIKE '%of a victim%'"
        );
        eventually("the statement runs", || Ok((cluster.value(0, &sql)? != "0").then_some(())))?;
        killer.run(&format!("KILL QUERY {id}"))?;
        let (answer, took) = asleep.join().unwrap();
        // SLEEP gives 1 where it is interrupted, or the statement gives 1317
        let answer = answer?;
        let interrupted = answer.error_number() == 1317
            || answer.rows()?.first().is_some_and(|row| row[0].as_deref() == Some("1"));
        ensure!(interrupted && took < Duration::from_secs(25), "{answer:?} after {took:?}");
        Ok(())
    })?;
    drop(killer);
    weir.stop()
}

fn check_says_what_the_account_lacks(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let reader = reader(&mut accounts)?;
    let options = options(cluster)?
        .set("slices.0.account.user", reader.clone())
        .set("slices.0.account.password", PASSWORD);
    cluster.wait_for_replicas(SECONDS)?;
    let weir = Weir::start(&options)?;
    let before = weir.check_live()?;
    ensure!(!before.contains("error") && !before.contains("may"), "{before}");
    let table = match cluster.flavour() {
        Flavour::MySql => "mysql.role_edges",
        Flavour::MariaDb => "mysql.roles_mapping",
    };
    accounts.sql(&format!("REVOKE SELECT ON {table} FROM '{reader}'@'%'"))?;
    let after = weir.check_live()?;
    ensure!(after.contains(&format!("account `{reader}` cannot read {table}")), "{after}");
    ensure!(after.contains(&format!("GRANT SELECT ON {table} TO '{reader}'")), "{after}");
    weir.stop()
}

fn without_memory_every_login_shows_its_password(cluster: &'static Cluster) -> Result<()> {
    let mut accounts = Accounts::new(cluster);
    let user = accounts.create("u")?;
    cluster.wait_for_replicas(SECONDS)?;
    let weir = Weir::start(&options(cluster)?.set("server_accounts.password_memory", "0s"))?;
    let secure = login(&user).tls(Tls::Encrypted);
    let expected = if cluster.flavour() == Flavour::MySql { Proof::FullSecure } else { Proof::Native };
    for _ in 0..3 {
        let mut client = log_in(&weir, &secure)?;
        ensure!(client.proof == expected, "{:?}", client.proof);
        // some of them on replicas, which know the password by now
        for _ in 0..4 {
            ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"));
        }
    }
    weir.stop()
}

/// A client that works until it is told to stop, whatever becomes of its server: counts the statements that were answered.
fn work(weir: &Weir, login: &Login, answered: &AtomicU32, stop: &AtomicBool) -> Result<()> {
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => weir.connect(login),
        };
        let outcome = connected.and_then(|mut client: Client| {
            let value = client.value("SELECT CURRENT_USER()")?;
            Ok((client, value))
        });
        match outcome {
            Ok((connection, value)) => {
                ensure!(value == format!("{}@%", String::from_utf8_lossy(&login.user)), "{value}");
                answered.fetch_add(1, Ordering::Relaxed);
                client = Some(connection);
            }
            Err(failure) => {
                // the server is away, and nothing else
                let known = failure.number().is_none_or(|n| [1040, 1053, 1429, 2013].contains(&n));
                ensure!(known, "{failure}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}

fn a_restarted_server_lets_running_clients_go_on(shared: &'static Cluster) -> Result<()> {
    let flavour = shared.flavour();
    let mut own = weir_testkit::Options::new(flavour, format!("{}-accounts-restart", flavour.name()));
    own.replicas = 0;
    let cluster = Cluster::start(&own)?;
    let users: Vec<String> = (0..4).map(|number| format!("r{number}")).collect();
    for user in &users {
        cluster.sql(0, &format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'"))?;
    }
    let weir = Weir::start(&options(&cluster)?.set("pool.capacity", 2))?;
    // the client's leg is not encrypted: after the restart it is Weir that must know the password
    let logins: Vec<Login> = users.iter().map(|user| login(user)).collect();
    let mut idle: Vec<Client> = logins.iter().map(|login| log_in(&weir, login)).collect::<Result<_>>()?;
    for client in &mut idle {
        ensure!(client.value("SELECT 1")? == "1");
    }
    let stop = AtomicBool::new(false);
    let answered: Vec<AtomicU32> = users.iter().map(|_| AtomicU32::new(0)).collect();
    let each_answers = |what: &str, more: u32| {
        let before: Vec<u32> = answered.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        eventually(what, || {
            let now = answered.iter().map(|n| n.load(Ordering::Relaxed));
            Ok(now.zip(&before).all(|(now, before)| now >= before + more).then_some(()))
        })
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = logins
            .iter()
            .zip(&answered)
            .map(|(login, answered)| scope.spawn(|| work(&weir, login, answered, &stop)))
            .collect();
        let restarted = each_answers("every client works", 5)
            .and_then(|()| cluster.restart_instance(0))
            .and_then(|()| each_answers("every client works again", 5));
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().try_for_each(|worker| worker.join().unwrap())?;
        restarted
    })?;
    // who slept through it notices nothing
    for (client, user) in idle.iter_mut().zip(&users) {
        ensure!(client.value("SELECT CURRENT_USER()")? == format!("{user}@%"), "{user}");
    }
    drop(idle);
    weir.stop()?;
    cluster.stop()
}
