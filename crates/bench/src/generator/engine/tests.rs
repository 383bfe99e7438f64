//! The engine against a server that is told how to misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Socket};
use std::sync::{Arc, Mutex};

use weir_wire::capability::{Capabilities, Status};
use weir_wire::greeting::{Greeting, MariaDbCapabilities};
use weir_wire::packet_with;

use super::*;

const WARM_UP: Duration = Duration::from_millis(20);
const MEASURE: Duration = Duration::from_millis(150);
const CLIENTS: u32 = 3;

/// What the server does to the statement of a connection that has this number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Answer,
    WrongRow,
    Refuse,
    HangUp,
    /// A second answer that nobody asked for.
    AnswerTwice,
}

type Behaviour = fn(usize) -> Deed;
/// The texts that each connection sent.
type Heard = Arc<Mutex<Vec<Vec<String>>>>;

fn start(behaviour: Behaviour) -> (Target, Heard) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Heard::default();
    let shared = Arc::clone(&heard);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let heard = Arc::clone(&shared);
            let index = heard.lock().unwrap().len();
            heard.lock().unwrap().push(Vec::new());
            // It ends when the client hangs up.
            std::thread::spawn(move || serve(socket.unwrap(), behaviour, &heard, index));
        }
    });
    let target = Target {
        name: "fake".to_owned(),
        address,
        user: "root".to_owned(),
        password: String::new(),
        proxy: Some(std::process::id()),
    };
    (target, heard)
}

fn serve(mut socket: Socket, behaviour: Behaviour, heard: &Heard, index: usize) -> Option<()> {
    let greeting = Greeting {
        version: b"9.7.0".to_vec(),
        connection_id: 1,
        auth_data: vec![b'x'; 20],
        capabilities: Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_WITH_DB
            | Capabilities::DEPRECATE_EOF,
        mariadb: MariaDbCapabilities::empty(),
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: b"mysql_native_password".to_vec(),
    };
    let mut out = Vec::new();
    packet_with(&mut out, 0, |w| greeting.write(w));
    socket.write_all(&out).ok()?;
    read_packet(&mut socket)?;
    socket.write_all(&ok(2, 0)).ok()?;
    for number in 0.. {
        let payload = read_packet(&mut socket)?;
        let text = String::from_utf8_lossy(payload.get(1..)?).into_owned();
        heard.lock().unwrap()[index].push(text.clone());
        let answer = match behaviour(number) {
            Deed::Answer => answer(&text, 0),
            Deed::WrongRow => answer(&text, 1),
            Deed::Refuse => packet(1, b"\xFF\xBD\x04#40001Deadlock"),
            Deed::HangUp => return None,
            Deed::AnswerTwice => [answer(&text, 0), answer(&text, 0)].concat(),
        };
        socket.write_all(&answer).ok()?;
    }
    None
}

fn read_packet(socket: &mut Socket) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).ok()?;
    let mut payload = vec![0; usize::from(header[0]) + (usize::from(header[1]) << 8)];
    socket.read_exact(&mut payload).ok()?;
    Some(payload)
}

/// The row with the id that is asked for, or so many ids further; an OK for what is no SELECT.
fn answer(text: &str, off: u32) -> Vec<u8> {
    let Some(id) = text.strip_prefix("SELECT id, c FROM bench.points WHERE id = ") else {
        let changes = ["UPDATE", "DELETE", "INSERT"].iter().any(|verb| text.starts_with(verb));
        return ok(1, u8::from(changes));
    };
    let id = (id.parse::<u32>().unwrap() + off).to_string();
    let row = [&[u8::try_from(id.len()).unwrap()], id.as_bytes(), b"\x01c"].concat();
    [
        packet(1, &[2]),
        packet(2, b"id"),
        packet(3, b"c"),
        packet(4, &row),
        packet(5, &[0xFE, 0, 0, 2, 0, 0, 0]),
    ]
    .concat()
}

