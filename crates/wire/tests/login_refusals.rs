//! Clients and servers that misbehave at login, or want what is not spoken.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod parties;

use parties::{RSA, bytes, greeting, lookup, nonce, offer, options};
use weir_wire::accept::{AcceptError, ExpectAuth, ExpectLogin, Next, TlsOffer, Transport, change_user};
use weir_wire::auth::{AuthPlugin, Nonce, Verifier, caching_sha2, native};
use weir_wire::capability::Capabilities;
use weir_wire::connect::{ConnectError, ConnectOptions, ExpectGreeting, ServerKey, Step};
use weir_wire::error_code::{HANDSHAKE, NOT_SUPPORTED_AUTH_MODE, UNKNOWN_COM};
use weir_wire::greeting::{Greeting, MariaDbCapabilities};
use weir_wire::login::{
    Attributes, AuthData, ChangeUser, FirstClientPacket, HandshakeResponse41, SslRequest,
};

const ERR_1045: &[u8] = b"\xFF\x15\x04#28000Access denied";
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn switch_to(plugin: &str) -> Vec<u8> {
    [&b"\xFE"[..], plugin.as_bytes(), b"\0", nonce().as_bytes(), b"\0"].concat()
}

// ---- clients ----

fn login_with(plugin: &[u8], answer: &[u8]) -> HandshakeResponse41 {
    HandshakeResponse41 {
        capabilities: Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::LONG_PASSWORD,
        mariadb: MariaDbCapabilities::empty(),
        max_packet_size: 1 << 24,
        collation: 45,
        user: b"app".to_vec(),
        auth_response: AuthData::new(answer),
        database: None,
        plugin: Some(plugin.to_vec()),
        attributes: Attributes::new(),
        zstd_level: None,
    }
}

/// The state after a login by `plugin` with this answer, for a user whose password is `s3cret`.
fn next_after(transport: Transport, plugin: AuthPlugin, answer: &[u8]) -> Result<Next, AcceptError> {
    let packet = bytes(|w| login_with(plugin.name().as_bytes(), answer).write(w));
    lookup(offer(transport, TlsOffer::Off), &packet)?.with(plugin, vec![Verifier::plain("s3cret").into()])
}

/// The state of a login that was asked for its password.
fn asked_for_password(transport: Transport) -> ExpectAuth {
    match next_after(transport, AuthPlugin::CachingSha2, &[7; 32]) {
        Ok(Next::Send { then, payload }) if payload == [1, 4] => then,
        other => panic!("not asked for the password: {other:?}"),
    }
}

#[test]
fn answers_of_a_length_that_a_plugin_never_has_are_bad_handshakes() {
    for (plugin, lengths) in [(AuthPlugin::Native, vec![0, 20]), (AuthPlugin::CachingSha2, vec![0, 1, 32])] {
        for len in 0..=255 {
            let error = next_after(Transport::Plain, plugin, &vec![0; len]).err();
            let expected = (!lengths.contains(&len)).then_some(AcceptError::AnswerLength { plugin, len });
            assert_eq!(error, expected, "{plugin} {len}");
            assert!(error.is_none_or(|e| e.code() == HANDSHAKE));
        }
    }
    let one_byte = next_after(Transport::Plain, AuthPlugin::CachingSha2, &[1]).err();
    assert_eq!(one_byte, Some(AcceptError::AnswerLength { plugin: AuthPlugin::CachingSha2, len: 1 }));
}

#[test]
fn the_answer_to_a_switch_is_checked_as_the_first_one_is() {
    let packet = bytes(|w| login_with(b"mysql_clear_password", b"s3cret\0").write(w));
    let switched = || {
        let lookup = lookup(offer(Transport::Plain, TlsOffer::Off), &packet).unwrap();
        match lookup.with(AuthPlugin::Native, vec![Verifier::plain("s3cret").into()]) {
            Ok(Next::Send { payload, then }) => {
                assert_eq!(payload, switch_to("mysql_native_password"));
                then
            }
            other => panic!("no switch: {other:?}"),
        }
    };
    assert!(matches!(switched().handle(b"s3cret\0"), Err(AcceptError::AnswerLength { len: 7, .. })));
    let right = native::scramble(b"s3cret", &nonce()).unwrap();
    let Ok(Next::Done(verdict)) = switched().handle(&right) else { panic!("not decided") };
    assert_eq!(verdict.matched, [0]);
}

