//! `weir serve`: from the settings to a service.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use weir_catalog::{document::quoted, problem::Problem, slice::Address};
use weir_gateway::{
    ProcessLimits,
    listener::{ClientTls, ListenAddress},
};
use weir_store::Machine;

use crate::{
    assemble::{ListenerParts, Parts},
    keys::{CertificateFiles, KeyPlaces},
    namespaces::Namespaces,
    one_server::OneServer,
    serve::Service,
    settings::{self, InForce, ListenerSettings, ListenerTls, LogFormat, Settings},
    telemetry::{self, Level, LogForm},
};

use super::{ConfigFile, render};

/// What is served: what the files say, or one server.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Serve this server, without any file of settings: whoever has an account on it logs in with that.
    #[arg(long, value_name = "HOST:PORT", requires = "account", conflicts_with = "config", value_parser = server)]
    server: Option<Address>,
    /// With --server: a TOML file with `user` and one of `password`, `password_file` and `password_env`, of an
    /// account that may read the server's accounts.
    #[arg(long, value_name = "FILE", requires = "server")]
    account: Option<PathBuf>,
    /// With --server: where to listen for clients.
    #[arg(long, value_name = "ADDRESS", requires = "server", default_value = "127.0.0.1:3306")]
    listen: String,
    /// With --server: where to serve /metrics, /healthz and /readyz; `off` for nowhere.
    #[arg(long, value_name = "ADDRESS", requires = "server", default_value = "127.0.0.1:9188")]
    metrics: String,
    /// With --server: the directory where a certificate and keys are kept that Weir makes itself [default:
    /// `weir` in $STATE_DIRECTORY, $XDG_STATE_HOME or ~/.local/state].
    #[arg(long, value_name = "DIRECTORY", requires = "server")]
    data_dir: Option<PathBuf>,
}

fn server(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|(message, hint)| format!("{message} ({hint})"))
}

/// Reads the settings and serves. Settings that are not valid are printed as `weir check` prints them.
pub(crate) fn run(arguments: &ServeArguments) -> Result<ExitCode> {
    let file = &arguments.file.config;
    let one = arguments.server.as_ref().zip(arguments.account.as_ref());
    let one = one.map(|(address, account)| OneServer { address: address.clone(), account: account.clone() });
    let read = match &one {
        Some(_) => from_arguments(arguments)?,
        None => settings::read(file),
    };
    let (settings, warnings) = match read {
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
    let namespaces = match &one {
        Some(server) => Namespaces::of(server.clone()),
        None => Namespaces::new(&settings.namespaces_dir),
    };
    let file = one.is_none().then(|| file.clone());
    service(InForce::new(file, settings), namespaces, level).run()
}

/// What would stand in a file of settings.
fn from_arguments(arguments: &ServeArguments) -> Result<Result<(Settings, Vec<Problem>), settings::Refused>> {
    let data_dir = match &arguments.data_dir {
        Some(directory) => std::path::absolute(directory).context("the data directory has no path")?,
        None => state_directory().context("there is no home for keys: name one with --data-dir")?,
    };
    let text = format!(
        "data_dir = {}\nmetrics.address = {}\n[[listeners]]\naddress = {}\n",
        quoted(data_dir.display()),
        quoted(&arguments.metrics),
        quoted(&arguments.listen),
    );
    Ok(Settings::admit(&text, Path::new("command line"), &Machine))
}

fn state_directory() -> Option<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || directory("HOME").map(|home| home.join(".local/state"));
    let state = directory("STATE_DIRECTORY").or_else(|| directory("XDG_STATE_HOME")).or_else(home)?;
    Some(state.join("weir"))
}

fn service(in_force: InForce, namespaces: Namespaces, level: Level) -> Service {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let settings = in_force.settings().clone();
    Service {
        in_force,
        level,
        namespaces,
        http: settings.metrics,
        parts: Parts {
            workers: settings.workers.map_or_else(cores, NonZero::get),
            limits: process_limits(&settings),
            keys: key_places(&settings),
            number: settings.gateway_number,
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
        compression: listener.compression,
        proxy_protocol_from: listener.proxy_protocol_from,
        version: listener.version,
        namespaces: listener.namespaces,
    }
}
