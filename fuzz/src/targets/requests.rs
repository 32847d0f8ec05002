//! Requests as bytes, good and broken. However they are cut into pieces, the answers are the same.
#![forbid(unsafe_code)]

use super::Bench;
use crate::grammar::encode;
use crate::source::Source;

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + source.below(8) {
        match source.below(12) {
            0 => input.extend(b"PING inline\r\n"),
            1 => input.extend(b"ECHO \"quoted \\x41\" 'x\n"),
            2 => {
                let (kind, n) = (source.pick(&["*", "$", ":", "+"]), source.edge());
                input.extend(format!("{kind}{n}\r\n").into_bytes());
            }
            3 => input.extend(b"*0\r\n*-1\r\n\r\n\n"),
            4 => input.extend(
                source
                    .pick(&["GET / HTTP/1.1\r\n", "Host: x\r\n", "\0\r\n", "*1\r\n$-1\r\n"])
                    .bytes(),
            ),
            5 => input.extend(source.junk(20)),
            6 => {
                let words = vec![b"ECHO".to_vec(), vec![b'e'; 20_000 * source.below(4)]];
                input.extend(encode(&words));
            }
            7 => {
                // The length of the arguments is right, their number is not.
                let n = source.between(-2, 5);
                input.extend(format!("*{n}\r\n$4\r\nPING\r\n$1\r\na\r\n").into_bytes());
            }
            _ => {
                let words = (0..source.below(5)).map(|_| source.junk(6));
                let words: Vec<Vec<u8>> = std::iter::once(b"ECHO".to_vec()).chain(words).collect();
                input.extend(encode(&words));
            }
        }
    }
    input
}

/// Commands whose answers depend on nothing but their arguments.
fn is_pure(input: &[u8]) -> bool {
    let lower = input.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|part| part == word);
    // Anything else must have come about by mutation.
    !(has(b"quit") || has(b"time") || has(b"hello") || has(b"client") || has(b"reset"))
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let host = bench.host();
    let mut source = Source::of_input(input);
    let mut answers = Vec::new();
    for cuts in [vec![0, input.len()], source.cuts(input.len())] {
        let Some(link) = host.connect() else { return };
        for cut in cuts.windows(2) {
            host.send(&link, &input[cut[0]..cut[1]]);
        }
        answers.push((link.take(), link.is_closed()));
        host.hang_up(&link);
    }
    if is_pure(input) {
        let ((whole, closed), (pieces, closed_too)) = (&answers[0], &answers[1]);
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(closed, closed_too, "in one piece, and in several");
        // Who is cut off for what follows may not get what was answered in the same turn.
        if *closed {
            assert!(pieces.starts_with(whole), "{} and {}", text(whole), text(pieces));
        } else {
            assert_eq!(text(whole), text(pieces), "in one piece, and in several");
        }
    }
    host.check();
}
