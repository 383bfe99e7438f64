//! Making packages that were built for `/usr` work from a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::home::{make_folder, write_whole};
use crate::recipe::Finish;
use crate::wrapper::library_folders;

/// Packages link to places such as `/etc/java-17-openjdk`, meaning their own file there: an absolute link whose
/// target lies in the prefix is made to point at it.
pub(crate) fn keep_links_inside(folder: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let kind =
            fs::symlink_metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
        if kind.is_dir() {
            keep_links_inside(&path, root)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let Ok(inside) = target.strip_prefix("/") else { continue };
            if fs::symlink_metadata(root.join(inside)).is_err() {
                continue;
            }
            let depth = path.strip_prefix(root).map_or(1, |below| below.components().count());
            let up: PathBuf = std::iter::repeat_n("..", depth.saturating_sub(1)).collect();
            fs::remove_file(&path)
                .and_then(|()| std::os::unix::fs::symlink(up.join(inside), &path))
                .with_context(|| format!("cannot change the link {}", path.display()))?;
        }
    }
    Ok(())
}

/// Does what a set needs beyond its links, once its programs can be started.
pub(crate) fn finish(what: Finish, root: &Path) -> Result<()> {
    match what {
        Finish::Nothing => Ok(()),
        Finish::RedirectNode => redirect_node(root),
        Finish::TrustStore => make_trust_store(root),
    }
}

/// Debian's Node.js reads parts of its own library from `/usr/share/nodejs`, a path inside the binary. It is
/// replaced by one of the same length: file descriptor 9, which the wrapper opens on the prefix's folder.
fn redirect_node(root: &Path) -> Result<()> {
    let mut files = vec![root.join("usr/bin/node")];
    for folder in library_folders(root)? {
        for entry in fs::read_dir(root.join(folder)).context("cannot list the libraries")? {
            let entry = entry.context("cannot list the libraries")?;
            let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
            if regular && entry.file_name().to_string_lossy().starts_with("libnode.so") {
                files.push(entry.path());
            }
        }
    }
    for file in files {
        let mut bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if replace_all(&mut bytes, b"/usr/share/nodejs/", b"/proc/self/fd/9///") {
            fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

/// Replaces every `old` by `new`, which is as long; tells whether there was any.
fn replace_all<const N: usize>(bytes: &mut [u8], old: &[u8; N], new: &[u8; N]) -> bool {
    let mut any = false;
    let mut at = 0_usize;
    while let Some(window) = bytes.get_mut(at..at.saturating_add(N)) {
        if window == old {
            window.copy_from_slice(new);
            any = true;
        }
        at = at.saturating_add(1);
    }
    any
}

/// Makes Java's store of trusted authorities from the machine's, or from those that came with the packages.
fn make_trust_store(root: &Path) -> Result<()> {
    let machines = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
    let mut authorities = vec![machines];
    if !authorities.iter().all(|file| file.exists()) {
        let packaged = root.join("usr/share/ca-certificates/mozilla");
        authorities.clear();
        for entry in fs::read_dir(&packaged).with_context(|| format!("cannot list {}", packaged.display()))? {
            authorities.push(entry.with_context(|| format!("cannot list {}", packaged.display()))?.path());
        }
    }
    let program = root.join("TrustStore.java");
    write_whole(&program, include_bytes!("TrustStore.java"))?;
    let store = root.join("etc/ssl/certs/java/cacerts");
    make_folder(&root.join("etc/ssl/certs/java"))?;
    let output = Command::new(root.join("run/java"))
        .args([&program, &store])
        .args(authorities)
        .stdin(Stdio::null())
        .output()
        .context("cannot run java")?;
    if !output.status.success() {
        bail!("cannot make Java's trust store: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    // The packages' own link to the store has a target in the prefix only now.
    keep_links_inside(root, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_follow_the_prefix_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("etc/java")).unwrap();
        fs::create_dir_all(root.join("usr/lib/java")).unwrap();
        fs::write(root.join("etc/java/policy"), "ours").unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        link("/etc/java/policy", "usr/lib/java/policy");
        link("/etc/java", "top");
        link("/nowhere/at/all", "usr/lib/java/outside");
        link("../../../etc/java/policy", "usr/lib/java/relative");
        keep_links_inside(root, root).unwrap();
        for name in ["usr/lib/java/policy", "top/policy", "usr/lib/java/relative"] {
            assert_eq!(fs::read_to_string(root.join(name)).unwrap(), "ours", "{name}");
        }
        assert_eq!(fs::read_link(root.join("usr/lib/java/outside")).unwrap(), Path::new("/nowhere/at/all"));
    }

    #[test]
    fn replaces_every_occurrence_and_nothing_else() {
        let rows: [(&[u8], &[u8], bool); 4] = [
            (b"x/usr/y/usr/", b"x/fd9/y/fd9/", true),
            (b"/us", b"/us", false),
            (b"", b"", false),
            (b"/usr", b"/usr", false),
        ];
        for (before, after, expected) in rows {
            let mut bytes = before.to_vec();
            assert_eq!(replace_all(&mut bytes, b"/usr/", b"/fd9/"), expected);
            assert_eq!(bytes, after);
        }
    }
}
