//! A primary and its replicas, real servers on loopback, joined by GTID replication.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::accounts::ADMIN;
use crate::arguments::arguments;
use crate::home::{lock, make_folder, remove_folder};
use crate::instance::{Instance, Options, Role, free_ports, socket_path};
use crate::process::ProcessId;
use crate::progress::say;
use crate::replication;
use crate::server::{Flavour, Server};
use crate::sql::{Client, Row};
use crate::state::{State, clear, folder_of};
use crate::template;

/// A server that does not take a login after this long will not.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A server may take this long to end in order.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// The longest statement of a test's own administration.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// How often another port is tried when one was taken meanwhile.
const PORT_ATTEMPTS: u32 = 3;

/// A running cluster. Instance 0 is the primary. Dropping the cluster that started it stops it.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    server: Server,
    state: Mutex<State>,
    children: Mutex<HashMap<usize, Child>>,
    /// Whether this value is to stop the servers when dropped.
    owned: bool,
}

impl Cluster {
    /// Fetches the server if need be, clears what a dead run of that name left, and starts all instances,
    /// replicating.
    ///
    /// # Errors
    /// Fetching fails; the name is in use; a server does not start (the end of its error log is in the text).
    pub fn start(options: &Options) -> Result<Cluster> {
        let server = Server::find(options.flavour, options.programs)?;
        let _lock = lock(&format!("run-{}", options.name))?;
        let folder = folder_of(&options.name);
        clear(&folder)?;
        make_folder(&folder)?;
        let started = Instant::now();
        let state = State {
            name: options.name.clone(),
            flavour: options.flavour,
            version: server.version.clone(),
            programs: options.programs,
            owner: Some(ProcessId::own()?),
            instances: Vec::new(),
        };
        let cluster = Cluster {
            folder,
            server,
            state: Mutex::new(state),
            children: Mutex::new(HashMap::new()),
            owned: true,
        };
        cluster.create(options)?;
        for index in 0..=options.replicas {
            cluster.wait_until_up(index, options)?;
        }
        replication::join(&cluster)?;
        let ports: Vec<String> =
            cluster.instances().iter().map(|instance| instance.port.to_string()).collect();
        say(format!(
            "{} {} is up after {:.1} s: primary on port {}, replicas on {}",
            options.flavour,
            cluster.version(),
            started.elapsed().as_secs_f32(),
            ports.first().map_or("", String::as_str),
            ports.get(1..).unwrap_or_default().join(", "),
        ));
        Ok(cluster)
    }

    /// The running cluster of that name, started by another process or left up; nothing if there is none.
    /// Dropping it leaves the servers as they are.
    pub fn attach(name: &str) -> Result<Option<Cluster>> {
        let folder = folder_of(name);
        match State::load(&folder) {
            Some(state) if state.is_in_use() => Ok(Some(Cluster {
                folder,
                server: Server::find(state.flavour, state.programs)?,
                state: Mutex::new(state),
                children: Mutex::new(HashMap::new()),
                owned: false,
            })),
            _ => Ok(None),
        }
    }

    /// Ends the servers recorded under that name, whoever started them, and says whether there were any.
    pub fn stop_recorded(name: &str) -> Result<bool> {
        let folder = folder_of(name);
        let Some(state) = State::load(&folder) else { return Ok(false) };
        let any = state.instances.iter().any(Instance::is_running);
        stop_all(&state.instances, &mut HashMap::new())?;
        remove_folder(&folder)?;
        Ok(any)
    }

    /// Ends the servers of every run whose owner died, and gives the names of those runs.
    pub fn stop_dead_runs() -> Result<Vec<String>> {
        let mut ended = Vec::new();
        let Ok(listed) = fs::read_dir(folder_of("")) else { return Ok(ended) };
        for entry in listed {
            let folder = entry.context("cannot list earlier runs")?.path();
            if let Some(state) = State::load(&folder)
                && !state.is_in_use()
            {
                clear(&folder)?;
                ended.push(state.name);
            }
        }
        Ok(ended)
    }

    /// Lets the servers outlive this process; `Cluster::stop_recorded` ends them.
    pub fn leave_up(&mut self) -> Result<()> {
        self.owned = false;
        let mut state = self.state();
        state.owner = None;
        state.save(&self.folder)
    }

    /// The cluster's name.
    pub fn name(&self) -> String {
        self.state().name.clone()
    }

