//! What a session does in its turn, and what each answer must be.

use std::net::Shutdown;

use weir_e2e::client::{Client, Expect, Outcome};

use super::session::{Fault, Scene, Session, USER_VARIABLES, failed, wrong};
use super::variable::{DIV_PRECISION_INCREMENT, TIME_ZONE, VARIABLES, billion_seconds};
use crate::data::{POINTS, label};
use crate::tally::Latencies;

/// Error numbers: no such table, a statement that was interrupted.
const NO_SUCH_TABLE: u16 = 1146;
const INTERRUPTED: u16 = 1317;

/// One thing that a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A row by its key.
    Point,
    /// Executes a prepared statement.
    Execute,
    /// Sees everything that it has set, and nothing that others have.
    SeeAll,
    /// What it has set has its effect.
    Effects,
    SetVariable,
    SetUserVariable,
    Transaction,
    /// Inserts, and asks for the id.
    Insert,
    /// Asks about the statement before.
    Diagnostics,
    /// A statement that fails.
    Failure,
}

/// How often each is done, of a hundred.
const SHARES: [(Step, u32); 10] = [
    (Step::Point, 34),
    (Step::Execute, 25),
    (Step::SeeAll, 4),
    (Step::Effects, 8),
    (Step::SetVariable, 7),
    (Step::SetUserVariable, 7),
    (Step::Transaction, 6),
    (Step::Insert, 4),
    (Step::Diagnostics, 3),
    (Step::Failure, 2),
];

impl Step {
    pub(super) fn draw(random: &mut fastrand::Rng) -> Step {
        let all: u32 = SHARES.iter().map(|(_, share)| share).sum();
        let mut at = random.u32(0..all);
        for (step, share) in SHARES {
            match at.checked_sub(share) {
                None => return step,
                Some(rest) => at = rest,
            }
        }
        Step::Point
    }
}

impl Session {
    pub(super) fn take(
        &mut self,
        step: Step,
        scene: &Scene<'_, '_>,
        points: &mut Latencies,
        random: &mut fastrand::Rng,
    ) -> Result<(), Fault> {
        match step {
            Step::Point => points.add(self.point(scene, random)?),
            Step::Execute => {
                let Some(statement) = random.choice(&self.statements).cloned() else { return Ok(()) };
                self.execute(scene, &statement, random)?;
            }
            Step::SeeAll => self.see_all(scene)?,
            Step::Effects => self.effects(scene)?,
            Step::SetVariable => {
                let places: Vec<usize> = self.variables.keys().copied().collect();
                let Some(place) = random.choice(&places) else { return Ok(()) };
                self.set_variables(scene, &[*place], random)?;
            }
            Step::SetUserVariable => {
                let has = |place: &usize| self.user.get(*place).is_some_and(Option::is_some);
                let places: Vec<usize> = (0..USER_VARIABLES.len()).filter(has).collect();
                let Some(place) = random.choice(&places) else { return Ok(()) };
                self.set_user_variable(scene, *place, random)?;
            }
            Step::Transaction => self.transaction(scene, random)?,
            Step::Insert => self.insert(scene)?,
            Step::Diagnostics => self.diagnostics(scene, random)?,
            Step::Failure => self.failure(scene)?,
        }
        Ok(())
    }

    /// A row by its key, and how long it took.
    pub(super) fn point(
        &mut self,
        scene: &Scene<'_, '_>,
        random: &mut fastrand::Rng,
    ) -> Result<std::time::Duration, Fault> {
        let id = random.u32(1..=POINTS);
        let sql = format!("SELECT id, label FROM points WHERE id = {id}");
        self.row(scene, &sql, &[Some(&id.to_string()), Some(&label(id))])
    }

    fn see_all(&mut self, scene: &Scene<'_, '_>) -> Result<(), Fault> {
        let system = VARIABLES.iter().map(|variable| format!("@@{}", variable.name(scene.flavour)));
        let user = USER_VARIABLES.iter().map(|name| format!("CAST(@{name} AS CHAR)"));
        let sql = format!("SELECT {}, DATABASE()", system.chain(user).collect::<Vec<_>>().join(", "));
        let shown = scene.defaults.iter().enumerate().map(|(place, default)| {
            self.variables.get(&place).map_or(default.clone(), |value| value.shown.clone())
        });
        let expected: Vec<Option<String>> = shown
            .map(Some)
            .chain(self.user.iter().cloned())
            .chain([Some(scene.stage.database().to_owned())])
            .collect();
        let expected: Vec<Option<&str>> = expected.iter().map(Option::as_deref).collect();
        self.row(scene, &sql, &expected).map(|_| ())
    }

