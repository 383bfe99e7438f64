//! What is in force after each change of the stored texts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; clippy allows it in tests themselves"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use weir_catalog::{diff::NamespaceChange, diff::Part, problem::Problem, secret::Secret};
use weir_store::{Directory, Keeper, Memory, Reloaded};

/// A namespace with one user.
fn text(user: &str, password: &str) -> String {
    format!(
        r#"allowed_databases = ["*"]
users = [{{ name = "{user}", password = "{password}" }}]
[[slices]]
name = "main"
primary = {{ address = "127.0.0.1:3306" }}
account = {{ user = "weir", password = "b4ckend" }}
"#
    )
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn memory(texts: &[(&str, String)]) -> (Keeper<Memory>, Reloaded) {
    let mut keeper = Keeper::new(Memory::default());
    for (name, text) in texts {
        keeper.source_mut().put(name, text);
    }
    let first = keeper.reload();
    (keeper, first)
}

fn user_of(reloaded: &Reloaded, namespace: &str) -> String {
    reloaded.snapshot.namespaces[namespace].users[0].name.clone()
}

#[test]
fn a_namespace_that_becomes_invalid_keeps_its_last_good_version_and_says_why() {
    let (mut keeper, first) = memory(&[("a", text("ann", "x")), ("b", text("bob", "x"))]);
    assert_eq!((first.problems.len(), first.snapshot.version), (0, 1));
    keeper.source_mut().put("a", &text("", "x"));
    keeper.source_mut().put("b", &text("bert", "x"));
    let second = keeper.reload();
    assert_eq!(
        lines(&second.problems),
        [
            r#"memory/a.toml:2:19: error: users[0].name: "" is not a user name (1 to 32 characters, none of them a control character)"#
        ]
    );
    assert_eq!((user_of(&second, "a"), user_of(&second, "b")), ("ann".into(), "bert".into()));
    assert_eq!((second.kept, second.refused), (vec!["a".to_owned()], vec![]));
    assert_eq!(second.diff.to_string(), "b changed: users (bert, bob)");
    assert_eq!(second.snapshot.version, 2);
    assert!(second.snapshot.logins.contains_key("ann") && !second.snapshot.logins.contains_key("bob"));

    keeper.source_mut().put("a", &text("anna", "x"));
    let third = keeper.reload();
    assert_eq!((user_of(&third, "a"), third.problems.len(), third.kept.len()), ("anna".into(), 0, 0));
}

#[test]
fn a_namespace_that_never_was_valid_is_refused_and_the_others_are_served() {
    let (_, first) = memory(&[("a", "nonsense".to_owned()), ("b", text("bob", "x"))]);
    assert_eq!(first.snapshot.namespaces.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(first.refused, [Path::new("memory/a.toml")]);
    assert_eq!(first.kept, [""; 0]);
    assert!(!first.problems.is_empty());
}

#[test]
fn a_removed_file_takes_its_namespace_with_it_but_an_unreadable_one_does_not() {
    let (mut keeper, _) = memory(&[("a", text("ann", "x")), ("b", text("bob", "x"))]);
    keeper.source_mut().remove("a");
    keeper.source_mut().make_unreadable("b");
    let second = keeper.reload();
    assert_eq!(second.snapshot.namespaces.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(second.diff.namespaces.get("a"), Some(&NamespaceChange::Removed));
    assert_eq!(second.kept, ["b"]);
    assert_eq!(lines(&second.problems), ["memory/b.toml: error: the file cannot be read"]);

    keeper.source_mut().lost = true;
    let third = keeper.reload();
    assert_eq!((third.snapshot.version, third.kept), (2, vec!["b".to_owned()]));
    assert_eq!(lines(&third.problems), ["memory: error: the namespaces cannot be listed"]);
}

#[test]
fn an_invalid_version_is_dropped_with_its_file() {
    let (mut keeper, _) = memory(&[("a", text("ann", "x"))]);
    keeper.source_mut().put("a", "nonsense");
    assert_eq!(keeper.reload().kept, ["a"]);
    keeper.source_mut().remove("a");
    let gone = keeper.reload();
    assert!(gone.snapshot.namespaces.is_empty() && gone.snapshot.logins.is_empty());
    assert_eq!((gone.problems.len(), gone.kept.len()), (0, 0));
}

#[test]
fn the_version_grows_only_with_a_change() {
    let (mut keeper, first) = memory(&[("a", text("ann", "x"))]);
    let again = keeper.reload();
    assert!(again.diff.is_empty());
    assert_eq!((first.snapshot.version, again.snapshot.version), (1, 1));
    let commented = format!("# the same\n{}", text("ann", "x"));
    keeper.source_mut().put("a", &commented);
    assert!(keeper.poll_changed());
    assert_eq!(keeper.reload().snapshot.version, 1);
    assert!(!keeper.poll_changed());
}

#[test]
fn a_newcomer_that_contradicts_what_is_in_force_is_the_one_refused() {
    let (mut keeper, _) = memory(&[("m", text("app", "x"))]);
    keeper.source_mut().put("a", &text("app", "x"));
    keeper.source_mut().put("b", &text("app", "y"));
    let second = keeper.reload();
    assert_eq!(second.snapshot.namespaces.keys().collect::<Vec<_>>(), ["b", "m"]);
    assert_eq!(
        lines(&second.problems),
        [
            "memory/a.toml:2:10: error: users[0]: user `app` has the same password as in memory/m.toml:2:10 (user name and password together decide the namespace: change one of the passwords)"
        ]
    );
    assert_eq!(second.refused, [Path::new("memory/a.toml")]);
    assert_eq!(second.snapshot.logins["app"].entries.len(), 2);
}

#[test]
fn of_two_changes_that_contradict_each_other_one_steps_back() {
    let (mut keeper, _) = memory(&[("a", text("app", "1")), ("b", text("app", "2"))]);
    // both take the same new password
    keeper.source_mut().put("a", &text("app", "3"));
    keeper.source_mut().put("b", &text("app", "3"));
    let second = keeper.reload();
    assert_eq!(second.kept, ["b"]);
    let accepts = |namespace: &str, password: &str| {
        second.snapshot.namespaces[namespace].users[0].password.accepts_password(password.as_bytes())
    };
    assert!(accepts("a", "3") && accepts("b", "2"));
    assert_eq!(second.problems.len(), 1);
}

#[test]
fn two_namespaces_may_swap_passwords_in_one_reload() {
    let (mut keeper, _) = memory(&[("a", text("app", "1")), ("b", text("app", "2"))]);
    keeper.source_mut().put("a", &text("app", "2"));
    keeper.source_mut().put("b", &text("app", "1"));
    let second = keeper.reload();
    assert_eq!((second.problems.len(), second.diff.namespaces.len()), (0, 2));
}

#[test]
fn a_step_back_may_push_out_another_change() {
    // b and c change; c is invalid, and b takes the password that c thereby keeps
    let (mut keeper, _) = memory(&[("b", text("app", "1")), ("c", text("app", "2"))]);
    keeper.source_mut().put("b", &text("app", "2"));
    keeper.source_mut().put("c", &text("", "3"));
    let second = keeper.reload();
    assert_eq!(second.kept, ["b", "c"]);
    assert!(second.diff.is_empty());
    assert_eq!(second.problems.len(), 2);
}

#[test]
fn a_changed_password_variable_is_a_change_of_the_slice() {
    let mut keeper = Keeper::new(Memory::default());
    let set = |keeper: &mut Keeper<Memory>, value: &str| {
        keeper.source_mut().machine.variables.insert("P".into(), Secret::new(value))
    };
    set(&mut keeper, "one");
    let text = text("ann", "x").replace(r#"password = "b4ckend""#, r#"password_env = "P""#);
    keeper.source_mut().put("a", &text);
    keeper.reload();
    set(&mut keeper, "two");
    let second = keeper.reload();
    let change = NamespaceChange::Changed(vec![Part::SliceChanged("main".to_owned())]);
    assert_eq!(second.diff.namespaces.get("a"), Some(&change));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn files_are_read_followed_and_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write(&at("a.toml"), &text("ann", "x"));
    for other in [".hidden.toml", "a.toml~", "#a.toml#", "notes.txt"] {
        write(&at(other), "nonsense");
    }
    fs::create_dir(at("directory.toml")).unwrap();
    write(&at("shared"), &text("bob", "x"));
    std::os::unix::fs::symlink(at("shared"), at("b.toml")).unwrap();
    let mut keeper = Keeper::new(Directory::new(directory.path()));
    assert!(keeper.poll_changed());
    let first = keeper.reload();
    assert_eq!(lines(&first.problems), [""; 0]);
    assert_eq!(first.snapshot.namespaces.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(!keeper.poll_changed());

    write(&at("shared"), &text("bert", "x"));
    assert!(keeper.poll_changed());
    assert_eq!(keeper.reload().diff.to_string(), "b changed: users (bert, bob)");
    assert!(!keeper.poll_changed());

    write(&at("a.toml"), "allowed_databases = [");
    assert!(keeper.poll_changed());
    let broken = keeper.reload();
    assert_eq!((user_of(&broken, "a"), broken.kept), ("ann".to_owned(), vec!["a".to_owned()]));
    assert!(lines(&broken.problems)[0].contains("a.toml:1:22: error: not TOML: "), "{:?}", broken.problems);

    fs::remove_file(at("a.toml")).unwrap();
    assert!(keeper.poll_changed());
    assert_eq!(keeper.reload().snapshot.namespaces.keys().collect::<Vec<_>>(), ["b"]);
    fs::remove_file(at("shared")).unwrap();
    assert!(keeper.poll_changed());
    let dangling = keeper.reload();
    assert_eq!(dangling.kept, ["b"]);
    let expected = format!("{}: error: the file cannot be read: no such file", at("b.toml").display());
    assert_eq!(lines(&dangling.problems), [expected]);
}

#[test]
fn a_missing_directory_is_one_problem_and_takes_nothing_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("namespaces");
    fs::create_dir(&path).unwrap();
    write(&path.join("a.toml"), &text("ann", "x"));
    let mut keeper = Keeper::new(Directory::new(&path));
    keeper.reload();
    fs::rename(&path, directory.path().join("elsewhere")).unwrap();
    assert!(keeper.poll_changed());
    let reloaded = keeper.reload();
    assert_eq!((reloaded.kept, reloaded.snapshot.namespaces.len()), (vec!["a".to_owned()], 1));
    let expected = format!(
        "{}: error: the directory of namespaces cannot be read: no such file (see `namespaces_dir`)",
        path.display()
    );
    assert_eq!(lines(&reloaded.problems), [expected]);
    fs::rename(directory.path().join("elsewhere"), &path).unwrap();
    assert!(keeper.poll_changed());
    assert_eq!(lines(&keeper.reload().problems), [""; 0]);
}

#[test]
fn password_files_are_read_watched_and_must_not_be_open_to_all() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let inside = text("ann", "x").replace(r#"password = "b4ckend""#, r#"password_file = "secrets/backend""#);
    write(&at("a.toml"), &inside);
    let mut keeper = Keeper::new(Directory::new(directory.path()));
    let missing = keeper.reload();
    assert_eq!(missing.refused, [at("a.toml")]);
    // the file appears: the namespace that needed it can be had now
    assert!(keeper.poll_changed(), "it is known by now which files matter");
    keeper.reload();
    assert!(!keeper.poll_changed());
    fs::create_dir(at("secrets")).unwrap();
    write(&at("secrets/backend"), "pass word\r\n");
    assert!(keeper.poll_changed());
    let found = keeper.reload();
    assert_eq!(lines(&found.problems), [""; 0]);
    let password = |reloaded: &Reloaded| {
        reloaded.snapshot.namespaces["a"].slices[0].account.password.reveal().to_owned()
    };
    assert_eq!(password(&found), "pass word");
    write(&at("secrets/backend"), "another\n\n");
    assert!(keeper.poll_changed());
    assert_eq!(password(&keeper.reload()), "another\n", "one line end is the editor's");

    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(&at("secrets/backend"), 0o644);
    open(&at("a.toml"), 0o644);
    assert!(keeper.poll_changed());
    let shown =
        lines(&keeper.reload().problems).join("\n").replace(&format!("{}/", directory.path().display()), "");
    assert_eq!(
        shown,
        "a.toml:6:44: warning: slices[0].account.password_file: everybody on this machine can read secrets/backend (chmod 600 secrets/backend)\n\
         a.toml: warning: everybody on this machine can read the file, and what it holds of passwords (chmod 600 a.toml)"
    );
    open(&at("a.toml"), 0o666);
    let refused = keeper.reload();
    assert_eq!(refused.kept, ["a"]);
    assert!(lines(&refused.problems)[0].contains("error: everybody on this machine can change the file"));
}

#[test]
fn files_that_are_no_text_or_too_large_are_problems_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write(&at("a.toml"), &text("ann", "x"));
    fs::write(at("b.toml"), b"\xff\xfe").unwrap();
    fs::File::create(at("c.toml")).unwrap().set_len(weir_store::MAX_FILE_BYTES + 1).unwrap();
    let loaded = Keeper::new(Directory::new(directory.path())).reload();
    assert_eq!(loaded.snapshot.namespaces.keys().collect::<Vec<_>>(), ["a"]);
    let shown: Vec<String> =
        lines(&loaded.problems).iter().map(|l| l.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(
        shown,
        [
            "b.toml: error: the file cannot be read: it is not UTF-8",
            "c.toml: error: the file cannot be read: it has more than 4194304 bytes"
        ]
    );
}

#[test]
fn no_secret_is_in_the_debug_output_of_a_reload() {
    let (keeper, first) = memory(&[("a", text("ann", "s3cret"))]);
    let shown = format!("{first:?} {:?} {:?}", keeper.snapshot(), weir_store::Source::load(keeper.source()));
    assert!(!shown.contains("s3cret") && !shown.contains("b4ckend"), "{shown}");
}
