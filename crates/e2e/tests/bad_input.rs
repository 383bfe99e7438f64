//! What clients and servers should never do: connections cut at any byte, packets that are none. Each ends in a clear
//! error or the connection's end, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::net::Shutdown;

use anyhow::{Context, Result, bail, ensure};
use weir_e2e::client::{Answer, Bind, Client, Cursor, Expect, Failure, Login, Outcome, Parameter, Tls};
use weir_e2e::fault::{Fault, From, Then};
use weir_e2e::on_both_servers;
use weir_e2e::rig::Rig;
use weir_e2e::weir::User;
use weir_testkit::{Cluster, SERVICE};
use weir_wire::auth::Verifier;
use weir_wire::capability::Capabilities;
use weir_wire::command::com;

on_both_servers!(
    logins_cut_at_every_byte,
    commands_cut_at_every_byte,
    answers_that_no_client_takes,
    answers_of_the_server_cut_at_every_byte,
    logins_at_the_server_cut_at_every_byte,
    greetings_that_are_none,
    answers_that_are_none,
    commands_that_nobody_would_send,
    answers_with_bytes_changed,
    a_long_list_of_databases,
);

const TABLES: &str = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(50)); \
     INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, 'three'); \
     CREATE TABLE written (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT); \
     CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 'two', 2; END";

fn rig<'c>(cluster: &'c Cluster, topic: &str) -> Result<Rig<'c>> {
    let rig = Rig::start(cluster, topic, |options| options)?;
    rig.sql(TABLES)?;
    Ok(rig)
}

/// Users whose logins take every way: known at once, and by RSA or TLS since only a slow verifier is stored.
fn users() -> Vec<User> {
    let slow = |name: &str| {
        let mut user = User::new(name, "slow");
        user.plugin = Some("caching_sha2_password".to_owned());
        user.verifier = Verifier::sha2_crypt_of(b"slow", *b"01234567890123456789").to_text();
        user
    };
    let mut native = User::new("native", "native");
    native.plugin = Some("mysql_native_password".to_owned());
    vec![User::new(SERVICE.user, SERVICE.password), native, slow("rsa"), slow("tls")]
}

/// Cuts a login after each `step` bytes of one side, until one comes through. Returns how many were cut.
fn cut_logins(rig: &Rig<'_>, login: &Login, from: From, step: usize) -> Result<usize> {
    let mut cut = 0;
    for after in (0..20_000).step_by(step) {
        rig.front.arm(Fault::Cut(from, after));
        let outcome = rig.client_in_front(login);
        let done = rig.front.disarm();
        match outcome {
            Ok(_) => {
                ensure!(
                    !done || from == From::Client,
                    "a login came through though it was cut after {after}"
                );
                return Ok(cut);
            }
            Err(Failure::Lost(_)) => cut += 1,
            Err(failure) => bail!("cut after {after} bytes of the {from:?}: {failure}"),
        }
    }
    bail!("no login came through")
}

fn logins_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "logins", |options| options.users(users()))?;
    let rsa = Login::new("rsa", "slow");
    let tls = Login::new("tls", "slow").tls(Tls::Encrypted);
    for (what, login, from, step, at_least) in [
        ("plain", Login::new(SERVICE.user, SERVICE.password), From::Client, 1, 80),
        ("a database", rig.login(), From::Client, 1, 80),
        ("the greeting", rig.login(), From::Server, 1, 80),
        ("native", Login::new("native", "native"), From::Client, 1, 80),
        // the password is sent twice, and once it came through it is known: from both sides, then
        ("RSA, from the server", rsa, From::Server, 7, 50),
        ("TLS", tls, From::Client, 11, 40),
    ] {
        let cut = cut_logins(&rig, &login, from, step).with_context(|| what.to_owned())?;
        ensure!(cut >= at_least, "{what}: only {cut} logins were cut");
    }
    rig.is_as_before()
}

type Setup = fn(&mut Client) -> Result<Vec<u8>>;

