//! Any way of cutting a text gives the same result; no bytes make the analysis panic.

mod support;

use proptest::prelude::*;
use support::{Seen, corpus, dialects, seen};
use weir_sql::{Analyzer, Statement};

fn in_pieces(sql: &[u8], dialect: &weir_sql::Dialect, cuts: &[usize]) -> Seen {
    let mut analyzer = Analyzer::new(dialect);
    let mut rest = sql;
    for cut in cuts.iter().cycle().take(sql.len()) {
        let (piece, others) = rest.split_at((*cut).clamp(1, 5000).min(rest.len()));
        analyzer.feed(piece);
        rest = others;
    }
    analyzer.feed(rest);
    let mut statement = Statement::new();
    analyzer.finish(&mut statement);
    support::read_out(&statement)
}

#[test]
fn the_corpus_in_pieces_of_any_size_means_what_it_means_whole() {
    for entry in corpus() {
        for dialect in dialects() {
            let whole = seen(entry.sql.as_bytes(), &dialect);
            for size in 1..=9 {
                let pieces = in_pieces(entry.sql.as_bytes(), &dialect, &[size]);
                assert_eq!(pieces, whole, "{} in pieces of {size}, {dialect:?}", entry.sql);
            }
        }
    }
}

/// Text made of what matters to the lexer.
fn sqlish() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(support::PIECES);
    let words = prop::collection::vec(
        prop_oneof![
            8 => pieces.prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ],
        0..60,
    );
    words.prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_mean_what_the_whole_means(
        sql in sqlish(),
        cuts in prop::collection::vec(1usize..12, 1..6),
        which in 0usize..16,
    ) {
        let all = dialects();
        let dialect = &all[which % all.len()];
        prop_assert_eq!(in_pieces(&sql, dialect, &cuts), seen(&sql, dialect));
    }

    #[test]
    fn random_bytes_are_survived(sql in prop::collection::vec(any::<u8>(), 0..400), which in 0usize..16) {
        let all = dialects();
        let dialect = &all[which % all.len()];
        prop_assert_eq!(in_pieces(&sql, dialect, &[7, 1, 30]), seen(&sql, dialect));
    }
}

#[test]
fn a_mutated_corpus_is_survived_and_means_the_same_in_pieces() {
    let mut random = support::Random::new(0x5745_4952);
    let corpus = corpus();
    for round in 0..6000 {
        let mut sql = corpus[random.below(corpus.len())].sql.clone().into_bytes();
        for _ in 0..=random.below(4) {
            support::mutate(&mut sql, &mut random);
        }
        let all = dialects();
        let dialect = &all[round % all.len()];
        let cuts = [1 + random.below(9), 1 + random.below(40)];
        assert_eq!(
            in_pieces(&sql, dialect, &cuts),
            seen(&sql, dialect),
            "{:?} {cuts:?}",
            String::from_utf8_lossy(&sql)
        );
    }
}

#[test]
fn long_tokens_mean_the_same_in_pieces() {
    let rows = [
        format!("SELECT '{}' FROM a.b", "x\\'".repeat(5000)),
        format!("SELECT 0x{} FROM a.b", "aF".repeat(5000)),
        format!("SELECT 0x{}g FROM a.b", "aF".repeat(600)),
        format!("SELECT {} FROM a.b", "1".repeat(9000)),
        format!("SELECT 1.{}FROM a.b", "0".repeat(3000)),
        format!("SELECT `{}` FROM a.b", "1".repeat(9000)),
        format!("SELECT {} FROM a.b", "t".repeat(9000)),
        format!("SELECT {}.c FROM a.b", "t".repeat(4096)),
        format!("SELECT {}.c FROM a.b", "t".repeat(4097)),
        format!("SELECT /* {} */ 1 FROM a.b", "* /".repeat(3000)),
        format!("SELECT /*!99999 {} */ 1 FROM a.b", "/* * / */".repeat(1000)),
        format!("SELECT /*+ '{}' */ 1 FROM a.b", "*/".repeat(1000)),
        format!("SELECT /*+ {} */ 1 FROM a.b", "NO_ICP(t) ".repeat(1000)),
        format!("SELECT /*+ {} */ 1 FROM a.b", "NO_ICP(t) ".repeat(20)),
        format!("SELECT 1 FROM a.b WHERE c IN ({})", "'x', ".repeat(4000) + "1"),
        format!("INSERT INTO a.b VALUES {}", "(1, 'x', NOW()), ".repeat(4000) + "(1, 'x', 2)"),
        format!("INSERT INTO a.b VALUES ({})", "c + 1, ".repeat(4000) + "1"),
        format!("SELECT {} 1 FROM a.b", "--  x\n".repeat(3000)),
        format!("CREATE FUNCTION f() AS $xy${}$xy$ FROM a.b", "$x'$x$y$ ".repeat(3000)),
    ];
    for sql in rows {
        for dialect in dialects() {
            let whole = seen(sql.as_bytes(), &dialect);
            for cuts in [&[1][..], &[4096], &[4999, 3], &[256, 257]] {
                let pieces = in_pieces(sql.as_bytes(), &dialect, cuts);
                assert_eq!(pieces, whole, "{:.60} {cuts:?} {dialect:?}", sql);
            }
        }
    }
}
