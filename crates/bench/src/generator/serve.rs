//! The generator's side of its pipe: a job, then one command after the other, until the input ends.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::engine::Engine;
use super::idle::IdleClients;
use super::job::{Command, Job, Reply};

/// Runs the generator.
pub(crate) fn serve(mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut line = String::new();
    if input.read_line(&mut line).context("cannot read the job")? == 0 {
        return Ok(());
    }
    let job = serde_json::from_str(&line).context("not a job")?;
    let mut clients = match Clients::log_in(job) {
        Ok(clients) => clients,
        Err(error) => return say(&mut output, &Reply::Failed(format!("{error:#}"))),
    };
    say(&mut output, &Reply::Ready)?;
    loop {
        line.clear();
        if input.read_line(&mut line).context("cannot read a command")? == 0 {
            return Ok(());
        }
        let command = serde_json::from_str(&line).context("not a command")?;
        let reply = clients.perform(&command).unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
        say(&mut output, &reply)?;
    }
}

enum Clients {
    Load(Box<Engine>),
    Idle(IdleClients),
}

impl Clients {
    fn log_in(job: Job) -> Result<Clients> {
        Ok(match job {
            Job::Load { workload, clients, rows, targets, servers } => {
                Clients::Load(Box::new(Engine::log_in(workload, clients, rows, targets, servers)?))
            }
            Job::Idle { clients, rows, target, authority } => {
                Clients::Idle(IdleClients::log_in(clients, rows, &target, authority.as_deref())?)
            }
        })
    }

    fn perform(&mut self, command: &Command) -> Result<Reply> {
        match (self, command) {
            (Clients::Load(engine), Command::Run { target, warm_up_ms, measure_ms }) => {
                let [warm_up, measure] = [*warm_up_ms, *measure_ms].map(Duration::from_millis);
                Ok(Reply::Measured(engine.run(*target, warm_up, measure)?))
            }
            (Clients::Idle(idle), Command::Check) => {
                idle.check()?;
                Ok(Reply::Alive)
            }
            (Clients::Load(_), Command::Check) | (Clients::Idle(_), Command::Run { .. }) => {
                bail!("not what these clients do")
            }
        }
    }
}

fn say(output: &mut impl Write, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply).context("cannot write a reply")?;
    line.push(b'\n');
    output.write_all(&line).context("cannot write a reply")?;
    output.flush().context("cannot write a reply")
}