fn command(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    weir_wire::write_packet(&mut bytes, 0, payload);
    bytes
}

fn query(sql: &str) -> Vec<u8> {
    command(&[&[com::QUERY], sql.as_bytes()].concat())
}

fn execution(id: u32, parameters: &[Parameter], cursor: Cursor) -> Vec<u8> {
    command(&weir_e2e::client::execution(id, parameters, cursor, Bind::New))
}

const INSERT: &str = "INSERT INTO written (v) VALUES (?)";

/// What has to be done before, and the command's bytes.
fn commands() -> Vec<(&'static str, Setup)> {
    vec![
        ("query", |_| Ok(query("SELECT id, v FROM t"))),
        ("insert", |_| Ok(query("INSERT INTO written (v) VALUES ('cut')"))),
        ("insert in a transaction", |client| {
            client.run("BEGIN")?;
            client.run("INSERT INTO written (v) VALUES ('before')")?;
            Ok(query("INSERT INTO written (v) VALUES ('cut')"))
        }),
        ("several statements", |client| {
            client.set_option(0)?;
            Ok(query("SELECT 1; SELECT 2"))
        }),
        ("pinned", |client| {
            client.run("CREATE TEMPORARY TABLE tmp (id INT)")?;
            Ok(query("SELECT * FROM tmp"))
        }),
        ("prepare", |_| Ok(command(&[&[com::STMT_PREPARE], INSERT.as_bytes()].concat()))),
        ("execute", |client| {
            let id = client.prepare("SELECT id FROM t WHERE id > ? AND v <> ?")?.id;
            Ok(execution(id, &[Parameter::Int(1), Parameter::Text("x".to_owned())], Cursor::None))
        }),
        ("execute with a cursor", |client| {
            let id = client.prepare("SELECT id FROM t")?.id;
            Ok(execution(id, &[], Cursor::ReadOnly))
        }),
        ("fetch", |client| {
            let id = client.prepare("SELECT id FROM t")?.id;
            client.execute_with(id, &[], Cursor::ReadOnly, Bind::New)?;
            Ok(command(&[&[com::STMT_FETCH][..], &id.to_le_bytes(), &1u32.to_le_bytes()].concat()))
        }),
        ("long data", |client| {
            let id = client.prepare(INSERT)?.id;
            let data = [&[com::STMT_SEND_LONG_DATA][..], &id.to_le_bytes(), &[0, 0], b"long"].concat();
            Ok([command(&data), execution(id, &[Parameter::SentAhead], Cursor::None)].concat())
        }),
        ("close", |client| {
            let id = client.prepare(INSERT)?.id;
            Ok(command(&[&[com::STMT_CLOSE][..], &id.to_le_bytes()].concat()))
        }),
        ("reset a statement", |client| {
            let id = client.prepare(INSERT)?.id;
            Ok(command(&[&[com::STMT_RESET][..], &id.to_le_bytes()].concat()))
        }),
        ("init_db", |_| Ok(command(&[&[com::INIT_DB][..], b"information_schema"].concat()))),
        ("field_list", |_| Ok(command(&[&[com::FIELD_LIST][..], b"t\0%"].concat()))),
        ("statistics", |_| Ok(command(&[com::STATISTICS]))),
        ("ping", |_| Ok(command(&[com::PING]))),
        ("set_option", |_| Ok(command(&[com::SET_OPTION, 1, 0]))),
        ("reset_connection", |client| {
            client.run("SET @a = 1")?;
            Ok(command(&[com::RESET_CONNECTION]))
        }),
        ("change_user", |client| {
            client.run("SET @a = 1")?;
            let login = [SERVICE.user.as_bytes(), b"\0\0\0\x2d\0mysql_native_password\0"].concat();
            Ok(command(&[&[com::CHANGE_USER][..], &login].concat()))
        }),
        ("quit", |_| Ok(command(&[com::QUIT]))),
    ]
}

/// Ways to go.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    ShutWriting,
    Reset,
}

