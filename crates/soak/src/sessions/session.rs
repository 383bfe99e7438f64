//! One session: a client, and what it must see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use weir_e2e::client::{Answer, Client, Failure, Outcome, Parameter};
use weir_testkit::Flavour;

use super::variable::{VARIABLES, Value};
use crate::data::{POINTS, label};
use crate::stage::Stage;
use crate::tally::Tally;

/// Names of user variables; a session has three of them, and the others must be NULL.
pub(super) const USER_VARIABLES: [&str; 5] = ["u0", "u1", "u2", "u3", "u4"];
/// Session variables that a session sets: so many at least, and so many more at most.
const LEAST_VARIABLES: usize = 5;
const MORE_VARIABLES: usize = 4;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Scene<'s, 'c> {
    pub(super) stage: &'s Stage<'c>,
    pub(super) tally: &'s Tally,
    pub(super) flavour: Flavour,
    /// What a session sees of [`VARIABLES`] that has set none.
    pub(super) defaults: Vec<String>,
}

/// A statement of the session's own that it prepared.
#[derive(Clone, Debug)]
pub(super) struct OwnStatement {
    pub(super) kind: StatementKind,
    pub(super) id: u32,
}

/// Three kinds, one of each in every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// A row, and a sum with the session's own number.
    Point,
    /// The session's user variables and a parameter.
    Variables,
    /// Several rows.
    Range,
}

/// Why a session cannot go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer that is another than it must be.
    Wrong(String),
    /// No answer, or an error.
    Failed(String),
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Session {
    /// From 1; also its row in `counters`.
    pub(super) number: u32,
    pub(super) client: Client,
    /// By place in [`VARIABLES`].
    pub(super) variables: BTreeMap<usize, Value>,
    /// As `CAST(@u0 AS CHAR)` shows them.
    pub(super) user: [Option<String>; USER_VARIABLES.len()],
    pub(super) statements: Vec<OwnStatement>,
    /// What its row in `counters` has.
    pub(super) counter: u64,
}

impl Session {
    /// Logs in and gives the session a state of its own.
    pub(super) fn begin(
        scene: &Scene<'_, '_>,
        number: u32,
        counter: u64,
        random: &mut fastrand::Rng,
    ) -> Result<Session, Fault> {
        let mut session = Session::log_in(scene, number, counter)?;
        let wanted = LEAST_VARIABLES + random.usize(0..=MORE_VARIABLES);
        let mut places: Vec<usize> = (0..VARIABLES.len()).collect();
        random.shuffle(&mut places);
        places.truncate(wanted);
        // as applications do: some one by one, the others in one statement
        let (alone, together) = places.split_at(2);
        for place in alone {
            session.set_variables(scene, &[*place], random)?;
        }
        session.set_variables(scene, together, random)?;
        let first = random.usize(0..USER_VARIABLES.len());
        for place in [first, first + 1, first + 3].map(|place| place % USER_VARIABLES.len()) {
            session.set_user_variable(scene, place, random)?;
        }
        for kind in [StatementKind::Point, StatementKind::Variables, StatementKind::Range] {
            session.prepare(scene, kind)?;
        }
        Ok(session)
    }

    /// Logs in a session that sets nothing.
    pub(super) fn clean(scene: &Scene<'_, '_>) -> Result<Session, Fault> {
        Session::log_in(scene, 0, 0)
    }

    /// After a fault: it is not known what became of the session's row, so that is asked.
    pub(super) fn resume(
        scene: &Scene<'_, '_>,
        number: u32,
        random: &mut fastrand::Rng,
    ) -> Result<Session, Fault> {
        let mut session = Session::begin(scene, number, 0, random)?;
        let sql = format!("SELECT n FROM counters WHERE id = {number} FOR UPDATE");
        let value = session.client.value(&sql).map_err(|failure| failed(number, &sql, &failure))?;
        session.counter = value.parse().map_err(|_| wrong(number, &sql, "a number", &value))?;
        Ok(session)
    }

    fn log_in(scene: &Scene<'_, '_>, number: u32, counter: u64) -> Result<Session, Fault> {
        let client = scene.stage.client().map_err(|failure| failed(number, "login", &failure))?;
        scene.tally.logged_in();
        Ok(Session {
            number,
            client,
            variables: BTreeMap::new(),
            user: Default::default(),
            statements: Vec::new(),
            counter,
        })
    }

