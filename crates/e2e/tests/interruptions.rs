//! KILL QUERY and clients that leave, at random among statements that each carry a tag: whoever is interrupted was meant.
//!
//! `WEIR_KILLS=20000` makes so many; the default is short.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its own lines do"
)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_e2e::client::{Client, Expect, Login, Parameter};
use weir_e2e::on_both_servers;
use weir_e2e::weir::{Namespace, Options, User, Weir};
use weir_testkit::Cluster;
use weir_wire::command::com;

on_both_servers!(nobody_is_interrupted_but_who_was_killed);

const VICTIMS: usize = 24;
const KILLERS: usize = 4;
/// Few, so that statements wait, and connections go from one session to the next at once.
const CONNECTIONS: i64 = 4;
const KILLS: &str = "WEIR_KILLS";
const DEFAULT_KILLS: u64 = 1_500;
/// So many KILLs and leaving clients a second at most, on a machine that does nothing else.
const MOST_SECONDS: u64 = 600;

/// What killers and others know of a victim.
#[derive(Debug, Default)]
struct Slot {
    /// Its connection id; 0 while it has none.
    id: AtomicU32,
    /// KILLs of it that were about to be sent.
    sent: AtomicU64,
    /// Those that were answered.
    answered: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    kills: AtomicU64,
    left: AtomicU64,
    interrupted: AtomicU64,
    answered: AtomicU64,
}

/// xorshift: enough to mix.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn kills() -> Result<u64> {
    match std::env::var(KILLS) {
        Ok(text) => text.parse().with_context(|| format!("{KILLS} is no number")),
        Err(_) => Ok(DEFAULT_KILLS),
    }
}

fn login() -> Login {
    Login::new("tagged", "tagged-password").database("e2e_interruptions")
}

/// How a statement may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Sleep,
    Point,
    Large,
    Prepared,
    Transaction,
    Write,
}

const SHAPES: [Shape; 6] =
    [Shape::Sleep, Shape::Point, Shape::Large, Shape::Prepared, Shape::Transaction, Shape::Write];

struct Victim<'a> {
    weir: &'a Weir,
    slot: &'a Slot,
    counts: &'a Counts,
    random: Random,
    number: usize,
    tag: u64,
    client: Client,
    statement: u32,
}

impl<'a> Victim<'a> {
    fn enter(weir: &'a Weir, slot: &'a Slot, counts: &'a Counts, number: usize) -> Result<Self> {
        let (client, statement) = connect(weir)?;
        slot.id.store(client.id(), Ordering::SeqCst);
        let random = Random(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1));
        Ok(Self { weir, slot, counts, random, number, tag: 0, client, statement })
    }

    /// One statement, or a few that belong together; each answer must be its own, or an interruption that was meant.
    fn turn(&mut self) -> Result<()> {
        self.tag += 1;
        let tag = format!("{}-{}", self.number, self.tag);
        let shape = SHAPES[usize::try_from(self.random.below(SHAPES.len() as u64))?];
        if self.random.below(20) == 0 {
            return self.leave(&tag);
        }
        match shape {
            Shape::Sleep => {
                let millis = self.random.below(8);
                self.ask(&format!("SELECT '{tag}', SLEEP(0.00{millis})"), &tag)?;
            }
            Shape::Point => drop(self.ask(&format!("SELECT '{tag}', v FROM t WHERE id = 3"), &tag)?),
            Shape::Large => {
                // takes the server some milliseconds, and looks at its KILL on the way
                let sql = format!("SELECT '{tag}', COUNT(*) FROM t a, t b, t c, t d, t e");
                self.ask(&sql, &tag)?;
            }
            Shape::Prepared => {
                let answer = |victim: &mut Self| {
                    Ok(victim.client.execute(victim.statement, &[Parameter::Text(tag.clone())])?)
                };
                self.run(&tag, answer)?;
            }
            Shape::Transaction => {
                if self.ask_ok("BEGIN")? {
                    self.ask(&format!("SELECT '{tag}', SLEEP(0.001)"), &tag)?;
                    self.ask(&format!("SELECT '{tag}', v FROM t WHERE id = 2 LOCK IN SHARE MODE"), &tag)?;
                }
                while !self.ask_ok("ROLLBACK")? {}
            }
            Shape::Write => {
                self.ask_ok(&format!("UPDATE w SET tag = '{tag}' WHERE id = {}", self.number))?;
            }
        }
        Ok(())
    }

    fn ask_ok(&mut self, sql: &str) -> Result<bool> {
        self.run("", |victim| Ok(victim.client.query(sql)?))
    }

    fn ask(&mut self, sql: &str, tag: &str) -> Result<bool> {
        self.run(tag, |victim| Ok(victim.client.query(sql)?))
    }

    /// `false`: it was interrupted, by a KILL that was on its way while the statement was.
    fn run(
        &mut self,
        tag: &str,
        ask: impl FnOnce(&mut Self) -> Result<weir_e2e::client::Answer>,
    ) -> Result<bool> {
        let answered = self.slot.answered.load(Ordering::SeqCst);
        let answer = ask(self)?;
        let sent = self.slot.sent.load(Ordering::SeqCst);
        let mut interrupted = answer.error_number() == 1317;
        if !interrupted {
            ensure!(answer.error().is_none(), "{tag}: {:?}", answer.error());
            if !tag.is_empty() {
                let text = answer.packets.iter().any(|p| contains(&p.payload, tag.as_bytes()));
                ensure!(text, "not the answer to {tag}: {answer:?}");
                // SLEEP() tells an interruption with 1
                interrupted = answer.packets.iter().any(|p| p.payload.ends_with(b"\x011"));
            }
        }
        if interrupted {
            self.counts.interrupted.fetch_add(1, Ordering::Relaxed);
            ensure!(
                sent > answered,
                "{tag} of session {} was interrupted, and nobody had killed it: {sent} KILLs sent before its end, {answered} \
                 answered before its beginning",
                self.client.id()
            );
        }
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        Ok(!interrupted)
    }

    /// Goes while a statement runs or waits, and comes back.
    fn leave(&mut self, tag: &str) -> Result<()> {
        let sql = format!("SELECT '{tag}', SLEEP(0.02)");
        self.client.send(&[&[com::QUERY], sql.as_bytes()].concat())?;
        let pause = self.random.below(6);
        std::thread::sleep(Duration::from_millis(pause));
        self.slot.id.store(0, Ordering::SeqCst);
        self.counts.left.fetch_add(1, Ordering::Relaxed);
        let (client, statement) = connect(self.weir)?;
        drop(std::mem::replace(&mut self.client, client));
        self.statement = statement;
        self.slot.id.store(self.client.id(), Ordering::SeqCst);
        Ok(())
    }
}

