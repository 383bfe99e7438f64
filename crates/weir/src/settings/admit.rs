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
use weir_wire::server_version::{Flavour, ServerVersion};

use super::{
    ListenAddress, ListenerDraft, ListenerSettings, ListenerTls, Settings, SettingsDraft, VersionText,
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
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut report = Report::new(file.display().to_string(), text);
        let document = Document::parse(text, &mut report);
        let draft = document.read::<SettingsDraft>(&mut report);
        let directory = file.parent().unwrap_or(Path::new(""));
        let mut admission = Admission { report: &mut report, surroundings, directory };
        let settings = draft.map(|draft| admission.settings(&draft));
        let failed = report.has_errors();
        let problems = report.into_problems();
        match settings {
            Some(settings) if !failed => Ok((settings, problems)),
            _ => Err(problems),
        }
    }

    /// For the reference.
    pub(crate) fn shape() -> TableShape {
        SettingsDraft::table_shape()
    }
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
                proxy_protocol_from: Vec::new(),
                version: None,
                namespaces: None,
                place: drafts.place.clone(),
            }];
        }
        for (index, draft) in drafts.value.iter().enumerate() {
            let address = &draft.value.address;
            let takes_any_port = matches!(address.value, ListenAddress::Tcp(address) if address.port() == 0);
            let earlier = drafts.value.iter().take(index).find(|d| d.value.address.value == address.value);
            if let (Some(earlier), false) = (earlier, takes_any_port) {
                let there = &earlier.value.address.place.path;
                self.report
                    .error(&address.place, format!("{} is the address of {there} already", address.value));
            }
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
            proxy_protocol_from: from.value.iter().map(|net| net.value).collect(),
            version: self.version(listener),
            namespaces: (!names.is_empty()).then_some(names),
            place: draft.place.clone(),
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
