//! The reference of all settings, from their declarations.

use weir_catalog::{document, document::Declared, draft::NamespaceDraft};

use crate::settings::Settings;

const HEAD: &str = "\
<!-- Made from the declarations in crates/weir/src/settings.rs and crates/catalog/src/draft.rs.
     To make it anew: UPDATE_DOCS=1 cargo test -p weir -->

# Configuration

Weir reads one file of settings for the process, and one file for each namespace. Both are TOML.
`weir check --config weir.toml` prints everything that is wrong with them, with lines and remedies; with `--live` it also
logs in to the servers. HUP makes a running Weir read settings, namespaces, certificate and keys again; changed files of namespaces
are also noticed within seconds. A file of a namespace that is not valid keeps its last good version in force.

A duration is a string of whole numbers with units: `\"500ms\"`, `\"5s\"`, `\"10m\"`, `\"1h30m\"`, `\"7d\"` (also `us`). A size is one
of bytes with a binary unit: `\"512KiB\"`, `\"64MiB\"`, `\"1GiB\"`.

An example, with two files:

```toml
# weir.toml
namespaces_dir = \"namespaces\"
data_dir = \"/var/lib/weir\"

[[listeners]]
address = \"0.0.0.0:3306\"
tls = \"preferred\"

[log]
format = \"json\"
```

```toml
# namespaces/shop.toml
";

/// A namespace for the reference; a test admits it.
const EXAMPLE: &str = r#"allowed_databases = ["shop"]
allowed_clients = ["10.0.0.0/8"]

[[users]]
name = "app"
verifier = "sha2:73641c99f7719f57f4babed1ba6ab8c7e0f2ea2a6b1a4bc2ba6c1ea6b0a8b0a4"

[[users]]
name = "reports"
verifier = "sha2:4ae1ab2b4fcb1fb2d07bb2a1e6d3ab3d8a4ad8e0ae6a7bb8de1e0fdb5a5e4a10"
access = "read-only"

[[slices]]
name = "main"
primary = { address = "db1.example:3306" }
replicas = [
  { address = "db2.example:3306", zone = "a" },
  { address = "db3.example:3306", zone = "b" },
]
account = { user = "weir", password_env = "SHOP_PASSWORD" }

[pool]
capacity = 16

[limits]
result_rows = 1_000_000
"#;

/// `docs/configuration.md`.
pub(super) fn reference() -> String {
    let settings = document::reference("Settings of the process: `weir.toml`", &Settings::shape());
    let namespace = document::reference("A namespace: `<name>.toml`", &NamespaceDraft::table_shape());
    format!("{HEAD}{EXAMPLE}```\n\n{settings}{namespace}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use weir_catalog::{namespace::Namespace, secret::Secret, surroundings::Imagined};

    use super::*;

    #[test]
    fn the_reference_is_what_the_declarations_say() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let made = reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, made).unwrap();
            return;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test -p weir");
    }

    #[test]
    fn the_examples_are_admitted() {
        let mut machine = Imagined::default();
        machine.variables.insert("SHOP_PASSWORD".into(), Secret::new("x"));
        let admitted = Namespace::admit(EXAMPLE, Path::new("shop.toml"), &machine).unwrap();
        assert_eq!(admitted.warnings, []);
        let (_, after) = HEAD.split_once("# weir.toml\n").unwrap();
        let (settings, _) = after.split_once("```").unwrap();
        let (_, warnings) = Settings::admit(settings, Path::new("weir.toml"), &machine).unwrap();
        assert_eq!(warnings, []);
    }
}
