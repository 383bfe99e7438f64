//! A short fuzzing run that needs nothing but stable Rust: known messages, altered at random from a fixed seed, given
//! to every target of the `fuzz` folder.
//!
//! `FUZZ_ITERATIONS` (default 200,000) says how many inputs, `FUZZ_SEED` from which seed. With `FUZZ_CORPUS=<folder>`
//! the known messages are also written there, one folder a target, as a start for libFuzzer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "compiled here as a module, there as a library; a panic is what a target is for"
)]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use targets::{TARGETS, nonce, script};
use weir_wire::Writer;
use weir_wire::auth::{Verifier, caching_sha2, native};
use weir_wire::capability::{Capabilities, Status};
use weir_wire::command::com;
use weir_wire::compress::{Algorithm, FrameWriter};
use weir_wire::greeting::{Greeting, MariaDbCapabilities};
use weir_wire::login::{Attributes, AuthData, ChangeUser, HandshakeResponse41, SslRequest};
use weir_wire::response::{Column, ERR, EofPacket, OK, OkPacket, ResponseFlags, ResultSet, column_type};

/// SplitMix64: every seed gives another sequence, and none is bad.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 14] = [0, 1, 2, 3, 4, 20, 32, 0x7F, 0x80, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF];
        match self.below(2) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.next().to_le_bytes()[0],
        }
    }
}

fn altered(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len() + 1);
        let end = (at + 1 + random.below(8)).min(data.len());
        match random.below(8) {
            0 | 1 if at < data.len() => data[at] = random.byte(),
            2 if at < data.len() => data[at] ^= 1 << random.below(8),
            3 => data.truncate(at),
            4 => data.insert(at, random.byte()),
            5 if at < end => drop(data.drain(at..end)),
            6 if at < end => data.extend_from_within(at..end),
            7 => {
                let other = &seeds[random.below(seeds.len())];
                data.truncate(at);
                data.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            _ => data.push(random.byte()),
        }
    }
    data
}