#[test]
fn a_password_in_clear_must_end_with_nul() {
    for transport in [Transport::Tls, Transport::Local] {
        for payload in [&b""[..], b"s3cret", b"s3cret\0x"] {
            // over TLS the login itself is the second packet, which makes no difference here
            let state = asked_for_password(transport);
            assert!(matches!(state.handle(payload), Err(AcceptError::Malformed(_))), "{payload:?}");
        }
        let Ok(Next::Slow(check)) = asked_for_password(transport).handle(b"s3cret\0") else {
            panic!("no check")
        };
        assert_eq!(check.run().matched, [0]);
    }
}

#[test]
fn a_password_in_clear_over_a_plain_transport_is_never_accepted() {
    for payload in [&b"s3cret\0"[..], b"s3cret", b"", b"\0", &[0; 256], &[b'x'; 255]] {
        let Ok(Next::Slow(check)) = asked_for_password(Transport::Plain).handle(payload) else {
            panic!("refused in another way: {payload:?}")
        };
        assert!(check.run().matched.is_empty(), "{payload:?}");
    }
}

#[test]
fn the_public_key_is_given_on_every_transport() {
    for transport in [Transport::Plain, Transport::Local, Transport::Tls] {
        let Ok(Next::Send { payload, then }) = asked_for_password(transport).handle(&[2]) else {
            panic!("no key")
        };
        assert_eq!(payload, [b"\x01", RSA.public_pem().as_bytes()].concat());
        let key = weir_wire::auth::rsa::RsaPublicKey::from_pem(&payload[1..]).unwrap();
        let ciphertext = key.encrypt_password(b"s3cret", &nonce()).unwrap();
        let Ok(Next::Slow(check)) = then.handle(&ciphertext) else { panic!("no check") };
        assert_eq!(check.run().matched, [0]);
    }
}

#[test]
fn a_password_longer_than_any_server_takes_is_wrong() {
    let long = "x".repeat(257);
    let scramble = caching_sha2::scramble(b"other", &nonce()).unwrap();
    let packet = bytes(|w| login_with(b"caching_sha2_password", &scramble).write(w));
    let lookup = lookup(offer(Transport::Local, TlsOffer::Off), &packet).unwrap();
    let Ok(Next::Send { then, .. }) =
        lookup.with(AuthPlugin::CachingSha2, vec![Verifier::plain(&long).into()])
    else {
        panic!("not asked for the password")
    };
    let Ok(Next::Slow(check)) = then.handle(format!("{long}\0").as_bytes()) else { panic!("no check") };
    assert!(check.run().matched.is_empty());
}

#[test]
fn tls_that_is_not_offered_and_old_protocols_are_bad_handshakes() {
    let request = SslRequest {
        capabilities: Capabilities::PROTOCOL_41 | Capabilities::SSL,
        mariadb: MariaDbCapabilities::empty(),
        max_packet_size: 0,
        collation: 45,
    };
    let ssl = bytes(|w| request.write(w));
    for (packet, expected) in
        [(&ssl[..], AcceptError::TlsNotOffered), (b"\x85\x24\0\0\0app\0SCRAMBLE\0", AcceptError::OldProtocol)]
    {
        let error = ExpectLogin::new(offer(Transport::Plain, TlsOffer::Off)).handle(packet).err();
        assert_eq!(error, Some(expected));
        assert_eq!(expected.code(), HANDSHAKE);
    }
    let second = ExpectLogin::new(offer(Transport::Tls, TlsOffer::Preferred)).handle(&ssl);
    assert!(matches!(second, Err(AcceptError::Malformed(_))), "TLS within TLS");
}

#[test]
fn a_cut_login_names_what_is_missing() {
    let packet = bytes(|w| login_with(b"caching_sha2_password", &[7; 32]).write(w));
    let error = ExpectLogin::new(offer(Transport::Plain, TlsOffer::Off)).handle(&packet[..50]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the client's login is malformed: malformed packet: authentication answer at byte 37"
    );
    assert_eq!((error.code(), error.client_message()), (HANDSHAKE, "Bad handshake"));
}

// ---- COM_CHANGE_USER ----

fn change(plugin: Option<&[u8]>, answer: &[u8], agreed: Capabilities) -> Vec<u8> {
    let change = ChangeUser {
        user: b"other".to_vec(),
        auth_response: AuthData::new(answer),
        database: Some(b"shop".to_vec()),
        collation: Some(45),
        plugin: plugin.map(<[u8]>::to_vec),
        attributes: Attributes::new(),
    };
    bytes(|w| change.write(agreed, w)).split_off(1)
}

