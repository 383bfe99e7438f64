//! What the kernel tells of a process: its CPU time and its memory.

use std::fs;

use anyhow::{Context, Result};

/// `USER_HZ`, the unit of times in `/proc/<pid>/stat`: 100 on every Linux (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of all threads of a process since its start, in microseconds; known to 10 ms.
pub(crate) fn cpu_us(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks_in(&stat).with_context(|| format!("{path} is not as expected"))?;
    Ok(ticks * (1_000_000 / TICKS_PER_SECOND))
}

/// Resident memory of a process in bytes, from `/proc/<pid>/status`.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    resident_in(&status).with_context(|| format!("{path} tells no VmRSS"))
}

/// Fields 14 and 15; they count from the last parenthesis, for the name may hold blanks and parentheses.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_behind_a_name_with_parentheses() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 700 55 0 0 20";
        for (stat, expected) in [
            (format!("42 (mysqld) {rest}"), Some(755)),
            (format!("42 (a) b (c)) {rest}"), Some(755)),
            ("42 (mysqld) S 1".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(ticks_in(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn reads_resident_memory_in_bytes() {
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t    1024 kB\nRssAnon: 1 kB\n"), Some(1 << 20));
        assert_eq!(resident_in("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_then_more_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 1 << 18);
        let before = cpu_us(pid).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        assert!(cpu_us(pid).unwrap() > before);
    }
}
