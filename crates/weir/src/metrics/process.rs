//! The process: what it is, what it uses, what configuration it runs. Names that begin with `process_` are those that
//! Prometheus' own client libraries use.

use std::{fmt, fs, time::SystemTime};

use weir_gateway::Gateway;

use crate::status::Status;

use super::page::Page;

pub(super) fn write(page: &mut Page<'_>, gateway: &Gateway, status: &Status) -> fmt::Result {
    page.info("weir_build", "The version of Weir.", [[("version", env!("CARGO_PKG_VERSION"))]])?;
    page.process_gauge("weir_workers", "Threads that serve clients.", &gateway.workers.len())?;
    page.process_gauge(
        "weir_draining",
        "1 once the process was told to end.",
        &u32::from(gateway.is_draining()),
    )?;
    page.process_gauge("weir_config_version", "Version of the namespaces in force.", &gateway.version())?;
    page.process_counter("weir_config_reloads", "Times that configuration was read.", &status.reloads())?;
    page.process_counter(
        "weir_config_reload_errors",
        "Times that configuration was read and something of it was refused; what was in force before stays.",
        &status.reload_errors(),
    )?;
    page.process_gauge(
        "weir_config_last_reload_successful",
        "1 if nothing was refused when configuration was read last.",
        &u32::from(status.last_reload_was_whole()),
    )?;
    let started = status.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    page.process_gauge(
        "process_start_time_seconds",
        "When the process started, seconds since 1970.",
        &started.as_secs_f64(),
    )?;
    page.process_counter(
        "process_cpu_seconds",
        "CPU time that the process used, user and system.",
        &cpu_seconds(),
    )?;
    if let Some(bytes) = resident_bytes() {
        page.process_gauge("process_resident_memory_bytes", "Memory in use.", &bytes)?;
    }
    if let Some(count) = open_files() {
        page.process_gauge("process_open_fds", "Open files and sockets.", &count)?;
    }
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) => {
            page.process_gauge("process_max_fds", "Most files and sockets that may be open.", &limit)
        }
        None => Ok(()),
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).unwrap_or_default().as_secs_f64()
}

/// Source: proc_pid_status(5), `VmRSS`, in KiB whatever the page size is.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The size of the directory is the number of open files since Linux 6.2; before, it is zero.
fn open_files() -> Option<u64> {
    let path = "/proc/self/fd";
    match fs::metadata(path).ok()?.len() {
        // the directory that is being read is not counted
        0 => u64::try_from(fs::read_dir(path).ok()?.count().saturating_sub(1)).ok(),
        count => Some(count),
    }
}
