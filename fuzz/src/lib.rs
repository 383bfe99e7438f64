//! One function for everything in Weir that reads bytes from a stranger. Each takes any bytes, must not panic, and
//! asserts what must hold whatever they are.
//!
//! The functions are driven by libFuzzer (`fuzz_targets/`) and, with mutations of known messages, by the smoke test
//! of the wire crate (`crates/wire/tests/fuzz_smoke.rs`), which compiles this file into itself.

use std::sync::{Arc, LazyLock};

use weir_wire::accept::{
    Candidate, ExpectLogin, LoginStep, Next, Offer, TlsOffer, Transport, Verdict,
    change_user as accept_change,
};
use weir_wire::auth::rsa::{RsaKeyPair, RsaPublicKey};
use weir_wire::auth::{AuthPlugin, Nonce, Verifier};
use weir_wire::capability::Capabilities;
use weir_wire::command::Command;
use weir_wire::compress::{Algorithm, FrameReader, FrameWriter, Progress};
use weir_wire::connect::{ConnectOptions, Credential, ExpectGreeting, ServerKey, Step, TlsWish};
use weir_wire::greeting::{FirstServerPacket, MariaDbCapabilities};
use weir_wire::local_file::LocalFile;
use weir_wire::login::{Attributes, ChangeUser, FirstClientPacket, HandshakeResponse41, ServerAuthPacket};
use weir_wire::proxy_protocol::ProxyHeader;
use weir_wire::response::{
    Column, EOF, EofPacket, ErrPacket, OK, OkPacket, PrepareOk, Records, ResponseFlags, TextRow, TrackWish,
};
use weir_wire::response_end::{Expect, ResponseEnd, Scan};
use weir_wire::server_version::ServerVersion;
use weir_wire::{Malformed, Reader, Writer, query_attributes};

/// A target: the name of its file in `fuzz_targets/`, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("accept", accept),
    ("auth_packet", auth_packet),
    ("change_user", change_user),
    ("command", command),
    ("compress", compress),
    ("connect", connect),
    ("greeting", greeting),
    ("local_file", local_file),
    ("login", login),
    ("proxy_protocol", proxy_protocol),
    ("response", response),
    ("response_end", response_end),
    ("rsa_key", rsa_key),
    ("session_track", session_track),
    ("verifier", verifier),
];

/// The password that no input knows.
const PASSWORD: &str = "correct horse battery staple";

static RSA: LazyLock<Arc<RsaKeyPair>> =
    LazyLock::new(|| Arc::new(RsaKeyPair::generate().expect("an RSA key")));

static CANDIDATES: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    vec![
        Verifier::plain(PASSWORD).into(),
        Verifier::native_of(PASSWORD.as_bytes()).into(),
        Verifier::sha2_double_of(PASSWORD.as_bytes()).into(),
        Verifier::sha2_crypt_of(PASSWORD.as_bytes(), [b's'; 20]).into(),
    ]
});

/// The nonce of every conversation, so that inputs can be prepared for it.
pub fn nonce() -> Nonce {
    Nonce::from_random(*b"abcdefghijklmnopqrst")
}

