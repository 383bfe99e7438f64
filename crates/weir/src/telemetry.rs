//! The log: where it goes, in which form, and how much of it.

use std::{io::IsTerminal, panic};

use anyhow::{Context, Result};
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt, registry, reload, util::SubscriberInitExt,
};

/// Environment variable that overrides the configured level: `debug`, or `info,weir_backend=debug`.
pub(crate) const LEVEL_VARIABLE: &str = "WEIR_LOG";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged, while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs as much as `level` says from now on; the environment variable still replaces it.
    ///
    /// # Errors
    /// The level cannot be read.
    pub(crate) fn set(&self, level: &str) -> Result<()> {
        let filter = filter(std::env::var(LEVEL_VARIABLE).ok().as_deref(), level)?;
        self.0.reload(filter).context("the log level cannot be changed")
    }
}

/// Sends log lines to the standard error stream from now on.
///
/// # Errors
/// The level cannot be read, or a log is being written already.
pub(crate) fn start(form: LogForm, level: &str) -> Result<Level> {
    let filter = filter(std::env::var(LEVEL_VARIABLE).ok().as_deref(), level)?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = registry().with(filter);
    let started = match form {
        LogForm::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogForm::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    started.context("the log cannot be started")?;
    log_panics();
    Ok(Level(handle))
}

fn filter(variable: Option<&str>, level: &str) -> Result<EnvFilter> {
    let (text, source) = match variable.filter(|text| !text.trim().is_empty()) {
        Some(text) => (text, LEVEL_VARIABLE),
        None => (level, "the log level"),
    };
    EnvFilter::try_new(text).with_context(|| {
        format!("{source} is \"{text}\"; for example \"info\", or \"info,weir_backend=debug\"")
    })
}

/// A panic is a defect of Weir; it must be found in the log that operators keep, in its form.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("(no message)");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, message, "panic: this is a defect of Weir, please report it");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_the_settings() {
        for (variable, level, expected) in [
            (None, "info", "info"),
            (Some(""), "warn", "warn"),
            (Some("debug"), "info", "debug"),
            (Some("info,weir_backend=debug"), "error", "weir_backend=debug,info"),
        ] {
            assert_eq!(filter(variable, level).unwrap().to_string(), expected, "{variable:?} {level}");
        }
    }

    #[test]
    fn a_level_that_cannot_be_read_is_named_with_its_source() {
        for (variable, level, expected) in [
            (None, "in=fo=x", "the log level is \"in=fo=x\""),
            (Some("a=b=c"), "info", "WEIR_LOG is \"a=b=c\""),
        ] {
            let error = filter(variable, level).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