    /// Sets variables to values that are drawn, in one SET.
    pub(super) fn set_variables(
        &mut self,
        scene: &Scene<'_, '_>,
        places: &[usize],
        random: &mut fastrand::Rng,
    ) -> Result<(), Fault> {
        let mut sql = String::new();
        for place in places {
            let Some(variable) = VARIABLES.get(*place) else { continue };
            let value = variable.draw(scene.flavour, random);
            // Writing into a String cannot fail.
            let _infallible =
                write!(sql, "{} {}", if sql.is_empty() { "SET" } else { "," }, value.assignment);
            self.variables.insert(*place, value);
        }
        self.change(scene, &sql, 0)?;
        scene.tally.set();
        Ok(())
    }

    /// Gives a user variable a value of its type.
    pub(super) fn set_user_variable(
        &mut self,
        scene: &Scene<'_, '_>,
        place: usize,
        random: &mut fastrand::Rng,
    ) -> Result<(), Fault> {
        let (Some(name), Some(slot)) = (USER_VARIABLES.get(place), self.user.get_mut(place)) else {
            return Ok(());
        };
        let n = random.u32(0..1_000_000);
        // each always of one type: MySQL fixes that for a prepared statement when it is prepared
        let (literal, shown) = match place {
            0 => (n.to_string(), n.to_string()),
            1 => (format!("'it''s {n} of {}'", self.number), format!("it's {n} of {}", self.number)),
            2 => (format!("{n}.125"), format!("{n}.125")),
            _ => (format!("-{n}"), if n == 0 { "0".to_owned() } else { format!("-{n}") }),
        };
        *slot = Some(shown);
        self.change(scene, &format!("SET @{name} = {literal}"), 0)?;
        scene.tally.set();
        Ok(())
    }

    fn prepare(&mut self, scene: &Scene<'_, '_>, kind: StatementKind) -> Result<(), Fault> {
        let number = self.number;
        let text = match kind {
            StatementKind::Point => {
                format!("SELECT id, label, CAST(? AS SIGNED) + {number} AS s FROM points WHERE id = ?")
            }
            StatementKind::Variables => {
                let own = USER_VARIABLES.iter().zip(&self.user).filter(|(_, value)| value.is_some());
                let names: Vec<String> = own.map(|(name, _)| format!("CAST(@{name} AS CHAR)")).collect();
                format!("SELECT {}, CAST(? AS CHAR), 'of {}'", names.join(", "), number % 50)
            }
            StatementKind::Range => {
                format!("SELECT id, label FROM points WHERE id BETWEEN ? AND ? + {} ORDER BY id", number % 7)
            }
        };
        let prepared = self.client.prepare(&text).map_err(|failure| failed(number, &text, &failure))?;
        scene.tally.answered();
        self.statements.push(OwnStatement { kind, id: prepared.id });
        Ok(())
    }

    /// Executes one of its prepared statements and looks at each row.
    pub(super) fn execute(
        &mut self,
        scene: &Scene<'_, '_>,
        statement: &OwnStatement,
        random: &mut fastrand::Rng,
    ) -> Result<(), Fault> {
        let id = random.u32(1..=POINTS - 20);
        let int = |value: u32| Parameter::Int(i64::from(value));
        let (parameters, expected) = match statement.kind {
            StatementKind::Point => {
                let add = random.u32(0..1_000_000);
                let sum = i64::from(add) + i64::from(self.number);
                (vec![int(add), int(id)], vec![binary_point(id, Some(sum))])
            }
            StatementKind::Variables => {
                let given = format!("given {id}");
                let of = format!("of {}", self.number % 50);
                let own = self.user.iter().map(Option::as_deref).filter(Option::is_some);
                let values = own.chain([Some(given.as_str()), Some(&of)]);
                let row = binary_texts(&values.collect::<Vec<_>>());
                (vec![Parameter::Text(given)], vec![row])
            }
            StatementKind::Range => {
                let last = id + 3 + self.number % 7;
                let rows = (id..=last).map(|id| binary_point(id, None)).collect();
                (vec![int(id), int(id + 3)], rows)
            }
        };
        let what = format!("EXECUTE {:?} {parameters:?}", statement.kind);
        let answer = self
            .client
            .execute(statement.id, &parameters)
            .map_err(|failure| failed(self.number, &what, &failure))?;
        match self.one(&what, &answer)? {
            Outcome::Rows { rows, .. } if rows == expected => {}
            other => return Err(wrong(self.number, &what, &format!("{expected:?}"), &format!("{other:?}"))),
        }
        scene.tally.answered();
        Ok(())
    }

