//! `weir serve`: from the settings to a service.

use std::{num::NonZero, path::Path, process::ExitCode};

use anyhow::{Result, bail};
use weir_gateway::{
    ProcessLimits,
    listener::{ClientTls, ListenAddress},
};

use crate::{
    assemble::{ListenerParts, Parts},
    keys::{CertificateFiles, KeyPlaces},
    namespaces::Namespaces,
    serve::Service,
    settings::{self, InForce, ListenerSettings, ListenerTls, LogFormat, Settings},
    telemetry::{self, Level, LogForm},
};

use super::render;

/// Reads the settings and serves. Settings that are not valid are printed as `weir check` prints them.
pub(crate) fn run(file: &Path) -> Result<ExitCode> {
    let (settings, warnings) = match settings::read(file) {
        Ok(read) => read,
        Err(refused) => {
            render::to_stderr(&render::problems(&refused.problems));
            bail!("not started: the settings have errors");
        }
    };
    let form = match settings.log_format {
        LogFormat::Text => LogForm::Text,
        LogFormat::Json => LogForm::Json,
    };
    let level = telemetry::start(form, &settings.log_level)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    service(InForce::new(file.to_owned(), settings), level).run()
}

fn service(in_force: InForce, level: Level) -> Service {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let settings = in_force.settings().clone();
    Service {
        in_force,
        level,
        namespaces: Namespaces::new(&settings.namespaces_dir),
        http: settings.metrics,
        parts: Parts {
            workers: settings.workers.map_or_else(cores, NonZero::get),
            limits: process_limits(&settings),
            keys: key_places(&settings),
            zone: settings.zone,
            listeners: settings.listeners.into_iter().map(listener).collect(),
        },
    }
}

/// Upper bounds of the process.
pub(crate) fn process_limits(settings: &Settings) -> ProcessLimits {
    ProcessLimits {
        client_connections: settings.client_connections,
        bytes_in_flight: settings.bytes_in_flight,
        login_timeout: settings.login_timeout,
    }
}

/// Where keys are found, or kept once they are made.
pub(crate) fn key_places(settings: &Settings) -> KeyPlaces {
    KeyPlaces {
        data_dir: settings.data_dir.clone(),
        certificate: settings.certificate.clone().map(|(chain, key)| CertificateFiles { chain, key }),
        rsa: settings.rsa_key.clone(),
    }
}

fn listener(listener: ListenerSettings) -> ListenerParts {
    ListenerParts {
        address: match listener.address {
            settings::ListenAddress::Tcp(address) => ListenAddress::Tcp(address),
            settings::ListenAddress::Unix(path) => ListenAddress::Unix(path),
        },
        tls: match listener.tls {
            ListenerTls::Off => ClientTls::Off,
            ListenerTls::Preferred => ClientTls::Preferred,
            ListenerTls::Required => ClientTls::Required,
        },
        proxy_protocol_from: listener.proxy_protocol_from,
        version: listener.version,
        namespaces: listener.namespaces,
    }
}