    fn effects(&mut self, scene: &Scene<'_, '_>) -> Result<(), Fault> {
        let shown = |place| self.variables.get(&place).map(|value| value.shown.clone());
        let moment = shown(TIME_ZONE).and_then(|zone| billion_seconds(&zone));
        let digits = shown(DIV_PRECISION_INCREMENT).and_then(|digits| digits.parse().ok());
        if let Some(moment) = moment {
            self.row(scene, "SELECT FROM_UNIXTIME(1000000000)", &[Some(&moment)])?;
        }
        let third = format!("0.{}", "3".repeat(digits.unwrap_or(4)));
        self.row(scene, "SELECT 1/3", &[Some(&third)])?;
        Ok(())
    }

    fn transaction(&mut self, scene: &Scene<'_, '_>, random: &mut fastrand::Rng) -> Result<(), Fault> {
        let number = self.number;
        self.change(scene, "BEGIN", 0)?;
        self.change(scene, &format!("UPDATE counters SET n = n + 1 WHERE id = {number}"), 1)?;
        let now = (self.counter + 1).to_string();
        self.row(scene, &format!("SELECT n FROM counters WHERE id = {number}"), &[Some(&now)])?;
        if random.bool() {
            // from here on it counts, whatever the answer
            self.counter += 1;
            self.change(scene, "COMMIT", 0)?;
        } else {
            self.change(scene, "ROLLBACK", 0)?;
        }
        let now = self.counter.to_string();
        self.row(scene, &format!("SELECT n FROM counters WHERE id = {number} FOR UPDATE"), &[Some(&now)])?;
        Ok(())
    }

    fn insert(&mut self, scene: &Scene<'_, '_>) -> Result<(), Fault> {
        let id =
            self.change(scene, &format!("INSERT INTO notes (of_session) VALUES ({})", self.number), 1)?;
        let id = id.to_string();
        self.row(scene, "SELECT LAST_INSERT_ID()", &[Some(&id)])?;
        let (sql, number) =
            (format!("SELECT of_session FROM notes WHERE id = {id} FOR UPDATE"), self.number.to_string());
        self.row(scene, &sql, &[Some(&number)])?;
        // the statement between has not changed it
        self.row(scene, "SELECT LAST_INSERT_ID(), @@identity", &[Some(&id), Some(&id)])?;
        Ok(())
    }

    fn diagnostics(&mut self, scene: &Scene<'_, '_>, random: &mut fastrand::Rng) -> Result<(), Fault> {
        let number = self.number;
        match random.u8(0..3) {
            0 => {
                let text = format!("x{number}");
                self.row(scene, &format!("SELECT CAST('{text}' AS SIGNED)"), &[Some("0")])?;
                let rows = self.query("SHOW WARNINGS")?;
                let rows = rows.rows().map_err(|failure| failed(number, "SHOW WARNINGS", &failure))?;
                let told = rows.first().and_then(|row| row.get(2)).cloned().flatten().unwrap_or_default();
                if rows.len() != 1 || !told.contains(&text) {
                    return Err(wrong(number, "SHOW WARNINGS", &text, &format!("{rows:?}")));
                }
                scene.tally.answered();
            }
            1 => {
                let rows = u64::from(random.u32(1..9));
                let sql = format!("SELECT id FROM points WHERE id <= {rows}");
                let answer = self.query(&sql)?;
                match self.one(&sql, &answer)? {
                    Outcome::Rows { rows: got, .. } if got.len() as u64 == rows => {}
                    other => return Err(wrong(number, &sql, &format!("{rows} rows"), &format!("{other:?}"))),
                }
                scene.tally.answered();
                self.row(scene, "SELECT FOUND_ROWS()", &[Some(&rows.to_string())])?;
            }
            _ => {
                let sql = format!("INSERT INTO notes (of_session) VALUES ({number}), ({number}), ({number})");
                self.change(scene, &sql, 3)?;
                self.row(scene, "SELECT ROW_COUNT()", &[Some("3")])?;
            }
        }
        Ok(())
    }