fn bytes(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn login(plugin: &str, answer: &[u8], with: Capabilities) -> Vec<u8> {
    let mut attributes = Attributes::new();
    attributes.push(b"_client_name", b"libmysql");
    let login = HandshakeResponse41 {
        capabilities: with
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_WITH_DB
            | Capabilities::CONNECT_ATTRS,
        mariadb: MariaDbCapabilities::empty(),
        max_packet_size: 1 << 24,
        collation: 45,
        user: b"app".to_vec(),
        auth_response: AuthData::new(answer),
        database: Some(b"shop".to_vec()),
        plugin: Some(plugin.into()),
        attributes,
        zstd_level: Some(3),
    };
    bytes(|w| login.write(w))
}

fn logins() -> Vec<Vec<u8>> {
    let native = native::scramble(b"guess", &nonce()).unwrap();
    let sha2 = caching_sha2::scramble(b"guess", &nonce()).unwrap();
    let more = Capabilities::PLUGIN_AUTH_LENENC | Capabilities::ZSTD | Capabilities::LONG_PASSWORD;
    vec![
        login("mysql_native_password", &native, Capabilities::LONG_PASSWORD),
        login("mysql_native_password", &[], Capabilities::empty()),
        login("caching_sha2_password", &sha2, more),
        login("caching_sha2_password", &[0], more),
        login("mysql_clear_password", b"guess\0", more | Capabilities::SSL),
    ]
}

fn ssl_request() -> Vec<u8> {
    let request = SslRequest {
        capabilities: Capabilities::SSL | Capabilities::PROTOCOL_41,
        mariadb: MariaDbCapabilities::empty(),
        max_packet_size: 1 << 24,
        collation: 45,
    };
    bytes(|w| request.write(w))
}

fn change_of_user() -> Vec<u8> {
    let change = ChangeUser {
        user: b"app".to_vec(),
        auth_response: AuthData::new(&[7; 20]),
        database: Some(b"shop".to_vec()),
        collation: Some(255),
        plugin: Some(b"mysql_native_password".to_vec()),
        attributes: Attributes::new(),
    };
    bytes(|w| change.write(Capabilities::all(), w))
}

fn greetings() -> Vec<Vec<u8>> {
    let mysql = Greeting {
        version: b"9.7.4".to_vec(),
        connection_id: 7,
        auth_data: nonce().as_bytes().to_vec(),
        capabilities: Capabilities::from_bits_retain(0xDFFF_FFFF),
        mariadb: MariaDbCapabilities::empty(),
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: b"caching_sha2_password".to_vec(),
    };
    let mariadb = Greeting {
        version: b"5.5.5-10.11.19-MariaDB".to_vec(),
        capabilities: Capabilities::from_bits_retain(0x81FF_F7FE),
        mariadb: MariaDbCapabilities::all(),
        plugin: b"mysql_native_password".to_vec(),
        ..mysql.clone()
    };
    vec![
        bytes(|w| mysql.write(w)),
        bytes(|w| mariadb.write(w)),
        b"\xFF\x10\x04#08004Too many connections".to_vec(),
    ]
}

fn switch_to(plugin: &str) -> Vec<u8> {
    [&b"\xFE"[..], plugin.as_bytes(), b"\0", nonce().as_bytes(), b"\0"].concat()
}

const PEM: &[u8] = include_bytes!("data/rsa_public.pem");
const ERR_1045: &[u8] = b"\xFF\x15\x04#28000Access denied";
const OK_PACKET: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// Answers of a server, and the first byte that says what they answer.
fn answers() -> Vec<Vec<u8>> {
    let flags = ResponseFlags { session_track: true, deprecate_eof: true };
    let state = b"\x00\x0F\x0Aautocommit\x03OFF\x01\x05\x04shop";
    let end = OkPacket {
        status: Status::AUTOCOMMIT | Status::SESSION_STATE_CHANGED,
        session_state: state,
        ..OkPacket::default()
    };
    let column = Column {
        schema: b"shop",
        table: b"t",
        org_table: b"t",
        name: b"id",
        org_name: b"id",
        charset: 63,
        length: 11,
        kind: column_type::LONG,
        flags: 1,
        decimals: 0,
    };
    let mut rows = Vec::new();
    let mut set = ResultSet::begin(&mut rows, 1, flags, &[column.clone(), column], &end);
    for _ in 0..4 {
        set.row([Some(&b"1"[..]), None]);
    }
    set.end(&end);
    let mut ok = Vec::new();
    weir_wire::packet_with(&mut ok, 1, |w| end.write(OK, flags, w));
    let mut error = Vec::new();
    weir_wire::write_packet(&mut error, 1, ERR_1045);
    let mut prepared = Vec::new();
    weir_wire::write_packet(&mut prepared, 1, &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    prepared.extend_from_slice(&rows[5..]);
    let bodies = [rows.clone(), ok, error, prepared, rows.get(5..).unwrap().to_vec()];
    let with_kind = |kind: u8| move |body: &Vec<u8>| [&[kind][..], body].concat();
    (0..64).flat_map(|kind| bodies.iter().map(with_kind(kind)).collect::<Vec<_>>()).collect()
}

/// Known messages for a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let full: &[u8] = &[1, 4];
    let key = [&[1], PEM].concat();
    match target {
        "accept" => {
            let logins = logins();
            let change = change_of_user().split_off(1);
            let mut all = Vec::new();
            for who in [0x00, 0x01, 0x1E, 0x1F, 0x05, 0x11] {
                for how in [0x00, 0x10, 0x14, 0x11, 0x12] {
                    for login in &logins {
                        all.push(script([who, how], &[login, &[2], &[9; 256]]));
                        all.push(script([who, how], &[login, &[9; 32], b"guess\0"]));
                        all.push(script([who, how], &[&ssl_request(), login, &[9; 20], b"guess\0"]));
                    }
                    all.push(script([who, how | 8], &[&change, &[9; 32], &[2], &[9; 256]]));
                }
            }
            all
        }
        "connect" => {
            let mut all = Vec::new();
            for greeting in &greetings() {
                for how in 0..16 {
                    for flags in 0..4 {
                        for packets in [
                            &[greeting, &switch_to("mysql_native_password"), OK_PACKET][..],
                            &[greeting, &switch_to("caching_sha2_password"), full, &key, OK_PACKET],
                            &[greeting, &switch_to("dialog"), ERR_1045],
                            &[greeting, &[1, 3], OK_PACKET],
                            &[greeting, full, &key, ERR_1045],
                        ] {
                            all.push(script([how, flags], packets));
                        }
                    }
                }
            }
            all
        }
        "greeting" => greetings(),
        "login" => [logins(), vec![ssl_request(), b"\x85\x24\0\0\0app\0SCRAMBLE\0".to_vec()]].concat(),
        "change_user" => {
            let body = change_of_user().split_off(1);
            [0, u32::MAX, Capabilities::PLUGIN_AUTH.bits()]
                .map(|c| [&c.to_le_bytes(), &body[..]].concat())
                .to_vec()
        }
        "auth_packet" => {
            vec![
                switch_to("mysql_native_password"),
                full.into(),
                key,
                OK_PACKET.into(),
                ERR_1045.into(),
                vec![0xFE],
            ]
        }
        "command" => {
            let mut all = vec![change_of_user()];
            all.extend(
                (0..=0x20).map(|command| [&[command], &b"\x01\0\0\0\0\x01\0\0\0shop\0%"[..]].concat()),
            );
            all.push([&[com::QUERY], &b"SELECT 1"[..]].concat());
            all.push(b"\x03\x00\x01SELECT 1".to_vec());
            all.push(b"\x03\x02\x01\x02\x01\xFE\x00\x01a\x08\x80\x01b\x03abcSELECT 1".to_vec());
            all
        }
        "compress" => {
            let text: Vec<u8> = (0..3000).map(|i| b"0123456789"[i * i % 7]).collect();
            let algorithms = [Algorithm::Zlib, Algorithm::Zstd { level: 3 }];
            let pack = |which: u8| {
                let mut out = vec![which, 40];
                let mut writer = FrameWriter::default();
                for len in [10, 3000, 200] {
                    writer.write(algorithms[usize::from(which % 2)], 0, &text[..len], &mut out);
                }
                out
            };
            (0..8).map(pack).collect()
        }
        "local_file" => {
            let mut file = Vec::new();
            let next = [&b"1,one\n"[..], b"", b"more"]
                .iter()
                .fold(2, |sequence, packet| weir_wire::write_packet(&mut file, sequence, packet));
            weir_wire::write_packet(&mut file, next, b"");
            (0..20).map(|cut| [&[cut], &file[..]].concat()).collect()
        }
        "proxy_protocol" => vec![
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 3306\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 3306\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x01\xC0\0\x02\x02\xDC\x04\x0C\xEA".to_vec(),
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..], &[1; 36]].concat(),
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(),
        ],
        "response" => {
            let eof = EofPacket { warnings: 0, status: Status::AUTOCOMMIT };
            let packets = answers().into_iter().take(5).map(|answer| answer[5..].to_vec());
            packets.chain([bytes(|w| eof.write(w)), vec![ERR, 0x15, 4], OK_PACKET.into()]).collect()
        }
        "response_end" => answers(),
        "rsa_key" => vec![PEM.to_vec(), include_bytes!("data/rsa_public_1024.pem").to_vec()],
        "session_track" => vec![
            b"\x00\x0F\x0Aautocommit\x03OFF\x01\x05\x04shop\x02\x01\x31".to_vec(),
            b"\x05\x09\x08T_______\x04\x13\x12START TRANSACTION;\x03\x05\x00\x03u:1".to_vec(),
        ],
        "verifier" => {
            let password = b"guess";
            let crypt = Verifier::sha2_crypt_of(password, [b's'; 20]);
            let control = Verifier::sha2_crypt_of(password, [1; 20]);
            [Verifier::native_of(password), Verifier::sha2_double_of(password), crypt, control]
                .map(|v| v.to_text().unwrap().into_bytes())
                .to_vec()
        }
        other => panic!("no seeds for {other}"),
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn no_input_makes_a_parser_panic_or_break_its_word() {
    let iterations = setting("FUZZ_ITERATIONS", 200_000);
    let seed = setting("FUZZ_SEED", 20_261_121);
    let per_target = iterations / TARGETS.len() as u64;
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        if let Some(folder) = std::env::var_os("FUZZ_CORPUS") {
            let folder = std::path::Path::new(&folder).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for (index, seed) in seeds.iter().enumerate() {
                std::fs::write(folder.join(format!("known-{index:04}")), seed).unwrap();
            }
        }
        let mut random = Random(seed);
        let altered = (0..per_target).map(|_| altered(&seeds, &mut random));
        for data in seeds.iter().cloned().chain(altered) {
            let outcome = catch_unwind(AssertUnwindSafe(|| target(&data)));
            assert!(outcome.is_ok(), "target {name} fails on {data:02x?}");
        }
    }
}
