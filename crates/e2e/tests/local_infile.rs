//! LOAD DATA LOCAL: the file flows from the client to the server, and nobody gets a file that no statement loads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Answer, Client, Endpoint, Failure, Login};
use weir_e2e::fault::{Fault, From, Then};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::{Cluster, Flavour};
use weir_wire::capability::Capabilities;
use weir_wire::response::LOCAL_INFILE;

on_both_servers!(
    thirty_megabytes_arrive_whole_in_little_memory,
    answers_are_those_of_the_server,
    it_is_off_unless_the_namespace_says_so,
    a_client_that_cannot_is_told_so,
    a_request_for_a_file_that_no_statement_loads_never_reaches_the_client,
    a_client_that_goes_in_the_middle_loads_nothing,
    a_server_that_goes_in_the_middle_is_told_behind_the_file,
    packets_of_a_file_out_of_order_end_the_session,
    allowed_databases_and_read_only_users_hold,
    a_reload_switches_it,
);

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000)) ENGINE=InnoDB";
const LOAD: &str = "LOAD DATA LOCAL INFILE '/nowhere/file' INTO TABLE t FIELDS TERMINATED BY ','";
const PATIENCE: Duration = Duration::from_secs(15);

/// Never switched off again: other tests on the same servers may rely on it.
fn allow(cluster: &Cluster) -> Result<()> {
    cluster.sql(0, "SET GLOBAL local_infile=ON").map(|_| ())
}

fn allowing(cluster: &Cluster) -> Result<Weir> {
    allow(cluster)?;
    // what is read must be there already, and not on its way to a replica
    let users = vec![User::of(cluster).without_split()];
    Weir::start(&Options::on(cluster)?.set("local_infile", true).users(users))
}

fn rig<'c>(cluster: &'c Cluster, topic: &str, local_infile: bool) -> Result<Rig<'c>> {
    allow(cluster)?;
    let rig = Rig::start(cluster, topic, |options| options.set("local_infile", local_infile))?;
    rig.sql(TABLE)?;
    Ok(rig)
}

fn able(login: Login) -> Login {
    login.with(Capabilities::LOCAL_FILES)
}

fn disabled(cluster: &Cluster) -> (u16, &'static str, &'static str) {
    match cluster.flavour() {
        Flavour::MySql => (
            3948,
            "42000",
            "Loading local data is disabled; this must be enabled on both the client and server sides",
        ),
        Flavour::MariaDb => (
            4166,
            "HY000",
            "The used command is not allowed because the MariaDB server or client has disabled the local infile capability",
        ),
    }
}

fn is_disabled(cluster: &Cluster, answer: &Answer) -> Result<()> {
    let error = answer.error().with_context(|| format!("no error:\n{answer:?}"))?;
    let (number, sqlstate, message) = disabled(cluster);
    assert_eq!((error.number, error.sqlstate.as_str(), error.message.as_str()), (number, sqlstate, message));
    Ok(())
}

fn asks_for_a_file(answer: &Answer) -> bool {
    answer.packets.last().is_some_and(|last| last.first() == LOCAL_INFILE)
}

fn thirty_megabytes_arrive_whole_in_little_memory(cluster: &'static Cluster) -> Result<()> {
    const ROWS: usize = 30_000;
    let weir = allowing(cluster)?;
    let databases = Databases::create(cluster, "local_large")?;
    databases.prepare(TABLE)?;
    let mut client = weir.connect(&able(weir.login()).database(&databases.weir))?;
    client.set_patience(Duration::from_secs(60))?;
    let mut file = Vec::new();
    for id in 0..ROWS {
        let line = format!("{id},{:>01000}\n", id.wrapping_mul(2_654_435_761) % 1_000_003);
        file.extend_from_slice(line.as_bytes());
    }
    assert!(file.len() > 30 << 20 || file.len() > 30_000_000);
    let before = weir.metrics()?.sum("process_resident_memory_bytes", &[]);
    let asked = client.query(LOAD)?;
    // sizes of which no two are alike fall on every boundary
    let mut packets = Vec::new();
    let mut rest = file.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
        let (packet, tail) = rest.split_at(size.min(rest.len()));
        packets.push(packet);
        rest = tail;
        size = (size * 3 + 1) % 200_003;
    }
    let answer = client.send_file(&asked, &packets)?;
    ensure!(answer.error().is_none(), "{answer:?}");
    let after = weir.metrics()?.sum("process_resident_memory_bytes", &[]);
    ensure!(before > 0.0 && after - before < 8e6, "memory grew from {before} to {after}");
    let sum: usize = (0..ROWS).map(|id| id.wrapping_mul(2_654_435_761) % 1_000_003).sum();
    let found = client.rows("SELECT COUNT(*), SUM(v), MIN(LENGTH(v)), MAX(id) FROM t")?;
    let found: Vec<String> = found[0].iter().flatten().cloned().collect();
    assert_eq!(found[0], ROWS.to_string());
    assert_eq!(found[1].parse::<f64>()?, sum as f64);
    assert_eq!(found[2..], ["1000".to_owned(), (ROWS - 1).to_string()]);
    Ok(())
}

