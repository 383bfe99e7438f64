//! A gateway and a client that log in to each other, payload by payload.

#![allow(dead_code, reason = "every test program uses a part of it")]

use std::sync::{Arc, LazyLock};

use weir_wire::accept::{
    AcceptError, Candidate, ExpectLogin, LoginStep, NeedsCandidates, Next, Offer, TlsOffer, Transport,
    Verdict,
};
use weir_wire::auth::rsa::RsaKeyPair;
use weir_wire::auth::{AuthPlugin, Nonce};
use weir_wire::capability::{Capabilities, Status};
use weir_wire::connect::{
    ConnectError, ConnectOptions, Credential, ExpectGreeting, ExpectReply, LoggedIn, ServerKey, Step, TlsWish,
};
use weir_wire::greeting::{Greeting, MariaDbCapabilities};
use weir_wire::login::Attributes;
use weir_wire::response::{ErrPacket, OK, OkPacket, ResponseFlags};
use weir_wire::{Writer, error_code};

/// One key for all tests: making one takes long.
pub(crate) static RSA: LazyLock<Arc<RsaKeyPair>> =
    LazyLock::new(|| Arc::new(RsaKeyPair::from_pem(include_bytes!("../data/rsa_pkcs8.pem")).unwrap()));

pub(crate) const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";

pub(crate) fn nonce() -> Nonce {
    Nonce::from_random(NONCE)
}

/// What MySQL 9.7 offers.
pub(crate) fn server_capabilities() -> Capabilities {
    Capabilities::from_bits_retain(0xDFFF_FFFF)
}

pub(crate) fn greeting(plugin: AuthPlugin) -> Greeting {
    Greeting {
        version: b"9.7.4".to_vec(),
        connection_id: 7,
        auth_data: nonce().as_bytes().to_vec(),
        capabilities: server_capabilities(),
        mariadb: MariaDbCapabilities::empty(),
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: plugin.name().into(),
    }
}

pub(crate) fn offer(transport: Transport, tls: TlsOffer) -> Offer {
    Offer {
        capabilities: server_capabilities(),
        mariadb: MariaDbCapabilities::EXTENDED_METADATA,
        nonce: nonce(),
        tls,
        transport,
        rsa: RSA.clone(),
    }
}

pub(crate) fn options(password: &str) -> ConnectOptions {
    let mut attributes = Attributes::new();
    attributes.push(b"_client_name", b"test");
    ConnectOptions {
        user: b"app".to_vec(),
        credential: Credential::Password(password.as_bytes().to_vec().into()),
        database: Some(b"shop".to_vec()),
        capabilities: Capabilities::all(),
        mariadb: MariaDbCapabilities::empty(),
        collation: 45,
        attributes,
        max_packet_size: 1 << 24,
        tls: TlsWish::Off,
        is_local: false,
        server_key: ServerKey::Ask,
    }
}

pub(crate) fn bytes(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// What a conversation came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) client: Result<Box<LoggedIn>, ConnectError>,
    pub(crate) server: Result<Verdict, AcceptError>,
    /// Every packet, by what it is.
    pub(crate) trace: Vec<String>,
}

/// The gateway's listener.
pub(crate) struct Listener {
    pub(crate) greeting: Greeting,
    pub(crate) offer: Offer,
    /// Plugin and candidates of the only user name.
    pub(crate) plugin: AuthPlugin,
    pub(crate) candidates: Vec<Candidate>,
}

/// The gateway's state, whatever it waits for.
enum Server {
    Login(ExpectLogin),
    Auth(weir_wire::accept::ExpectAuth),
    Over,
}

/// The client's state, whatever it waits for.
enum Client {
    Greeting(ExpectGreeting),
    Reply(Box<ExpectReply>),
}

