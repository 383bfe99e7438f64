//! Logins of this crate's client side to its server side: every plugin, transport, kind of verifier and kind of
//! password against each other.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod parties;

use parties::{Listener, Outcome, RSA, greeting, offer, options, server_capabilities};
use weir_wire::accept::{AcceptError, Candidate, TlsOffer, Transport};
use weir_wire::auth::rsa::RsaPublicKey;
use weir_wire::auth::{AuthPlugin, Verifier, caching_sha2};
use weir_wire::capability::Capabilities;
use weir_wire::connect::{ConnectError, ServerKey, TlsWish};
use weir_wire::error_code::{ACCESS_DENIED, NOT_SUPPORTED_AUTH_MODE, SECURE_TRANSPORT_REQUIRED};

const PLUGINS: [AuthPlugin; 2] = [AuthPlugin::Native, AuthPlugin::CachingSha2];

/// How the bytes travel, and how a password may.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Tls,
    Local,
    AskKey,
    PinnedKey,
    Nothing,
}

const WAYS: [Way; 5] = [Way::Tls, Way::Local, Way::AskKey, Way::PinnedKey, Way::Nothing];

fn meet(
    way: Way,
    default: AuthPlugin,
    plugin: AuthPlugin,
    candidates: Vec<Candidate>,
    password: &str,
) -> Outcome {
    let (transport, tls) = match way {
        Way::Tls => (Transport::Plain, TlsOffer::Required),
        Way::Local => (Transport::Local, TlsOffer::Off),
        Way::AskKey | Way::PinnedKey | Way::Nothing => (Transport::Plain, TlsOffer::Off),
    };
    let mut options = options(password);
    options.tls = if way == Way::Tls { TlsWish::Required } else { TlsWish::Off };
    options.is_local = way == Way::Local;
    options.server_key = match way {
        Way::PinnedKey => ServerKey::Pinned(RsaPublicKey::from_pem(RSA.public_pem().as_bytes()).unwrap()),
        Way::AskKey => ServerKey::Ask,
        Way::Nothing | Way::Tls | Way::Local => ServerKey::Refuse,
    };
    let listener = Listener { greeting: greeting(default), offer: offer(transport, tls), plugin, candidates };
    listener.meet(options)
}

/// Every kind of verifier of a password; the last is a crypt whose password was learnt.
fn kinds_of(password: &str) -> Vec<Candidate> {
    let bytes = password.as_bytes();
    let crypt = Verifier::sha2_crypt_of(bytes, *b"saltsaltsaltsaltsalt");
    let learnt = Candidate { learnt: Some(caching_sha2::stage2(bytes)), ..crypt.clone().into() };
    vec![
        Verifier::plain(password).into(),
        Verifier::native_of(bytes).into(),
        Verifier::sha2_double_of(bytes).into(),
        crypt.into(),
        learnt,
    ]
}

/// Is the password itself needed to log in?
fn needs_password(candidate: &Candidate) -> bool {
    candidate.verifier.is_slow() && candidate.learnt.is_none()
}

