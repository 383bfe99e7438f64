//! Thousands of sessions, each with a state of its own, on few connections.

mod session;
mod step;
mod variable;

use std::sync::atomic::AtomicBool;
use std::sync::{Barrier, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use weir_e2e::weir::Metrics;
use weir_testkit::{Cluster, say};

use crate::figures::{Bounds, Figures, OfSessions, Outcome, per_1000};
use crate::order::{Moment, SessionsOrder};
use crate::stage::Stage;
use crate::tally::{Counts, Latencies, Tally};
use crate::watch::{Holding, Watch};
use session::{Fault, Scene, Session};
use step::Step;
use variable::VARIABLES;

/// How often what is held is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Connections are used all the time.
const IDLE: Duration = Duration::from_secs(60);
/// Of so many turns of a session, one ends it, one kills its statement, and one kills it.
const RARELY: u32 = 600;
/// Of so many turns, one is a clean session's.
const CLEAN_TURNS: u32 = 8;
/// A driver whose session cannot log in waits before the next attempt.
const LOGIN_PAUSE: Duration = Duration::from_millis(200);
/// Pins for 1,000 statements of sessions without temporary tables, locks and cursors.
const PINS_PER_1000_BELOW: f64 = 1.0;
/// A server may list so many connections beyond `pool.capacity`: the one for KILL, and those that Weir has closed in the
/// middle of a statement and the server has not noticed yet.
const BEYOND_CAPACITY: u64 = 4;

/// Runs the sessions. `stop`: somebody wants it to end early.
///
/// # Errors
/// Something cannot be started or asked. What goes wrong with a session is a figure.
pub fn sessions(cluster: &Cluster, order: &SessionsOrder, stop: &AtomicBool) -> Result<Outcome> {
    let stage = Stage::set(cluster, "sessions", order.sessions, order.capacity, IDLE)?;
    let tally = Tally::default();
    let scene =
        Scene { flavour: cluster.flavour(), defaults: defaults(&stage)?, stage: &stage, tally: &tally };
    let drivers = order.drivers.clamp(1, order.sessions);
    let gate = Gate { barrier: Barrier::new(drivers as usize + 1), moment: OnceLock::new(), stop };
    let mut watch = Watch::new(&stage)?;
    say(format!("{} sessions and {} that set nothing log in", order.sessions, order.clean));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..drivers)
            .map(|index| {
                let (scene, gate) = (&scene, &gate);
                let own = Own { index, drivers, order };
                scope.spawn(move || drive(scene, gate, &own))
            })
            .collect();
        gate.barrier.wait();
        // whatever fails here, the drivers are waited for
        let begun = look(&stage, &tally, &mut watch);
        let moment = gate.begin(order.time);
        gate.barrier.wait();
        let peaks = watch_over(moment, order.tells_every, &tally, &mut watch);
        gate.barrier.wait();
        let ended = look(&stage, &tally, &mut watch);
        let seconds = moment.elapsed().as_secs_f64();
        gate.barrier.wait();
        let mut timed = Timed::default();
        for thread in threads {
            let own = thread.join().map_err(|_| anyhow!("a driver ended early"))?;
            timed.dirty.join(own.dirty);
            timed.clean.join(own.clean);
        }
        let run = Run { begun: begun?, peaks: peaks?, ended: ended?, seconds };
        Ok(outcome(cluster, order, &run, timed))
    })
}

/// What a session sees that has set nothing.
fn defaults(stage: &Stage<'_>) -> Result<Vec<String>> {
    let flavour = stage.cluster.flavour();
    let names: Vec<String> =
        VARIABLES.iter().map(|variable| format!("@@{}", variable.name(flavour))).collect();
    let row = stage.direct()?.rows(&format!("SELECT {}", names.join(", ")))?.into_iter().next();
    let row = row.context("the server shows no variables")?;
    Ok(row.into_iter().map(Option::unwrap_or_default).collect())
}

/// Where drivers and watcher wait for each other: logged in, begun, over, looked at.
#[derive(Debug)]
struct Gate<'s> {
    barrier: Barrier,
    moment: OnceLock<Moment<'s>>,
    stop: &'s AtomicBool,
}

