//! The scripts that start fetched programs with the libraries they were built with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::home::{make_folder, write_whole};
use crate::recipe::{Recipe, Start};

/// Finds each program and writes a wrapper for it.
pub(crate) fn wrap(recipe: &Recipe, root: &Path, native: bool) -> Result<BTreeMap<String, (PathBuf, u64)>> {
    let libraries = library_folders(root)?;
    let loader = if native { None } else { loader(root, &libraries)? };
    make_folder(&root.join("run"))?;
    let mut programs = BTreeMap::new();
    for (program, start) in recipe.programs {
        let candidates = match start {
            Start::Plain => vec![Path::new("usr/sbin").join(program), Path::new("usr/bin").join(program)],
            Start::At(place) | Start::Shell(place) | Start::By(_, place) => vec![PathBuf::from(place)],
        };
        let Some(file) = candidates.iter().find(|file| root.join(file).exists()) else {
            bail!("the packages hold no program `{program}`");
        };
        let wrapper = root.join("run").join(program);
        let text = script(recipe, *start, file, &libraries, loader.as_deref());
        write_whole(&wrapper, text.as_bytes())?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", wrapper.display()))?;
        let size = fs::metadata(root.join(file)).with_context(|| format!("cannot read {program}"))?.len();
        programs.insert((*program).to_owned(), (file.clone(), size));
    }
    Ok(programs)
}

/// A program built against a newer C library than the machine's starts through that library's own loader;
/// others run as they are, with the prefix's libraries first. What the caller left open (a build's lock, a
/// pipe that somebody reads to its end) is closed, since a server outlives its caller.
fn script(
    recipe: &Recipe,
    start: Start,
    file: &Path,
    libraries: &[PathBuf],
    loader: Option<&Path>,
) -> String {
    let path: Vec<String> = libraries.iter().map(|folder| format!("$root/{}", folder.display())).collect();
    let path = path.join(":");
    let file = format!("\"$root/{}\"", file.display());
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-".to_owned(),
        "root=$(cd \"${0%/*}/..\" && pwd) || exit 127".to_owned(),
    ];
    lines.extend(recipe.environment.iter().map(|(name, value)| format!("export {name}=\"{value}\"")));
    if !recipe.prelude.is_empty() {
        lines.push(recipe.prelude.to_owned());
    }
    let run = match (start, loader) {
        (Start::Shell(_), _) => format!("exec /bin/sh {file} \"$@\""),
        (Start::By(program, _), _) => format!("exec \"$root/run/{program}\" {file} \"$@\""),
        (_, Some(loader)) => {
            format!(
                "exec \"$root/{}\" --argv0 {file} --library-path \"{path}\" {file} \"$@\"",
                loader.display()
            )
        }
        (_, None) => {
            lines.push(format!("export LD_LIBRARY_PATH=\"{path}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\""));
            format!("exec {file} \"$@\"")
        }
    };
    lines.push(run);
    lines.join("\n") + "\n"
}

/// The folders of shared libraries: `usr/lib/<architecture>` and what lies beside it.
pub(crate) fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for base in ["usr/lib", "lib"] {
        let folder = root.join(base);
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with("-linux-gnu") || name.contains("-linux-gnueabi") {
                found.push(Path::new(base).join(name));
            }
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// The dynamic loader that came with the packages; programs that need none (Go's) come without one.
fn loader(root: &Path, libraries: &[PathBuf]) -> Result<Option<PathBuf>> {
    for folder in libraries {
        for entry in fs::read_dir(root.join(folder)).context("cannot list the libraries")? {
            let name = entry.context("cannot list the libraries")?.file_name().to_string_lossy().into_owned();
            if name.starts_with("ld-linux") || name.starts_with("ld64.so") {
                return Ok(Some(folder.join(name)));
            }
        }
    }
    Ok(None)
}