    fn failure(&mut self, scene: &Scene<'_, '_>) -> Result<(), Fault> {
        let sql = format!("SELECT * FROM missing_{}", self.number);
        let answer = self.query(&sql)?;
        if answer.error_number() != NO_SUCH_TABLE {
            return Err(wrong(self.number, &sql, "error 1146", &format!("{answer:?}")));
        }
        scene.tally.answered();
        Ok(())
    }

    /// Another session kills this one's statement while it runs, or a moment before or after.
    pub(super) fn is_interrupted_by(
        &mut self,
        killer: &mut Session,
        scene: &Scene<'_, '_>,
    ) -> Result<(), Fault> {
        let number = self.number;
        let sql = format!("SELECT SLEEP(0.3), 'of {number}'");
        self.send(&sql)?;
        killer.change(scene, &format!("KILL QUERY {}", self.client.id()), 0)?;
        scene.tally.killed();
        let answer =
            self.client.read_answer(Expect::Results).map_err(|failure| failed(number, &sql, &failure))?;
        let rows = match answer.error_number() {
            INTERRUPTED => None,
            _ => Some(answer.rows().map_err(|failure| failed(number, &sql, &failure))?),
        };
        // MySQL's SLEEP answers 1 when it is interrupted, and 0 when it is not
        let of = Some(format!("of {number}"));
        let is_right = |rows: &Vec<Vec<Option<String>>>| match rows.as_slice() {
            [row] => {
                matches!(row.as_slice(), [Some(slept), tag] if (slept == "0" || slept == "1") && *tag == of)
            }
            _ => false,
        };
        if !rows.as_ref().is_none_or(is_right) {
            return Err(wrong(number, &sql, "0 or 1, or error 1317", &format!("{rows:?}")));
        }
        scene.tally.answered();
        // the KILL was for that statement and no other
        self.row(
            scene,
            &format!("SELECT SLEEP(0), 'still {number}'"),
            &[Some("0"), Some(&format!("still {number}"))],
        )?;
        Ok(())
    }

    /// Another session ends this one.
    pub(super) fn end_by(mut self, killer: &mut Session, scene: &Scene<'_, '_>) -> Result<(), Fault> {
        killer.change(scene, &format!("KILL {}", self.client.id()), 0)?;
        scene.tally.killed();
        let sql = format!("SELECT 'alive {}'", self.number);
        match self.client.query(&sql) {
            Err(failure) if failure.is_lost() => Ok(()),
            Ok(answer) if answer.error().is_some() => Ok(()),
            other => Err(wrong(self.number, &sql, "the end, after KILL", &format!("{other:?}"))),
        }
    }

    /// Leaves in one of the ways in which clients leave.
    pub(super) fn leave(mut self, scene: &Scene<'_, '_>, random: &mut fastrand::Rng) -> Result<(), Fault> {
        let number = self.number;
        match random.u8(0..4) {
            0 => {
                self.client.quit().map_err(|failure| failed(number, "COM_QUIT", &failure))?;
            }
            // without a word
            1 => drop(self.client),
            // in the middle of a statement
            2 => {
                self.send(&format!("SELECT SLEEP(0.5), 'left by {number}'"))?;
                hang_up(&self.client, number)?;
            }
            // in the middle of a transaction, which never happened then
            _ => {
                self.change(scene, "BEGIN", 0)?;
                let sql = format!("UPDATE counters SET n = n + 1000000 WHERE id = {number}");
                self.change(scene, &sql, 1)?;
                hang_up(&self.client, number)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, sql: &str) -> Result<(), Fault> {
        let payload = [&[3][..], sql.as_bytes()].concat();
        self.client.send(&payload).map_err(|failure| failed(self.number, sql, &failure))
    }
}

fn hang_up(client: &Client, number: u32) -> Result<(), Fault> {
    client.shut(Shutdown::Both).map_err(|failure| failed(number, "hanging up", &failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_drawn() {
        let mut random = fastrand::Rng::with_seed(1);
        let drawn: Vec<Step> = (0..2_000).map(|_| Step::draw(&mut random)).collect();
        assert!(SHARES.iter().all(|(step, _)| drawn.contains(step)));
    }
}
