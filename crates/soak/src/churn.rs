//! Texts that never come again, and clients that come and go: nothing may be left of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use weir_e2e::client::{Client, Failure, Outcome, Parameter};
use weir_e2e::weir::Metrics;
use weir_testkit::{Cluster, say};

use crate::data::{POINTS, label};
use crate::figures::{Bounds, Figures, OfChurn, Outcome as RunOutcome, per_1000};
use crate::order::{ChurnOrder, Moment};
use crate::stage::Stage;
use crate::tally::{Counts, Tally};
use crate::watch::{Holding, Watch, slope_percent};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A driver that is ahead of its time waits so long.
const PAUSE: Duration = Duration::from_millis(5);
/// Statements that a client leaves open until it goes, of those that it prepares.
const LEFT_OPEN: u64 = 4;
/// Growth over the last third, percent in ten minutes.
const SLOPE_BELOW: f64 = 1.0;
/// A slope is judged if its third lasts so long: in less, one buffer more is a steep one.
const SLOPE_NEEDS: Duration = Duration::from_secs(5 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Runs the churn. `stop`: somebody wants it to end early.
///
/// # Errors
/// Something cannot be started or asked. What goes wrong with a client is a figure.
pub fn churn(cluster: &Cluster, order: &ChurnOrder, stop: &AtomicBool) -> Result<RunOutcome> {
    let stage = Stage::set(cluster, "churn", 1, order.capacity, order.idle)?;
    let tally = Tally::default();
    let mut watch = Watch::new(&stage)?;
    // before the start: whatever Weir makes once for the first client
    Life { number: 0, texts: 20, from: u64::MAX - 100 }.run(&stage, &tally, None);
    let start = watch.at_rest()?;
    let metrics = stage.weir.metrics()?;
    let moment = Moment::after(order.time, stop);
    let turn = Turn { order, moment: &moment, next: AtomicU64::new(0) };
    say(format!("{} texts, {} logins", order.texts, order.logins));
    let watched = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..order.drivers.max(1)).map(|_| scope.spawn(|| turn.drive(&stage, &tally))).collect();
        let watched = watch_over(&moment, order.tells_every, &tally, &mut watch);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a driver ended early"))?;
        }
        watched
    })?;
    let seconds = moment.elapsed().as_secs_f64();
    let ended = stage.weir.metrics()?;
    say(format!("all clients have gone; {} s at most for everything to be as before", order.rest.as_secs()));
    let rest = watch.back_at(&start, order.rest)?;
    let run = Run { start, rest, watched, metrics, ended, seconds };
    Ok(outcome(cluster, order, &tally.counts(), &run))
}

/// Whose turn it is: clients one after the other, as many as the time that has passed calls for.
struct Turn<'o> {
    order: &'o ChurnOrder,
    moment: &'o Moment<'o>,
    next: AtomicU64,
}

impl Turn<'_> {
    fn drive(&self, stage: &Stage<'_>, tally: &Tally) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.order.logins || self.moment.was_asked() {
                return;
            }
            let (texts, logins) = (self.order.texts, self.order.logins.max(1));
            // what does not divide is spread over all
            let from = texts * number / logins;
            let life = Life { number, texts: texts * (number + 1) / logins - from, from };
            life.run(stage, tally, Some(self));
        }
    }

    /// Waits until text `number` is due.
    fn wait_for(&self, number: u64) {
        let share = number as f64 / self.order.texts.max(1) as f64;
        while self.moment.share() < share && !self.moment.was_asked() {
            std::thread::sleep(PAUSE);
        }
    }
}

/// One client, from its login to its end.
struct Life {
    number: u64,
    texts: u64,
    from: u64,
}

impl Life {
    fn run(&self, stage: &Stage<'_>, tally: &Tally, turn: Option<&Turn<'_>>) {
        if let Some(turn) = turn {
            turn.wait_for(self.from);
        }
        let lived = self.live(stage, tally, turn);
        if let Err(failure) = lived {
            tally.error(&format!("client {}: {failure}", self.number));
        }
    }

    fn live(&self, stage: &Stage<'_>, tally: &Tally, turn: Option<&Turn<'_>>) -> Result<(), Failure> {
        let mut client = stage.client()?;
        tally.logged_in();
        for text in self.from..self.from + self.texts {
            if let Some(turn) = turn {
                turn.wait_for(text);
                if turn.moment.was_asked() {
                    break;
                }
            }
            let id = u32::try_from(text % u64::from(POINTS)).unwrap_or(0) + 1;
            if text.is_multiple_of(2) {
                as_text(&mut client, text, id, tally)?;
            } else {
                as_prepared(&mut client, text, id, tally)?;
            }
        }
        // one in four goes without a word
        if self.number.is_multiple_of(4) { Ok(()) } else { client.quit() }
    }
}

fn as_text(client: &mut Client, text: u64, id: u32, tally: &Tally) -> Result<(), Failure> {
    let sql = format!("SELECT {id} AS id, label, 'text {text}' FROM points WHERE id = {id}");
    let rows = client.rows(&sql)?;
    let expected = [id.to_string(), label(id), format!("text {text}")].map(Some);
    if rows != [expected] {
        tally.wrong(&format!("{sql}\n    got {rows:?}"));
        return Ok(());
    }
    tally.answered();
    Ok(())
}

