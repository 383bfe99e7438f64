use super::*;
use weir_wire::write_packet;

const END_OK: &[u8] = &[EOF, 0, 0, 2, 0, 0, 0];
const END_EOF: &[u8] = &[EOF, 0, 0, 2, 0];

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sequence = 1;
    for payload in payloads {
        sequence = write_packet(&mut out, sequence, payload);
    }
    out
}

fn text_row(id: &str) -> Vec<u8> {
    [&[u8::try_from(id.len()).unwrap()], id.as_bytes(), b"\x03abc"].concat()
}

fn rows(first: u32, count: u32) -> Expected {
    Expected::Rows { format: RowFormat::Text, first, count }
}

/// The same verdict comes whole, byte by byte, and not before the last byte.
fn check(bytes: &[u8], expected: Expected, deprecate_eof: bool, verdict: Result<Verdict, Broken>) {
    let whole = Answer::new(expected, deprecate_eof).feed(bytes);
    assert_eq!(whole.map(|ended| ended.expect("ended")), verdict, "whole");
    let mut answer = Answer::new(expected, deprecate_eof);
    for (at, byte) in bytes.iter().enumerate() {
        match answer.feed(std::slice::from_ref(byte)) {
            Ok(None) => assert!(at + 1 < bytes.len(), "ended"),
            Ok(Some(found)) => assert_eq!((Ok(found), at + 1), (verdict, bytes.len())),
            Err(broken) => return assert_eq!(Err(broken), verdict),
        }
    }
}

#[test]
fn tells_right_answers_from_wrong_ones_and_from_errors() {
    let one = text_row("41");
    let two = text_row("42");
    let binary = [OK, 0, 41, 0, 0, 0, 3, b'a', b'b', b'c'];
    let select = |rows: &[&[u8]]| packets(&[&[&[2][..], b"def1", b"def2"], rows, &[END_OK]].concat());
    let old = |rows: &[&[u8]]| packets(&[&[&[2][..], b"def1", b"def2", END_EOF], rows, &[END_EOF]].concat());
    let changed = packets(&[&[OK, 1, 0, 2, 0, 0, 0]]);
    let refused = packets(&[b"\xFF\x15\x04#28000no"]);
    let refused_late = packets(&[&[2], b"def1", b"def2", &one, b"\xFF\x25\x05#70100no"]);
    let as_binary = Expected::Rows { format: RowFormat::Binary, first: 41, count: 1 };
    let right = Ok(Verdict::Right);
    let wrong = Ok(Verdict::Wrong);
    for (bytes, expected, deprecate_eof, verdict) in [
        (select(&[&one]), rows(41, 1), true, right),
        (select(&[&one, &two]), rows(41, 2), true, right),
        (select(&[&two, &one]), rows(41, 2), true, wrong),
        (select(&[&one]), rows(42, 1), true, wrong),
        (select(&[&one]), rows(41, 2), true, wrong),
        (select(&[]), rows(41, 1), true, wrong),
        (select(&[&one]), Expected::Changed { rows: 1 }, true, wrong),
        (old(&[&one]), rows(41, 1), false, right),
        (old(&[&one, &two]), rows(41, 1), false, wrong),
        (select(&[&binary]), as_binary, true, right),
        (select(&[&one]), as_binary, true, wrong),
        (changed.clone(), Expected::Changed { rows: 1 }, true, right),
        (changed.clone(), Expected::Changed { rows: 0 }, true, wrong),
        (changed, rows(41, 1), true, wrong),
        (refused, rows(41, 1), true, Ok(Verdict::Refused(1045))),
        (refused_late, rows(41, 1), true, Ok(Verdict::Refused(1317))),
    ] {
        check(&bytes, expected, deprecate_eof, verdict);
    }
}

#[test]
fn what_is_no_answer_is_broken() {
    let more = packets(&[&[OK, 1, 0, 10, 0, 0, 0]]);
    let no_eof = packets(&[&[1], b"def1", &text_row("41")]);
    let after = [packets(&[&[OK, 1, 0, 2, 0, 0, 0]]), vec![1]].concat();
    for (bytes, deprecate_eof, what) in [
        (more, true, "more results than one"),
        (no_eof, false, "no EOF after the columns"),
        (packets(&[&[]]), true, "an empty payload"),
        (packets(&[&[0xFB]]), true, "neither OK nor a number of columns"),
    ] {
        check(&bytes, Expected::Changed { rows: 1 }, deprecate_eof, Err(Broken(what)));
    }
    let trailing = Answer::new(Expected::Changed { rows: 1 }, true).feed(&after);
    assert_eq!(trailing, Err(Broken("bytes after the answer")));
}

#[test]
fn a_value_of_sixteen_mebibytes_is_measured_over_its_packets() {
    let bytes = 16_u32 << 20;
    let row = |bytes: u32| {
        let value = vec![7; bytes as usize];
        [&[1, b'1', 0xFE][..], &u64::from(bytes).to_le_bytes(), &value].concat()
    };
    for (sent, verdict) in [(bytes, Verdict::Right), (bytes - 1, Verdict::Wrong)] {
        let answer = packets(&[&[2], b"def1", b"def2", &row(sent), END_OK]);
        let mut walk = Answer::new(Expected::Blob { bytes }, true);
        let mut ended = None;
        for chunk in answer.chunks(100_003) {
            assert_eq!(ended, None);
            ended = walk.feed(chunk).unwrap();
        }
        assert_eq!(ended, Some(verdict));
    }
}