#[test]
fn a_change_of_user_asks_for_an_answer_to_a_fresh_nonce() {
    let agreed = Capabilities::PLUGIN_AUTH;
    let fresh = Nonce::from_random([9; 20]);
    for plugin in [AuthPlugin::Native, AuthPlugin::CachingSha2] {
        let mut offer = offer(Transport::Plain, TlsOffer::Off);
        offer.nonce = fresh;
        let stale = native::scramble(b"s3cret", &nonce()).unwrap();
        let body = change(Some(plugin.name().as_bytes()), &stale, agreed);
        let (login, next) = change_user(&body, agreed, offer).unwrap();
        assert_eq!((login.user.as_slice(), login.database.as_deref()), (&b"other"[..], Some(&b"shop"[..])));
        let Ok(Next::Send { payload, then }) = next.with(plugin, vec![Verifier::plain("s3cret").into()])
        else {
            panic!("no switch")
        };
        assert!(payload.starts_with(b"\xFE") && payload.ends_with(&[fresh.as_bytes(), &b"\0"[..]].concat()));
        let answer = match plugin {
            AuthPlugin::Native => native::scramble(b"s3cret", &fresh).unwrap().to_vec(),
            AuthPlugin::CachingSha2 => caching_sha2::scramble(b"s3cret", &fresh).unwrap().to_vec(),
        };
        let Ok(Next::Done(verdict)) = then.handle(&answer) else { panic!("not decided") };
        assert_eq!(verdict.matched, [0]);
    }
}

#[test]
fn a_change_of_user_without_plugins_answers_the_nonce_of_the_login() {
    let agreed = Capabilities::PROTOCOL_41;
    let answer = native::scramble(b"s3cret", &nonce()).unwrap();
    let body = change(None, &answer, agreed);
    let begin = || change_user(&body, agreed, offer(Transport::Plain, TlsOffer::Off)).unwrap().1;
    let candidates = || vec![Verifier::plain("s3cret").into()];
    let Ok(Next::Done(verdict)) = begin().with(AuthPlugin::Native, candidates()) else {
        panic!("not decided")
    };
    assert_eq!(verdict.matched, [0]);
    let error = begin().with(AuthPlugin::CachingSha2, candidates()).unwrap_err();
    assert_eq!(error.code(), NOT_SUPPORTED_AUTH_MODE);
}

#[test]
fn a_cut_change_of_user_is_an_unknown_command() {
    let body = change(None, &[7; 20], Capabilities::empty());
    for cut in 0..body.len() - 2 {
        let error =
            change_user(&body[..cut], Capabilities::empty(), offer(Transport::Plain, TlsOffer::Off)).err();
        assert_eq!(error.map(|e| e.code()), Some(UNKNOWN_COM), "cut at {cut}");
    }
}

// ---- servers ----

/// Greets, then says each of `packets` in turn; what the client said to each, and what came of it.
fn serve(
    greeting: &Greeting,
    options: ConnectOptions,
    packets: &[Vec<u8>],
) -> (Vec<Vec<u8>>, Option<ConnectError>) {
    let mut said = Vec::new();
    let mut step = ExpectGreeting::new(options).handle(&bytes(|w| greeting.write(w)));
    for packet in packets {
        step = match step {
            Ok(Step::Send { payload, then }) => {
                said.push(payload.as_bytes().to_vec());
                then.handle(packet)
            }
            Ok(Step::Read { then }) => then.handle(packet),
            Ok(Step::StartTls { .. } | Step::Done(_)) => panic!("over before {packet:?}"),
            Err(e) => return (said, Some(e)),
        };
    }
    match step {
        Ok(Step::Done(_)) => (said, None),
        Ok(other) => panic!("goes on: {other:?}"),
        Err(e) => (said, Some(e)),
    }
}

#[test]
fn plugins_that_are_not_spoken_are_declined_in_good_form() {
    for (plugin, answer) in [
        ("mysql_clear_password", vec![0]),
        ("mysql_old_password", vec![0]),
        ("sha256_password", vec![0]),
        ("dialog", vec![0]),
        ("client_ed25519", vec![0; 64]),
        ("authentication_ldap_sasl_client", vec![0]),
    ] {
        for end in [ERR_1045, OK] {
            let packets = [switch_to(plugin), end.to_vec()];
            let (said, error) = serve(&greeting(AuthPlugin::Native), options("s3cret"), &packets);
            assert_eq!(error, Some(ConnectError::UnsupportedPlugin(plugin.into())), "{end:?}");
            assert_eq!(said[1], answer, "{plugin}");
        }
    }
    let packets = [vec![0xFE], ERR_1045.to_vec()];
    let (said, error) = serve(&greeting(AuthPlugin::Native), options("s3cret"), &packets);
    assert_eq!(error, Some(ConnectError::UnsupportedPlugin("mysql_old_password".into())));
    assert_eq!(said[1], [0]);
    let packets = [b"\x02webauthn_client\0".to_vec(), ERR_1045.to_vec()];
    let (_, error) = serve(&greeting(AuthPlugin::Native), options("s3cret"), &packets);
    assert_eq!(error, Some(ConnectError::UnsupportedPlugin("webauthn_client".into())));
}

