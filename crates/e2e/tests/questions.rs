//! Many sessions over two connections ask about their statements before: each must hear of its own, whoever had the
//! connection meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail as its own lines do")]

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use weir_e2e::client::{Client, Outcome};
use weir_e2e::on_both_servers;
use weir_e2e::pair::{Databases, direct_login};
use weir_e2e::weir::{Options, Weir};
use weir_testkit::Cluster;
use weir_wire::capability::Capabilities;

on_both_servers!(every_session_hears_of_its_own_statement_before);

const SESSIONS: usize = 12;
const ROUNDS: usize = 60;

fn every_session_hears_of_its_own_statement_before(cluster: &'static Cluster) -> Result<()> {
    let databases = Databases::create(cluster, "questions")?;
    databases.prepare(
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, who INT, v VARCHAR(4), KEY (who)); \
         CREATE TABLE n (id INT PRIMARY KEY); INSERT INTO n VALUES (1), (2), (3), (4), (5), (6), (7)",
    )?;
    let options = Options::on(cluster)?.set("pool.capacity", 2).set("pool.checkout_timeout", "30s");
    let weir = Weir::start(&options)?;
    cluster.wait_for_replicas(std::time::Duration::from_secs(30))?;
    let database = databases.names()[1];
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|who| {
                let weir = &weir;
                scope.spawn(move || {
                    let login = direct_login().database(database).with(Capabilities::MULTI_STATEMENTS);
                    let mut client = weir.connect(&login)?;
                    for round in 0..ROUNDS {
                        ask(&mut client, who, round)
                            .with_context(|| format!("session {who}, round {round}"))?;
                    }
                    Ok::<(), anyhow::Error>(())
                })
            })
            .collect();
        for session in sessions {
            session.join().map_err(|_| anyhow!("a session's thread failed"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    // that they shared the connections: each of two had hundreds of statements of others in between
    let metrics = weir.metrics()?;
    ensure!(metrics.sum("weir_pool_waits_total", &[]) > 100.0, "the sessions never waited for each other");
    weir.stop()
}

fn ask(client: &mut Client, who: usize, round: usize) -> Result<()> {
    match (who + round) % 8 {
        0 => {
            let id = inserted(client, &format!("INSERT INTO t (who, v) VALUES ({who}, 'a')"))?;
            assert_eq!(client.value("SELECT LAST_INSERT_ID()")?, id.to_string());
        }
        1 => {
            // still known when other statements came between, on whatever connection
            let id = inserted(client, &format!("INSERT INTO t (who, v) VALUES ({who}, 'b'), ({who}, 'c')"))?;
            client.run("SELECT id FROM n")?;
            client.run("SELECT COUNT(*) FROM t")?;
            assert_eq!(client.value("SELECT LAST_INSERT_ID() + 0")?, id.to_string());
            client.run(&format!("UPDATE t SET v = 'd' WHERE id = LAST_INSERT_ID() AND who = {who}"))?;
            assert_eq!(client.value("SELECT ROW_COUNT()")?, "1");
        }
        2 => {
            client.run(&format!("SELECT CAST('of {who} in {round}' AS SIGNED), CAST('x{who}' AS SIGNED)"))?;
            let rows = client.rows("SHOW WARNINGS")?;
            let told: Vec<_> = rows.iter().filter_map(|row| row[2].clone()).collect();
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].contains(&format!("of {who} in {round}")), "{told:?}");
            assert_eq!(client.value("SHOW COUNT(*) WARNINGS")?, "2");
        }
        3 => {
            let answer = client.query(format!("INSERT INTO nosuch_{who}_{round} VALUES (1)"))?;
            assert_eq!(answer.error_number(), 1146);
            client.run("GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT, @n = MYSQL_ERRNO")?;
            let told = client.value("SELECT CONCAT(@n, ' ', @m)")?;
            assert!(told.starts_with("1146 ") && told.contains(&format!("nosuch_{who}_{round}")), "{told}");
            ensure!(client.reset()?.error().is_none(), "the reset failed");
        }
        4 => {
            let most = 1 + round % 5;
            client.run(&format!("SELECT SQL_CALC_FOUND_ROWS id FROM n LIMIT {most}"))?;
            assert_eq!(client.value("SELECT FOUND_ROWS()")?, "7");
        }
        5 => {
            // each of these may be known to another connection
            let id = inserted(client, &format!("INSERT INTO t (who, v) VALUES ({who}, 'f')"))?;
            client.run("SELECT SQL_CALC_FOUND_ROWS id FROM n LIMIT 3")?;
            client.run("INSERT IGNORE INTO n VALUES (1)")?;
            let rows = client.rows("SHOW WARNINGS")?;
            assert_eq!(rows.iter().filter_map(|row| row[1].as_deref()).collect::<Vec<_>>(), ["1062"]);
            assert_eq!(client.value("SELECT FOUND_ROWS()")?, "7");
            assert_eq!(client.value("SELECT LAST_INSERT_ID()")?, id.to_string());
        }
        6 => {
            client.run(&format!("SELECT id FROM n LIMIT {}", 1 + who % 6))?;
            assert_eq!(client.rows("SHOW WARNINGS")?.len(), 0);
            assert_eq!(client.value("SELECT FOUND_ROWS()")?, (1 + who % 6).to_string());
        }
        _ => {
            client.run("BEGIN")?;
            let id = inserted(client, &format!("INSERT INTO t (who, v) VALUES ({who}, 'e')"))?;
            client.run(&format!("DELETE FROM t WHERE id = {id}"))?;
            assert_eq!(client.value("SELECT ROW_COUNT()")?, "1");
            client.run("COMMIT")?;
            let prepared = client.prepare("SELECT LAST_INSERT_ID()")?;
            let answer = client.execute(prepared.id, &[])?;
            let outcomes = answer.outcomes()?;
            let [Outcome::Rows { rows, .. }] = outcomes.as_slice() else {
                return Err(anyhow!("{outcomes:?}"));
            };
            // a binary row: header, NULL bitmap, the value
            assert_eq!(rows[0][2..], id.to_le_bytes());
            client.close_statement(prepared.id)?;
        }
    }
    Ok(())
}

/// LAST_INSERT_ID() as the INSERT's own answer told it.
fn inserted(client: &mut Client, sql: &str) -> Result<u64> {
    match client.run(sql)?.outcomes()?.as_slice() {
        [Outcome::Ok { insert_id, .. }] => Ok(*insert_id),
        other => Err(anyhow!("{sql}: {other:?}")),
    }
}