#[test]
fn every_right_password_logs_in_by_every_way_that_can_carry_it() {
    let mut logins = 0;
    for default in PLUGINS {
        for plugin in PLUGINS {
            for way in WAYS {
                for candidate in kinds_of("s3cret") {
                    let what = format!("{default} {plugin} {way:?} {candidate:?}");
                    if !candidate.verifier.serves(plugin) {
                        continue;
                    }
                    let is_full = needs_password(&candidate);
                    let outcome = meet(way, default, plugin, vec![candidate], "s3cret");
                    let switches = outcome.trace.contains(&format!("S switch to {plugin}"));
                    assert_eq!(switches, default != plugin, "{what}: {:?}", outcome.trace);
                    assert_eq!(
                        outcome.trace.contains(&"S full".to_owned()),
                        is_full,
                        "{what}: {:?}",
                        outcome.trace
                    );
                    let asks = outcome.trace.contains(&"S key".to_owned());
                    assert_eq!(asks, is_full && way == Way::AskKey, "{what}: {:?}", outcome.trace);
                    if is_full && way == Way::Nothing {
                        assert_eq!(outcome.client.err(), Some(ConnectError::InsecureTransport), "{what}");
                        assert!(outcome.server.unwrap().matched.is_empty(), "{what}");
                        continue;
                    }
                    let logged_in =
                        outcome.client.unwrap_or_else(|e| panic!("{what}: {e}: {:?}", outcome.trace));
                    assert_eq!(logged_in.greeting.connection_id, 7);
                    let verdict = outcome.server.unwrap();
                    assert_eq!(verdict.matched, [0], "{what}");
                    let learnt = verdict.password.as_ref().map(|p| p.as_slice());
                    assert_eq!(learnt, is_full.then_some(&b"s3cret"[..]), "{what}");
                    assert!(verdict.password_used, "{what}");
                    logins += 1;
                }
            }
        }
    }
    // native: 2 kinds, sha2: 4 kinds of which one cannot do without a way for its password
    assert_eq!(logins, 2 * (2 * 5 + 3 * 5 + 4));
}

