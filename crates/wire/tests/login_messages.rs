//! The messages of a login: written and read back, cut at every byte, and in every combination of capabilities.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod parties;

use parties::bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_wire::capability::{Capabilities, Status};
use weir_wire::greeting::{Greeting, MariaDbCapabilities};
use weir_wire::login::{
    Attributes, AuthData, ChangeUser, FirstClientPacket, HandshakeResponse41, SslRequest,
};

/// The flags that change the form of a login.
const FORMS: [Capabilities; 6] = [
    Capabilities::CONNECT_WITH_DB,
    Capabilities::PLUGIN_AUTH,
    Capabilities::PLUGIN_AUTH_LENENC,
    Capabilities::CONNECT_ATTRS,
    Capabilities::SECURE_CONNECTION,
    Capabilities::ZSTD,
];

fn every_form() -> impl Iterator<Item = Capabilities> {
    (0..1_u32 << FORMS.len()).map(|mask| {
        let chosen = FORMS.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, f)| *f);
        chosen.fold(Capabilities::PROTOCOL_41 | Capabilities::LONG_PASSWORD, |all, f| all | f)
    })
}

fn attributes() -> Attributes {
    let mut attributes = Attributes::new();
    attributes.push(b"_client_name", b"libmysql");
    attributes.push(b"empty", b"");
    attributes
}

/// A login that has what its capabilities say.
fn login(capabilities: Capabilities) -> HandshakeResponse41 {
    let has = |flag| capabilities.contains(flag);
    HandshakeResponse41 {
        capabilities,
        mariadb: MariaDbCapabilities::empty(),
        max_packet_size: 0x0100_0000,
        collation: 45,
        user: b"app".to_vec(),
        auth_response: AuthData::new(&[0x80; 32]),
        database: has(Capabilities::CONNECT_WITH_DB).then(|| b"shop".to_vec()),
        plugin: has(Capabilities::PLUGIN_AUTH).then(|| b"caching_sha2_password".to_vec()),
        attributes: if has(Capabilities::CONNECT_ATTRS) { attributes() } else { Attributes::new() },
        zstd_level: has(Capabilities::ZSTD).then_some(7),
    }
}

fn parsed(payload: &[u8]) -> HandshakeResponse41 {
    match FirstClientPacket::parse(payload) {
        Ok(FirstClientPacket::Login(login)) => *login,
        other => panic!("no login: {other:?}"),
    }
}

#[test]
fn a_login_is_read_back_in_every_combination_of_capabilities() {
    for capabilities in every_form() {
        let login = login(capabilities);
        assert_eq!(parsed(&bytes(|w| login.write(w))), login, "{capabilities:?}");
    }
}

#[test]
fn rejects_login_cut_inside_salt_and_everywhere_else() {
    for capabilities in every_form().filter(|c| c.contains(Capabilities::CONNECT_ATTRS)) {
        let mut whole = bytes(|w| login(capabilities).write(w));
        if capabilities.contains(Capabilities::ZSTD) {
            whole.pop();
        }
        for cut in 0..whole.len() {
            assert!(FirstClientPacket::parse(&whole[..cut]).is_err(), "{capabilities:?} cut at {cut}");
        }
    }
}

#[test]
fn a_login_cut_in_its_last_plugin_name_has_a_plugin_that_nobody_speaks() {
    let capabilities = Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_WITH_DB;
    let whole = bytes(|w| login(capabilities).write(w));
    assert_eq!(parsed(&whole[..whole.len() - 1]).plugin.as_deref(), Some(&b"caching_sha2_password"[..]));
    assert_eq!(parsed(&whole[..whole.len() - 3]).plugin.as_deref(), Some(&b"caching_sha2_passwo"[..]));
}

#[test]
fn an_empty_database_is_no_database() {
    let mut login =
        login(Capabilities::PROTOCOL_41 | Capabilities::LONG_PASSWORD | Capabilities::CONNECT_WITH_DB);
    login.database = Some(Vec::new());
    assert_eq!(parsed(&bytes(|w| login.write(w))).database, None);
}

#[test]
fn mariadb_clients_say_more_where_they_clear_long_password() {
    let mut login = login(Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH);
    login.mariadb = MariaDbCapabilities::CACHE_METADATA | MariaDbCapabilities::STMT_BULK_OPERATIONS;
    let payload = bytes(|w| login.write(w));
    assert_eq!(payload[28..32], [0x14, 0, 0, 0]);
    assert_eq!(parsed(&payload), login);
    login.capabilities |= Capabilities::LONG_PASSWORD;
    assert_eq!(parsed(&bytes(|w| login.write(w))).mariadb, MariaDbCapabilities::empty());
}

#[test]
fn a_login_that_asks_for_tls_is_an_ssl_request_until_tls_is_there() {
    let capabilities = Capabilities::PROTOCOL_41 | Capabilities::LONG_PASSWORD | Capabilities::SSL;
    let request =
        SslRequest { capabilities, mariadb: MariaDbCapabilities::empty(), max_packet_size: 9, collation: 33 };
    let short = bytes(|w| request.write(w));
    assert_eq!(short.len(), 32);
    assert_eq!(FirstClientPacket::parse(&short), Ok(FirstClientPacket::SslRequest(request)));
    for cut in 0..32 {
        let is_old_connector = cut == 4;
        assert_eq!(FirstClientPacket::parse(&short[..cut]).is_ok(), is_old_connector, "cut at {cut}");
    }
    let whole = bytes(|w| HandshakeResponse41 { capabilities, ..login(capabilities) }.write(w));
    assert!(matches!(FirstClientPacket::parse(&whole), Ok(FirstClientPacket::SslRequest(_))));
    assert!(HandshakeResponse41::parse(&whole).is_ok());
    assert!(HandshakeResponse41::parse(&short).is_err());
}

