//! Everything that was declared, joined; the data plane reads one of these and never writes it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use weir_wire::auth::Verifier;

use crate::{
    admit::Admitted,
    namespace::Namespace,
    problem::{Place, Problem},
    user::{Plugin, User},
};

/// All namespaces at one point in time. Replaced whole.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    /// By name.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    /// By user name.
    pub logins: HashMap<String, LoginGroup>,
}

/// All entries of one user name.
#[derive(Clone, Debug)]
pub struct LoginGroup {
    /// The plugin that all of them log in with: it must be known before the password tells them apart.
    pub plugin: Plugin,
    /// Which namespaces the name may lead to; the password decides.
    pub entries: Vec<LoginEntry>,
}

/// A user of a namespace.
#[derive(Clone, Debug)]
pub struct LoginEntry {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// One of its users.
    pub user: Arc<User>,
}

/// Comparisons of a password with a salted verifier that one join makes, each of which takes milliseconds. What is
/// left uncompared beyond them is found at login, where more than one match is refused.
const MOST_SLOW_COMPARISONS: usize = 1_000;

/// Who declared a user name, while a snapshot is being built.
struct Declared {
    file: String,
    place: Place,
    entry: LoginEntry,
}

impl Snapshot {
    /// Joins namespaces of which nothing is known; see [`Snapshot::join`].
    ///
    /// # Errors
    /// As there.
    pub fn build(version: u64, namespaces: Vec<Admitted>) -> Result<Self, Vec<Problem>> {
        Self::join(version, Vec::new(), namespaces)
    }

    /// Joins namespaces that are `in_force` beside each other already, so that they need not be compared again, with
    /// `newcomers`. Where two contradict each other, the newcomer is blamed; of two newcomers the later one.
    ///
    /// # Errors
    /// Every contradiction: two namespaces of one name, entries of a user name with different plugins, entries of a
    /// user name whose passwords are provably equal. Each names the blamed file, and the other one in its message.
    pub fn join(
        version: u64,
        in_force: Vec<Admitted>,
        newcomers: Vec<Admitted>,
    ) -> Result<Self, Vec<Problem>> {
        let mut snapshot = Self { version, ..Self::default() };
        let mut declared: HashMap<String, Vec<Declared>> = HashMap::new();
        let mut files: HashMap<String, String> = HashMap::new();
        let mut problems = Vec::new();
        let mut slow_comparisons = MOST_SLOW_COMPARISONS;
        let known = in_force.into_iter().map(|admitted| (admitted, true));
        for (admitted, is_in_force) in known.chain(newcomers.into_iter().map(|admitted| (admitted, false))) {
            let Admitted { namespace, file, user_places, .. } = admitted;
            let namespace = Arc::new(namespace);
            if let Some(other) = files.get(&namespace.name) {
                let message = format!("namespace `{}` is declared in {other} already", namespace.name);
                problems.push(Problem::error(&file, message));
                continue;
            }
            let new = declared_by(&namespace, &file, user_places);
            if !is_in_force {
                let others = |new: &Declared| declared.get(&new.entry.user.name);
                let found =
                    new.iter().filter_map(|new| contradiction(new, others(new)?, &mut slow_comparisons));
                let found: Vec<Problem> = found.collect();
                if !found.is_empty() {
                    problems.extend(found);
                    continue;
                }
            }
            for new in new {
                declared.entry(new.entry.user.name.clone()).or_default().push(new);
            }
            files.insert(namespace.name.clone(), file);
            snapshot.namespaces.insert(namespace.name.clone(), namespace);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let groups = declared.into_iter().filter_map(|(name, group)| Some((name, login_group(group)?)));
        snapshot.logins = groups.collect();
        Ok(snapshot)
    }
}

/// The users of a namespace.
fn declared_by(namespace: &Arc<Namespace>, file: &str, places: Vec<Place>) -> Vec<Declared> {
    let places = places.into_iter().chain(std::iter::repeat(Place::default()));
    let entries = namespace
        .users
        .iter()
        .map(|user| LoginEntry { namespace: Arc::clone(namespace), user: Arc::new(user.clone()) });
    entries.zip(places).map(|(entry, place)| Declared { file: file.to_owned(), place, entry }).collect()
}

fn login_group(declared: Vec<Declared>) -> Option<LoginGroup> {
    let plugin = declared.first()?.entry.user.plugin;
    Some(LoginGroup { plugin, entries: declared.into_iter().map(|d| d.entry).collect() })
}

/// The first reason why a user cannot stand beside the ones of its name.
fn contradiction(new: &Declared, others: &[Declared], slow_comparisons: &mut usize) -> Option<Problem> {
    let user = &new.entry.user;
    let problem = |other: &Declared, message: String| {
        let at = other.place.position.map_or_else(String::new, |position| format!(":{position}"));
        Problem::error(&new.file, format!("{message} {}{at}", other.file)).at(&new.place)
    };
    others.iter().find_map(|other| {
        let theirs = &other.entry.user;
        if theirs.plugin != user.plugin {
            let message = format!(
                "user `{}` logs in with {} here, but with {} in",
                user.name, user.plugin, theirs.plugin
            );
            return Some(problem(other, message).hint(
                "the plugin must be known before the password tells the namespaces apart: give all entries of a user name the same `plugin`",
            ));
        }
        if provably_equal(&theirs.password, &user.password, slow_comparisons) {
            let message = format!("user `{}` has the same password as in", user.name);
            return Some(problem(other, message).hint(
                "user name and password together decide the namespace: change one of the passwords",
            ));
        }
        None
    })
}

/// As [`Verifier::provably_equal`], but `false` once the slow comparisons are used up.
fn provably_equal(one: &Verifier, other: &Verifier, slow_comparisons: &mut usize) -> bool {
    let is_plain = |verifier: &Verifier| matches!(verifier, Verifier::Plain(_));
    if (is_plain(one) && other.is_slow()) || (is_plain(other) && one.is_slow()) {
        let Some(left) = slow_comparisons.checked_sub(1) else { return false };
        *slow_comparisons = left;
    }
    one.provably_equal(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_comparisons_are_limited_and_fast_ones_are_not() {
        let plain = Verifier::plain("x");
        let slow = Verifier::sha2_crypt_of(b"x", *b"abcdefghijklmnopqrst");
        let mut left = 2;
        assert!(provably_equal(&plain, &slow, &mut left) && provably_equal(&slow, &plain, &mut left));
        assert_eq!(left, 0);
        assert!(!provably_equal(&plain, &slow, &mut left), "nobody looked");
        assert!(provably_equal(&plain, &plain, &mut left) && provably_equal(&slow, &slow, &mut left));
    }
}