#[test]
fn no_wrong_password_logs_in() {
    for default in PLUGINS {
        for plugin in PLUGINS {
            for way in WAYS {
                for candidate in kinds_of("s3cret") {
                    for wrong in ["", "other", "S3cret"] {
                        let what = format!("{default} {plugin} {way:?} {candidate:?} {wrong:?}");
                        let outcome = meet(way, default, plugin, vec![candidate.clone()], wrong);
                        let verdict = outcome.server.unwrap_or_else(|e| panic!("{what}: {e}"));
                        assert!(verdict.matched.is_empty() && verdict.password.is_none(), "{what}");
                        assert_eq!(verdict.password_used, !wrong.is_empty(), "{what}");
                        match outcome.client {
                            Err(ConnectError::Refused(e)) => assert_eq!(e.code, ACCESS_DENIED, "{what}"),
                            Err(ConnectError::InsecureTransport) => assert_eq!(way, Way::Nothing, "{what}"),
                            other => panic!("{what}: {other:?}"),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn an_unknown_user_sees_what_a_wrong_password_sees() {
    for default in PLUGINS {
        for plugin in PLUGINS {
            for way in WAYS {
                for password in ["", "other"] {
                    let unknown = meet(way, default, plugin, vec![], password);
                    for candidate in kinds_of("s3cret").into_iter().filter(|c| c.verifier.serves(plugin)) {
                        let what = format!("{default} {plugin} {way:?} {candidate:?} {password:?}");
                        let known = meet(way, default, plugin, vec![candidate], password);
                        assert_eq!(known.trace, unknown.trace, "{what}");
                        assert_eq!(known.client.as_ref().err(), unknown.client.as_ref().err(), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_empty_password_is_proven_by_an_empty_answer_alone() {
    for default in PLUGINS {
        for plugin in PLUGINS {
            for way in WAYS {
                for candidate in kinds_of("").into_iter().take(3).filter(|c| c.verifier.serves(plugin)) {
                    let what = format!("{default} {plugin} {way:?} {candidate:?}");
                    let right = meet(way, default, plugin, vec![candidate.clone()], "");
                    assert!(right.client.is_ok(), "{what}: {:?}", right.trace);
                    assert!(!right.server.unwrap().password_used, "{what}");
                    let wrong = meet(way, default, plugin, vec![candidate], "s3cret");
                    assert!(wrong.client.is_err(), "{what}: {:?}", wrong.trace);
                }
            }
        }
    }
}

#[test]
fn the_longest_exchange_is_known_step_by_step() {
    let crypt = Verifier::sha2_crypt_of(b"s3cret", [b'x'; 20]);
    let outcome =
        meet(Way::AskKey, AuthPlugin::Native, AuthPlugin::CachingSha2, vec![crypt.into()], "s3cret");
    let login = outcome.trace[1].clone();
    assert_eq!(
        outcome.trace,
        [
            "S greeting",
            &login,
            "S switch to caching_sha2_password",
            "C 32 bytes",
            "S full",
            "C 1 bytes",
            "S key",
            "C 256 bytes",
            "S (slow)",
            "S OK"
        ]
    );
}

#[test]
fn the_password_decides_among_users_of_one_name() {
    for plugin in PLUGINS {
        let mut candidates: Vec<Candidate> =
            ["one", "two", "three"].map(|p| Verifier::plain(p).into()).to_vec();
        for (index, password) in ["one", "two", "three"].into_iter().enumerate() {
            let outcome = meet(Way::Tls, plugin, plugin, candidates.clone(), password);
            assert_eq!(outcome.server.unwrap().matched, [index]);
        }
        candidates.push(Verifier::plain("two").into());
        let outcome = meet(Way::Tls, plugin, plugin, candidates, "two");
        assert_eq!(outcome.server.unwrap().matched, [1, 3], "both match: the caller refuses");
        assert!(matches!(outcome.client, Err(ConnectError::Refused(_))));
    }
}

#[test]
fn a_match_is_not_trusted_while_another_candidate_may_match_too() {
    let sha2 = AuthPlugin::CachingSha2;
    let plain: Candidate = Verifier::plain("s3cret").into();
    let crypt = |password: &str| Candidate::from(Verifier::sha2_crypt_of(password.as_bytes(), [b'x'; 20]));

    let outcome = meet(Way::Tls, sha2, sha2, vec![plain.clone(), crypt("s3cret")], "s3cret");
    assert_eq!(outcome.server.unwrap().matched, [0, 1]);
    let outcome = meet(Way::Tls, sha2, sha2, vec![plain.clone(), crypt("other")], "s3cret");
    assert!(outcome.trace.contains(&"S full".to_owned()));
    assert_eq!(outcome.server.unwrap().matched, [0]);

    // What that login taught makes the next one fast, for either of them.
    let refuted = Candidate { refuted: vec![caching_sha2::stage2(b"s3cret")], ..crypt("other") };
    let outcome = meet(Way::Tls, sha2, sha2, vec![plain.clone(), refuted.clone()], "s3cret");
    assert!(!outcome.trace.contains(&"S full".to_owned()));
    assert_eq!(outcome.server.unwrap().matched, [0]);
    let outcome = meet(Way::Tls, sha2, sha2, vec![plain, refuted], "other");
    assert_eq!(outcome.server.unwrap().matched, [1], "what is refuted is one password, not the candidate");

    let learnt = Candidate { learnt: Some(caching_sha2::stage2(b"other")), ..crypt("other") };
    let outcome = meet(Way::Tls, sha2, sha2, vec![Verifier::plain("s3cret").into(), learnt], "s3cret");
    assert!(!outcome.trace.contains(&"S full".to_owned()), "what was learnt also says no");
    assert_eq!(outcome.server.unwrap().matched, [0]);
}

#[test]
fn what_is_known_of_a_password_is_not_worked_out_again() {
    let sha2 = AuthPlugin::CachingSha2;
    let crypt = Candidate::from(Verifier::sha2_crypt_of(b"s3cret", [b'x'; 20]));
    let open = Candidate::from(Verifier::sha2_crypt_of(b"other", [b'y'; 20]));
    // Knowledge that is false on purpose: only so it shows that it was used.
    let refuted = Candidate { refuted: vec![caching_sha2::stage2(b"s3cret")], ..crypt.clone() };
    let learnt = Candidate { learnt: Some(caching_sha2::stage2(b"another")), ..crypt };
    let outcome = meet(Way::Tls, sha2, sha2, vec![refuted, learnt, open], "s3cret");
    assert!(outcome.trace.contains(&"S full".to_owned()));
    assert!(outcome.server.unwrap().matched.is_empty());
}

#[test]
fn tls_is_required_of_tcp_and_not_of_unix_sockets() {
    let listener = |transport| Listener {
        greeting: greeting(AuthPlugin::Native),
        offer: offer(transport, TlsOffer::Required),
        plugin: AuthPlugin::Native,
        candidates: vec![Verifier::plain("s3cret").into()],
    };
    let outcome = listener(Transport::Plain).meet(options("s3cret"));
    assert_eq!(outcome.server.err(), Some(AcceptError::TlsRequired));
    let Err(ConnectError::Refused(e)) = outcome.client else { panic!("logged in without TLS") };
    assert_eq!(e.code, SECURE_TRANSPORT_REQUIRED);
    assert!(listener(Transport::Local).meet(options("s3cret")).client.is_ok());
}

#[test]
fn a_client_that_requires_tls_shows_no_password_to_a_server_without() {
    let mut greeting = greeting(AuthPlugin::Native);
    greeting.capabilities.remove(Capabilities::SSL);
    let anonymous = Listener {
        greeting,
        offer: offer(Transport::Plain, TlsOffer::Off),
        plugin: AuthPlugin::Native,
        candidates: vec![Verifier::plain("").into()],
    };
    let mut options = options("s3cret");
    options.tls = TlsWish::Required;
    let outcome = anonymous.meet(options);
    assert_eq!(
        outcome.client.err(),
        Some(ConnectError::TlsNotOffered),
        "even where the server lets anybody in"
    );
    assert!(!outcome.server.unwrap().password_used);
    assert!(outcome.trace.contains(&"S OK".to_owned()), "the server saw a login, not a broken connection");
}

#[test]
fn tls_is_used_where_both_prefer_it() {
    for (offered, wish, used) in [
        (TlsOffer::Preferred, TlsWish::Preferred, true),
        (TlsOffer::Preferred, TlsWish::Off, false),
        (TlsOffer::Off, TlsWish::Preferred, false),
    ] {
        let mut greeting = greeting(AuthPlugin::Native);
        greeting.capabilities.set(Capabilities::SSL, offered != TlsOffer::Off);
        let listener = Listener {
            greeting,
            offer: offer(Transport::Plain, offered),
            plugin: AuthPlugin::Native,
            candidates: vec![Verifier::plain("s3cret").into()],
        };
        let mut options = options("s3cret");
        options.tls = wish;
        let outcome = listener.meet(options);
        assert!(outcome.client.is_ok(), "{offered:?} {wish:?}");
        assert_eq!(outcome.trace.contains(&"C SSLRequest".to_owned()), used, "{offered:?} {wish:?}");
    }
}

#[test]
fn a_server_without_plugins_is_logged_in_to_and_a_client_without_is_told() {
    let mut greeting = greeting(AuthPlugin::Native);
    greeting.capabilities.remove(Capabilities::PLUGIN_AUTH);
    greeting.plugin.clear();
    for (plugin, error) in
        [(AuthPlugin::Native, None), (AuthPlugin::CachingSha2, Some(NOT_SUPPORTED_AUTH_MODE))]
    {
        let mut offer = offer(Transport::Plain, TlsOffer::Off);
        offer.capabilities = greeting.capabilities;
        let listener = Listener {
            greeting: greeting.clone(),
            offer,
            plugin,
            candidates: vec![Verifier::plain("s3cret").into()],
        };
        let refused = match listener.meet(options("s3cret")).client {
            Ok(_) => None,
            Err(ConnectError::Refused(e)) => Some(e.code),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(refused, error, "{plugin}");
    }
}

#[test]
fn both_sides_agree_on_the_same_capabilities() {
    let listener = Listener {
        greeting: greeting(AuthPlugin::Native),
        offer: offer(Transport::Plain, TlsOffer::Off),
        plugin: AuthPlugin::Native,
        candidates: vec![Verifier::plain("s3cret").into()],
    };
    let logged_in = listener.meet(options("s3cret")).client.unwrap();
    let decided =
        Capabilities::SSL | Capabilities::PLUGIN_AUTH_LENENC | Capabilities::MULTI_FACTOR_AUTHENTICATION;
    assert_eq!(logged_in.agreed, server_capabilities().difference(decided));
}
