//! Compression on either leg, by every algorithm that a server knows: answers are the server's own, frames that are none
//! end in a clear way, and each leg is compressed only if it was agreed for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use anyhow::{Context, Result, ensure};
use weir_e2e::client::{Bind, Client, Cursor, Failure, Login, Parameter, Tls};
use weir_e2e::fault::{Fault, From};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, Pair};
use weir_e2e::rig::Rig;
use weir_e2e::weir::{Options, User, Weir};
use weir_testkit::{Cluster, Flavour};
use weir_wire::capability::Capabilities;
use weir_wire::compress::{Algorithm, FrameReader, FrameWriter};
use weir_wire::response::LOCAL_INFILE;

on_both_servers!(
    answers_are_those_of_the_server_by_every_pair_of_algorithms,
    seventeen_mebibytes_pass_both_ways,
    only_what_was_agreed_is_compressed,
    frames_of_a_client_cut_at_every_byte,
    frames_of_a_server_cut_at_every_byte,
    frames_that_are_none_end_the_session,
    a_listener_offers_none_if_told_so,
);

const NONE: Capabilities = Capabilities::empty();
const MORE_THAN_A_PACKET: usize = 17 << 20;

/// What clients ask for, and what a slice is told, as far as the servers know it.
fn ways(cluster: &Cluster) -> Vec<(Capabilities, &'static str)> {
    let mut ways = vec![(NONE, "off"), (Capabilities::COMPRESS, "zlib")];
    if cluster.flavour() == Flavour::MySql {
        ways.push((Capabilities::ZSTD, "zstd"));
    }
    ways
}

fn start(cluster: &Cluster, server: &str) -> Result<Weir> {
    cluster.sql(0, "SET GLOBAL local_infile=ON")?;
    let options = Options::on(cluster)?.users(vec![User::of(cluster).without_split()]);
    Weir::start(&options.set("slices.0.compression", server).set("local_infile", true))
}

fn rig<'c>(cluster: &'c Cluster, topic: &str, server: &str) -> Result<Rig<'c>> {
    Rig::start(cluster, topic, |options| options.set("slices.0.compression", server))
}

fn answers_are_those_of_the_server_by_every_pair_of_algorithms(cluster: &'static Cluster) -> Result<()> {
    let long = "y".repeat(70_000);
    let texts = [
        "SELECT 1".to_owned(),
        format!("SELECT '{long}', LENGTH('{long}')"),
        "INSERT INTO t (v) VALUES ('one'), (REPEAT('two', 5000)), (NULL)".to_owned(),
        "SELECT * FROM t ORDER BY id".to_owned(),
        // the server flushes between results, and counts anew
        "SELECT * FROM t; SELECT REPEAT('z', 100000); DO 1; SELECT 2".to_owned(),
        "CALL two()".to_owned(),
        "SELECT a.v, b.v, c.v FROM t a, t b, t c".to_owned(),
        "SELECT nothing".to_owned(),
        "SELECT 1; SELECT nothing".to_owned(),
        "BEGIN; INSERT INTO t (v) VALUES ('gone'); ROLLBACK".to_owned(),
        "SHOW WARNINGS".to_owned(),
    ];
    for (_, server) in ways(cluster) {
        let weir = start(cluster, server)?;
        for (client, name) in ways(cluster) {
            let databases = Databases::create(cluster, "compression")?;
            databases.prepare(
                "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT); \
                 CREATE PROCEDURE two() BEGIN SELECT v FROM t; SELECT 'two', 2; END",
            )?;
            let title = format!("client {name}, server {server}");
            let ask = client | Capabilities::MULTI_STATEMENTS | Capabilities::LOCAL_FILES;
            let mut login = weir.login().with(ask);
            if server == "off" {
                login = login.without(Capabilities::DEPRECATE_EOF);
            }
            let mut pair = Pair::connect(&weir, &databases, &login, &title)?;
            assert!(pair.weir.capabilities.contains(client), "{title}");
            for text in &texts {
                pair.query(text)?;
            }
            let ids = pair.prepare("SELECT v, ? FROM t")?.context("prepared")?;
            let value = [Parameter::Text(long.clone())];
            pair.same_with(ids, "execute", |c, id| c.execute(id, &value))?;
            pair.same_with(ids, "as before", |c, id| {
                c.execute_with(id, &value, Cursor::None, Bind::AsBefore)
            })?;
            pair.same_with(ids, "cursor", |c, id| c.execute_with(id, &value, Cursor::ReadOnly, Bind::New))?;
            pair.same_with(ids, "rows", |c, id| c.fetch(id, 100))?;
            pair.same("ping", Client::ping)?;
            pair.same("reset", Client::reset)?;
            let load = "SELECT * FROM t; LOAD DATA LOCAL INFILE 'x' INTO TABLE t (v); SELECT COUNT(*) FROM t";
            let asked = pair.query(load)?;
            assert_eq!(asked.packets.last().unwrap().first(), LOCAL_INFILE);
            let line = format!("{}\n", "l".repeat(1000));
            // more packets than ids
            let file = vec![line.as_bytes(); 300];
            pair.same("file", |c| c.send_file(&asked, &file))?;
            let differences = pair.into_differences();
            ensure!(differences.is_empty(), "{}", differences.join("\n"));
        }
        if server == "off" {
            // over TLS, and asking for both
            let both = weir.login().with(Capabilities::COMPRESS | Capabilities::ZSTD).tls(Tls::Encrypted);
            let mut client = weir.connect(&both)?;
            let direct = weir_e2e::pair::direct_login().with(Capabilities::COMPRESS | Capabilities::ZSTD);
            let mut direct = Client::connect(&weir_e2e::pair::instance(cluster, 0)?, &direct)?;
            for client in [&mut client, &mut direct] {
                assert_eq!(client.value(&format!("SELECT LENGTH('{long}')"))?, "70000");
            }
        }
    }
    Ok(())
}

