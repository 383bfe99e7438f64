//! The machine's own package sources: both formats of sources.list(5), and which of them are the
//! distribution's archive.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::distribution::{Distribution, Family};

/// Options that are carried over, as (one-line name, deb822 name). `trusted` is left out on purpose:
/// what is fetched is always verified.
const OPTIONS: [(&str, &str); 5] = [
    ("arch", "Architectures"),
    ("signed-by", "Signed-By"),
    ("check-valid-until", "Check-Valid-Until"),
    ("check-date", "Check-Date"),
    ("by-hash", "By-Hash"),
];

/// One entry of a package source, without a change of meaning in either format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uris: Vec<String>,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
    /// deb822 field names with their values; a value may have several lines (an inline key).
    pub(crate) options: Vec<(&'static str, String)>,
}

/// Every enabled binary source that apt on this machine knows.
pub(crate) fn of_this_machine() -> Result<Vec<Source>> {
    read_from(Path::new("/etc/apt"))
}

fn read_from(etc: &Path) -> Result<Vec<Source>> {
    let mut files = vec![etc.join("sources.list")];
    let parts = etc.join("sources.list.d");
    if parts.is_dir() {
        let listed = fs::read_dir(&parts).with_context(|| format!("cannot list {}", parts.display()))?;
        for entry in listed {
            files.push(entry.with_context(|| format!("cannot list {}", parts.display()))?.path());
        }
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        sources.extend(parse(&text));
    }
    Ok(sources)
}

/// Reads the one-line format. Lines that apt itself would refuse are passed over: only the archive's
/// entries matter, and their absence is an error later.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let uri = words.next()?;
    let suite = words.next()?;
    if uri.starts_with("cdrom:") {
        return None;
    }
    let options = options
        .split_whitespace()
        .filter_map(|option| {
            let (name, value) = option.split_once('=')?;
            let (_, field) = OPTIONS.iter().find(|(short, _)| *short == name)?;
            Some((*field, value.replace(',', " ")))
        })
        .collect();
    Some(Source {
        uris: vec![uri.to_owned()],
        suites: vec![suite.to_owned()],
        components: words.map(str::to_owned).collect(),
        options,
    })
}

/// Reads the deb822 format: stanzas of fields, continued on lines that begin with a blank.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(source_of(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(fields: &[(String, String)]) -> Option<Source> {
    let field = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone())
    };
    let words = |wanted: &str| -> Vec<String> {
        field(wanted).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let disabled = ["no", "false", "without", "off", "disable", "0"];
    if field("Enabled").is_some_and(|value| disabled.contains(&value.as_str())) {
        return None;
    }
    let source = Source {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        options: OPTIONS.iter().filter_map(|(_, name)| Some((*name, field(name)?))).collect(),
    };
    let usable = words("Types").iter().any(|kind| kind == "deb") && !source.uris.is_empty();
    usable.then_some(source)
}

/// The entries of the distribution's own archive for this release, with its updates and security fixes.
pub(crate) fn archive(all: &[Source], distribution: &Distribution) -> Result<Vec<Source>> {
    let rolling = ["stable", "oldstable", "testing", "unstable", "sid"];
    let codename = distribution.codename.as_str();
    let by_codename = matching(all, distribution, &[codename]);
    // A machine may follow a role ("stable", "sid") instead of a codename.
    let found = if by_codename.is_empty() { matching(all, distribution, &rolling) } else { by_codename };
    if found.is_empty() {
        bail!(
            "apt's configuration (/etc/apt/sources.list, /etc/apt/sources.list.d) names no {} archive for \
             `{codename}`: add it there, or put mariadbd and mysqld on the PATH",
            distribution.family.origin()
        );
    }
    Ok(found)
}

fn matching(all: &[Source], distribution: &Distribution, releases: &[&str]) -> Vec<Source> {
    let components: &[&str] = match distribution.family {
        Family::Debian => &["main"],
        Family::Ubuntu => &["main", "universe"],
    };
    let keep = |names: &[String], wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        names.iter().filter(|name| wanted(name)).cloned().collect()
    };
    all.iter()
        .map(|source| Source {
            suites: keep(&source.suites, &|suite| belongs(suite, releases)),
            components: keep(&source.components, &|component| components.contains(&component)),
            ..source.clone()
        })
        .filter(|source| !source.suites.is_empty() && !source.components.is_empty())
        .collect()
}

fn belongs(suite: &str, releases: &[&str]) -> bool {
    releases.iter().any(|release| {
        suite
            .strip_prefix(release)
            .is_some_and(|rest| ["", "-updates", "-security", "/updates"].contains(&rest))
    })
}

/// Debian's unstable on the same mirror as `archive`, or nothing if `archive` is unstable already.
pub(crate) fn unstable_beside(archive: &[Source]) -> Option<Vec<Source>> {
    let base = |source: &&Source| source.suites.iter().any(|suite| !suite.contains(['-', '/']));
    let source = archive.iter().find(base)?;
    if source.suites.iter().any(|suite| suite == "sid" || suite == "unstable") {
        return None;
    }
    Some(vec![Source {
        suites: vec!["sid".to_owned()],
        components: vec!["main".to_owned()],
        ..source.clone()
    }])
}

/// Writes sources in the deb822 format.
pub(crate) fn render(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        let lines = [
            ("URIs", source.uris.join(" ")),
            ("Suites", source.suites.join(" ")),
            ("Components", source.components.join(" ")),
        ];
        text.push_str("Types: deb\n");
        for (name, value) in lines.iter().chain(&source.options) {
            // Writing into a String cannot fail.
            let _infallible = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