fn commands_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "commands")?;
    for (name, setup) in commands() {
        let mut after = 0;
        loop {
            let mut client = rig.client()?;
            let bytes = setup(&mut client).with_context(|| name.to_owned())?;
            client.send_bytes(&bytes[..after])?;
            let leave = [Leave::Close, Leave::ShutWriting, Leave::Reset][after % 3];
            match leave {
                Leave::Close => {}
                Leave::Reset => client.reset_when_closed()?,
                Leave::ShutWriting => {
                    // who says nothing more is gone, but an answer may have been on its way
                    client.shut(Shutdown::Write)?;
                    let rest = client.read_to_close()?;
                    ensure!(
                        rest.is_empty() || after == bytes.len() || name == "long data",
                        "{name}, cut after {after} bytes: {}",
                        rest.escape_ascii()
                    );
                }
            }
            drop(client);
            if after == bytes.len() {
                break;
            }
            after += 1;
        }
        rig.is_as_before().with_context(|| name.to_owned())?;
    }
    let left = rig.value(&format!("SELECT COUNT(*) FROM `{}`.written WHERE v = 'before'", rig.database))?;
    ensure!(left == "0", "{left} transactions of clients that went were committed");
    let whole = rig.value(&format!("SELECT GROUP_CONCAT(DISTINCT v) FROM `{}`.written", rig.database))?;
    ensure!(["", "cut", "long", "cut,long"].contains(&whole.as_str()), "a statement ran in part: {whole}");
    Ok(())
}

/// Clients that go in the middle of an answer, large and small.
fn answers_that_no_client_takes(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "untaken")?;
    for (title, login) in [("plain", rig.login()), ("TLS", rig.login().tls(Tls::Encrypted))] {
        for take in [0, 1, 4, 5, 100, 70_000, 3 << 20] {
            for held in [false, true] {
                let mut client = rig.client_in_front(&login)?;
                if held {
                    client.run("BEGIN")?;
                    client.run("INSERT INTO written (v) VALUES ('before')")?;
                }
                rig.front.arm(Fault::Cut(From::Server, take));
                client.send_bytes(&query("SELECT REPEAT('x', 1000000) FROM t a, t b, t c"))?;
                ensure!(client.read_answer(Expect::Results).is_err_and(|e| e.is_lost()), "{title}, {take}");
            }
        }
    }
    rig.is_as_before()?;
    let left = rig.value(&format!("SELECT COUNT(*) FROM `{}`.written", rig.database))?;
    ensure!(left == "0", "{left} transactions of clients that went were committed");
    Ok(())
}

/// One command whose answer is cut: what it is, what to do before, the command.
type Act = fn(&mut Client, u32) -> Result<Answer, Failure>;

fn acts() -> Vec<(&'static str, &'static str, Act)> {
    vec![
        ("text rows", "", |c, _| c.query("SELECT id, v FROM t ORDER BY id")),
        ("rows of a long text", "", |c, _| c.query("SELECT v FROM t WHERE id < 2 /* a hint */")),
        ("a server's error", "", |c, _| c.query("SELECT nosuch FROM t")),
        ("a write", "", |c, _| c.query("INSERT INTO written (v) VALUES ('x')")),
        ("procedure", "", |c, _| c.query("CALL two()")),
        ("init_db", "", |c, _| c.init_db("information_schema")),
        ("prepare", "", |c, _| c.prepare_raw("SELECT id, v FROM t WHERE id > ?")),
        ("execute", "SELECT id, v FROM t WHERE id > ?", |c, id| c.execute(id, &[Parameter::Int(0)])),
        ("execute a write", INSERT, |c, id| c.execute(id, &[Parameter::Int(7)])),
        ("a cursor that is opened", "SELECT id, v FROM t ORDER BY id", |c, id| {
            c.execute_with(id, &[], Cursor::ReadOnly, Bind::New)
        }),
        ("a cursor that is fetched from", "SELECT id, v FROM t ORDER BY id", |c, id| {
            let opened = c.execute_with(id, &[], Cursor::ReadOnly, Bind::New)?;
            if opened.error().is_some() { Ok(opened) } else { c.fetch(id, 2) }
        }),
    ]
}