fn connect(weir: &Weir) -> Result<(Client, u32)> {
    let mut client = weir.connect(&login())?;
    let statement = client.prepare("SELECT ?, v FROM t WHERE id = 5")?.id;
    Ok((client, statement))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn kill(
    weir: &Weir,
    slots: &[Slot],
    counts: &Counts,
    number: usize,
    wanted: u64,
    over: &AtomicBool,
) -> Result<()> {
    let mut client = weir.connect(&login())?;
    let mut random = Random(0xD1B5_4A32_D192_ED03 ^ (number as u64 + 1));
    while !over.load(Ordering::Relaxed) {
        if counts.kills.load(Ordering::Relaxed) + counts.left.load(Ordering::Relaxed) >= wanted {
            over.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let slot = &slots[usize::try_from(random.below(slots.len() as u64))?];
        let id = slot.id.load(Ordering::SeqCst);
        if id == 0 {
            continue;
        }
        slot.sent.fetch_add(1, Ordering::SeqCst);
        let answer = client
            .command(&[&[com::QUERY][..], format!("KILL QUERY {id}").as_bytes()].concat(), Expect::Results)?;
        slot.answered.fetch_add(1, Ordering::SeqCst);
        match answer.error_number() {
            0 | 1094 => {}
            _ => bail!("KILL QUERY {id}: {answer:?}"),
        }
        counts.kills.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(random.below(3_000)));
    }
    Ok(())
}

fn nobody_is_interrupted_but_who_was_killed(cluster: &'static Cluster) -> Result<()> {
    cluster.sql(
        0,
        "DROP DATABASE IF EXISTS e2e_interruptions; CREATE DATABASE e2e_interruptions; USE e2e_interruptions; \
         CREATE TABLE t (id INT PRIMARY KEY, v INT); \
         INSERT INTO t VALUES (1,1),(2,2),(3,3),(4,4),(5,5),(6,6),(7,7),(8,8); \
         CREATE TABLE w (id INT PRIMARY KEY, tag VARCHAR(40))",
    )?;
    for number in 0..VICTIMS {
        cluster.sql(0, &format!("INSERT INTO e2e_interruptions.w VALUES ({number}, '')"))?;
    }
    cluster.wait_for_replicas(Duration::from_secs(20))?;
    let namespace = Namespace::on(cluster, "app")?
        .users_are(vec![User::new("tagged", "tagged-password")])
        .set("pool.checkout_timeout", "1m")
        .set("pool.capacity", CONNECTIONS);
    let weir = Weir::start(&Options::of(vec![namespace]).greeting(cluster.version()))?;
    let slots: Vec<Slot> = (0..VICTIMS).map(|_| Slot::default()).collect();
    let counts = Counts::default();
    let over = AtomicBool::new(false);
    let wanted = kills()?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let victims: Vec<_> = slots
            .iter()
            .enumerate()
            .map(|(number, slot)| {
                let (weir, counts, over) = (&weir, &counts, &over);
                scope.spawn(move || -> Result<()> {
                    let run = || -> Result<()> {
                        let mut victim = Victim::enter(weir, slot, counts, number)?;
                        while !over.load(Ordering::Relaxed) {
                            victim.turn()?;
                            ensure!(begun.elapsed().as_secs() < MOST_SECONDS, "too slow");
                        }
                        Ok(())
                    };
                    // the first that fails ends the test
                    run().inspect_err(|_| over.store(true, Ordering::Relaxed))
                })
            })
            .collect();
        let killers: Vec<_> = (0..KILLERS)
            .map(|number| {
                let (weir, slots, counts, over) = (&weir, &slots, &counts, &over);
                scope.spawn(move || kill(weir, slots, counts, number, wanted, over))
            })
            .collect();
        for thread in killers.into_iter().chain(victims) {
            thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let metrics = weir.metrics()?;
    weir_testkit::say(format!(
        "{}: {} KILLs and {} clients that left among {} statements in {:.1?}: {} interrupted, each by a KILL of its own; {} \
         connections dialed",
        cluster.flavour(),
        of(&counts.kills),
        of(&counts.left),
        of(&counts.answered),
        begun.elapsed(),
        of(&counts.interrupted),
        metrics.sum("weir_pool_dials_total", &[]),
    ));
    ensure!(of(&counts.kills) + of(&counts.left) >= wanted && of(&counts.left) > 0);
    ensure!(of(&counts.interrupted) > 0, "no KILL hit anything");
    weir.wait_for("nothing is left running", Duration::from_secs(20), |m| {
        m.sum("weir_pool_in_use", &[]) == 0.0 && m.sum("weir_pool_waiting", &[]) == 0.0
    })?;
    weir.stop()
}
