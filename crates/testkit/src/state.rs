//! What a cluster leaves on disk, so that another process can use it, or clear it after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::home::{home, remove_folder, write_whole};
use crate::instance::Instance;
use crate::process::ProcessId;
use crate::progress::say;
use crate::server::{Flavour, Programs};

/// A cluster as recorded in `.weir/run/<name>/cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) flavour: Flavour,
    pub(crate) version: String,
    pub(crate) programs: Programs,
    /// The process whose end ends the cluster; nothing for a cluster that stays up by itself.
    pub(crate) owner: Option<ProcessId>,
    pub(crate) instances: Vec<Instance>,
}

pub(crate) fn folder_of(name: &str) -> PathBuf {
    home().join("run").join(name)
}

impl State {
    /// Reads the record in a cluster's folder; nothing if there is none that can be read.
    pub(crate) fn load(folder: &Path) -> Option<State> {
        serde_json::from_str(&fs::read_to_string(folder.join("cluster.json")).ok()?).ok()
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write down the cluster's state")?;
        write_whole(&folder.join("cluster.json"), text.as_bytes())
    }

    /// Whether somebody still relies on it: its owner lives, or it was left up and every instance runs.
    pub(crate) fn is_in_use(&self) -> bool {
        match &self.owner {
            Some(owner) => owner.is_alive(),
            None => self.instances.iter().all(Instance::is_running),
        }
    }
}

/// Ends what a dead run left in `folder` and removes it.
///
/// # Errors
/// The cluster is in use; a process that does not end.
pub(crate) fn clear(folder: &Path) -> Result<()> {
    if let Some(state) = State::load(folder) {
        if state.is_in_use() {
            match &state.owner {
                Some(owner) => bail!("the servers `{}` are in use by process {}", state.name, owner.pid),
                None => bail!("the servers `{}` are up; `cargo xtask servers stop` ends them", state.name),
            }
        }
        let left: Vec<&ProcessId> = state
            .instances
            .iter()
            .filter_map(|instance| instance.process.as_ref())
            .filter(|p| p.is_alive())
            .collect();
        if !left.is_empty() {
            say(format!("ending {} servers that an earlier run of `{}` left", left.len(), state.name));
        }
        for process in left {
            process.stop(Duration::ZERO, None)?;
        }
    }
    remove_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Role;
    use std::process::{Child, Command};

    fn state(owner: Option<ProcessId>, process: ProcessId) -> State {
        let instance = Instance {
            name: "primary".to_owned(),
            role: Role::Primary,
            server_id: 1,
            port: 1,
            socket: PathBuf::from("/nowhere"),
            folder: PathBuf::from("/nowhere"),
            arguments: Vec::new(),
            process: Some(process),
        };
        State {
            name: "x".to_owned(),
            flavour: Flavour::MySql,
            version: "9.7.4".to_owned(),
            programs: Programs::Fetched,
            owner,
            instances: vec![instance],
        }
    }

    fn sleeper() -> (Child, ProcessId) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        (child, process)
    }

    fn dead() -> ProcessId {
        let (mut child, process) = sleeper();
        process.kill(Some(&mut child)).unwrap();
        process
    }

    fn record(state: &State) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        state.save(folder.path()).unwrap();
        folder
    }

    #[test]
    fn clears_what_a_dead_owner_left() {
        let (mut child, process) = sleeper();
        let folder = record(&state(Some(dead()), process));
        // Our own child stays a zombie until it is waited for, which counts as gone.
        clear(folder.path()).unwrap();
        assert!(!folder.path().exists());
        assert!(child.wait().unwrap().code().is_none(), "ended by a signal");
    }

    #[test]
    fn refuses_to_clear_what_is_in_use() {
        let (mut child, process) = sleeper();
        for owner in [Some(ProcessId::own().unwrap()), None] {
            let folder = record(&state(owner, process.clone()));
            assert!(clear(folder.path()).is_err());
            assert!(folder.path().exists() && child.try_wait().unwrap().is_none());
        }
        process.kill(Some(&mut child)).unwrap();
    }

    #[test]
    fn clears_a_cluster_left_up_that_lost_a_server() {
        let folder = record(&state(None, dead()));
        clear(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn leaves_alone_a_process_whose_start_time_differs() {
        let (mut child, process) = sleeper();
        let recorded = state(Some(dead()), process.clone());
        let text = serde_json::to_string(&recorded).unwrap();
        let mut text: serde_json::Value = serde_json::from_str(&text).unwrap();
        text["instances"][0]["process"]["started"] = 1.into();
        let folder = record(&serde_json::from_value(text).unwrap());
        clear(folder.path()).unwrap();
        assert!(!folder.path().exists());
        assert_eq!(child.try_wait().unwrap(), None, "the process that reuses the number lives on");
        process.kill(Some(&mut child)).unwrap();
    }

    #[test]
    fn clears_a_folder_with_a_record_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cluster.json"), "{\"name\": ").unwrap();
        clear(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }
}