fn bytes(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// A conversation as bytes: two of configuration, then packets, each after two bytes of length.
pub fn script(configuration: [u8; 2], packets: &[&[u8]]) -> Vec<u8> {
    let mut out = configuration.to_vec();
    for packet in packets {
        out.extend_from_slice(&u16::try_from(packet.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(packet);
    }
    out
}

/// The packets of a [`script`]; the last may be cut.
fn packets<'a>(r: &mut Reader<'a>) -> impl Iterator<Item = &'a [u8]> {
    std::iter::from_fn(move || {
        let len = r.u16("length").ok()?;
        let len = usize::from(len).min(r.remaining());
        r.bytes(len, "packet").ok()
    })
}

/// A client of unknown intentions logs in: it never succeeds.
pub fn accept(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok([who, how]) = r.array("configuration") else { return };
    let plugin = if who & 1 == 0 { AuthPlugin::Native } else { AuthPlugin::CachingSha2 };
    let candidates: Vec<Candidate> = CANDIDATES
        .iter()
        .enumerate()
        .filter(|(i, _)| who >> (i + 1) & 1 == 1)
        .map(|(_, c)| c.clone())
        .collect();
    let offer = Offer {
        capabilities: Capabilities::from_bits_retain(0xDFFF_FFFF),
        mariadb: MariaDbCapabilities::all(),
        nonce: nonce(),
        tls: [TlsOffer::Off, TlsOffer::Preferred, TlsOffer::Required, TlsOffer::Preferred]
            [usize::from(how & 3)],
        transport: if how & 4 == 0 { Transport::Plain } else { Transport::Local },
        rsa: RSA.clone(),
    };
    // Checks that cost milliseconds are run for one configuration in sixteen.
    let runs_slow = how >> 4 == 0;
    let mut packets = packets(&mut r);

    let mut next = None;
    if how & 8 != 0 {
        let Some(body) = packets.next() else { return };
        let Ok((_, needs)) = accept_change(body, offer.capabilities, offer) else { return };
        next = Some(needs.with(plugin, candidates));
    } else {
        let mut state = ExpectLogin::new(offer);
        while next.is_none() {
            let Some(packet) = packets.next() else { return };
            match state.handle(packet) {
                Err(_) => return,
                Ok(LoginStep::StartTls(tls)) => state = tls.done(),
                Ok(LoginStep::Lookup(lookup)) => {
                    next = Some(lookup.next.with(plugin, candidates));
                    break;
                }
            }
        }
    }
    let mut steps = 0;
    while let Some(Ok(step)) = next {
        steps += 1;
        assert!(steps <= 5, "a login comes to an end");
        let refuse = |verdict: &Verdict| {
            assert!(verdict.matched.is_empty() && verdict.password.is_none(), "nobody knows the password");
            assert_eq!(verdict.before_ok(), None);
        };
        next = match step {
            Next::Done(verdict) => return refuse(&verdict),
            Next::Slow(check) if runs_slow => return refuse(&check.run()),
            Next::Slow(_) => return,
            Next::Send { then, .. } => packets.next().map(|packet| then.handle(packet)),
        };
    }
}

/// A server of unknown intentions is logged in to: it never sees the password in clear, unless the way to it is
/// secure.
pub fn connect(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok([how, flags]) = r.array("configuration") else { return };
    let is_local = how & 4 != 0;
    let mut attributes = Attributes::new();
    attributes.push(b"_client_name", b"weir");
    let options = ConnectOptions {
        user: b"app".to_vec(),
        credential: Credential::Password(PASSWORD.as_bytes().to_vec().into()),
        database: (how & 8 != 0).then(|| b"shop".to_vec()),
        capabilities: Capabilities::all(),
        mariadb: MariaDbCapabilities::all(),
        collation: 45,
        attributes,
        max_packet_size: 1 << 24,
        tls: [TlsWish::Off, TlsWish::Preferred, TlsWish::Required, TlsWish::Off][usize::from(how & 3)],
        is_local,
        server_key: match flags & 1 {
            0 => ServerKey::Ask,
            _ => ServerKey::Refuse,
        },
    };
    let declines = flags & 2 != 0;
    let mut packets = packets(&mut r);
    let Some(first) = packets.next() else { return };
    let mut step = ExpectGreeting::new(options).handle(first);
    let mut is_secure = is_local;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps <= 12, "a login comes to an end");
        step = match step {
            Err(_) | Ok(Step::Done(_)) => return,
            Ok(Step::StartTls { then, .. }) => {
                is_secure = true;
                Ok(if declines { then.decline() } else { then.done() })
            }
            Ok(Step::Send { payload, then }) => {
                let shown = payload.as_bytes().windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes());
                assert!(is_secure || !shown, "the password is shown");
                let Some(packet) = packets.next() else { return };
                then.handle(packet)
            }
            Ok(Step::Read { then }) => {
                let Some(packet) = packets.next() else { return };
                then.handle(packet)
            }
        };
    }
}

/// A greeting that is read is written back as it was.
pub fn greeting(data: &[u8]) {
    let Ok(FirstServerPacket::Greeting(greeting)) = FirstServerPacket::parse(data) else { return };
    let _ = std::str::from_utf8(&greeting.version).ok().and_then(ServerVersion::parse);
    if greeting.nonce().is_some() {
        let again = bytes(|w| greeting.write(w));
        assert_eq!(FirstServerPacket::parse(&again), Ok(FirstServerPacket::Greeting(greeting)));
    }
}