    /// Runs a text that answers OK; gives the insert id.
    pub(super) fn change(&mut self, scene: &Scene<'_, '_>, sql: &str, expected: u64) -> Result<u64, Fault> {
        let answer = self.query(sql)?;
        match self.one(sql, &answer)? {
            Outcome::Ok { affected, insert_id, .. } if affected == expected => {
                scene.tally.answered();
                Ok(insert_id)
            }
            other => Err(wrong(self.number, sql, &format!("{expected} rows changed"), &format!("{other:?}"))),
        }
    }

    /// Runs a text that answers one row of these values.
    pub(super) fn row(
        &mut self,
        scene: &Scene<'_, '_>,
        sql: &str,
        expected: &[Option<&str>],
    ) -> Result<Duration, Fault> {
        let begun = Instant::now();
        let answer = self.query(sql)?;
        let took = begun.elapsed();
        let rows = answer.rows().map_err(|failure| failed(self.number, sql, &failure))?;
        let got: Option<Vec<Option<&str>>> = match rows.as_slice() {
            [row] if row.len() == expected.len() => Some(row.iter().map(Option::as_deref).collect()),
            _ => None,
        };
        let Some(got) = got else {
            return Err(wrong(self.number, sql, &format!("{expected:?}"), &format!("{rows:?}")));
        };
        if got != expected {
            // of many values those that differ, with their places
            let differing = |of: &[Option<&str>]| {
                let values = of.iter().zip(expected.iter().zip(&got)).enumerate();
                let list = values.filter(|(_, (_, (a, b)))| a != b).map(|(at, (value, _))| (at, *value));
                format!("{:?}", list.collect::<Vec<_>>())
            };
            return Err(wrong(self.number, sql, &differing(expected), &differing(&got)));
        }
        scene.tally.answered();
        Ok(took)
    }

    pub(super) fn query(&mut self, sql: &str) -> Result<Answer, Fault> {
        self.client.query(sql).map_err(|failure| failed(self.number, sql, &failure))
    }

    /// The only result of an answer, which is no error.
    pub(super) fn one(&self, what: &str, answer: &Answer) -> Result<Outcome, Fault> {
        let outcomes = answer.outcomes().map_err(|failure| failed(self.number, what, &failure))?;
        let mut outcomes = outcomes.into_iter();
        match (outcomes.next(), outcomes.next()) {
            (Some(Outcome::Err { error, .. }), _) => {
                Err(Fault::Failed(format!("session {}: {what}: {error}", self.number)))
            }
            (Some(one), None) => Ok(one),
            (first, second) => {
                let got = format!("{first:?} and {second:?}");
                Err(wrong(self.number, what, "one result", &got))
            }
        }
    }
}

pub(super) fn failed(number: u32, what: &str, failure: &Failure) -> Fault {
    Fault::Failed(format!("session {number}: {what}: {failure}"))
}

pub(super) fn wrong(number: u32, what: &str, expected: &str, got: &str) -> Fault {
    Fault::Wrong(format!("session {number}: {what}\n    expected {expected}\n    got      {got}"))
}

/// A row of INT and VARCHAR, and of a BIGINT behind them, as an executed statement answers.
fn binary_point(id: u32, sum: Option<i64>) -> Vec<u8> {
    let label = label(id);
    let mut row = vec![0, 0];
    row.extend(id.to_le_bytes());
    row.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
    row.extend(label.as_bytes());
    row.extend(sum.iter().flat_map(|sum| sum.to_le_bytes()));
    row
}

/// A row of strings; the NULL bits begin at the third.
fn binary_texts(values: &[Option<&str>]) -> Vec<u8> {
    let mut nulls = vec![0_u8; (values.len() + 2).div_ceil(8)];
    let mut row = Vec::new();
    for (at, value) in values.iter().enumerate() {
        match value {
            Some(text) => {
                row.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                row.extend(text.as_bytes());
            }
            None => {
                if let Some(byte) = nulls.get_mut((at + 2) / 8) {
                    *byte |= 1 << ((at + 2) % 8);
                }
            }
        }
    }
    [&[0][..], &nulls, &row].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_rows_as_servers_write_them() {
        assert_eq!(binary_point(2, None), [&[0, 0, 2, 0, 0, 0, 11][..], b"point 00002"].concat());
        assert_eq!(binary_texts(&[None, Some("a"), None]), [0, 0b10100, 1, b'a']);
        let nine = binary_texts(&[None; 9]);
        assert_eq!(nine, [0, 0b1111_1100, 0b111]);
    }
}