fn as_prepared(client: &mut Client, text: u64, id: u32, tally: &Tally) -> Result<(), Failure> {
    let sql = format!("SELECT id, label, 'text {text}' FROM points WHERE id = ?");
    let statement = client.prepare(&sql)?;
    tally.answered();
    let answer = client.execute(statement.id, &[Parameter::Int(i64::from(id))])?;
    let mut expected = vec![0, 0];
    expected.extend(id.to_le_bytes());
    for value in [label(id), format!("text {text}")] {
        expected.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        expected.extend(value.as_bytes());
    }
    match answer.outcomes()?.as_slice() {
        [Outcome::Rows { rows, .. }] if *rows == [expected.as_slice()] => tally.answered(),
        [Outcome::Err { error, .. }] => tally.error(&format!("{sql}: {error}")),
        other => tally.wrong(&format!("{sql}\n    got {other:?}")),
    }
    if text % LEFT_OPEN != 1 {
        client.close_statement(statement.id)?;
    }
    Ok(())
}

/// What was seen while clients came and went.
#[derive(Debug, Default)]
struct Watched {
    peaks: Holding,
    /// Seconds, bytes.
    memory: Vec<(f64, u64)>,
    each_minute: Vec<u64>,
}

fn watch_over(
    moment: &Moment<'_>,
    tells_every: Duration,
    tally: &Tally,
    watch: &mut Watch,
) -> Result<Watched> {
    let mut watched = Watched::default();
    let (mut tell_at, mut minute_at) = (tells_every, MINUTE);
    loop {
        let now = watch.look()?;
        let elapsed = moment.elapsed();
        watched.peaks.prepared = watched.peaks.prepared.max(now.prepared);
        watched.peaks.connections = watched.peaks.connections.max(now.connections);
        watched.memory.push((elapsed.as_secs_f64(), now.rss_bytes));
        if elapsed >= minute_at {
            minute_at += MINUTE;
            watched.each_minute.push(now.rss_bytes);
        }
        if elapsed >= tell_at {
            tell_at += tells_every;
            let Counts { statements, wrong, errors, logins, .. } = tally.counts();
            say(format!(
                "{:>5.0} % {logins:>6} logins, {statements:>8} statements, {wrong} wrong, {errors} errors; Weir {} KiB and {} files, \
                 {} prepared, {} connections to a server",
                moment.share() * 100.0,
                now.rss_bytes >> 10,
                now.files,
                now.prepared,
                now.connections,
            ));
        }
        if moment.is_over() {
            return Ok(watched);
        }
        // not a moment beyond the end
        let left = Duration::from_secs_f64(0.05).max(moment.left());
        std::thread::sleep(LOOK_EVERY.min(left));
    }
}

struct Run {
    start: Holding,
    rest: Holding,
    watched: Watched,
    metrics: Metrics,
    ended: Metrics,
    seconds: f64,
}

fn outcome(cluster: &Cluster, order: &ChurnOrder, counts: &Counts, run: &Run) -> RunOutcome {
    let Run { start, rest, watched, metrics, ended, seconds } = run;
    let grown = |name: &str| ended.sum(name, &[]) - metrics.sum(name, &[]);
    let slope = slope_percent(&watched.memory);
    let figures = Figures {
        server: cluster.flavour().name(),
        seconds: *seconds,
        statements: counts.statements,
        wrong_answers: counts.wrong,
        errors: counts.errors,
        logins: counts.logins,
        kills: counts.kills,
        pins_per_1000: per_1000(grown("weir_pins_total"), counts.statements),
        sets_per_1000: per_1000(rest.sets.saturating_sub(start.sets) as f64, counts.statements),
        extra_round_trips_per_1000: per_1000(grown("weir_state_round_trips_total"), counts.statements),
        prepared_stmt_count_max: watched.peaks.prepared,
        backend_connections_max: watched.peaks.connections,
        rss_bytes_start: watched.memory.first().map_or(start.rss_bytes, |(_, bytes)| *bytes),
        rss_bytes_end: watched.memory.last().map_or(0, |(_, bytes)| *bytes),
        of_sessions: None,
        of_churn: Some(OfChurn {
            texts: order.texts,
            rss_bytes_each_minute: watched.each_minute.clone(),
            slope_percent_in_10_minutes: (slope * 1000.0).round() / 1000.0,
            open_files_start: start.files,
            open_files_end: rest.files,
            threads_connected_start: start.threads,
            threads_connected_end: rest.threads,
            prepared_stmt_count_start: start.prepared,
            prepared_stmt_count_end: rest.prepared,
        }),
    };
    let mut bounds = Bounds::of(&figures);
    if order.time / 3 >= SLOPE_NEEDS {
        bounds.holds(
            slope < SLOPE_BELOW,
            format!("memory grew by {slope:.2} % in 10 minutes at last, not below {SLOPE_BELOW} %"),
            "compare the minutes with weir_sessions and SHOW WEIR PREPARED",
        );
    }
    for (what, before, after, next) in [
        ("open files of Weir", start.files, rest.files, "see /proc/<pid>/fd"),
        ("Threads_connected", start.threads, rest.threads, "see SHOW PROCESSLIST at the servers"),
        ("Prepared_stmt_count", start.prepared, rest.prepared, "see SHOW WEIR PREPARED"),
    ] {
        bounds.holds(
            after <= before,
            format!("{what}: {after} {} s after the end, {before} before", order.rest.as_secs()),
            next,
        );
    }
    RunOutcome { missed: bounds.missed(), figures }
}