#[test]
fn the_protocol_of_mysql_3_is_told_apart() {
    let old = b"\x85\x24\0\0\0app\0SCRAMBLE\0shop\0";
    assert_eq!(FirstClientPacket::parse(old), Ok(FirstClientPacket::OldProtocol));
    assert!(HandshakeResponse41::parse(&[old.as_slice(), &[0; 64]].concat()).is_err());
}

fn change_user(capabilities: Capabilities) -> ChangeUser {
    ChangeUser {
        user: b"other".to_vec(),
        auth_response: AuthData::new(&[7; 20]),
        database: Some(b"shop".to_vec()),
        collation: Some(309),
        plugin: capabilities.contains(Capabilities::PLUGIN_AUTH).then(|| b"mysql_native_password".to_vec()),
        attributes: match capabilities.contains(Capabilities::CONNECT_ATTRS) {
            true => attributes(),
            false => Attributes::new(),
        },
    }
}

#[test]
fn a_change_of_user_is_read_back_in_every_combination_of_capabilities() {
    for capabilities in every_form() {
        let change = change_user(capabilities);
        let payload = bytes(|w| change.write(capabilities, w));
        assert_eq!(payload[0], 0x11);
        assert_eq!(ChangeUser::parse(&payload[1..], capabilities), Ok(change), "{capabilities:?}");
    }
}

#[test]
fn a_change_of_user_may_end_after_any_of_its_optional_parts_and_nowhere_else() {
    let capabilities = Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS;
    let payload = bytes(|w| change_user(capabilities).write(capabilities, w));
    let body = &payload[1..];
    let after_database = b"other\0".len() + 1 + 20 + b"shop\0".len();
    let after_collation = after_database + 2;
    let after_plugin = after_collation + b"mysql_native_password\0".len();
    for cut in 0..body.len() {
        let in_plugin = (after_collation..=after_plugin).contains(&cut);
        let may_end = cut == after_database || in_plugin;
        assert_eq!(ChangeUser::parse(&body[..cut], capabilities).is_ok(), may_end, "cut at {cut}");
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..70)
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..300)), 0..4).prop_map(|pairs| {
        let mut attributes = Attributes::new();
        for (name, value) in pairs {
            attributes.push(&name, &value);
        }
        attributes
    })
}

proptest! {
    #[test]
    fn any_login_is_read_back(
        flags in any::<u32>(), user in name(), answer in vec(any::<u8>(), 0..=255), database in name(),
        plugin in name(), attributes in any_attributes(), zstd_level in 1..=22_u8, collation in any::<u8>(),
        max_packet_size in any::<u32>(), extended in any::<u32>(),
    ) {
        let capabilities = Capabilities::from_bits_retain(flags)
            .difference(Capabilities::SSL)
            .union(Capabilities::PROTOCOL_41);
        let has = |flag| capabilities.contains(flag);
        let login = HandshakeResponse41 {
            capabilities,
            mariadb: match has(Capabilities::LONG_PASSWORD) {
                true => MariaDbCapabilities::empty(),
                false => MariaDbCapabilities::from_bits_retain(extended),
            },
            max_packet_size,
            collation,
            user,
            auth_response: AuthData::new(&answer),
            database: Some(database).filter(|d| has(Capabilities::CONNECT_WITH_DB) && !d.is_empty()),
            plugin: Some(plugin).filter(|_| has(Capabilities::PLUGIN_AUTH)),
            attributes: if has(Capabilities::CONNECT_ATTRS) { attributes } else { Attributes::new() },
            zstd_level: Some(zstd_level).filter(|_| has(Capabilities::ZSTD)),
        };
        prop_assert_eq!(parsed(&bytes(|w| login.write(w))), login);
    }

    #[test]
    fn any_greeting_is_read_back(
        flags in any::<u32>(), version in name(), connection_id in any::<u32>(), collation in any::<u8>(),
        auth_data in vec(1..=127_u8, 20..=20), plugin in name(), status in any::<u16>(), extended in any::<u32>(),
    ) {
        let capabilities = Capabilities::from_bits_retain(flags).union(Capabilities::SECURE_CONNECTION);
        let greeting = Greeting {
            version,
            connection_id,
            auth_data,
            capabilities,
            mariadb: match capabilities.contains(Capabilities::LONG_PASSWORD) {
                true => MariaDbCapabilities::empty(),
                false => MariaDbCapabilities::from_bits_retain(extended),
            },
            collation,
            status: Status::from_bits_retain(status),
            plugin: if capabilities.contains(Capabilities::PLUGIN_AUTH) { plugin } else { Vec::new() },
        };
        prop_assert_eq!(Greeting::parse(&bytes(|w| greeting.write(w))), Ok(greeting));
    }

    #[test]
    fn any_change_of_user_is_read_back(
        flags in any::<u32>(), user in name(), answer in vec(any::<u8>(), 0..=255), database in name(),
        collation in option::of(any::<u16>()), plugin in name(), attributes in any_attributes(),
    ) {
        let capabilities = Capabilities::from_bits_retain(flags);
        let goes_on = |flag| collation.is_some() && capabilities.contains(flag);
        let change = ChangeUser {
            user,
            auth_response: AuthData::new(&answer),
            database: Some(database).filter(|d| !d.is_empty()),
            collation,
            plugin: Some(plugin).filter(|_| goes_on(Capabilities::PLUGIN_AUTH)),
            attributes: if goes_on(Capabilities::CONNECT_ATTRS) { attributes } else { Attributes::new() },
        };
        let payload = bytes(|w| change.write(capabilities, w));
        prop_assert_eq!(ChangeUser::parse(&payload[1..], capabilities), Ok(change));
    }
}
