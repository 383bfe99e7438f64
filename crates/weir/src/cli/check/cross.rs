//! What only shows when settings and namespaces are looked at together.

use std::path::{Path, PathBuf};

use weir_catalog::{
    admit::Admitted,
    problem::{Place, Problem},
};
use weir_wire::server_version::Flavour;

use crate::settings::{ListenerSettings, Settings};

/// What is known of a slice's servers: from its file, or because they were asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownFlavour {
    pub namespace: String,
    pub slice: String,
    pub flavour: Flavour,
}

/// What the files declare.
pub(super) fn declared(namespaces: &[Admitted]) -> Vec<KnownFlavour> {
    let slices = namespaces.iter().flat_map(|admitted| {
        let namespace = &admitted.namespace;
        namespace.slices.iter().map(|slice| (namespace.name.clone(), slice.name.clone(), slice.flavour))
    });
    slices
        .filter_map(|(namespace, slice, flavour)| Some(KnownFlavour { namespace, slice, flavour: flavour? }))
        .collect()
}

/// Listeners that name namespaces which are not there, and namespaces that no listener serves. Namespaces whose
/// files are `refused` are there.
pub(super) fn names(
    settings: &Settings,
    file: &Path,
    namespaces: &[Admitted],
    refused: &[PathBuf],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut known: Vec<&str> = namespaces.iter().map(|admitted| admitted.namespace.name.as_str()).collect();
    known.extend(refused.iter().filter_map(|file| file.file_stem()?.to_str()));
    for listener in &settings.listeners {
        let named = listener.namespaces.iter().flatten().zip(&listener.places.namespaces);
        for (name, place) in named.filter(|(name, _)| !known.contains(&name.as_str())) {
            let would_be = settings.namespaces_dir.join(format!("{name}.toml"));
            let problem = error(file, place, format!("there is no namespace `{name}`"));
            problems.push(problem.hint(format!("its file would be {}", would_be.display())));
        }
    }
    if namespaces.is_empty() && refused.is_empty() {
        let directory = settings.namespaces_dir.display().to_string();
        problems.push(Problem::warning(directory, "there is no namespace, so nobody can log in"));
    }
    for admitted in namespaces {
        if !settings.listeners.iter().any(|listener| serves(listener, &admitted.namespace.name)) {
            let warning = Problem::warning(&admitted.file, "no listener serves this namespace");
            problems.push(warning.hint("name it in `namespaces` of a listener"));
        }
    }
    problems
}

/// Listeners where a login would not know whose accounts it is of.
pub(super) fn server_accounts(settings: &Settings, file: &Path, namespaces: &[Admitted]) -> Vec<Problem> {
    let of_servers = || namespaces.iter().map(|a| &a.namespace).filter(|n| n.server_accounts.is_some());
    let told = settings.listeners.iter().filter_map(|listener| {
        let mut served = of_servers().filter(|namespace| serves(listener, &namespace.name));
        let (first, second) = (served.next()?, served.next()?);
        let message = format!(
            "namespaces `{}` and `{}` are both served here, and the users of both are accounts of their servers",
            first.name, second.name
        );
        let hint = "a listener serves at most one such namespace: give each its own listener, with `namespaces`";
        Some(error(file, &listener.places.version, message).hint(hint))
    });
    told.collect()
}

/// Listeners that would have to greet as MySQL and as MariaDB at once.
pub(super) fn flavours(settings: &Settings, file: &Path, known: &[KnownFlavour]) -> Vec<Problem> {
    settings.listeners.iter().filter_map(|listener| mixed(listener, file, known)).collect()
}

fn mixed(listener: &ListenerSettings, file: &Path, known: &[KnownFlavour]) -> Option<Problem> {
    let served = || known.iter().filter(|known| serves(listener, &known.namespace));
    let first_of = |flavour| served().find(|known| known.flavour == flavour);
    let place = |known: &KnownFlavour| format!("slice `{}` of namespace `{}`", known.slice, known.namespace);
    if let (Some(mysql), Some(mariadb)) = (first_of(Flavour::MySql), first_of(Flavour::MariaDb)) {
        let message = format!(
            "{} is served here, and it is MySQL; so is {}, and it is MariaDB",
            place(mysql),
            place(mariadb)
        );
        let hint = "a client is greeted before its namespace is known: give each its own listener, with `namespaces`";
        return Some(error(file, &listener.places.version, message).hint(hint));
    }
    let greets = listener.version.as_ref()?.flavour;
    let other = served().find(|known| known.flavour != greets)?;
    let message = format!("clients are greeted as by {greets}, but {} is {}", place(other), other.flavour);
    let hint = "leave out `flavour` and `version`, and the servers' own are told";
    Some(error(file, &listener.places.version, message).hint(hint))
}

fn serves(listener: &ListenerSettings, namespace: &str) -> bool {
    listener.namespaces.as_ref().is_none_or(|names| names.iter().any(|name| name == namespace))
}

fn error(file: &Path, place: &Place, message: String) -> Problem {
    Problem::error(file.display().to_string(), message).at(place)
}