/// Is it the answer, or an honest part of it?
fn is_honest(expected: &Answer, got: &Answer) -> Result<()> {
    if expected.is_prepare() {
        // ids differ
        let same = got.error().is_none() && got.packets.get(1..) == expected.packets.get(1..);
        ensure!(same || [2013, 1429].contains(&got.error_number()), "{got:?}instead of\n{expected:?}");
        return Ok(());
    }
    // what a FETCH brings has no columns to be read by
    let Ok(wanted) = expected.outcomes() else {
        let same = got.packets == expected.packets;
        ensure!(same || got.error_number() == 2013, "{got:?}instead of\n{expected:?}");
        return Ok(());
    };
    let seen = got.outcomes()?;
    if expected.error_number() == got.error_number() && got.error_number() != 2013 {
        let without_ids = |outcomes: &[Outcome]| {
            let mut outcomes = outcomes.to_vec();
            for outcome in &mut outcomes {
                if let Outcome::Ok { insert_id, records, .. } = outcome {
                    (*insert_id, *records) = (0, Vec::new());
                }
            }
            outcomes
        };
        let equal = without_ids(&wanted) == without_ids(&seen);
        ensure!(equal, "another answer:\n{got:?}instead of\n{expected:?}");
        return Ok(());
    }
    let number = got.error_number();
    // 1429: the server did not come back at once
    ensure!([2013, 1429].contains(&number), "ends with {number}:\n{got:?}instead of\n{expected:?}");
    Ok(())
}

/// Does something in parts, each with its thread and its gateway: most of it is waiting.
fn in_parts(count: usize, part: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let part = &part;
        let parts: Vec<_> = (0..count).map(|number| scope.spawn(move || part(number))).collect();
        parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| bail!("a part panicked")))
    })
}

fn answers_of_the_server_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    in_parts(4, |part| answers_cut(cluster, part, 4))
}

/// Every `step`th of the acts.
fn answers_cut(cluster: &'static Cluster, part: usize, step: usize) -> Result<()> {
    let rig = rig(cluster, "answers")?;
    for flags in [Capabilities::empty(), Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK] {
        let login = rig.login().without(flags).with(Capabilities::MULTI_RESULTS);
        for (name, prepared, act) in acts().into_iter().skip(part).step_by(step) {
            cut_answers(&rig, &login, name, prepared, act)
                .with_context(|| format!("{name}, without {flags:?}"))?;
            rig.is_as_before().with_context(|| name.to_owned())?;
        }
    }
    Ok(())
}

/// Cuts the answer after every byte, over and over in one session.
fn cut_answers(rig: &Rig<'_>, login: &Login, name: &str, prepared: &str, act: Act) -> Result<()> {
    let connect = || -> Result<(Client, u32)> {
        let mut client = rig.weir.connect(login)?;
        let id = if prepared.is_empty() { 0 } else { client.prepare(prepared)?.id };
        Ok((client, id))
    };
    let (mut client, mut id) = connect()?;
    let mut lost = 0;
    for after in 0..5_000 {
        // everything that is not the answer itself comes before
        rig.serves()?;
        let expected = act(&mut client, id).context("without damage")?;
        client.init_db(&rig.database)?;
        client.value("SELECT id FROM t WHERE id = 1")?;
        rig.back.arm(Fault::Cut(From::Server, after));
        let got = act(&mut client, id);
        let done = rig.back.disarm();
        let got = got.with_context(|| format!("cut after {after} bytes"))?;
        is_honest(&expected, &got).with_context(|| format!("cut after {after} bytes"))?;
        lost += usize::from(got.error_number() == 2013);
        if client.ping().is_err() {
            // its LAST_INSERT_ID(), what a procedure may have left, its cursor was on that connection alone
            ensure!(got.error_number() == 2013, "the session ended behind an answer");
            let held = name.contains("write") || name == "procedure" || name.contains("cursor");
            ensure!(held, "the session ended");
            (client, id) = connect()?;
        }
        if !done {
            ensure!(after > 10 && lost > 0, "only {after} bytes came, {lost} answers were lost");
            return Ok(());
        }
    }
    bail!("the answer has no end")
}

