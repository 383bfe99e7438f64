//! From `weir.toml` to settings, or to everything that is wrong with it.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
};

use weir_catalog::{
    document::{At, Declared, Document, Report, TableShape},
    problem::{Place, Problem},
    surroundings::Surroundings,
};
use weir_gateway::GatewayNumber;
use weir_wire::server_version::{Flavour, ServerVersion};

use super::{
    ListenAddress, ListenerDraft, ListenerPlaces, ListenerSettings, ListenerTls, Refused, Settings,
    SettingsDraft, VersionText,
};

impl Settings {
    /// Admits the settings that `text` declares, with what somebody should look at. Paths are relative to the directory
    /// of `file`. Nothing is read but through `surroundings`.
    ///
    /// # Errors
    /// Everything that is wrong, and what else somebody should look at, in the order of the text.
    pub(crate) fn admit(
        text: &str,
        file: &Path,
        surroundings: &dyn Surroundings,
    ) -> Result<(Self, Vec<Problem>), Refused> {
        let mut report = Report::new(file.display().to_string(), text);
        let document = Document::parse(text, &mut report);
        let draft = document.read::<SettingsDraft>(&mut report);
        let directory = file.parent().unwrap_or(Path::new(""));
        let mut admission = Admission { report: &mut report, surroundings, directory };
        let settings = draft.map(|draft| admission.settings(&draft));
        let failed = report.has_errors();
        let knows_directory = !report.blames("namespaces_dir");
        let problems = report.into_problems();
        match settings {
            Some(settings) if !failed => Ok((settings, problems)),
            settings => {
                let namespaces_dir = settings.map(|s| s.namespaces_dir).filter(|_| knows_directory);
                Err(Refused { problems, namespaces_dir })
            }
        }
    }

    /// For the reference.
    pub(crate) fn shape() -> TableShape {
        SettingsDraft::table_shape()
    }
}

/// The bounds of the setting are those of the numbers.
fn gateway_number(number: u32) -> GatewayNumber {
    u8::try_from(number).ok().and_then(GatewayNumber::new).unwrap_or_default()
}

struct Admission<'a> {
    report: &'a mut Report,
    surroundings: &'a dyn Surroundings,
    directory: &'a Path,
}