#[test]
fn a_default_plugin_that_is_not_spoken_matters_only_to_accounts_that_have_it() {
    let mut greeting = greeting(AuthPlugin::Native);
    greeting.plugin = b"client_ed25519".to_vec();
    greeting.auth_data = vec![b'x'; 32];
    let unsupported = Some(ConnectError::UnsupportedPlugin("client_ed25519".into()));
    for (packets, expected) in [
        (vec![switch_to("mysql_native_password"), OK.to_vec()], None),
        (vec![ERR_1045.to_vec()], unsupported.clone()),
        (vec![OK.to_vec()], unsupported),
    ] {
        assert_eq!(serve(&greeting, options("s3cret"), &packets).1, expected);
    }
    let denied = [switch_to("mysql_native_password"), ERR_1045.to_vec()];
    assert!(matches!(serve(&greeting, options("s3cret"), &denied).1, Some(ConnectError::Refused(_))));
}

#[test]
fn a_password_that_may_not_be_sent_is_declined_in_good_form() {
    let full = [1, 4].to_vec();
    let mut refuses = options("s3cret");
    refuses.server_key = ServerKey::Refuse;
    let (said, error) =
        serve(&greeting(AuthPlugin::CachingSha2), refuses, &[full.clone(), ERR_1045.to_vec()]);
    assert_eq!((said[1].as_slice(), error), (&[0][..], Some(ConnectError::InsecureTransport)));

    for pem in [&b"\x01no key"[..], &[b"\x01", &include_bytes!("data/rsa_public_1024.pem")[..]].concat()] {
        let packets = [full.clone(), pem.to_vec(), ERR_1045.to_vec()];
        let (said, error) = serve(&greeting(AuthPlugin::CachingSha2), options("s3cret"), &packets);
        assert_eq!((said[1].as_slice(), said[2].as_slice()), (&[2][..], &[0][..]));
        assert!(matches!(error, Some(ConnectError::Rsa(_))), "{error:?}");
    }

    let key = [b"\x01", RSA.public_pem().as_bytes()].concat();
    let packets = [full, key, ERR_1045.to_vec()];
    let (_, error) = serve(&greeting(AuthPlugin::CachingSha2), options(&"x".repeat(214)), &packets);
    assert!(matches!(error, Some(ConnectError::Rsa(_))), "too long for the key: {error:?}");
}

#[test]
fn a_caller_that_declines_after_tls_ends_as_nobody() {
    let mut with_tls = options("s3cret");
    with_tls.tls = weir_wire::connect::TlsWish::Required;
    let greeting = bytes(|w| greeting(AuthPlugin::Native).write(w));
    let Ok(Step::StartTls { payload, then }) = ExpectGreeting::new(with_tls).handle(&greeting) else {
        panic!("no TLS")
    };
    assert!(matches!(FirstClientPacket::parse(&payload), Ok(FirstClientPacket::SslRequest(_))));
    let Step::Send { payload, then } = then.decline() else { panic!("nothing to send") };
    let login = HandshakeResponse41::parse(payload.as_bytes()).unwrap();
    assert!(login.user.is_empty() && login.auth_response.as_bytes().is_empty());
    let Ok(Step::Send { payload, then }) = then.handle(&switch_to("caching_sha2_password")) else {
        panic!("hangs up")
    };
    assert_eq!(payload.as_bytes(), [0]);
    let Ok(Step::Send { payload, then }) = then.handle(&[1, 4]) else { panic!("hangs up") };
    assert_eq!(payload.as_bytes(), [0], "not even now does it show a password");
    let Ok(Step::Send { payload, then }) = then.handle(&[0xFE]) else { panic!("hangs up") };
    assert_eq!(payload.as_bytes(), [0]);
    assert_eq!(then.handle(ERR_1045).err(), Some(ConnectError::Declined), "the first reason stays");
}

