//! Memory of idle clients: what Weir's process grows by for each.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_testkit::tls::certificates;

use crate::arguments::{IdlePlan, Plan};
use crate::data::ROWS;
use crate::generator::Generator;
use crate::generator::job::Job;
use crate::process_stat::resident_bytes;
use crate::rig::Rig;
use crate::weir::{Weir, WeirTls};

/// Time for a process that just started to come to rest: backend connections, first probes.
const SETTLE: Duration = Duration::from_secs(2);

/// Memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdleRow {
    pub(crate) tls: bool,
    pub(crate) clients: u32,
    /// Since the clients' last statement.
    pub(crate) after: Duration,
    pub(crate) bytes_per_client: u64,
}

/// Looks twice: when the last client has its answers, and after the plan's wait. Then every client must still be
/// served. Each run has a Weir of its own, so that no earlier traffic has left memory to reuse.
pub(crate) fn measure_idle(rig: &Rig, plan: &Plan, idle: IdlePlan, tls: WeirTls) -> Result<[IdleRow; 2]> {
    let weir = Weir::start(&plan.weir, &rig.cluster, rig.folder(), tls)?;
    std::thread::sleep(SETTLE);
    let before = resident_bytes(weir.program.pid())?;
    let authority = match tls {
        WeirTls::Off => None,
        WeirTls::Required => Some(certificates()?.ca),
    };
    let job = Job::Idle { clients: idle.clients, rows: ROWS, target: weir.target(), authority };
    let mut generator = Generator::start(&job)?;
    let row = |after: Duration| -> Result<IdleRow> {
        let grown = resident_bytes(weir.program.pid())?.saturating_sub(before);
        let bytes_per_client = grown.checked_div(u64::from(idle.clients)).context("no idle clients")?;
        Ok(IdleRow { tls: tls == WeirTls::Required, clients: idle.clients, after, bytes_per_client })
    };
    let first = row(Duration::ZERO)?;
    let mut waited = Duration::ZERO;
    while waited < idle.wait {
        rig.check()?;
        std::thread::sleep(Duration::from_secs(1));
        waited += Duration::from_secs(1);
    }
    let second = row(idle.wait)?;
    generator.check()?;
    Ok([first, second])
}