fn answers_are_those_of_the_server(cluster: &'static Cluster) -> Result<()> {
    let weir = allowing(cluster)?;
    let all = able(weir.login()).with(Capabilities::MULTI_STATEMENTS);
    let logins = [
        ("modern", all.clone()),
        ("with EOF", all.clone().without(Capabilities::DEPRECATE_EOF)),
        ("without trackers", all.without(Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF)),
    ];
    let strict: &[&[u8]] = &[b"1,one\n2,two\n", b"3,th", b"ree\n"];
    let cases: [(&str, &[&[u8]]); 10] = [
        ("{LOAD}", strict),
        // nothing, and what a client sends that cannot read its file
        ("{LOAD}", &[]),
        ("{LOAD} (id, v)", &[b"x,cut\n7,seven,more\n8\n"]),
        // LOCAL makes IGNORE of a duplicate, as the client cannot be stopped
        ("{LOAD}", strict),
        ("{REPLACE}", strict),
        ("SELECT 1, 'one'; {LOAD}", strict),
        ("SELECT 1; {LOAD}; SELECT COUNT(*) FROM t; {LOAD}; SELECT 2", strict),
        ("{LOAD}; SELECT nothing", strict),
        ("BEGIN; {LOAD}; ROLLBACK; SELECT COUNT(*) FROM t", &[b"99,gone\n"]),
        ("LOAD DATA LOCAL INFILE 'x' INTO TABLE nowhere", strict),
    ];
    for (title, login) in logins {
        let databases = Databases::create(cluster, "local_answers")?;
        databases.prepare(TABLE)?;
        let mut pair = Pair::connect(&weir, &databases, &login, title)?;
        for (sql, file) in &cases {
            let replace = LOAD.replace("INTO", "REPLACE INTO");
            let sql = sql.replace("{LOAD}", LOAD).replace("{REPLACE}", &replace);
            let mut answer = pair.query(&sql)?;
            let mut files = 0;
            while asks_for_a_file(&answer) {
                let asked = answer;
                answer = pair.same(&format!("file of {sql}"), |client| client.send_file(&asked, file))?;
                files += 1;
            }
            // whether the table is looked for before the file is the server's own affair
            assert!(files > 0 || sql.contains("nowhere"), "{sql}: {answer:?}");
            pair.query("SHOW WARNINGS")?;
            pair.query("SELECT id, v FROM t ORDER BY id")?;
        }
        let differences = pair.into_differences();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
    }
    Ok(())
}

fn it_is_off_unless_the_namespace_says_so(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "local_off", false)?;
    let mut client = rig.weir.connect(&able(rig.login()).with(Capabilities::MULTI_STATEMENTS))?;
    client.run("SELECT 1")?;
    let passed = rig.back.passed(From::Client);
    let others = [LOAD.replace("DATA", "XML"), format!("INSERT INTO t VALUES (1, 'x'); {LOAD}")];
    for sql in [LOAD.to_owned()].into_iter().chain(others) {
        is_disabled(cluster, &client.query(&sql)?)?;
    }
    assert_eq!(rig.back.passed(From::Client), passed, "the server was asked");
    assert_eq!(client.value("SELECT COUNT(*) FROM t")?, "0");
    // the same words as the server's own, for who cannot
    let direct = Endpoint::port(cluster.primary()?.port);
    let login = weir_e2e::pair::direct_login().database(&rig.database);
    let mut direct = Client::connect(&direct, &login)?;
    is_disabled(cluster, &direct.query(LOAD)?)
}

fn a_client_that_cannot_is_told_so(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "local_cannot", true)?;
    let mut client = rig.client()?;
    assert!(!client.capabilities.contains(Capabilities::LOCAL_FILES));
    is_disabled(cluster, &client.query(LOAD)?)?;
    assert_eq!(client.value("SELECT 'lives'")?, "lives");
    Ok(())
}

fn a_request_for_a_file_that_no_statement_loads_never_reaches_the_client(
    cluster: &'static Cluster,
) -> Result<()> {
    for local_infile in [true, false] {
        let rig = rig(cluster, "local_bait", local_infile)?;
        let mut request = Vec::new();
        weir_wire::write_packet(&mut request, 1, b"\xFB/etc/passwd");
        for sql in ["SELECT 'bait'", "INSERT INTO t VALUES (1, 'bait')", "DO 'bait', 'LOAD DATA LOCAL'"] {
            let mut client = rig.client_in_front(&able(rig.login()))?;
            rig.back.arm(Fault::Answer(b"bait".to_vec(), request.clone(), Then::Silence));
            let answer = client.query(sql)?;
            assert!(rig.back.disarm(), "{sql}");
            assert_eq!(answer.error_number(), 2013, "{sql}: {answer:?}");
            assert!(!format!("{answer:?}").contains("passwd"), "{sql}: {answer:?}");
            rig.serves()?;
            assert_eq!(client.value("SELECT 'lives'")?, "lives", "{sql}");
        }
        rig.is_as_before()?;
    }
    Ok(())
}

