//! What is read of statements that are to be repeated elsewhere, word by word.

mod support;

use support::{MARIADB, MYSQL};
use weir_sql::{
    Access, ClientCharset, Detail, Dialect, Effects, Kind, Source, Statement, TransactionStep, Using, analyze,
};

fn statement(sql: &str, dialect: &Dialect) -> Statement {
    let mut statement = Statement::new();
    analyze(sql.as_bytes(), dialect, &mut statement);
    statement
}

fn detail(sql: &str, dialect: &Dialect) -> Option<Detail> {
    statement(sql, dialect).detail.map(|detail| *detail)
}

fn name(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn text(literal: &str, text: &str) -> Source {
    Source::Text { literal: name(literal), text: name(text) }
}

#[test]
fn a_prepare_is_read_with_its_name_and_its_text() {
    let rows = [
        ("PREPARE s FROM 'SELECT 1'", "s", text("'SELECT 1'", "SELECT 1")),
        ("prepare  `S_1$`/* a */from -- b\n\"it''s\" ; ", "s_1$", text("\"it''s\"", "it''s")),
        (r"PREPARE s FROM 'it''s \'x\' \\ \n\%'", "s", text(r"'it''s \'x\' \\ \n\%'", "it's 'x' \\ \n\\%")),
        ("PREPARE s FROM ''", "s", text("''", "")),
        ("PREPARE s FROM 'ä;'", "s", text("'ä;'", "ä;")),
        ("PREPARE s FROM @Text_1", "s", Source::Variable(name("text_1"))),
        ("PREPARE s FROM @`a`", "s", Source::Variable(name("a"))),
        ("# a\nPREPARE s FROM @'A'#", "s", Source::Variable(name("a"))),
    ];
    for dialect in [MYSQL, MARIADB] {
        for (sql, named, source) in &rows {
            let wanted = Detail::Prepare { name: name(named), source: source.clone() };
            assert_eq!(detail(sql, &dialect), Some(wanted), "{sql}");
        }
    }
}

#[test]
fn the_session_says_what_quotes_and_backslashes_mean() {
    let ansi = Dialect { ansi_quotes: true, ..MYSQL };
    let wanted = Detail::Prepare { name: name("s"), source: text("'SELECT 1'", "SELECT 1") };
    assert_eq!(detail("PREPARE \"s\" FROM 'SELECT 1'", &ansi), Some(wanted));
    assert_eq!(detail("PREPARE \"s\" FROM 'SELECT 1'", &MYSQL), None);
    assert_eq!(detail("PREPARE s FROM \"SELECT 1\"", &ansi), None);
    let plain = Dialect { no_backslash_escapes: true, ..MYSQL };
    let wanted = Detail::Prepare { name: name("s"), source: text(r"'\'", r"\") };
    assert_eq!(detail(r"PREPARE s FROM '\'", &plain), Some(wanted));
}

#[test]
fn what_is_not_plain_is_not_claimed() {
    for sql in [
        "PREPARE `s s` FROM 'SELECT 1'",
        "PREPARE `s``` FROM 'SELECT 1'",
        "PREPARE `` FROM 'SELECT 1'",
        "PREPARE ä FROM 'SELECT 1'",
        "PREPARE s FROM",
        "PREPARE s FROM 'SELECT 1",
        "PREPARE s FROM 'SELECT 1' 'x'",
        "PREPARE s FROM 'SELECT 1', 2",
        "PREPARE s FROM CONCAT('SELECT ', 1)",
        "PREPARE s FROM _utf8mb4'SELECT 1'",
        "PREPARE s FROM N'SELECT 1'",
        "PREPARE s FROM x'53454C4543542031'",
        "PREPARE s FROM @@version",
        "PREPARE s FROM @`a b`",
        "PREPARE s FROM @a + 1",
        "PREPARE s FROM /*! 'SELECT 1' */",
        "PREPARE s /*!FROM*/ 'SELECT 1'",
        "PREPARE s FROM /*M! 'SELECT 1' */",
        "PREPARE s FROM 'SELECT 1'; EXECUTE s",
        "EXECUTE s; SELECT 1",
        "EXECUTE",
        "DEALLOCATE s",
        "DROP PREPARE s, t",
        "SET RESOURCE GROUP g FOR 5",
        "SET RESOURCE GROUP `g g`",
        "SELECT 1",
        "SET ROLE r",
    ] {
        assert_eq!(detail(sql, &MYSQL), None, "{sql}");
        assert_eq!(detail(sql, &MARIADB), None, "{sql}");
    }
    let gbk = Dialect { charset: ClientCharset::Gbk, ..MYSQL };
    assert_eq!(detail("PREPARE s FROM 'ä'", &gbk), None);
    assert!(detail("PREPARE s FROM 'a'", &gbk).is_some());
}

#[test]
fn executions_and_their_ends_are_read() {
    use Using::{Expressions, Variables};
    for (sql, using) in [
        ("EXECUTE s", Variables),
        ("execute `S` ;", Variables),
        ("EXECUTE s USING @a, @`b`,@'c' /* x */", Variables),
        ("EXECUTE s USING @a + 1", Expressions),
        ("EXECUTE s USING 5, @a", Expressions),
        ("EXECUTE s USING @a, ", Expressions),
        ("EXECUTE s WITH @a", Expressions),
    ] {
        assert_eq!(detail(sql, &MARIADB), Some(Detail::Execute { name: name("s"), using }), "{sql}");
    }
    for sql in ["DEALLOCATE PREPARE s", "drop prepare `S`;"] {
        assert_eq!(detail(sql, &MYSQL), Some(Detail::Deallocate { name: name("s") }), "{sql}");
    }
    let immediate = |using| Detail::Immediate { source: text("'SELECT ?'", "SELECT ?"), using };
    assert_eq!(detail("EXECUTE IMMEDIATE 'SELECT ?' USING @a", &MARIADB), Some(immediate(Variables)));
    assert_eq!(detail("EXECUTE IMMEDIATE 'SELECT ?' USING 5", &MARIADB), Some(immediate(Expressions)));
    assert_eq!(detail("EXECUTE IMMEDIATE CONCAT('a')", &MARIADB), None);
    let named = Detail::Execute { name: name("immediate"), using: Variables };
    assert_eq!(detail("EXECUTE immediate", &MYSQL), Some(named));
    let group = Detail::ResourceGroup { name: name("g_1") };
    assert_eq!(detail("SET RESOURCE GROUP `G_1`", &MYSQL), Some(group));
}

#[test]
fn a_text_becomes_a_literal_that_means_it() {
    for dialect in [MYSQL, MARIADB, Dialect { no_backslash_escapes: true, ..MYSQL }] {
        for wanted in ["SELECT 'it''s', \"a\", '\\\\', '\\n', `b`\n\t-- c", "", "\\", "'"] {
            let Some(source) = Source::of_text(wanted.as_bytes(), &dialect) else { panic!("{wanted}") };
            let Source::Text { literal, .. } = &source else { panic!("{source:?}") };
            let sql = format!("PREPARE s FROM {}", String::from_utf8_lossy(literal));
            assert_eq!(detail(&sql, &dialect), Some(Detail::Prepare { name: name("s"), source }), "{sql}");
        }
    }
    for odd in ["ä", "a\0b", "\x1a"] {
        assert_eq!(Source::of_text(odd.as_bytes(), &MYSQL), None);
    }
}

#[test]
fn an_execution_does_what_its_text_does() {
    for (execute, inner, access, effects) in [
        ("EXECUTE s", "SELECT 1 FROM d.t", Access::Read, Effects::empty()),
        ("EXECUTE s USING @a", "SELECT 1 FROM d.t", Access::Write, Effects::USER_VARIABLE_READ),
        ("EXECUTE s", "SELECT 1 INTO @x FROM d.t", Access::Write, Effects::USER_VARIABLE_WRITE),
        ("EXECUTE s", "SELECT GET_LOCK('a', 1) FROM d.t", Access::Write, Effects::USER_LOCK),
        ("EXECUTE s", "CREATE TEMPORARY TABLE d.t (x INT)", Access::Write, Effects::TEMPORARY_TABLE),
        ("EXECUTE s", "CALL d.p()", Access::Write, Effects::CALL),
    ] {
        let text = statement(inner, &MYSQL);
        let mut outer = statement(execute, &MYSQL);
        outer.executes(&text, Using::Variables);
        assert_eq!((outer.access, outer.kind), (access, text.kind), "{inner}");
        assert!(outer.effects.contains(effects | Effects::KNOWN_TEXT), "{inner}: {:?}", outer.effects);
        assert!(!outer.effects.intersects(Effects::TEXT_EXECUTE), "{inner}: {:?}", outer.effects);
        assert_eq!(outer.databases().collect::<Vec<_>>(), [b"d"], "{inner}");
        assert_eq!(outer.digest, text.digest);
        let variables: Vec<&[u8]> = outer.user_variables().collect();
        assert_eq!(variables.contains(&b"a".as_slice()), execute.contains("@a"));
        assert_eq!(variables.contains(&b"x".as_slice()), inner.contains("@x"));
    }
    let mut outer = statement("EXECUTE s", &MYSQL);
    outer.executes(&statement("COMMIT", &MYSQL), Using::Variables);
    assert_eq!((outer.transaction, outer.kind), (TransactionStep::Commit, Kind::Commit));
    let mut outer = statement("EXECUTE s USING (@a := 1)", &MARIADB);
    outer.executes(&statement("SELECT 1", &MARIADB), Using::Expressions);
    assert!(outer.effects.contains(Effects::USER_VARIABLE_WRITE));
}

#[test]
fn a_text_that_is_prepared_does_nothing_yet_but_nobody_may_prepare_what_he_may_not_run() {
    for (inner, effects) in [
        ("CREATE TEMPORARY TABLE d.t (x INT)", Effects::empty()),
        ("SET GLOBAL max_connections = 1", Effects::ADMINISTRATIVE),
        ("SET SESSION TRANSACTION READ WRITE", Effects::LIFTS_READ_ONLY),
    ] {
        let mut outer = statement(&format!("PREPARE s FROM '{inner}'"), &MYSQL);
        outer.prepares(&statement(inner, &MYSQL));
        assert_eq!(outer.effects, effects | Effects::KNOWN_TEXT, "{inner}");
        assert_eq!(outer.kind, Kind::Prepare);
    }
}