fn logins_at_the_server_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    in_parts(4, |part| server_logins(cluster, part, 4))
}

/// Each `step`th byte of what the server sends on a new connection, until the connection is ready.
fn server_logins(cluster: &Cluster, part: usize, step: usize) -> Result<()> {
    let rig = Rig::start(cluster, "dials", |options| options)?;
    rig.sql(TABLES)?;
    let mut cut = 0;
    // the greeting and the login at every byte; of what makes the connection ready, a part
    let login = part..200;
    for after in login.step_by(step).chain((200 + part * 7..10_000).step_by(step * 13)) {
        let mut client = rig.client()?;
        rig.back.cut_all();
        rig.back.arm(Fault::Cut(From::Server, after));
        let answer = client.query("SELECT COUNT(*) FROM t");
        let done = rig.back.disarm();
        let answer = answer.with_context(|| format!("cut after {after} bytes"))?;
        match answer.error_number() {
            0 => ensure!(answer.rows()?[0][0].as_deref() == Some("3")),
            number => {
                ensure!([1429, 2013].contains(&number), "cut after {after} bytes: {:?}", answer.error());
                cut += 1;
            }
        }
        if !done {
            ensure!(answer.error().is_none(), "no byte was cut: {answer:?}");
            ensure!(cut > 20, "only {cut} logins failed");
            drop(client);
            return rig.is_as_before();
        }
        rig.serves()?;
    }
    bail!("the login has no end")
}

fn greetings_that_are_none(cluster: &'static Cluster) -> Result<()> {
    let rig = Rig::start(cluster, "greetings", |options| options.set("pool.connect_timeout", "1s"))?;
    rig.sql(TABLES)?;
    let error =
        |number: u16, text: &str| [&[0xff][..], &number.to_le_bytes(), b"#08004", text.as_bytes()].concat();
    let packet = |payload: &[u8]| command(payload);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("zeros", vec![0; 300]),
        ("ones", vec![0xff; 300]),
        ("a greeting of version 9", packet(b"\x093.20\0\x01\0\0\0abcdefgh\0")),
        ("a cut greeting", packet(b"\x0a8.4.0\0\x01\0\0\0abc")),
        ("an endless version", packet(&[b"\x0a", &[b'8'; 3000][..]].concat())),
        ("a version that is none", packet(b"\x0aabc\0\x01\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xff\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0mysql_native_password\0")),
        ("a long packet", [&[0xff, 0xff, 0xff, 0][..], &[0x0a; 100_000]].concat()),
        ("too many connections", packet(&error(1040, "Too many connections"))),
        ("a host that is blocked", packet(&error(1129, "Host is blocked"))),
    ] {
        for then in [Then::Close, Then::Silence] {
            let mut client = rig.client()?;
            rig.back.cut_all();
            rig.back.arm(Fault::Greet(bytes.clone(), then));
            let answer = client.query("SELECT COUNT(*) FROM t").with_context(|| what.to_owned())?;
            ensure!(rig.back.disarm(), "{what}: nobody was greeted so");
            let error = answer.error().with_context(|| format!("{what}: an answer: {answer:?}"))?;
            ensure!(error.number == 1429, "{what}: {error:?}");
            rig.serves().with_context(|| what.to_owned())?;
        }
    }
    rig.is_as_before()
}

/// Changes some bytes, or their number.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len().max(1)).min(bytes.len());
        match random.u8(..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 => bytes.extend((0..random.usize(..40)).map(|_| random.u8(..))),
            // the borders of what a length or a number may be
            3 if at < bytes.len() => {
                bytes[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xfa, 0xfc, 0xfe, 0xff]).unwrap_or(&0);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            _ => {}
        }
    }
}