/// A login that is read is written back as it was.
pub fn login(data: &[u8]) {
    let _ = FirstClientPacket::parse(data);
    let Ok(mut login) = HandshakeResponse41::parse(data) else { return };
    assert!(login.attributes.iter().count() <= data.len());
    if login.capabilities.contains(Capabilities::ZSTD) {
        login.zstd_level.get_or_insert(3);
    }
    assert_eq!(HandshakeResponse41::parse(&bytes(|w| login.write(w))), Ok(login));
}

/// A COM_CHANGE_USER that is read is written back as it was.
pub fn change_user(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(capabilities) = r.u32("capabilities") else { return };
    let capabilities = Capabilities::from_bits_retain(capabilities);
    let Ok(mut change) = ChangeUser::parse(r.rest(), capabilities) else { return };
    if capabilities.contains(Capabilities::PLUGIN_AUTH) && change.collation.is_some() {
        change.plugin.get_or_insert_default();
    }
    let again = bytes(|w| change.write(capabilities, w));
    assert_eq!(ChangeUser::parse(&again[1..], capabilities), Ok(change));
}

/// What a server says between a login and its end.
pub fn auth_packet(data: &[u8]) {
    match ServerAuthPacket::parse(data) {
        Ok(ServerAuthPacket::Switch(switch)) => assert_eq!(bytes(|w| switch.write(w)), data),
        Ok(ServerAuthPacket::MoreData(more)) => assert_eq!(bytes(|w| more.write(w)), data),
        _ => {}
    }
}

/// A PROXY header is the same whatever follows it, and incomplete wherever it is cut.
pub fn proxy_protocol(data: &[u8]) {
    if let Ok(ProxyHeader::Complete { source, len }) = ProxyHeader::parse(data) {
        assert_eq!(ProxyHeader::parse(&data[..len]), Ok(ProxyHeader::Complete { source, len }));
        for cut in 0..len {
            assert_eq!(ProxyHeader::parse(&data[..cut]), Ok(ProxyHeader::Incomplete), "cut at {cut}");
        }
    }
}

/// A command.
pub fn command(data: &[u8]) {
    if let Ok(Command::ChangeUser(body)) = Command::parse(data) {
        let _ = ChangeUser::parse(body, Capabilities::all());
    }
    if let Ok(at) = query_attributes::text_at(data) {
        assert!(at <= data.len());
    }
}

/// Frames give the same bytes, or the same refusal, however they are cut; the first two bytes say how. Nothing beyond what
/// a frame promises comes out of it.
pub fn compress(data: &[u8]) {
    let [which, cut, frames @ ..] = data else { return };
    let algorithm = if which % 2 == 0 { Algorithm::Zlib } else { Algorithm::Zstd { level: 3 } };
    let unpack = |pieces: &[&[u8]], room: usize| {
        let mut reader = FrameReader::new(algorithm);
        let mut plain = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let mut space = vec![0; room];
                let Ok(progress) = reader.read(rest, &mut space) else { return (plain, false) };
                assert!(progress.consumed <= rest.len() && progress.produced <= room);
                plain.extend_from_slice(&space[..progress.produced]);
                rest = &rest[progress.consumed..];
                if progress == Progress::default() || plain.len() > 1 << 20 {
                    break;
                }
            }
        }
        (plain, true)
    };
    let (whole, fine) = unpack(&[frames], 4096);
    let (head, tail) = frames.split_at(usize::from(*cut).min(frames.len()));
    let (pieces, fine_too) = unpack(&[head, tail], 1 + usize::from(*which));
    if fine && fine_too && whole.len() <= 1 << 20 && pieces.len() <= 1 << 20 {
        assert_eq!(whole, pieces);
    }
    let mut packed = Vec::new();
    FrameWriter::default().write(algorithm, *cut, frames, &mut packed);
    if !frames.is_empty() {
        assert_eq!(unpack(&[&packed], 1 << 16), (frames.to_vec(), true));
    }
}

/// A file's end is the same place however it is cut; the first byte says where.
pub fn local_file(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut whole = bytes.to_vec();
    let mut at_once = LocalFile::new(2, 3);
    let expected = at_once.walk(&mut whole);
    let mut cut_once = bytes.to_vec();
    let (head, tail) = cut_once.split_at_mut(usize::from(cut).min(bytes.len()));
    let mut in_two = LocalFile::new(2, 3);
    let walked = in_two.walk(head).and_then(|n| Ok(n + in_two.walk(tail)?));
    assert_eq!(walked.is_ok(), expected.is_ok());
    if let (Ok(n), Ok(expected)) = (walked, expected) {
        assert_eq!((n, in_two.has_ended()), (expected, at_once.has_ended()));
        assert_eq!(cut_once, whole);
    }
}