impl<'s> Gate<'s> {
    fn begin(&self, time: Duration) -> &Moment<'s> {
        self.moment.get_or_init(|| Moment::after(time, self.stop))
    }
}

/// A driver's share.
struct Own<'o> {
    index: u32,
    drivers: u32,
    order: &'o SessionsOrder,
}

impl Own<'_> {
    /// Numbers of its sessions.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        (1..=self.order.sessions).skip(self.index as usize).step_by(self.drivers as usize)
    }

    fn clean(&self) -> u32 {
        let share = self.order.clean / self.drivers;
        share + u32::from(self.index < self.order.clean % self.drivers)
    }
}

/// Latencies of point selects.
#[derive(Debug, Default)]
struct Timed {
    dirty: Latencies,
    clean: Latencies,
}

/// A session's place: the session is none after a fault.
struct Slot {
    number: u32,
    session: Option<Session>,
}

fn drive(scene: &Scene<'_, '_>, gate: &Gate<'_>, own: &Own<'_>) -> Timed {
    let mut random = fastrand::Rng::with_seed(u64::from(own.index));
    let mut timed = Timed::default();
    let mut slots: Vec<Slot> = own.numbers().map(|number| Slot { number, session: None }).collect();
    for slot in &mut slots {
        slot.session = noted(scene, Session::begin(scene, slot.number, 0, &mut random));
    }
    let mut clean: Vec<Session> =
        (0..own.clean()).filter_map(|_| noted(scene, Session::clean(scene))).collect();
    gate.barrier.wait();
    gate.barrier.wait();
    if let Some(moment) = gate.moment.get() {
        while !moment.is_over() {
            let is_clean = random.u32(0..CLEAN_TURNS) == 0;
            if let Some(session) = random.choice(clean.iter_mut()).filter(|_| is_clean) {
                if let Some(took) = noted(scene, session.point(scene, &mut random)) {
                    timed.clean.add(took);
                }
            } else {
                turn(scene, &mut slots, &mut timed.dirty, &mut random);
            }
        }
    }
    gate.barrier.wait();
    gate.barrier.wait();
    timed
}

/// One session's turn: some statements in a row, or, rarely, an end or a KILL.
fn turn(scene: &Scene<'_, '_>, slots: &mut [Slot], points: &mut Latencies, random: &mut fastrand::Rng) {
    let at = random.usize(0..slots.len().max(1));
    let Some(slot) = slots.get_mut(at) else { return };
    let number = slot.number;
    let Some(mut session) = slot.session.take() else {
        slot.session = noted(scene, Session::resume(scene, number, random));
        if slot.session.is_none() {
            std::thread::sleep(LOGIN_PAUSE);
        }
        return;
    };
    let rare = random.u32(0..RARELY);
    let counter = session.counter;
    let after = match rare {
        0 => session.leave(scene, random).map(|()| None),
        1 => match any_of(slots) {
            Some(killer) => session.is_interrupted_by(killer, scene).map(|()| Some(session)),
            None => Ok(Some(session)),
        },
        2 => match any_of(slots) {
            Some(killer) => session.end_by(killer, scene).map(|()| None),
            None => Ok(Some(session)),
        },
        _ => (0..random.u8(1..4))
            .try_for_each(|_| session.take(Step::draw(random), scene, points, random))
            .map(|()| Some(session)),
    };
    let Some(slot) = slots.get_mut(at) else { return };
    slot.session = match noted(scene, after) {
        Some(Some(session)) => Some(session),
        // it ended as it should: another begins in its place, with the same row
        Some(None) => noted(scene, Session::begin(scene, number, counter, random)),
        None => None,
    };
}

/// A session that is there: the one whose turn it is has been taken out.
fn any_of(slots: &mut [Slot]) -> Option<&mut Session> {
    slots.iter_mut().find_map(|slot| slot.session.as_mut())
}