fn commands_that_nobody_would_send(cluster: &'static Cluster) -> Result<()> {
    in_parts(3, |part| changed_commands(cluster, 0x7765_6972 + part as u64))
}

fn changed_commands(cluster: &'static Cluster, seed: u64) -> Result<()> {
    let rig = rig(cluster, "fuzzed")?;
    let mut random = fastrand::Rng::with_seed(seed);
    let commands = commands();
    let (mut answered, mut refused) = (0, 0);
    for number in 0..500 {
        let (name, setup) = random.choice(&commands).context("there are commands")?;
        let what = format!("seed {seed}, number {number}, {name}");
        let mut client = rig.client()?;
        let mut bytes = setup(&mut client).with_context(|| what.clone())?;
        // the payload alone as a rule, its header sometimes
        if random.u8(..4) == 0 {
            mutate(&mut random, &mut bytes);
        } else {
            let mut payload = bytes.split_off(4);
            mutate(&mut random, &mut payload);
            bytes = command(&payload);
        }
        if random.bool() {
            bytes.extend(query("SELECT 'behind'"));
        }
        // Weir may have hung up before it has read all
        let sent = client.send_bytes(&bytes).and_then(|()| client.shut(Shutdown::Write));
        match sent.and_then(|()| client.read_to_close()) {
            Ok(rest) if rest.is_empty() => refused += 1,
            Ok(rest) => {
                answered += 1;
                // whatever it is, it is packets, each with its whole length
                let mut left = rest.as_slice();
                while let [a, b, c, _, behind @ ..] = left {
                    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
                    left = behind.get(length..).with_context(|| format!("{what}: a packet is cut"))?;
                }
                ensure!(left.is_empty(), "{what}: a header is cut");
            }
            Err(failure) => {
                ensure!(failure.is_lost(), "{what}: {failure}");
                refused += 1;
            }
        }
        if number % 100 == 99 {
            rig.is_as_before().with_context(|| what)?;
        }
    }
    ensure!(answered > 30 && refused > 30, "{answered} answered, {refused} refused: they are all alike");
    let log = rig.weir.log();
    ensure!(!log.contains("panicked"), "{log}");
    let left = rig.value(&format!("SELECT COUNT(*) FROM `{}`.written WHERE v = 'before'", rig.database))?;
    ensure!(left == "0", "{left} transactions of clients that went were committed");
    Ok(())
}

