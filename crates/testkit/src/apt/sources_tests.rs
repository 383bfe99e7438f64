use super::*;

fn source(uri: &str, suites: &str, components: &str, options: &[(&'static str, &str)]) -> Source {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Source {
        uris: words(uri),
        suites: words(suites),
        components: words(components),
        options: options.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    }
}

#[test]
fn reads_the_one_line_format() {
    let keyring = [("Architectures", "amd64"), ("Signed-By", "/a.gpg /b.gpg")];
    let rows: [(&str, Option<Source>); 10] = [
        (
            "deb http://m.test/debian bookworm main",
            Some(source("http://m.test/debian", "bookworm", "main", &[])),
        ),
        (
            "  deb\thttp://m.test/d  sid main contrib # note",
            Some(source("http://m.test/d", "sid", "main contrib", &[])),
        ),
        (
            "deb [arch=amd64 signed-by=/a.gpg,/b.gpg] http://m.test/d sid main",
            Some(source("http://m.test/d", "sid", "main", &keyring)),
        ),
        ("deb [ trusted=yes ] http://m.test/d sid main", Some(source("http://m.test/d", "sid", "main", &[]))),
        ("deb-src http://m.test/debian bookworm main", None),
        ("# deb http://m.test/debian bookworm main", None),
        ("deb cdrom:[Debian]/ bookworm main", None),
        ("deb [arch=amd64 http://m.test/debian bookworm main", None),
        ("deb http://m.test/debian", None),
        ("", None),
    ];
    for (line, expected) in rows {
        assert_eq!(parse_list(line), Vec::from_iter(expected), "{line}");
    }
}

#[test]
fn reads_the_deb822_format() {
    let text = "\
# a comment
Types: deb deb-src
URIs: http://m.test/debian
 http://n.test/debian
Suites: bookworm bookworm-updates
# in the middle
components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Trusted: yes

Types: deb-src
URIs: http://m.test/source
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main


Types: deb
URIs: http://last.test/debian
Suites: sid
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc";
    let keyring = [("Signed-By", "/usr/share/keyrings/debian-archive-keyring.gpg")];
    let inline = [("Signed-By", "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc")];
    let expected = vec![
        source("http://m.test/debian http://n.test/debian", "bookworm bookworm-updates", "main", &keyring),
        source("http://last.test/debian", "sid", "main", &inline),
    ];
    assert_eq!(parse_deb822(text), expected);
    assert_eq!(parse_deb822(&render(&expected)), expected, "what is written reads back the same");
}

#[test]
fn reads_files_of_both_formats_and_no_others() {
    let etc = tempfile::tempdir().unwrap();
    let parts = etc.path().join("sources.list.d");
    fs::create_dir(&parts).unwrap();
    fs::write(etc.path().join("sources.list"), "deb http://one.test/debian bookworm main\n").unwrap();
    fs::write(
        parts.join("two.sources"),
        "Types: deb\nURIs: http://two.test/d\nSuites: sid\nComponents: main\n",
    )
    .unwrap();
    fs::write(parts.join("three.list.disabled"), "deb http://three.test/debian bookworm main\n").unwrap();
    let uris: Vec<_> = read_from(etc.path()).unwrap().into_iter().flat_map(|source| source.uris).collect();
    assert_eq!(uris, ["http://one.test/debian", "http://two.test/d"]);
}

fn debian(codename: &str) -> Distribution {
    Distribution { family: Family::Debian, codename: codename.to_owned() }
}

#[test]
fn takes_only_the_distributions_own_suites() {
    let all = [
        source("http://m.test/debian", "bookworm bookworm-updates bookworm-backports", "main contrib", &[]),
        source("http://s.test/security", "bookworm-security", "main", &[]),
        source("http://other.test/apt", "bookworm-pgdg", "main", &[]),
        source("http://node.test/x", "nodistro", "main", &[]),
        source("http://docker.test/x", "bookworm", "stable", &[]),
    ];
    let expected = [
        source("http://m.test/debian", "bookworm bookworm-updates", "main", &[]),
        source("http://s.test/security", "bookworm-security", "main", &[]),
    ];
    assert_eq!(archive(&all, &debian("bookworm")).unwrap(), expected);
    assert!(archive(&all, &debian("trixie")).is_err());
    let by_role = [source("http://m.test/debian", "stable stable-updates", "main", &[])];
    assert_eq!(archive(&by_role, &debian("bookworm")).unwrap(), by_role);
    let ubuntu = Distribution { family: Family::Ubuntu, codename: "noble".to_owned() };
    let universe = [source("http://u.test/ubuntu", "noble noble-updates", "main restricted universe", &[])];
    assert_eq!(archive(&universe, &ubuntu).unwrap()[0].components, ["main", "universe"]);
}

#[test]
fn finds_unstable_on_the_same_mirror() {
    let keyring = [("Signed-By", "/k.gpg")];
    let stable = [
        source("http://s.test/security", "bookworm-security", "main", &[]),
        source("http://m.test/debian", "bookworm bookworm-updates", "main", &keyring),
    ];
    assert_eq!(unstable_beside(&stable), Some(vec![source("http://m.test/debian", "sid", "main", &keyring)]));
    assert_eq!(unstable_beside(&[source("http://m.test/debian", "sid", "main", &[])]), None);
}