#[test]
fn servers_that_misbehave_are_named() {
    let sha2 = greeting(AuthPlugin::CachingSha2);
    let native = greeting(AuthPlugin::Native);
    let unexpected = |e: &ConnectError| matches!(e, ConnectError::Unexpected(_));
    let malformed = |e: &ConnectError| matches!(e, ConnectError::Malformed(_));
    let endless = vec![switch_to("mysql_native_password"); 9];
    type Is<'a> = &'a dyn Fn(&ConnectError) -> bool;
    let rows: Vec<(&Greeting, Vec<Vec<u8>>, Is<'_>)> = vec![
        (&native, vec![vec![1, 4]], &unexpected),
        (&native, vec![vec![1, 3]], &unexpected),
        (&sha2, vec![vec![1, 5]], &unexpected),
        (&sha2, vec![vec![1]], &unexpected),
        (&sha2, vec![vec![]], &malformed),
        (&sha2, vec![vec![0xFB]], &malformed),
        (&sha2, vec![b"\xFEmysql_native_password".to_vec()], &malformed),
        (&sha2, vec![b"\xFEmysql_native_password\0short\0".to_vec()], &malformed),
        (&native, endless, &|e| *e == ConnectError::TooManySteps),
    ];
    for (greeting, packets, expected) in rows {
        let (_, error) = serve(greeting, options("s3cret"), &packets);
        assert!(error.as_ref().is_some_and(expected), "{packets:?}: {error:?}");
    }
}

#[test]
fn a_server_that_refuses_at_once_is_quoted() {
    let refused = ExpectGreeting::new(options("s3cret")).handle(b"\xFF\x69\x04Host 'gw' is blocked");
    let Err(ConnectError::Refused(refusal)) = refused else { panic!("no refusal: {refused:?}") };
    assert_eq!((refusal.code.number, refusal.message.as_str()), (1129, "Host 'gw' is blocked"));
}

#[test]
fn a_challenge_that_no_plugin_can_answer_is_malformed() {
    for plugin in [AuthPlugin::Native, AuthPlugin::CachingSha2] {
        let mut other = greeting(plugin);
        other.auth_data = vec![b'x'; 32];
        let error = ExpectGreeting::new(options("s3cret")).handle(&bytes(|w| other.write(w))).err();
        assert!(matches!(error, Some(ConnectError::Malformed(_))), "{plugin}: {error:?}");
    }
}

#[test]
fn a_server_before_mysql_4_1_is_too_old() {
    for missing in [Capabilities::PROTOCOL_41, Capabilities::SECURE_CONNECTION] {
        let mut old = greeting(AuthPlugin::Native);
        old.capabilities.remove(missing);
        let error = ExpectGreeting::new(options("s3cret")).handle(&bytes(|w| old.write(w))).err();
        assert_eq!(error, Some(ConnectError::ServerTooOld));
    }
}

#[test]
fn mariadb_capabilities_are_agreed_on_only_with_a_server_that_has_them() {
    let wanted = MariaDbCapabilities::CACHE_METADATA | MariaDbCapabilities::PROGRESS;
    let mut mariadb = greeting(AuthPlugin::Native);
    mariadb.mariadb = MariaDbCapabilities::CACHE_METADATA | MariaDbCapabilities::EXTENDED_METADATA;
    for (long_password, agreed) in
        [(false, MariaDbCapabilities::CACHE_METADATA), (true, MariaDbCapabilities::empty())]
    {
        mariadb.capabilities.set(Capabilities::LONG_PASSWORD, long_password);
        let options = ConnectOptions { mariadb: wanted, ..options("s3cret") };
        let step = ExpectGreeting::new(options).handle(&bytes(|w| mariadb.write(w)));
        let Ok(Step::Send { payload, .. }) = step else { panic!("no login: {step:?}") };
        assert_eq!(HandshakeResponse41::parse(payload.as_bytes()).unwrap().mariadb, agreed);
    }
}

#[test]
fn nothing_shown_for_debugging_holds_a_secret() {
    let step =
        ExpectGreeting::new(options("s3cret")).handle(&bytes(|w| greeting(AuthPlugin::Native).write(w)));
    let shown = format!("{:?} {step:?}", options("s3cret"));
    assert!(!shown.contains("s3cret") && !shown.contains("115, 51, 99"), "{shown}");
    let next = asked_for_password(Transport::Local).handle(b"s3cret\0").unwrap();
    let shown = format!("{next:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("115, 51, 99"), "{shown}");
    let Next::Slow(check) = next else { panic!("no check") };
    let shown = format!("{:?}", check.run());
    assert!(!shown.contains("s3cret") && !shown.contains("115, 51, 99"), "{shown}");
}