fn ok(sequence: u8, affected: u8) -> Vec<u8> {
    packet(sequence, &[0, affected, 0, 2, 0, 0, 0])
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packet_with(&mut out, sequence, |w| {
        w.bytes(payload);
    });
    out
}

fn engine(workload: Workload, behaviour: Behaviour) -> (Engine, Heard) {
    let (target, heard) = start(behaviour);
    let own = vec![std::process::id()];
    (Engine::log_in(workload, CLIENTS, 1_000, vec![target], own).unwrap(), heard)
}

#[test]
fn right_answers_are_counted_and_timed() {
    let (mut engine, heard) = engine(Workload::PointSelect, |_| Deed::Answer);
    let measured = engine.run(0, WARM_UP, MEASURE).unwrap();
    assert_eq!((measured.errors, measured.first_error), (0, None));
    assert!(measured.statements > 10, "{}", measured.statements);
    assert!((0.15..5.0).contains(&measured.seconds));
    assert!(measured.p50_us > 0.0 && measured.p50_us <= measured.p99_us);
    let sent: usize = heard.lock().unwrap().iter().map(Vec::len).sum();
    assert!(sent as u64 > measured.statements, "what is sent to warm up is not counted");
    assert!(measured.proxy_cpu_us > 0.0 && measured.server_cpu_us > 0.0);
}

#[test]
fn what_goes_wrong_is_an_error_and_no_statement() {
    for (behaviour, what) in
        [((|_| Deed::WrongRow) as Behaviour, "Wrong"), (|_| Deed::Refuse, "Refused(1213)")]
    {
        let (mut engine, _) = engine(Workload::PointSelect, behaviour);
        let measured = engine.run(0, WARM_UP, MEASURE).unwrap();
        assert_eq!((measured.statements, measured.first_error.as_deref()), (0, Some(what)));
        assert!(measured.errors > 10, "{}", measured.errors);
    }
}

#[test]
fn a_client_whose_connection_is_lost_comes_back_in_the_next_run() {
    let (mut engine, heard) = engine(Workload::PointSelect, |number| match number {
        50 => Deed::HangUp,
        _ => Deed::Answer,
    });
    for connections in [1, 2] {
        let failed = engine.run(0, WARM_UP, Duration::from_secs(20)).unwrap_err().to_string();
        assert_eq!(failed, "every client failed: the connection was closed");
        assert_eq!(heard.lock().unwrap().len(), connections * CLIENTS as usize);
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_an_error() {
    let (mut engine, _) = engine(Workload::PointSelect, |_| Deed::AnswerTwice);
    let failed = engine.run(0, WARM_UP, Duration::from_secs(20)).unwrap_err().to_string();
    let known =
        ["every client failed: bytes after the answer", "every client failed: bytes that nobody asked for"];
    assert!(known.contains(&failed.as_str()), "{failed}");
}

#[test]
fn transactions_are_ended_when_a_run_is_over_and_given_up_after_an_error() {
    let (mut engine, heard) = engine(Workload::ReadWrite, |number| match number {
        3 => Deed::Refuse,
        _ => Deed::Answer,
    });
    let measured = engine.run(0, Duration::ZERO, MEASURE).unwrap();
    assert_eq!(measured.errors, u64::from(CLIENTS));
    assert!(measured.transaction_p50_us >= measured.p50_us, "seven statements take longer than one");
    for texts in heard.lock().unwrap().iter() {
        let verbs: Vec<&str> = texts.iter().filter_map(|text| text.split(' ').next()).collect();
        let first = ["BEGIN", "SELECT", "SELECT", "UPDATE", "ROLLBACK", "BEGIN"];
        assert_eq!(verbs[..first.len()], first);
        assert_eq!(verbs.last(), Some(&"COMMIT"));
        let begun = verbs.iter().filter(|verb| **verb == "BEGIN").count();
        let ended = verbs.iter().filter(|verb| ["COMMIT", "ROLLBACK"].contains(verb)).count();
        assert_eq!(begun, ended);
    }
}
