//! The settings of a running process, and what of them may change while it runs.

use std::path::PathBuf;

use super::{Settings, read};

/// Settings and the file that they are read from; none if they come from the command line.
#[derive(Debug)]
pub(crate) struct InForce {
    file: Option<PathBuf>,
    settings: Settings,
}

impl InForce {
    /// As they were read at the start.
    pub(crate) fn new(file: Option<PathBuf>, settings: Settings) -> Self {
        Self { file, settings }
    }

    /// What is in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the file again. What may change while the process runs is in force from now on; what may not, and a file
    /// that is not valid, is told in the log. Returns whether the file is valid.
    pub(crate) fn reread(&mut self) -> bool {
        let Some(file) = &self.file else { return true };
        let (new, warnings) = match read(file) {
            Ok(read) => read,
            Err(refused) => {
                for problem in refused.problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(file = %file.display(), "the settings stay as they were");
                return false;
            }
        };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for (key, _) in fixed(&self.settings, &new).into_iter().filter(|(_, same)| !same) {
            tracing::warn!(key, "this setting has changed, which takes effect with the next start only");
        }
        let Settings {
            certificate,
            rsa_key,
            client_connections,
            login_timeout,
            log_level,
            drain_timeout,
            ..
        } = new;
        self.settings = Settings {
            certificate,
            rsa_key,
            client_connections,
            login_timeout,
            log_level,
            drain_timeout,
            ..self.settings.clone()
        };
        true
    }
}

/// What a running process keeps: whether it is the same in both.
fn fixed(old: &Settings, new: &Settings) -> [(&'static str, bool); 9] {
    // where in the file a listener stands does not matter
    let listeners = |settings: &Settings| {
        let parts = settings.listeners.iter().map(|l| {
            let networks = l.proxy_protocol_from.clone();
            (l.address.clone(), l.tls, l.compression, networks, l.version.clone(), l.namespaces.clone())
        });
        parts.collect::<Vec<_>>()
    };
    [
        ("listeners", listeners(old) == listeners(new)),
        ("workers.count", old.workers == new.workers),
        ("limits.bytes_in_flight", old.bytes_in_flight == new.bytes_in_flight),
        ("metrics.address", old.metrics == new.metrics),
        ("log.format", old.log_format == new.log_format),
        ("namespaces_dir", old.namespaces_dir == new.namespaces_dir),
        ("data_dir", old.data_dir == new.data_dir),
        ("zone", old.zone == new.zone),
        ("gateway_number", old.gateway_number == new.gateway_number),
    ]
}