fn seventeen_mebibytes_pass_both_ways(cluster: &'static Cluster) -> Result<()> {
    let before = cluster.value(0, "SELECT @@GLOBAL.max_allowed_packet")?;
    ensure!(before.parse::<usize>()? > MORE_THAN_A_PACKET, "the servers take {before} bytes");
    // not all alike, or there is little to pack
    let mut value = String::with_capacity(MORE_THAN_A_PACKET);
    for i in 0.. {
        if value.len() >= MORE_THAN_A_PACKET {
            break;
        }
        value.push_str(&(i * 7919_u64 % 10_007).to_string());
    }
    for (client, server) in ways(cluster) {
        let weir = start(cluster, server)?;
        let mut client = weir.connect(&weir.login().with(client))?;
        client.set_patience(std::time::Duration::from_secs(60))?;
        let rows = client.rows(&format!("SELECT '{value}', LENGTH('{value}')"));
        // two of them are more than what is allowed
        ensure!(rows.is_err() == (2 * MORE_THAN_A_PACKET > before.parse()?), "{}", rows.is_err());
        let rows = client.rows(&format!("SELECT '{value}'"))?;
        ensure!(rows[0][0].as_deref() == Some(&value), "not the same came back");
        let prepared = client.prepare("SELECT LENGTH(?), LENGTH(?)")?;
        let answer = client
            .execute(prepared.id, &[Parameter::Text(value.clone()), Parameter::Text("short".into())])?;
        assert_eq!(answer.error_number(), 0, "{:?}", answer.error());
        assert_eq!(client.value("SELECT 'lives'")?, "lives");
    }
    Ok(())
}

fn only_what_was_agreed_is_compressed(cluster: &'static Cluster) -> Result<()> {
    const LENGTH: usize = 500_000;
    const SIZE: u64 = 500_000;
    for (_, server) in ways(cluster) {
        let rig = rig(cluster, "compression_legs", server)?;
        for (client, name) in ways(cluster) {
            let mut client = rig.client_in_front(&rig.login().with(client))?;
            let passed = || {
                [&rig.front, &rig.back]
                    .map(|relay| [From::Client, From::Server].map(|side| relay.passed(side)))
            };
            let before = passed();
            let text = "x".repeat(LENGTH);
            let row = client.rows(&format!("SELECT REPEAT('y', {SIZE}), '{text}'"))?;
            assert_eq!(row[0].len(), 2);
            // the relay counts behind its write: another exchange, and all of the first is counted
            client.ping()?;
            client.rows("SELECT 1")?;
            let after = passed();
            for (leg, (now, then)) in after.iter().zip(before).enumerate() {
                let packed = [name, server][leg] != "off";
                for (side, (now, then)) in now.iter().zip(then).enumerate() {
                    let bytes = now - then;
                    ensure!(
                        if packed { bytes < SIZE / 10 } else { bytes > SIZE },
                        "client {name}, server {server}: {bytes} bytes on leg {leg} from side {side}"
                    );
                }
            }
        }
    }
    Ok(())
}

fn frames_of_a_client_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "compression_cut", "off")?;
    rig.sql("CREATE TABLE t (v TEXT)")?;
    let sql = format!("INSERT INTO t VALUES ('{}')", "cut ".repeat(30));
    for (capability, name) in ways(cluster).into_iter().skip(1) {
        let login = rig.login().with(capability);
        let mut cuts = 0;
        for after in 0.. {
            let mut client = rig.client_in_front(&login)?;
            rig.front.arm(Fault::Cut(From::Client, after));
            let outcome = client.query(&sql);
            let cut = rig.front.disarm();
            drop(client);
            if !cut {
                assert_eq!(outcome?.error_number(), 0);
                break;
            }
            ensure!(matches!(outcome, Err(Failure::Lost(_))), "{name} cut after {after}: {outcome:?}");
            cuts += 1;
        }
        ensure!(cuts > 40, "{name}: {cuts} cuts");
        rig.is_as_before()?;
    }
    let count = rig.value(&format!("SELECT COUNT(*) FROM `{}`.t", rig.database))?;
    assert_eq!(count, (ways(cluster).len() - 1).to_string(), "a statement that was cut has run");
    Ok(())
}

