//! Which distribution the machine runs, from `/etc/os-release` (os-release(5)).

use std::fs;

use anyhow::{Context, Result, bail};

/// The two archives that servers are fetched from. Derivatives count as what they derive from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Debian,
    Ubuntu,
}

impl Family {
    /// The `Origin` of the archive's signed Release files.
    pub(crate) fn origin(self) -> &'static str {
        match self {
            Family::Debian => "Debian",
            Family::Ubuntu => "Ubuntu",
        }
    }
}

/// A release of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub(crate) family: Family,
    pub(crate) codename: String,
}

impl Distribution {
    /// The distribution of this machine.
    pub(crate) fn of_this_machine() -> Result<Distribution> {
        let text = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
            .context("cannot read /etc/os-release: servers can be fetched on Debian and Ubuntu only")?;
        Distribution::from_os_release(&text)
    }

    fn from_os_release(text: &str) -> Result<Distribution> {
        let value = |key: &str| {
            text.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
            })
        };
        let id = value("ID").unwrap_or_default();
        let like = value("ID_LIKE").unwrap_or_default();
        let is = |wanted: &str| id == wanted || like.split_whitespace().any(|name| name == wanted);
        let (family, keys) = if is("ubuntu") {
            (Family::Ubuntu, ["UBUNTU_CODENAME", "VERSION_CODENAME"])
        } else if is("debian") {
            (Family::Debian, ["DEBIAN_CODENAME", "VERSION_CODENAME"])
        } else {
            bail!(
                "this machine runs `{id}`: servers can be fetched on Debian and Ubuntu only. \
                 Install mariadbd (and mysqld) yourself so that they are on the PATH"
            );
        };
        // Debian's unstable carries no codename in some images.
        let codename = keys.iter().find_map(|key| value(key)).unwrap_or_else(|| "sid".to_owned());
        Ok(Distribution { family, codename })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(Family, &str)>) {
        let seen = Distribution::from_os_release(text).ok();
        let expected =
            expected.map(|(family, codename)| Distribution { family, codename: codename.to_owned() });
        assert_eq!(seen, expected, "{text}");
    }

    #[test]
    fn knows_debian_ubuntu_and_what_derives_from_them() {
        check("ID=debian\nVERSION_CODENAME=bookworm\n", Some((Family::Debian, "bookworm")));
        check("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", Some((Family::Ubuntu, "noble")));
        check(
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n",
            Some((Family::Ubuntu, "noble")),
        );
        check("ID=\"debian\"\nPRETTY_NAME=x\n", Some((Family::Debian, "sid")));
        check("ID=fedora\nVERSION_ID=44\n", None);
        check("", None);
    }
}