impl Listener {
    /// Lets a client log in.
    pub(crate) fn meet(self, options: ConnectOptions) -> Outcome {
        let Self { greeting, offer, plugin, candidates } = self;
        let mut trace = Vec::new();
        let mut to_client = vec![bytes(|w| greeting.write(w))];
        let mut server = Server::Login(ExpectLogin::new(offer));
        let mut client = Client::Greeting(ExpectGreeting::new(options));
        let mut verdict = Ok(Verdict::default());

        for _round in 0..20 {
            assert!(!to_client.is_empty(), "the server must speak: {trace:?}");
            let packet = to_client.remove(0);
            trace.push(format!("S {}", name(&packet)));
            let step = match client {
                Client::Greeting(state) => state.handle(&packet),
                Client::Reply(state) => state.handle(&packet),
            };
            let payload = match step {
                Err(e) => return Outcome { client: Err(e), server: verdict, trace },
                Ok(Step::Done(logged_in)) => {
                    return Outcome { client: Ok(logged_in), server: verdict, trace };
                }
                Ok(Step::Read { then }) => {
                    client = Client::Reply(then);
                    continue;
                }
                Ok(Step::Send { payload, then }) => {
                    client = Client::Reply(then);
                    payload
                }
                Ok(Step::StartTls { payload, then }) => {
                    trace.push("C SSLRequest".into());
                    let Server::Login(state) = server else { panic!("TLS in the middle: {trace:?}") };
                    let tls = match state.handle(&payload) {
                        Ok(LoginStep::StartTls(tls)) => tls,
                        other => panic!("no TLS: {other:?}"),
                    };
                    server = Server::Login(tls.done());
                    let Step::Send { payload, then } = then.done() else { panic!("no login after TLS") };
                    client = Client::Reply(then);
                    payload
                }
            };
            trace.push(format!("C {} bytes", payload.as_bytes().len()));
            let next = match server {
                Server::Login(state) => match state.handle(payload.as_bytes()) {
                    Ok(LoginStep::Lookup(lookup)) => lookup.next.with(plugin, candidates.clone()),
                    Ok(LoginStep::StartTls(_)) => panic!("nobody asked for TLS: {trace:?}"),
                    Err(e) => Err(e),
                },
                Server::Auth(state) => state.handle(payload.as_bytes()),
                Server::Over => panic!("the client speaks after the end: {trace:?}"),
            };
            let done = match next {
                Ok(Next::Send { payload, then }) => {
                    to_client.push(payload);
                    server = Server::Auth(then);
                    continue;
                }
                Ok(Next::Slow(check)) => {
                    trace.push("S (slow)".into());
                    check.run()
                }
                Ok(Next::Done(done)) => done,
                Err(e) => {
                    let err = ErrPacket { code: e.code(), message: e.client_message().as_bytes() };
                    to_client.push(bytes(|w| err.write(w)));
                    server = Server::Over;
                    verdict = Err(e);
                    continue;
                }
            };
            to_client.extend(done.before_ok().map(<[u8]>::to_vec));
            let denied = ErrPacket { code: error_code::ACCESS_DENIED, message: b"Access denied" };
            to_client.push(bytes(|w| match done.matched.len() {
                1 => OkPacket::default().write(OK, ResponseFlags::default(), w),
                _ => denied.write(w),
            }));
            server = Server::Over;
            verdict = Ok(done);
        }
        panic!("no end: {trace:?}");
    }
}

fn name(packet: &[u8]) -> String {
    match packet {
        [0x0A, ..] => "greeting".into(),
        [0x00, ..] => "OK".into(),
        [0xFF, low, high, ..] => format!("ERR {}", u16::from_le_bytes([*low, *high])),
        [0xFE, name @ ..] => {
            format!("switch to {}", String::from_utf8_lossy(name.split(|b| *b == 0).next().unwrap()))
        }
        [0x01, 3] => "fast ok".into(),
        [0x01, 4] => "full".into(),
        [0x01, b'-', ..] => "key".into(),
        other => format!("{other:?}"),
    }
}

/// A login that awaits candidates, from the client's first packet.
pub(crate) fn lookup(offer: Offer, packet: &[u8]) -> Result<NeedsCandidates, AcceptError> {
    match ExpectLogin::new(offer).handle(packet)? {
        LoginStep::Lookup(lookup) => Ok(lookup.next),
        LoginStep::StartTls(_) => panic!("TLS was asked for"),
    }
}