    /// Which server it runs.
    pub fn flavour(&self) -> Flavour {
        self.server.flavour
    }

    /// The servers' version, such as `9.7.4`.
    pub fn version(&self) -> &str {
        &self.server.version
    }

    /// All instances, the primary first, as they are now.
    pub fn instances(&self) -> Vec<Instance> {
        self.state().instances.clone()
    }

    /// Instance `index`: 0 is the primary.
    ///
    /// # Errors
    /// No instance of that index.
    pub fn instance(&self, index: usize) -> Result<Instance> {
        self.state()
            .instances
            .get(index)
            .cloned()
            .with_context(|| format!("the cluster has no instance {index}"))
    }

    /// The instance that started as primary.
    pub fn primary(&self) -> Result<Instance> {
        self.instance(0)
    }

    /// The instances that started as replicas.
    pub fn replicas(&self) -> Vec<Instance> {
        self.state().instances.iter().skip(1).cloned().collect()
    }

    /// An administrator's connection to an instance, over its Unix socket.
    pub fn client(&self, index: usize) -> Result<Client> {
        let instance = self.instance(index)?;
        Client::connect(&instance.socket, ADMIN.user, ADMIN.password, ANSWER_DEADLINE)
    }

    /// Runs a text as the administrator on an instance, over a connection of its own.
    ///
    /// # Errors
    /// A [`crate::sql::ServerError`] for what the server refuses.
    pub fn sql(&self, index: usize, text: &str) -> Result<Vec<Row>> {
        self.client(index)?.rows(text)
    }

    /// As [`Cluster::sql`], the first value of the answer.
    pub fn value(&self, index: usize, text: &str) -> Result<String> {
        self.client(index)?.value(text)
    }

    /// Waits until every running replica has what the primary had when this was called.
    ///
    /// # Errors
    /// A replica that does not get there in time, named with its replication error.
    pub fn wait_for_replicas(&self, patience: Duration) -> Result<()> {
        replication::wait(self, patience)
    }

    /// `CHECKSUM TABLE` on every instance, the primary first.
    ///
    /// # Errors
    /// The table does not exist on one of them.
    pub fn checksums(&self, table: &str) -> Result<Vec<String>> {
        (0..self.instances().len())
            .map(|index| {
                let rows = self.sql(index, &format!("CHECKSUM TABLE {table}"))?;
                let checksum = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
                checksum.with_context(|| format!("instance {index} has no table {table}"))
            })
            .collect()
    }

    /// Kills an instance as a crash would (SIGKILL).
    pub fn kill_instance(&self, index: usize) -> Result<()> {
        let Some(process) = self.instance(index)?.process else { return Ok(()) };
        process.kill(self.children().get_mut(&index))
    }

    /// Ends an instance in order (SIGTERM).
    pub fn stop_instance(&self, index: usize) -> Result<()> {
        let Some(process) = self.instance(index)?.process else { return Ok(()) };
        process.stop(STOP_DEADLINE, self.children().get_mut(&index))
    }

    /// Makes an instance stop answering while its connections stay open (SIGSTOP).
    pub fn pause_instance(&self, index: usize) -> Result<()> {
        let Some(process) = self.instance(index)?.process else { return Ok(()) };
        process.pause()
    }

    /// Lets a paused instance go on (SIGCONT).
    pub fn resume_instance(&self, index: usize) -> Result<()> {
        let Some(process) = self.instance(index)?.process else { return Ok(()) };
        process.resume()
    }

    /// Starts an instance again on its port and data, ending it first if it runs. A replica goes on
    /// replicating by itself.
    pub fn restart_instance(&self, index: usize) -> Result<()> {
        self.stop_instance(index)?;
        self.spawn(index)?;
        self.wait_for_login(index)
    }

    /// Ends all servers and removes their folder.
    pub fn stop(mut self) -> Result<()> {
        self.owned = false;
        self.end()
    }