fn rows_at_rest(rig: &Rig<'_>) -> Result<String> {
    rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database))
}

fn a_client_that_goes_in_the_middle_loads_nothing(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "local_gone", true)?;
    let mut packet = Vec::new();
    weir_wire::write_packet(&mut packet, 2, b"1,one\n2,two\n");
    // before the file, in a header, in a packet, behind one
    for sent in [0, 2, 4, 9, packet.len()] {
        let mut client = rig.weir.connect(&able(rig.login()))?;
        assert!(asks_for_a_file(&client.query(LOAD)?));
        client.send_bytes(&packet[..sent])?;
        drop(client);
        rig.is_as_before()?;
        assert_eq!(rows_at_rest(&rig)?, "0", "after {sent} bytes");
    }
    Ok(())
}

fn a_server_that_goes_in_the_middle_is_told_behind_the_file(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "local_server", true)?;
    let mut client = rig.weir.connect(&able(rig.login()))?;
    let asked = client.query(LOAD)?;
    assert!(asks_for_a_file(&asked));
    rig.back.cut_all();
    let line = [b'x'; 60_000];
    let file: Vec<&[u8]> = vec![&line; 100];
    let answer = client.send_file(&asked, &file)?;
    assert_eq!(answer.error_number(), 2013, "{answer:?}");
    rig.serves()?;
    // the session lives on, in step
    assert_eq!(client.value("SELECT 'lives'")?, "lives");
    assert_eq!(rows_at_rest(&rig)?, "0");
    drop(client);
    rig.is_as_before()
}

fn packets_of_a_file_out_of_order_end_the_session(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "local_order", true)?;
    let mut client = rig.weir.connect(&able(rig.login()))?;
    assert!(asks_for_a_file(&client.query(LOAD)?));
    let mut packet = Vec::new();
    weir_wire::write_packet(&mut packet, 3, b"1,one\n");
    client.send_bytes(&packet)?;
    let rest = client.read_to_close()?;
    assert_eq!(rest[4..7], [0xFF, 0x84, 0x04], "error 1156: {rest:?}");
    rig.is_as_before()?;
    assert_eq!(rows_at_rest(&rig)?, "0");
    Ok(())
}

fn allowed_databases_and_read_only_users_hold(cluster: &'static Cluster) -> Result<()> {
    allow(cluster)?;
    let databases = Databases::create(cluster, "local_rights")?;
    databases.prepare(TABLE)?;
    let mut reader = User::new("reader", "reader-password");
    reader.read_only = true;
    let namespace = Namespace::on(cluster, "app")?
        .users_are(vec![User::of(cluster).without_split(), reader])
        .set("local_infile", true)
        .set("allowed_databases", vec![databases.weir.clone()]);
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let mut client = weir.connect(&able(weir.login()).database(&databases.weir))?;
    let other = LOAD.replace("TABLE t", &format!("TABLE `{}`.t", databases.direct));
    assert_eq!(client.query(&other)?.error_number(), 1044);
    let mut reader =
        weir.connect(&able(Login::new("reader", "reader-password")).database(&databases.weir))?;
    let mut answer = reader.query(LOAD)?;
    if asks_for_a_file(&answer) {
        answer = reader.send_file(&answer, &[b"1,one\n"])?;
    }
    assert_eq!(answer.error_number(), 1792, "{answer:?}");
    assert_eq!(client.value("SELECT COUNT(*) FROM t")?, "0");
    assert_eq!(cluster.value(0, &format!("SELECT COUNT(*) FROM `{}`.t", databases.direct))?, "0");
    let asked = client.query(LOAD)?;
    client.send_file(&asked, &[b"1,one\n"])?;
    assert_eq!(client.value("SELECT COUNT(*) FROM t")?, "1");
    Ok(())
}

fn a_reload_switches_it(cluster: &'static Cluster) -> Result<()> {
    allow(cluster)?;
    let users = vec![User::of(cluster).without_split()];
    let namespace =
        |on: bool| Namespace::on(cluster, "app").map(|n| n.users_are(users.clone()).set("local_infile", on));
    let mut weir = Weir::start(&Options::of(vec![namespace(false)?]).greeting(cluster.version()))?;
    let databases = Databases::create(cluster, "local_reload")?;
    databases.prepare(TABLE)?;
    let mut client = weir.connect(&able(weir.login()).database(&databases.weir))?;
    is_disabled(cluster, &client.query(LOAD)?)?;
    weir.write_namespaces(&[namespace(true)?])?;
    weir.reload()?;
    let deadline = Instant::now() + PATIENCE;
    let asked = loop {
        match client.query(LOAD) {
            Ok(answer) if asks_for_a_file(&answer) => break answer,
            Ok(answer) => ensure!(Instant::now() < deadline, "still refused: {answer:?}"),
            Err(failure) => return Err(Failure::into(failure)),
        }
    };
    let answer = client.send_file(&asked, &[b"1,one\n"])?;
    assert_eq!(answer.error_number(), 0, "{answer:?}");
    assert_eq!(client.value("SELECT v FROM t")?, "one");
    Ok(())
}