impl Admission<'_> {
    fn settings(&mut self, draft: &SettingsDraft) -> Settings {
        let tls = &draft.tls.value;
        let certificate = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some((self.readable(certificate), self.readable(key))),
            (Some(alone), None) => {
                self.report.missing(&alone.place, "`certificate` needs `key`");
                None
            }
            (None, Some(alone)) => {
                self.report.missing(&alone.place, "`key` needs `certificate`");
                None
            }
            (None, None) => None,
        };
        let limits = &draft.limits.value;
        Settings {
            listeners: self.listeners(&draft.listeners),
            certificate,
            rsa_key: tls.rsa_key.as_ref().map(|key| self.readable(key)),
            workers: draft.workers.value.count.as_ref().and_then(|count| NonZero::new(count.value as usize)),
            client_connections: limits.client_connections.value as usize,
            bytes_in_flight: usize::try_from(limits.bytes_in_flight.value.0).unwrap_or(usize::MAX),
            login_timeout: limits.login_timeout.value,
            metrics: draft.metrics.value.address.value.0,
            log_format: draft.log.value.format.value,
            log_level: draft.log.value.level.value.0.clone(),
            namespaces_dir: self.directory.join(&draft.namespaces_dir.value),
            data_dir: self.directory.join(&draft.data_dir.value),
            drain_timeout: draft.drain_timeout.value,
            gateway_number: gateway_number(draft.gateway_number.value),
            zone: draft.zone.as_ref().map(|zone| zone.value.as_str().to_owned()),
        }
    }

    fn readable(&mut self, path: &At<PathBuf>) -> PathBuf {
        let resolved = self.directory.join(&path.value);
        if let Err(why) = self.surroundings.check_readable(&resolved) {
            self.report
                .error(&path.place, format!("{} cannot be read: {why}", resolved.display()))
                .hint("leave it out, and one is made and kept in `data_dir`");
        }
        resolved
    }

    fn listeners(&mut self, drafts: &At<Vec<At<ListenerDraft>>>) -> Vec<ListenerSettings> {
        if drafts.value.is_empty() {
            return vec![ListenerSettings {
                address: ListenAddress::default(),
                tls: ListenerTls::Preferred,
                compression: true,
                proxy_protocol_from: Vec::new(),
                version: None,
                namespaces: None,
                places: ListenerPlaces { version: drafts.place.clone(), namespaces: Vec::new() },
            }];
        }
        let mut taken: Vec<&At<ListenAddress>> = Vec::new();
        for address in drafts.value.iter().map(|draft| &draft.value.address) {
            let takes_any_port = matches!(address.value, ListenAddress::Tcp(address) if address.port() == 0);
            // the default stands in for an address that is wrong
            if takes_any_port || self.report.blames(&address.place.path) {
                continue;
            }
            if let Some(earlier) = taken.iter().find(|earlier| earlier.value == address.value) {
                let there = &earlier.place.path;
                self.report
                    .error(&address.place, format!("{} is the address of {there} already", address.value));
            }
            taken.push(address);
        }
        drafts.value.iter().map(|draft| self.listener(draft)).collect()
    }

    fn listener(&mut self, draft: &At<ListenerDraft>) -> ListenerSettings {
        let listener = &draft.value;
        let from = &listener.proxy_protocol_from;
        if let (ListenAddress::Unix(_), false) = (&listener.address.value, from.value.is_empty()) {
            self.report.warning(&from.place, "`proxy_protocol_from` has no effect on a Unix socket");
        }
        let names: Vec<String> =
            listener.namespaces.value.iter().map(|name| name.value.as_str().to_owned()).collect();
        ListenerSettings {
            address: listener.address.value.clone(),
            tls: listener.tls.value,
            compression: listener.compression.value,
            proxy_protocol_from: from.value.iter().map(|net| net.value).collect(),
            version: self.version(listener),
            namespaces: (!names.is_empty()).then_some(names),
            places: ListenerPlaces {
                version: listener.version.as_ref().map_or_else(|| draft.place.clone(), |v| v.place.clone()),
                namespaces: listener.namespaces.value.iter().map(|name| name.place.clone()).collect(),
            },
        }
    }

    fn version(&mut self, listener: &ListenerDraft) -> Option<ServerVersion> {
        let flavour = listener.flavour.as_ref().map(|flavour| flavour.value);
        let Some(version) = &listener.version else { return flavour.map(VersionText::of) };
        let At { value: VersionText(version), place } = version;
        match (flavour, version.flavour) {
            (Some(Flavour::MySql), Flavour::MariaDb) => {
                self.contradiction(place, version);
                None
            }
            // what MariaDB itself calls its versions
            (Some(Flavour::MariaDb), Flavour::MySql) => {
                let text = format!("{}-MariaDB", version.text);
                Some(ServerVersion { flavour: Flavour::MariaDb, text, number: version.number })
            }
            _ => Some(version.clone()),
        }
    }

    fn contradiction(&mut self, place: &Place, version: &ServerVersion) {
        self.report
            .error(place, format!("`flavour` is \"mysql\", but \"{}\" is a version of MariaDB", version.text))
            .hint("`version` alone says which of the two it is");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_catalog::{
        secret::Secret,
        surroundings::{Exposure, Imagined, SecretFile},
    };

    use super::*;
    use crate::settings::LogFormat;

    fn admit(text: &str) -> Result<(Settings, Vec<Problem>), Refused> {
        let mut machine = Imagined::default();
        for file in ["/etc/weir/cert.pem", "/etc/weir/key.pem", "/etc/weir/rsa.pem"] {
            let secret = SecretFile { secret: Secret::new(""), exposure: Exposure::Private };
            machine.files.insert(file.into(), secret);
        }
        Settings::admit(text, Path::new("/etc/weir/weir.toml"), &machine)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let problems = match admit(text) {
            Ok((_, warnings)) => warnings,
            Err(refused) => refused.problems,
        };
        let got: Vec<String> = problems.iter().map(|p| p.to_string().replace("/etc/weir/", "")).collect();
        assert!(got == expected, "\ngot:\n{}\nexpected:\n{}\n", got.join("\n"), expected.join("\n"));
    }

    #[test]
    fn an_empty_file_serves_loopback_with_what_lies_beside_it() {
        let (settings, warnings) = admit("").unwrap();
        assert_eq!(warnings, []);
        let [listener] = &settings.listeners[..] else { panic!("one listener") };
        assert_eq!(
            (listener.address.to_string().as_str(), listener.tls),
            ("127.0.0.1:3306", ListenerTls::Preferred)
        );
        assert_eq!((&listener.version, &listener.namespaces), (&None, &None));
        assert_eq!((&settings.certificate, &settings.rsa_key, settings.workers), (&None, &None, None));
        assert_eq!(settings.metrics, Some("127.0.0.1:9188".parse().unwrap()));
        assert_eq!(settings.namespaces_dir, Path::new("/etc/weir/namespaces"));
        assert_eq!(settings.data_dir, Path::new("/etc/weir/data"));
        assert_eq!((settings.log_format, settings.log_level.as_str()), (LogFormat::Text, "info"));
    }

    #[test]
    fn every_setting_of_a_long_file_arrives() {
        let text = r#"
namespaces_dir = "/srv/namespaces"
data_dir = "keys"
drain_timeout = "0s"
zone = "eu-1a"
[[listeners]]
address = "[::]:3306"
tls = "required"
proxy_protocol_from = ["10.0.0.0/8", "::1"]
version = "9.7.4"
namespaces = ["a", "b"]
[[listeners]]
address = "unix:/run/weir.sock"
tls = "off"
flavour = "mariadb"
[[listeners]]
address = "127.0.0.1:0"
flavour = "mariadb"
version = "11.8.3"
[[listeners]]
address = "127.0.0.1:0"
flavour = "mysql"
[tls]
certificate = "cert.pem"
key = "/etc/weir/key.pem"
rsa_key = "rsa.pem"
[workers]
count = 3
[limits]
client_connections = 19_000
bytes_in_flight = "1GiB"
login_timeout = "1m"
[metrics]
address = "off"
[log]
format = "json"
level = "warn,weir_backend=debug"
"#;
        let (settings, warnings) = admit(text).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(settings.namespaces_dir, Path::new("/srv/namespaces"));
        assert_eq!(settings.data_dir, Path::new("/etc/weir/keys"));
        assert_eq!((settings.drain_timeout, settings.zone.as_deref()), (Duration::ZERO, Some("eu-1a")));
        let [first, unix, third, fourth] = &settings.listeners[..] else { panic!("four listeners") };
        assert_eq!((first.address.to_string().as_str(), first.tls), ("[::]:3306", ListenerTls::Required));
        let from: Vec<String> = first.proxy_protocol_from.iter().map(ToString::to_string).collect();
        assert_eq!(from, ["10.0.0.0/8", "::1/128"]);
        assert_eq!(first.namespaces, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((unix.address.to_string().as_str(), unix.tls), ("unix:/run/weir.sock", ListenerTls::Off));
        let greetings: Vec<String> =
            [first, unix, third, fourth].iter().map(|l| l.version.as_ref().unwrap().greeting()).collect();
        assert_eq!(greetings, ["9.7.4", "5.5.5-10.11.0-MariaDB", "11.8.3-MariaDB", "8.4.0"]);
        assert_eq!(settings.certificate, Some(("/etc/weir/cert.pem".into(), "/etc/weir/key.pem".into())));
        assert_eq!(settings.rsa_key, Some("/etc/weir/rsa.pem".into()));
        assert_eq!((settings.workers, settings.client_connections), (NonZero::new(3), 19_000));
        assert_eq!((settings.bytes_in_flight, settings.login_timeout), (1 << 30, Duration::from_secs(60)));
        assert_eq!((settings.metrics, settings.log_format), (None, LogFormat::Json));
        assert_eq!(settings.log_level, "warn,weir_backend=debug");
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_a_remedy() {
        check(
            r#"namespace_dir = "x"
zone = ""
[[listeners]]
address = "unix:run/weir.sock"
proxy_protocol_from = "10.0.0.0/8"
version = "latest"
[[listeners]]
address = "/run/weir.sock"
proxy_protocol_from = ["10.0.0.0/8"]
version = "11.8.3-MariaDB"
flavour = "mysql"
namespaces = ["A"]
[[listeners]]
address = "0.0.0.0"
[[listeners]]
address = "unix:/run/weir.sock"
[tls]
key = "nowhere.pem"
[workers]
count = 0
[limits]
login_timeout = "1h"
[metrics]
address = "127.0.0.1"
[log]
level = "inf"
format = "xml"
"#,
            &[
                r#"weir.toml:1:1: error: namespace_dir: unknown key `namespace_dir` (did you mean `namespaces_dir`?)"#,
                r#"weir.toml:2:8: error: zone: "" is not a zone's name (1 to 64 of a-z, A-Z, 0-9, _, - and .)"#,
                r#"weir.toml:4:11: error: listeners[0].address: "unix:run/weir.sock" is no absolute path (for example "unix:/run/mysqld/mysqld.sock")"#,
                r#"weir.toml:5:23: error: listeners[0].proxy_protocol_from: expected a list, found the string "10.0.0.0/8" (for example ["10.0.0.0/8"])"#,
                r#"weir.toml:6:11: error: listeners[0].version: "latest" is no server version (for example "9.7.4" or "11.8.3-MariaDB", as SELECT VERSION() prints it)"#,
                r#"weir.toml:9:23: warning: listeners[1].proxy_protocol_from: `proxy_protocol_from` has no effect on a Unix socket"#,
                r#"weir.toml:10:11: error: listeners[1].version: `flavour` is "mysql", but "11.8.3-MariaDB" is a version of MariaDB (`version` alone says which of the two it is)"#,
                r#"weir.toml:12:15: error: listeners[1].namespaces[0]: "A" is not a name (1 to 64 of a-z, 0-9, _ and -)"#,
                r#"weir.toml:14:11: error: listeners[2].address: "0.0.0.0" is no address (a port is missing: "0.0.0.0:3306")"#,
                r#"weir.toml:16:11: error: listeners[3].address: unix:/run/weir.sock is the address of listeners[1].address already"#,
                r#"weir.toml:18:7: error: tls.key: `key` needs `certificate`"#,
                r#"weir.toml:20:9: error: workers.count: 0 is out of bounds (allowed is 1 to 1024)"#,
                r#"weir.toml:22:17: error: limits.login_timeout: "1h" is out of bounds (allowed is 100ms to 5m)"#,
                r#"weir.toml:24:11: error: metrics.address: "127.0.0.1" is no IP address and port (for example "127.0.0.1:9188", or "off")"#,
                r#"weir.toml:26:9: error: log.level: "inf" is no log level (off, error, warn, info, debug or trace, for example "info" or "info,weir_backend=debug")"#,
                r#"weir.toml:27:10: error: log.format: "xml" is not allowed here (one of "text", "json")"#,
            ],
        );
    }

    #[test]
    fn every_number_of_a_gateway_can_be_set() {
        let last = u32::from(GatewayNumber::MAX);
        let (settings, _) = admit(&format!("gateway_number = {last}")).unwrap();
        assert_eq!(settings.gateway_number.get(), GatewayNumber::MAX);
        assert!(admit(&format!("gateway_number = {}", last + 1)).is_err());
    }

    #[test]
    fn namespaces_can_be_found_though_other_settings_are_wrong() {
        for (text, expected) in [
            ("zone = 7", Some("/etc/weir/namespaces")),
            ("zone = 7\nnamespaces_dir = \"/x\"", Some("/x")),
            ("namespaces_dir = 7", None),
            ("namespace_dir = \"/x\"", None),
        ] {
            let refused = admit(text).unwrap_err();
            assert_eq!(refused.namespaces_dir.as_deref(), expected.map(Path::new), "{text}");
        }
    }
}