fn frames_of_a_server_cut_at_every_byte(cluster: &'static Cluster) -> Result<()> {
    for (_, server) in ways(cluster).into_iter().skip(1) {
        let rig = rig(cluster, "compression_server", server)?;
        let mut client = rig.client()?;
        let mut cuts = 0;
        for after in 0.. {
            client.run("DO 1")?;
            rig.back.arm(Fault::Cut(From::Server, after));
            let answer = client.query("INSERT INTO nowhere SELECT REPEAT('cut ', 100), 'and again'")?;
            if !rig.back.disarm() {
                assert_eq!(answer.error_number(), 1146);
                break;
            }
            assert_eq!(answer.error_number(), 2013, "{server} cut after {after}: {answer:?}");
            cuts += 1;
            rig.serves()?;
        }
        ensure!(cuts > 40, "{server}: {cuts} cuts");
        drop(client);
        rig.is_as_before()?;
    }
    Ok(())
}

fn frames_that_are_none_end_the_session(cluster: &'static Cluster) -> Result<()> {
    let rig = rig(cluster, "compression_bad", "off")?;
    let packet = [&[200, 0, 0, 0, 3][..], "SELECT 'x'".as_bytes(), &[b' '; 189]].concat();
    let resident = || -> Result<f64> { Ok(rig.weir.metrics()?.sum("process_resident_memory_bytes", &[])) };
    for (capability, name) in ways(cluster).into_iter().skip(1) {
        let algorithm = match name {
            "zlib" => Algorithm::Zlib,
            _ => Algorithm::Zstd { level: 3 },
        };
        let pack = |plain: &[u8]| {
            let mut frame = Vec::new();
            FrameWriter::default().write(algorithm, 0, plain, &mut frame);
            frame
        };
        let good = pack(&packet);
        let change = |at: usize, to: u8| {
            let mut frame = good.clone();
            frame[at] = to;
            frame
        };
        let mut longer = good.clone();
        longer.extend_from_slice(b"more");
        longer[0] += 4;
        let mut shorter = good.clone();
        shorter.truncate(good.len() - 3);
        shorter[0] -= 3;
        let frames = [
            ("promises more", change(4, good[4] + 1)),
            ("promises less", change(4, good[4] - 1)),
            ("has something behind its end", longer),
            ("has no end", shorter),
            ("is not packed", [&[20, 0, 0, 0, 20, 0, 0][..], &[b'x'; 20]].concat()),
            ("is empty", vec![0; 7]),
            ("is out of order", change(3, 5)),
            ("has another packet's id in it", pack(&[&[1, 0, 0, 9, 14][..], &[0; 100]].concat())),
        ];
        let before = resident()?;
        for (what, frame) in frames {
            let client = rig.client_in_front(&rig.login().with(capability))?;
            let mut socket = client.into_tcp()?;
            // the server's side may close while the rest is on its way
            drop(std::io::Write::write_all(&mut socket, &frame));
            let mut rest = Vec::new();
            let closed = std::io::Read::read_to_end(&mut socket, &mut rest);
            ensure!(
                !matches!(&closed, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
                "{name}: a frame that {what} leaves the connection open"
            );
        }
        rig.is_as_before()?;
        // sixteen mebibytes of nothing in a few kilobytes: passes in pieces
        let mut bomb = vec![0; 0xFF_FFF0];
        bomb[..5].copy_from_slice(&[0xEC, 0xFF, 0xFF, 0, 3]);
        let bomb = pack(&bomb);
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = rig.client_in_front(&rig.login().with(capability))?.into_tcp()?;
            std::io::Write::write_all(&mut client, &bomb)?;
            clients.push(client);
        }
        for mut client in clients {
            let mut arrived = vec![0; 4096];
            let n = std::io::Read::read(&mut client, &mut arrived)?;
            let mut answer = [0; 4096];
            let progress = FrameReader::new(algorithm).read(&arrived[..n], &mut answer)?;
            assert!(progress.produced > 5 && answer[4] == 0xFF, "{name}: {:?}", &answer[..progress.produced]);
        }
        rig.is_as_before()?;
        let grown = resident()? - before;
        // all at once they would be 128 MiB
        ensure!(grown < 40e6, "{name}: memory grew by {grown}");
    }
    Ok(())
}

fn a_listener_offers_none_if_told_so(cluster: &'static Cluster) -> Result<()> {
    let weir = Weir::start(&Options::on(cluster)?.process("listeners.0.compression", false))?;
    let login: Login = weir.login().with(Capabilities::COMPRESS | Capabilities::ZSTD);
    let mut client = weir.connect(&login)?;
    assert!(!client.capabilities.intersects(Capabilities::COMPRESS | Capabilities::ZSTD));
    assert_eq!(client.value("SELECT 'plain'")?, "plain");
    let weir = Weir::start(&Options::on(cluster)?)?;
    let client = weir.connect(&login)?;
    assert!(client.capabilities.contains(Capabilities::COMPRESS));
    let zstd = client.capabilities.contains(Capabilities::ZSTD);
    assert_eq!(zstd, cluster.flavour() == Flavour::MySql);
    Ok(())
}
