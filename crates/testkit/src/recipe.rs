//! Which packages make up each set of programs, and how each program is started.

use anyhow::Result;

use crate::apt::{self, Archive, Family};

/// A set of programs that share one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// MariaDB's server and command-line clients, from the machine's own release.
    MariaDb,
    /// MySQL's: on Debian from unstable, on Ubuntu from the machine's own release.
    MySql,
    /// The TCP proxy that measurements compare with.
    HaProxy,
    /// The load generator.
    Sysbench,
    /// Python 3 with pip: `python3`.
    Python,
    /// Node.js: `node`, `npm`.
    Node,
    /// The Go toolchain: `go`. On Debian from unstable, whose releases keep theirs for long.
    Go,
    /// A Java development kit and Maven: `java`, `javac`, `mvn`.
    Java,
}

/// How a program is started.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// As it is, from `usr/bin` or `usr/sbin`.
    Plain,
    /// As it is, from this place below the prefix.
    At(&'static str),
    /// A script in this place, by `/bin/sh`.
    Shell(&'static str),
    /// A script in this place, by another program of the set.
    By(&'static str, &'static str),
}

/// What a set is made of.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) archive: Archive,
    pub(crate) packages: &'static [&'static str],
    pub(crate) programs: &'static [(&'static str, Start)],
    /// Set for each program; `$root` is the prefix.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// A line of shell before each program is started.
    pub(crate) prelude: &'static str,
    pub(crate) finish: Finish,
}

/// What must be done to a prefix before its programs run outside of `/usr`.
#[derive(Clone, Copy)]
pub(crate) enum Finish {
    /// Nothing.
    Nothing,
    /// Node.js reads parts of itself from a fixed folder: point it at the prefix.
    RedirectNode,
    /// Java's trusted authorities are made when its package is installed: make them.
    TrustStore,
}

impl Set {
    /// What tests and measurements on databases need; runtimes of other languages are apart.
    pub const SERVERS: [Set; 4] = [Set::MariaDb, Set::MySql, Set::HaProxy, Set::Sysbench];

    pub(crate) fn recipe(self) -> Result<Recipe> {
        let newer = match apt::family()? {
            Family::Debian => Archive::Unstable,
            Family::Ubuntu => Archive::Release,
        };
        let plain = |name, packages, programs| Recipe {
            name,
            archive: Archive::Release,
            packages,
            programs,
            environment: &[],
            prelude: "",
            finish: Finish::Nothing,
        };
        let recipe = match self {
            Set::MariaDb => plain(
                "mariadb",
                &["mariadb-server-core", "mariadb-client"],
                &[("mariadbd", Start::Plain), ("mariadb", Start::Plain), ("mariadb-dump", Start::Plain)],
            ),
            Set::MySql => Recipe {
                archive: newer,
                ..plain(
                    "mysql",
                    &["mysql-server-core", "mysql-client-core"],
                    &[("mysqld", Start::Plain), ("mysql", Start::Plain), ("mysqldump", Start::Plain)],
                )
            },
            Set::HaProxy => plain("haproxy", &["haproxy"], &[("haproxy", Start::Plain)]),
            Set::Sysbench => plain("sysbench", &["sysbench"], &[("sysbench", Start::Plain)]),
            Set::Python => plain("python", &["python3", "python3-pip"], &[("python3", Start::Plain)]),
            Set::Node => Recipe {
                environment: &[("NODE_PATH", "$root/usr/share/nodejs:$root/usr/lib/nodejs")],
                prelude: "exec 9<\"$root/usr/share/nodejs\"",
                finish: Finish::RedirectNode,
                ..plain(
                    "node",
                    &["nodejs", "npm"],
                    &[
                        ("node", Start::Plain),
                        ("npm", Start::By("node", "usr/share/nodejs/npm/bin/npm-cli.js")),
                    ],
                )
            },
            Set::Go => Recipe {
                archive: newer,
                environment: &[("GOROOT", "$root/usr/lib/go"), ("CGO_ENABLED", "0")],
                ..plain("go", &["golang-go"], &[("go", Start::At("usr/lib/go/bin/go"))])
            },
            Set::Java => Recipe {
                environment: &[("JAVA_HOME", "$root/usr/lib/jvm/default-java")],
                finish: Finish::TrustStore,
                ..plain(
                    "java",
                    &["default-jdk-headless", "maven"],
                    &[
                        ("java", Start::At("usr/lib/jvm/default-java/bin/java")),
                        ("javac", Start::At("usr/lib/jvm/default-java/bin/javac")),
                        ("mvn", Start::Shell("usr/share/maven/bin/mvn")),
                    ],
                )
            },
        };
        Ok(recipe)
    }
}

/// What packages ask for that running their programs does not: installation scripts' interpreters, and
/// the C library where the machine's own serves.
pub(crate) fn unneeded(name: &str, native: bool) -> bool {
    let installers = [
        "adduser",
        "base-files",
        "ca-certificates-java",
        "debconf",
        "dpkg",
        "init-system-helpers",
        "login",
        "lsb-base",
        "passwd",
        "sysvinit-utils",
        "tar",
        "usrmerge",
        "util-linux",
        "util-linux-extra",
        "usr-is-merged",
    ];
    let perl = name.starts_with("perl") || name.starts_with("libperl") || name.ends_with("-perl");
    let libc = native && (name == "libc6" || name == "libc-bin" || name.starts_with("libc-gconv"));
    perl || libc || installers.contains(&name) || name.starts_with("fonts-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_what_running_does_not_need() {
        let rows = [
            ("perl-base", false, true),
            ("libperl5.42", true, true),
            ("libdbd-mariadb-perl", true, true),
            ("libc6", true, true),
            ("libc6", false, false),
            ("libssl3", true, false),
            ("mariadb-server-core", true, false),
        ];
        for (name, native, expected) in rows {
            assert_eq!(unneeded(name, native), expected, "{name} native={native}");
        }
    }
}
