//! The normalised text, and that its hash does not change from release to release.

mod support;

use support::{MARIADB, MYSQL, seen};
use weir_sql::fingerprint;
use xxhash_rust::xxh3::xxh3_64;

#[test]
fn literals_comments_and_white_space_are_gone() {
    let rows = [
        ("SELECT c FROM sbtest1 WHERE id=12345", "select c from sbtest1 where id = ?"),
        ("select  c\nfrom sbtest1 where id = 'x'", "select c from sbtest1 where id = ?"),
        ("SELECT c FROM sbtest1 WHERE id = -5", "select c from sbtest1 where id = ?"),
        ("SELECT c FROM sbtest1 WHERE id=?", "select c from sbtest1 where id = ?"),
        ("SELECT /* x */ a -- b\nFROM t # c", "select a from t"),
        ("SELECT /*! STRAIGHT_JOIN */ a FROM t", "select straight_join a from t"),
        ("SELECT /*+ BKA(t) */ a FROM t", "select a from t"),
        ("SELECT COUNT( * ),MAX(a)FROM t", "select count(*), max(a) from t"),
        ("SELECT a FROM t WHERE b IN (1, 2,3)", "select a from t where b in (?)"),
        ("SELECT a FROM t WHERE b IN (1)", "select a from t where b in (?)"),
        ("SELECT a FROM t WHERE b IN (1, c, 2, 3)", "select a from t where b in (?, c, ?)"),
        ("SELECT a FROM t WHERE (b, c) IN ((1, 2), (3, 4))", "select a from t where (b, c) in ((?))"),
        ("SELECT a FROM t WHERE b IN (-1, +2, - 3)", "select a from t where b in (?)"),
        ("SELECT a FROM t WHERE b IN (SELECT 1)", "select a from t where b in (select ?)"),
        ("SELECT a - 1, a -1, a-1, -a, 1-1 FROM t", "select a - ?, a - ?, a - ?, - a, ? - ? from t"),
        ("INSERT INTO t (a, b) VALUES (1, 'x')", "insert into t(a, b) values (?)"),
        ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'),(3,'z')", "insert into t(a, b) values (?)"),
        ("INSERT INTO t VALUES (1, NOW()), (2, NOW())", "insert into t values (?, now())"),
        (
            "INSERT INTO t VALUES (1), (2) ON DUPLICATE KEY UPDATE a = 5",
            "insert into t values (?) on duplicate key update a = ?",
        ),
        ("INSERT INTO t VALUE ((1)), ((2))", "insert into t value ((?))"),
        ("INSERT INTO t VALUES ROW(1, 2), ROW(3, 4)", "insert into t values row(?)"),
        (
            "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
            "insert into t(a) values (?) on duplicate key update a = values (a), b = values (b)",
        ),
        ("SELECT * FROM t LIMIT 5", "select * from t limit ?"),
        ("SELECT * FROM t LIMIT 10, 5", "select * from t limit ?"),
        ("SELECT `A`, \"x\", B FROM `T`.`U`", "select `A`, ?, b from `T`.`U`"),
        ("SELECT `a``b`", "select `a``b`"),
        ("SELECT @A, @`b`, @@Global.X", "select @A, @b, @@global.x"),
        ("SELECT a.b , c . d FROM e", "select a.b, c.d from e"),
        (
            "SELECT a->'$.b', c->>'$.d', e<=>f, g!=h, i||j, k<<2",
            "select a -> ?, c ->> ?, e <=> f, g != h, i || j, k << ?",
        ),
        ("SELECT x'41', 0x41, b'1', 1e5, .5, N'a', _utf8mb4'a', NULL", "select ?, _utf8mb4 ?, null"),
        ("SELECT 1;", "select ?"),
        (";;SELECT 1;;SELECT 2;", "select ?; select ?"),
        ("CREATE PROCEDURE p() BEGIN SELECT 1; END", "create procedure p() begin select ?; end"),
        ("SET @a:=1", "set @a := ?"),
        ("{d '2000-01-01'}", "{ d ? }"),
        ("", ""),
        ("/* nothing */", ""),
    ];
    for (sql, expected) in rows {
        assert_eq!(fingerprint(sql.as_bytes(), &MYSQL, 10_000), expected, "{sql}");
    }
}

#[test]
fn the_digest_is_the_hash_of_the_fingerprint() {
    for entry in support::corpus() {
        let text = fingerprint(entry.sql.as_bytes(), &MYSQL, usize::MAX);
        assert_eq!(seen(entry.sql.as_bytes(), &MYSQL).digest, xxh3_64(text.as_bytes()), "{}", entry.sql);
    }
}

/// Operators keep digests in dashboards and rules: a change here is a breaking change.
#[test]
fn digests_are_the_same_in_every_release() {
    let rows = [
        ("SELECT c FROM sbtest1 WHERE id=12345", 0xac09_7a72_8ea7_a9ea),
        ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')", 0xd99c_6f24_a234_53a1),
        ("SELECT a FROM t WHERE b IN (1, 2, 3) AND `C` = -1 LIMIT 5", 0x325b_eddb_03fd_e3a1),
        ("BEGIN; UPDATE d.t SET a = a + 1; COMMIT", 0x219c_fecd_dccb_7207),
    ];
    for (sql, expected) in rows {
        assert_eq!(seen(sql.as_bytes(), &MYSQL).digest, expected, "{sql}");
        assert_eq!(seen(sql.as_bytes(), &MARIADB).digest, expected, "{sql}");
    }
    let long = format!("INSERT INTO t VALUES ({})", "c + 1, ".repeat(4000) + "1");
    assert_eq!(seen(long.as_bytes(), &MYSQL).digest, 0xb18d_15f2_6385_bc88);
}

#[test]
fn a_limit_cuts_between_characters() {
    let sql = "SELECT `名名名名` FROM t";
    for limit in 0..30 {
        let text = fingerprint(sql.as_bytes(), &MYSQL, limit);
        assert!(text.len() <= limit && "select `名名名名` from t".starts_with(&text), "{limit}: {text}");
    }
    let long = format!("SELECT {}", "a + b, ".repeat(10_000));
    assert_eq!(fingerprint(long.as_bytes(), &MYSQL, 100).len(), 100);
}
