//! `weir check`: everything that is wrong with a configuration, before it is in force.

mod cross;
mod grants;
mod live;
mod reference;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use weir_backend::tls_settings;
use weir_catalog::{admit::Admitted, problem::Problem};
use weir_store::Keeper;

use crate::{
    namespaces::Files,
    settings::{self, Settings},
};

use super::{ConfigFile, render, serve::key_places};

/// What is checked, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Also log in to the servers of every namespace.
    #[arg(long)]
    live: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the reference of all settings instead (Markdown).
    #[arg(long, conflicts_with_all = ["live", "json"])]
    print_reference: bool,
}

/// Prints all problems. The exit status is 1 if one of them is an error.
pub(crate) fn run(arguments: &CheckArguments) -> Result<ExitCode> {
    if arguments.print_reference {
        render::to_stdout(&reference::reference()).context("cannot write")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (problems, namespaces) = check(&arguments.file.config, arguments.live)?;
    let text = if arguments.json {
        format!("{:#}\n", render::as_json(&problems, namespaces))
    } else {
        render::problems(&problems) + &render::summary(&problems, namespaces)
    };
    render::to_stdout(&text).context("cannot write")?;
    Ok(if problems.iter().any(Problem::is_error) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that is wrong, and the number of namespaces that were looked at.
fn check(file: &Path, live: bool) -> Result<(Vec<Problem>, usize)> {
    let (settings, namespaces_dir, mut problems) = match settings::read(file) {
        Ok((settings, warnings)) => {
            let directory = settings.namespaces_dir.clone();
            (Some(settings), Some(directory), warnings)
        }
        Err(refused) => (None, refused.namespaces_dir, refused.problems),
    };
    problems.extend(settings.iter().flat_map(|settings| keys(settings, file)));
    let Some(namespaces_dir) = namespaces_dir else { return Ok((problems, 0)) };
    let mut keeper = Keeper::new(Files::new(namespaces_dir));
    let read = keeper.reload();
    problems.extend(read.problems);
    let namespaces: Vec<Admitted> = keeper.admitted().cloned().collect();
    problems.extend(backend_tls(&namespaces));
    let mut known = cross::declared(&namespaces);
    if live {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (found, seen) = runtime.context("no event loop")?.block_on(live::check(&namespaces));
        problems.extend(found);
        // what a server says of itself is surer than what a file says of it
        known.retain(|declared| {
            !seen.iter().any(|s| s.namespace == declared.namespace && s.slice == declared.slice)
        });
        known.extend(seen);
    }
    if let Some(settings) = &settings {
        problems.extend(cross::names(settings, file, &namespaces, &read.refused));
        problems.extend(cross::server_accounts(settings, file, &namespaces));
        problems.extend(cross::flavours(settings, file, &known));
    }
    render::sort(&mut problems, file);
    Ok((problems, namespaces.len() + read.refused.len()))
}

/// Certificates for the servers that can be read, but not used.
fn backend_tls(namespaces: &[Admitted]) -> Vec<Problem> {
    let slices = namespaces.iter().flat_map(|admitted| {
        let slices = admitted.namespace.slices.iter().zip(&admitted.slice_places);
        slices.map(move |(slice, places)| (&admitted.file, slice, places))
    });
    let broken =
        slices.filter_map(|(file, slice, places)| Some((file, tls_settings(&slice.tls).err()?, places)));
    broken.map(|(file, error, places)| Problem::error(file, error.to_string()).at(&places.tls)).collect()
}

/// Certificate and keys that the settings name. What they do not name is made at the start, not here.
fn keys(settings: &Settings, file: &Path) -> Vec<Problem> {
    let places = key_places(settings);
    let mut problems = Vec::new();
    let mut tell = |path: &str, error: anyhow::Error| {
        let mut problem = Problem::error(file.display().to_string(), format!("{error:#}"));
        problem.path = path.to_owned();
        problems.push(problem);
    };
    if let (Some(_), Err(error)) = (&places.certificate, places.tls()) {
        tell("tls.certificate", error);
    }
    if let (Some(_), Err(error)) = (&places.rsa, places.rsa()) {
        tell("tls.rsa_key", error);
    }
    problems
}