/// A verifier's text is written back so that it means the same.
pub fn verifier(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(verifier) = Verifier::parse(text) {
        let again = verifier.to_text().expect("only plain passwords have no text");
        assert_eq!(Verifier::parse(&again), Ok(verifier));
    }
}

/// A server's RSA key.
pub fn rsa_key(data: &[u8]) {
    if let Ok(key) = RsaPublicKey::from_pem(data) {
        let _ = key.encrypt_password(PASSWORD.as_bytes(), &nonce());
    }
}

/// The single packets of answers.
pub fn response(data: &[u8]) {
    for (session_track, deprecate_eof) in [(false, false), (true, true)] {
        let flags = ResponseFlags { session_track, deprecate_eof };
        if let (Some(&first @ (OK | EOF)), Ok(ok)) = (data.first(), OkPacket::parse(data, flags)) {
            let again = bytes(|w| ok.write(first, flags, w));
            let read_back = OkPacket::parse(&again, flags).expect("what was written can be read");
            assert_eq!(bytes(|w| read_back.write(first, flags, w)), again);
        }
    }
    let _ = ErrPacket::parse(data);
    let _ = EofPacket::parse(data);
    let _ = PrepareOk::parse(data);
    let _ = Column::parse(data);
    let mut row = TextRow::new(data);
    while row.value().is_ok() {}
}

/// Session-state records: what a client is told of them can be read in turn.
pub fn session_track(data: &[u8]) {
    assert!(Records::new(data).count() <= data.len(), "records come to an end");
    let mut told = Vec::new();
    if TrackWish::default().filter(data, &mut told).is_ok() {
        assert!(Records::new(&told).all(|record| record.is_ok()));
    }
}

/// An answer ends at the same place, and passes on the same bytes, however it arrives.
pub fn response_end(data: &[u8]) {
    let Some((&how, answer)) = data.split_first() else { return };
    let expect = [Expect::Results, Expect::Prepare, Expect::Rows, Expect::Columns, Expect::One];
    let expect = expect[usize::from(how & 7) % expect.len()];
    let client = ResponseFlags { session_track: how & 8 != 0, deprecate_eof: how & 16 != 0 };
    let wish = TrackWish::default();
    let wish = client.session_track.then_some(&wish);
    let row_limit = (how & 32 != 0).then_some(2);
    let at_once = walk(ResponseEnd::new(expect, client, wish, row_limit), answer, answer.len().max(1));
    for chunk in [1, 7, 64] {
        let in_pieces = walk(ResponseEnd::new(expect, client, wish, row_limit), answer, chunk);
        assert_eq!(at_once.0, in_pieces.0, "in pieces of {chunk}");
        // The status of an EOF that has left already cannot be corrected any more.
        if client.deprecate_eof {
            assert_eq!(at_once.1, in_pieces.1, "in pieces of {chunk}");
        } else {
            assert_eq!(at_once.1.len(), in_pieces.1.len(), "in pieces of {chunk}");
        }
    }
}

/// How a walk ended, and what went to the client.
fn walk(mut end: ResponseEnd<'_>, answer: &[u8], chunk: usize) -> (Result<Scan, &'static str>, Vec<u8>) {
    let (mut buf, mut client) = (Vec::new(), Vec::new());
    for piece in answer.chunks(chunk) {
        buf.extend_from_slice(piece);
        let scan = end.scan(&mut buf);
        assert!(end.boundary() <= end.position() && end.position() <= buf.len());
        match scan {
            Ok(Scan::More) => {
                let ready = end.position();
                client.extend(buf.drain(..ready));
                end.taken(ready);
            }
            Ok(over) => {
                client.extend_from_slice(&buf[..end.boundary()]);
                return (Ok(over), client);
            }
            Err(Malformed { what, .. }) => {
                client.extend_from_slice(&buf[..end.position()]);
                return (Err(what), client);
            }
        }
    }
    (Ok(Scan::More), client)
}