/// Counts a fault.
fn noted<T>(scene: &Scene<'_, '_>, result: Result<T, Fault>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Fault::Wrong(what)) => {
            scene.tally.wrong(&what);
            None
        }
        Err(Fault::Failed(what)) => {
            scene.tally.error(&what);
            None
        }
    }
}

/// Everything that is counted, at one moment.
struct Looked {
    counts: Counts,
    holding: Holding,
    metrics: Metrics,
}

fn look(stage: &Stage<'_>, tally: &Tally, watch: &mut Watch) -> Result<Looked> {
    Ok(Looked { holding: watch.look()?, counts: tally.counts(), metrics: stage.weir.metrics()? })
}

/// Looks at what is held while the sessions are at work; gives the most of each.
fn watch_over(
    moment: &Moment<'_>,
    tells_every: Duration,
    tally: &Tally,
    watch: &mut Watch,
) -> Result<Holding> {
    let mut peaks = Holding::default();
    let mut tell_at = tells_every;
    while !moment.is_over() {
        let now = watch.look()?;
        peaks.prepared = peaks.prepared.max(now.prepared);
        peaks.connections = peaks.connections.max(now.connections);
        if moment.elapsed() >= tell_at {
            tell_at += tells_every;
            let Counts { statements, wrong, errors, kills, .. } = tally.counts();
            say(format!(
                "{:>5.0} % {statements:>10} statements, {wrong} wrong, {errors} errors, {kills} KILLs; Weir {} MiB, {} prepared, \
                 {} connections to a server",
                moment.share() * 100.0,
                now.rss_bytes >> 20,
                now.prepared,
                now.connections,
            ));
        }
        std::thread::sleep(LOOK_EVERY.min(tells_every));
    }
    Ok(peaks)
}

struct Run {
    begun: Looked,
    peaks: Holding,
    ended: Looked,
    seconds: f64,
}

fn outcome(cluster: &Cluster, order: &SessionsOrder, run: &Run, mut timed: Timed) -> Outcome {
    let Run { begun, peaks, ended, seconds } = run;
    let statements = ended.counts.statements.saturating_sub(begun.counts.statements);
    let grown = |name: &str| ended.metrics.sum(name, &[]) - begun.metrics.sum(name, &[]);
    let sets = ended.holding.sets.saturating_sub(begun.holding.sets);
    let own_sets = ended.counts.sets.saturating_sub(begun.counts.sets);
    let figures = Figures {
        server: cluster.flavour().name(),
        seconds: *seconds,
        statements,
        wrong_answers: ended.counts.wrong,
        errors: ended.counts.errors,
        logins: ended.counts.logins,
        kills: ended.counts.kills,
        pins_per_1000: per_1000(grown("weir_pins_total"), statements),
        sets_per_1000: per_1000(sets.saturating_sub(own_sets) as f64, statements),
        extra_round_trips_per_1000: per_1000(grown("weir_state_round_trips_total"), statements),
        prepared_stmt_count_max: peaks.prepared.max(ended.holding.prepared),
        backend_connections_max: peaks.connections.max(ended.holding.connections),
        rss_bytes_start: begun.holding.rss_bytes,
        rss_bytes_end: ended.holding.rss_bytes,
        of_sessions: Some(OfSessions {
            sessions: order.sessions,
            p99_us: timed.dirty.quantile(0.99),
            clean_p99_us: timed.clean.quantile(0.99),
        }),
        of_churn: None,
    };
    let mut bounds = Bounds::of(&figures);
    bounds.holds(
        figures.pins_per_1000 < PINS_PER_1000_BELOW,
        format!("{} pins for 1,000 statements, not below {PINS_PER_1000_BELOW}", figures.pins_per_1000),
        "weir_pins_total tells the reasons; SHOW WEIR PINS tells the sessions",
    );
    let most = u64::from(order.capacity) + BEYOND_CAPACITY;
    bounds.holds(
        figures.backend_connections_max <= most,
        format!("{} connections to a server, more than {most}", figures.backend_connections_max),
        "compare weir_pool_open with the server's list of processes",
    );
    Outcome { missed: bounds.missed(), figures }
}
