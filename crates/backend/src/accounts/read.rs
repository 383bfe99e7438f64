//! Reads the accounts of a server with an account that may.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use weir_catalog::{
    account::{Account, Proof, Transport},
    user::Plugin,
};
use weir_wire::{
    auth::Verifier,
    server_version::{Flavour, ServerVersion},
};

use crate::connection::{Connection, ConnectionError};

/// Tables that hold what an account is and may do globally. What it may do in databases needs no looking at: servers look
/// there for each statement.
#[must_use]
pub fn tables(version: &ServerVersion) -> &'static [&'static str] {
    match version.flavour {
        Flavour::MariaDb => &["mysql.global_priv", "mysql.roles_mapping"],
        Flavour::MySql if version.number < 80_000 => &["mysql.user"],
        Flavour::MySql => &["mysql.user", "mysql.global_grants", "mysql.default_roles", "mysql.role_edges"],
    }
}

/// A sum over these tables, which changes with them. The server reads the tables for it, and sends a number.
pub(super) async fn checksum(connection: &mut Connection) -> Result<Vec<Vec<u8>>, ConnectionError> {
    let tables = tables(&connection.server().version).join(",");
    let rows = connection.query(&format!("CHECKSUM TABLE {tables}")).await?.rows()?;
    // a table that cannot be read has no sum, which must not pass for one that never changes
    let sums: Option<Vec<Vec<u8>>> = rows.into_iter().map(|row| row.into_iter().nth(1).flatten()).collect();
    sums.ok_or(ConnectionError::Closed)
}

/// Every account, and whether the server looks up the names of its clients' hosts.
pub(super) async fn accounts(
    connection: &mut Connection,
    sums: &[Vec<u8>],
) -> Result<(Vec<Account>, bool), ConnectionError> {
    let version = connection.server().version.clone();
    // of the first table each row counts for itself; what the others hold cannot be told apart by account
    let others: Vec<&Vec<u8>> = sums.iter().skip(1).collect();
    let rows = connection.query(query(&version)).await?.rows()?;
    let accounts = rows.into_iter().filter_map(|row| {
        let mut hasher = DefaultHasher::new();
        (&row, &others).hash(&mut hasher);
        account(row, version.flavour, hasher.finish())
    });
    let accounts = accounts.collect();
    let reply = connection.query("SELECT @@GLOBAL.skip_name_resolve").await?.rows()?;
    let skips = reply.first().and_then(|row| row.first()?.as_deref().map(|value| value != b"0"));
    Ok((accounts, !skips.unwrap_or(true)))
}

fn query(version: &ServerVersion) -> &'static str {
    match version.flavour {
        Flavour::MariaDb => "SELECT User,Host,Priv FROM mysql.global_priv",
        Flavour::MySql if version.number < 80_000 => {
            "SELECT User,Host,NULL,plugin,HEX(authentication_string),ssl_type,u.* FROM mysql.user u"
        }
        Flavour::MySql => {
            "SELECT User,Host,User_attributes,plugin,HEX(authentication_string),ssl_type,u.* FROM mysql.user u"
        }
    }
}

/// `None` for what is no account that anybody could log in with.
fn account(row: Vec<Option<Vec<u8>>>, flavour: Flavour, version: u64) -> Option<Account> {
    let mut values =
        row.into_iter().map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned()));
    let (user, host) = (values.next()??, values.next()??);
    let attributes = values.next()?;
    let (proof, transport) = match flavour {
        Flavour::MariaDb => {
            let attributes: Value = serde_json::from_str(&attributes?).ok()?;
            if attributes.get("is_role").and_then(Value::as_bool) == Some(true) {
                return None;
            }
            let transport = match attributes.get("ssl_type").and_then(Value::as_u64) {
                None | Some(0) => Transport::Any,
                Some(1) => Transport::Tls,
                Some(_) => Transport::Certificate,
            };
            (mariadb_proof(&attributes), transport)
        }
        Flavour::MySql => {
            let attributes = attributes.and_then(|text| serde_json::from_str(&text).ok());
            let plugin = values.next()?.unwrap_or_default();
            let stored = unhex(&values.next()?.unwrap_or_default())?;
            let transport = match values.next()?.as_deref() {
                None | Some("") => Transport::Any,
                Some("ANY") => Transport::Tls,
                Some(_) => Transport::Certificate,
            };
            (mysql_proof(&plugin, &stored, attributes.as_ref()), transport)
        }
    };
    Some(Account { user, host, proof, transport, version })
}

fn mysql_proof(plugin: &str, stored: &str, attributes: Option<&Value>) -> Proof {
    let factors = attributes.and_then(|a| a.get("multi_factor_authentication"));
    if factors.is_some_and(|factors| !factors.is_null()) {
        return Proof::Unsupported("several factors of authentication".to_owned());
    }
    let second = attributes.and_then(|a| a.get("additional_password")).and_then(Value::as_str);
    by_password(plugin, std::iter::once(stored).chain(second))
}