    fn end(&self) -> Result<()> {
        // A test in another process may have restarted a server since.
        let recorded = State::load(&self.folder).map_or_else(|| self.instances(), |state| state.instances);
        stop_all(&recorded, &mut self.children())?;
        remove_folder(&self.folder)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn children(&self) -> MutexGuard<'_, HashMap<usize, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays out the folders and starts every process.
    fn create(&self, options: &Options) -> Result<()> {
        let count = options.replicas.saturating_add(1);
        let ports = free_ports(count)?;
        for (index, port) in ports.into_iter().enumerate() {
            let role = if index == 0 { Role::Primary } else { Role::Replica };
            let name = if index == 0 { "primary".to_owned() } else { format!("replica{index}") };
            let folder = self.folder.join(&name);
            make_folder(&folder.join("files"))?;
            template::copy_to(&self.server, &folder.join("data"))?;
            let mut instance = Instance {
                socket: socket_path(&folder)?,
                server_id: u32::try_from(index).context("too many replicas")?.saturating_add(1),
                name,
                role,
                port,
                folder,
                arguments: Vec::new(),
                process: None,
            };
            instance.arguments = arguments(options, &instance)?;
            self.state().instances.push(instance);
        }
        (0..count).try_for_each(|index| self.spawn(index))
    }

    /// Starts a process and records it at once, so that it can be cleared whatever happens next.
    fn spawn(&self, index: usize) -> Result<()> {
        let instance = self.instance(index)?;
        forget_socket(&instance)?;
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(instance.folder.join("output.log"))
            .context("cannot write the server's log")?;
        let copy = output.try_clone().context("cannot write the server's log")?;
        let child = self
            .server
            .command(&instance.folder.join("data"))?
            .args(&instance.arguments)
            // A group of its own: Ctrl-C is for whoever runs the tests, who then ends servers in order.
            .process_group(0)
            .current_dir(&instance.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(copy)
            .spawn()
            .with_context(|| format!("cannot start {}", instance.name))?;
        let process = ProcessId::of(child.id())?;
        self.children().insert(index, child);
        let mut state = self.state();
        if let Some(instance) = state.instances.get_mut(index) {
            instance.process = Some(process);
        }
        state.save(&self.folder)
    }

    /// Waits for a login; a port that somebody took since it was chosen is replaced by another.
    fn wait_until_up(&self, index: usize, options: &Options) -> Result<()> {
        for _ in 1..PORT_ATTEMPTS {
            let Err(error) = self.wait_for_login(index) else { return Ok(()) };
            if !error.to_string().contains("Address already in use") {
                return Err(error);
            }
            let port = free_ports(1)?.into_iter().next().context("no port is free")?;
            let mut instance = self.instance(index)?;
            instance.port = port;
            instance.arguments = arguments(options, &instance)?;
            if let Some(slot) = self.state().instances.get_mut(index) {
                *slot = instance;
            }
            self.spawn(index)?;
        }
        self.wait_for_login(index)
    }

    fn wait_for_login(&self, index: usize) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let login = self.client(index).and_then(|mut client| client.value("SELECT 1"));
            let Err(error) = login else { return Ok(()) };
            let instance = self.instance(index)?;
            if let Some(child) = self.children().get_mut(&index) {
                child.try_wait().with_context(|| format!("cannot wait for {}", instance.name))?;
            }
            if !instance.is_running() {
                bail!("{} ended while starting; its log ends with:\n{}", instance.name, instance.log_tail());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} takes no login after {} s ({error:#}); its log ends with:\n{}",
                    instance.name,
                    START_DEADLINE.as_secs(),
                    instance.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        let keep_logs = std::thread::panicking();
        let ended = if keep_logs { stop_all(&self.instances(), &mut self.children()) } else { self.end() };
        if let Err(error) = ended {
            say(format!("cannot stop {}: {error:#}", self.name()));
        }
        if keep_logs {
            say(format!("the servers' logs are in {}", self.folder.display()));
        }
    }
}

/// What a killed server left of its Unix socket. MySQL does not start while the process named in `<socket>.lock` lives,
/// and that number may belong to somebody else by now.
fn forget_socket(instance: &Instance) -> Result<()> {
    for ending in ["", ".lock"] {
        let mut path = instance.socket.clone().into_os_string();
        path.push(ending);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Asks all to end at once, then waits for each.
fn stop_all(instances: &[Instance], children: &mut HashMap<usize, Child>) -> Result<()> {
    for process in instances.iter().filter_map(|instance| instance.process.as_ref()) {
        process.ask_to_end()?;
    }
    for (index, instance) in instances.iter().enumerate() {
        if let Some(process) = &instance.process {
            process.stop(STOP_DEADLINE, children.get_mut(&index))?;
        }
    }
    Ok(())
}
