//! What of a request is a secret: the slow log and monitors show `(redacted)` in its place.

use crate::server::config::{self, Flags};

const REDACTED: &[u8] = b"(redacted)";

/// The arguments of a request, with those that are secrets replaced.
pub fn redact<'a>(args: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut shown = args.to_vec();
    let is = |i: usize, word: &str| {
        args.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is(0, "auth") {
        shown[1..].fill(REDACTED);
    } else if is(0, "hello") {
        hide_behind(&mut shown, args, b"auth", 2);
    } else if is(0, "migrate") {
        hide_behind(&mut shown, args, b"auth2", 2);
        hide_behind(&mut shown, args, b"auth", 1);
    } else if is(0, "acl") && ["setuser", "getuser", "deluser"].iter().any(|sub| is(1, sub)) {
        shown[2..].fill(REDACTED);
    } else if is(0, "config") && is(1, "set") {
        for i in (2..args.len()).step_by(2) {
            let sensitive =
                config::lookup(args[i]).is_some_and(|(d, _)| d.flags.contains(Flags::SENSITIVE));
            if sensitive && let Some(value) = shown.get_mut(i + 1) {
                *value = REDACTED;
            }
        }
    }
    shown
}

/// Hides the `count` arguments behind a word.
fn hide_behind(shown: &mut [&[u8]], args: &[&[u8]], word: &[u8], count: usize) {
    for i in (1..args.len()).filter(|&i| args[i].eq_ignore_ascii_case(word)) {
        let end = (i + 1 + count).min(shown.len());
        shown[i + 1..end].fill(REDACTED);
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn secrets_are_hidden() {
        for (request, shown) in [
            ("get k", "get k"),
            ("AUTH u p", "AUTH (redacted) (redacted)"),
            ("hello 3 auth u p setname n", "hello 3 auth (redacted) (redacted) setname n"),
            ("hello 3 auth u", "hello 3 auth (redacted)"),
            ("migrate h 1 k 0 9 AUTH2 u p", "migrate h 1 k 0 9 AUTH2 (redacted) (redacted)"),
            ("acl setuser u on", "acl setuser (redacted) (redacted)"),
            (
                "config set requirepass x maxmemory 1",
                "config set requirepass (redacted) maxmemory 1",
            ),
            ("config set primaryauth", "config set primaryauth"),
            ("config get requirepass", "config get requirepass"),
        ] {
            let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            assert_eq!(redact(&args).join(&b' '), shown.as_bytes());
        }
    }
}