fn answers_with_bytes_changed(cluster: &'static Cluster) -> Result<()> {
    const SEED: u64 = 0x0077_6972;
    let rig = rig(cluster, "changed")?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let column: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\0\0\0\0\0";
    let whole = |payloads: &[&[u8]]| {
        let mut bytes = Vec::new();
        payloads.iter().fold(1, |number, payload| weir_wire::write_packet(&mut bytes, number, payload));
        bytes
    };
    let answers = [
        whole(&[b"\x01", column, b"\x011", b"\xfe\0\0\x02\0\0\0"]),
        whole(&[b"\0\x01\x05\x02\x40\0\0\0\x0b\x00\x09\x03a_b\x04cdef"]),
        whole(&[b"\xff\x7a\x04#42S02Table 'x.y' doesn't exist"]),
        whole(&[b"\x01", column, b"\x011", b"\xfe\0\0\x0a\0\0\0", b"\0\0\0\x02\0\0\0"]),
    ];
    let mut errors = 0;
    for number in 0..600 {
        let what = format!("seed {SEED}, number {number}");
        let mut bytes = random.choice(&answers).context("there are answers")?.clone();
        mutate(&mut random, &mut bytes);
        let mut client = rig.client()?;
        rig.back.arm(Fault::Answer(b"marked".to_vec(), bytes.clone(), Then::Close));
        // an answer, an error or the end, and never a wait for what does not come
        match client.query("SELECT /* marked */ id FROM t") {
            Ok(answer) => errors += usize::from(answer.error().is_some()),
            Err(failure) => {
                errors += 1;
                let ended = failure.is_lost() || failure.number().is_some();
                // of what Weir does not look into, the client itself may find that it is none
                let not_looked_into = matches!(failure, Failure::Malformed(_));
                ensure!(ended || not_looked_into, "{what}: {failure}: {}", bytes.escape_ascii());
            }
        }
        ensure!(rig.back.disarm(), "{what}: nobody was answered so");
        // which may believe now that it is in a transaction
        drop(client);
        rig.serves().with_context(|| what.clone())?;
        if number % 100 == 99 {
            rig.is_as_before().with_context(|| what)?;
        }
    }
    ensure!(errors > 100, "{errors} of 600 were errors: the changes change nothing");
    let log = rig.weir.log();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// However long the server's list is, nothing in it passes that the namespace does not allow.
fn a_long_list_of_databases(cluster: &'static Cluster) -> Result<()> {
    let allowed = toml::Value::Array(vec!["mine_7".into(), "mine_29999".into()]);
    let rig = Rig::start(cluster, "list", |options| options.set("allowed_databases", allowed))?;
    let column: &[u8] = b"\x03def\0\0\0\x08Database\0\x0c\x2d\0\0\x01\0\0\xfd\x01\0\0\0\0";
    let list = |names: u32| {
        let mut bytes = Vec::new();
        let mut sequence = weir_wire::write_packet(&mut bytes, 1, b"\x01");
        sequence = weir_wire::write_packet(&mut bytes, sequence, column);
        for number in 0..names {
            for name in [format!("mine_{number}"), format!("secret_{number}_{}", "x".repeat(40))] {
                let row = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
                sequence = weir_wire::write_packet(&mut bytes, sequence, &row);
            }
        }
        weir_wire::write_packet(&mut bytes, sequence, b"\xfe\0\0\x02\0\0\0");
        bytes
    };
    let old = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    for login in [rig.weir.login(), rig.weir.login().without(old)] {
        let mut client = rig.weir.connect(&login)?;
        rig.back.arm(Fault::Answer(b"SHOW DATABASES".to_vec(), list(30_000), Then::Silence));
        let names = client.rows("SHOW DATABASES")?;
        ensure!(rig.back.disarm(), "the server itself was asked");
        ensure!(names == [[Some("mine_7".to_owned())], [Some("mine_29999".to_owned())]], "{names:?}");
        ensure!(client.value("SELECT 1")? == "1");
    }
    // of the server's own list nothing passes either, however it is asked for
    let mut client = rig.weir.connect(&rig.weir.login().with(Capabilities::MULTI_STATEMENTS))?;
    let prepared = client.prepare("SHOW DATABASES LIKE '%s%'")?.id;
    for cursor in [Cursor::None, Cursor::ReadOnly] {
        let answer = client.execute_with(prepared, &[], cursor, Bind::New)?;
        let Some(Outcome::Rows { rows, .. }) = answer.outcomes()?.pop() else { bail!("{answer:?}") };
        ensure!(rows == [b"\0\0\x12information_schema".to_vec()], "{cursor:?}: {answer:?}");
    }
    let long = |text: &str| format!("{text} /* {} */", "x".repeat(2 << 20));
    let (databases, kill) = (long("SHOW DATABASES"), long("KILL QUERY 1"));
    for text in ["SELECT 1; SHOW DATABASES", "SHOW DATABASES; SELECT 1", &databases, &kill] {
        let answer = client.query(text)?;
        ensure!(answer.error_number() == 1235, "{}: {answer:?}", &text[..20]);
    }
    ensure!(client.value("SELECT 1")? == "1");
    drop(client);
    let mut client = rig.weir.client()?;
    rig.back.arm(Fault::Answer(b"SHOW DATABASES".to_vec(), list(300_000), Then::Silence));
    let answer = client.query("SHOW DATABASES")?;
    ensure!(answer.error().is_some_and(|e| e.message.contains("list is longer")), "{answer:?}");
    drop(client);
    rig.is_as_before()
}

/// Bytes that no server sends, in place of an answer.
fn answers_that_are_none(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "none")?;
    let packets = |from: u8, payloads: &[&[u8]]| {
        let mut bytes = Vec::new();
        let mut sequence = from;
        for payload in payloads {
            sequence = weir_wire::write_packet(&mut bytes, sequence, payload);
        }
        bytes
    };
    let column: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\0\0\0\0\0";
    for (what, bytes) in [
        ("an empty packet", packets(1, &[b""])),
        ("the wrong number", packets(7, &[b"\x01", column, b"\x011", b"\xfe\0\0\x02\0\0\0"])),
        (
            "a number that jumps",
            [packets(1, &[b"\x01", column]), packets(9, &[b"\x011", b"\xfe\0\0\x02\0\0\0"])].concat(),
        ),
        ("no column", packets(1, &[b"\x01", b"\xfe\0\0\x02\0\0\0"])),
        ("columns without an end", packets(1, &[b"\xfd\xff\xff\xff", column])),
        ("a count of columns that is cut", packets(1, &[b"\xfc\x01"])),
        (
            "a row longer than its packet",
            packets(1, &[b"\x01", column, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f1"]),
        ),
        ("no end", packets(1, &[b"\x01", column, b"\x011", b"\x012"])),
        ("an OK that is cut", packets(1, &[b"\0\0"])),
        ("an OK with lying records", packets(1, &[b"\0\0\0\x02\x40\0\0\0\xfd\xff\xff\xff\0"])),
        ("an error that is cut", packets(1, &[b"\xff\x01"])),
        ("LOCAL INFILE", packets(1, &[b"\xfb/etc/passwd"])),
        ("half a header", vec![1, 0]),
        ("half a packet", vec![200, 0, 0, 1, 1, 2, 3]),
        ("more than the answer", packets(1, &[b"\0\0\0\x02\0\0\0", b"\0\0\0\x02\0\0\0"])),
    ] {
        for held in [false, true] {
            let mut client = rig.client()?;
            if held {
                client.run("BEGIN")?;
                client.run("INSERT INTO written (v) VALUES ('before')")?;
            }
            // the connection has the session's state: the bytes stand for the answer itself
            client.value("SELECT 1")?;
            rig.back.arm(Fault::Answer(b"marked".to_vec(), bytes.clone(), Then::Close));
            let outcome = client.query("SELECT /* marked */ id FROM t");
            ensure!(rig.back.disarm(), "{what}: nobody was answered so, but {outcome:?}");
            match outcome {
                // rows are not looked into, and what follows a whole answer is none of it
                Ok(answer) if answer.error().is_none() => {
                    let passes = ["a row longer than its packet", "more than the answer"];
                    ensure!(passes.contains(&what), "{what}: a clean end: {answer:?}");
                }
                Ok(answer) => ensure!(answer.error_number() == 2013, "{what}: {answer:?}"),
                Err(failure) => ensure!(held && failure.is_lost(), "{what}, held {held}: {failure}"),
            }
            let next = client.value("SELECT COUNT(*) FROM t");
            match (held, next) {
                (false, next) => ensure!(next.with_context(|| what.to_owned())? == "3", "{what}"),
                // the transaction is gone, and so is its session
                (true, Err(failure)) => ensure!(failure.is_lost(), "{what}: {failure}"),
                // here the answer says that there is none
                (true, Ok(_)) => {
                    ensure!(what == "more than the answer", "{what}: the session outlives its transaction");
                }
            }
        }
    }
    rig.is_as_before()?;
    let left = rig.value(&format!("SELECT COUNT(*) FROM `{}`.written", rig.database))?;
    ensure!(left == "0", "{left} rows were committed");
    Ok(())
}