/// An account of MariaDB may have several proofs; one that can be shown through Weir is enough.
fn mariadb_proof(attributes: &Value) -> Proof {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let own = |value: &Value| {
        let plugin = text(value, "plugin").or_else(|| text(attributes, "plugin")).unwrap_or_default();
        let stored = text(value, "authentication_string");
        let stored = stored.or_else(|| text(attributes, "authentication_string")).unwrap_or_default();
        by_password(&plugin, std::iter::once(stored.as_str()))
    };
    let alternatives = attributes.get("auth_or").and_then(Value::as_array);
    let Some(alternatives) = alternatives else { return own(attributes) };
    let mut first_unsupported = None;
    for proof in alternatives.iter().map(own) {
        match proof {
            Proof::Password { .. } => return proof,
            Proof::Unsupported(_) => first_unsupported = first_unsupported.or(Some(proof)),
        }
    }
    first_unsupported.unwrap_or_else(|| own(attributes))
}

fn by_password<'s>(plugin: &str, stored: impl Iterator<Item = &'s str>) -> Proof {
    let plugin = match plugin {
        "caching_sha2_password" => Plugin::CachingSha2,
        "mysql_native_password" | "" => Plugin::Native,
        other => return Proof::Unsupported(format!("the authentication plugin `{other}`")),
    };
    // what is stored may be no verifier at all, so that nobody can log in
    let verifiers = stored.filter_map(|text| match text {
        "" => Some(Verifier::plain("")),
        text => Verifier::parse(text).ok().filter(|verifier| verifier.serves(plugin.into())),
    });
    Proof::Password { plugin, verifiers: verifiers.collect() }
}

fn unhex(digits: &str) -> Option<String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: &str = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19";

    fn read(flavour: Flavour, values: &[&str]) -> Option<Account> {
        account(values.iter().map(|v| Some(v.as_bytes().to_vec())).collect(), flavour, 1)
    }

    fn hex(text: &str) -> String {
        text.bytes().map(|b| format!("{b:02X}")).collect()
    }

    fn mysql(plugin: &str, stored: &str, attributes: &str, ssl: &str) -> Account {
        read(Flavour::MySql, &["u", "%", attributes, plugin, &hex(stored), ssl]).unwrap()
    }

    fn mariadb(json: &str) -> Option<Account> {
        read(Flavour::MariaDb, &["u", "%", json])
    }

    fn count(proof: &Proof) -> (Plugin, usize) {
        match proof {
            Proof::Password { plugin, verifiers } => (*plugin, verifiers.len()),
            Proof::Unsupported(what) => panic!("{what}"),
        }
    }

    #[test]
    fn accounts_of_mysql_with_their_passwords() {
        let stored = Verifier::sha2_crypt_of(b"x", *b"abcdefghijklmnopqrst").to_text().unwrap();
        let sha2 = mysql("caching_sha2_password", &stored, "{}", "");
        assert_eq!((count(&sha2.proof), sha2.transport), ((Plugin::CachingSha2, 1), Transport::Any));
        let two = format!(r#"{{"additional_password": "{stored}"}}"#);
        assert_eq!(count(&mysql("caching_sha2_password", &stored, &two, "").proof).1, 2);
        let native = mysql("mysql_native_password", NATIVE, "{}", "ANY");
        assert_eq!((count(&native.proof), native.transport), ((Plugin::Native, 1), Transport::Tls));
        let empty = mysql("caching_sha2_password", "", "{}", "X509");
        let Proof::Password { verifiers, .. } = &empty.proof else { panic!("{empty:?}") };
        assert!(verifiers[0].accepts_empty());
        assert_eq!(empty.transport, Transport::Certificate);
        let nobody = mysql("caching_sha2_password", "*INVALID", "{}", "");
        assert_eq!(count(&nobody.proof).1, 0, "nobody knows a password that fits");
    }

    #[test]
    fn accounts_that_cannot_be_proven_through_weir_say_why() {
        let factors = r#"{"multi_factor_authentication": [{"plugin": "authentication_fido"}]}"#;
        for (account, expected) in [
            (mysql("auth_socket", "", "{}", ""), "the authentication plugin `auth_socket`"),
            (mysql("caching_sha2_password", "", factors, ""), "several factors of authentication"),
            (
                mariadb(r#"{"plugin":"ed25519","authentication_string":"x"}"#).unwrap(),
                "the authentication plugin `ed25519`",
            ),
            (
                mariadb(r#"{"plugin":"pam","auth_or":[{"plugin":"unix_socket"},{}]}"#).unwrap(),
                "the authentication plugin `unix_socket`",
            ),
        ] {
            assert_eq!(account.proof, Proof::Unsupported(expected.to_owned()));
        }
    }

    #[test]
    fn accounts_of_mariadb_with_one_of_several_proofs_and_without_roles() {
        let or = format!(
            r#"{{"plugin":"mysql_native_password","authentication_string":"{NATIVE}","ssl_type":1,"auth_or":[{{"plugin":"unix_socket"}},{{}}]}}"#
        );
        let account = mariadb(&or).unwrap();
        assert_eq!((count(&account.proof), account.transport), ((Plugin::Native, 1), Transport::Tls));
        assert_eq!(count(&mariadb(r#"{"access":0}"#).unwrap().proof), (Plugin::Native, 1));
        assert_eq!(mariadb(r#"{"is_role":true}"#), None);
    }
}
