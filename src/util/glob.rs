//! Glob-style patterns, as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACLs use them.
//!
//! | Pattern | Matches |
//! | --- | --- |
//! | `*` | any run of bytes, also none |
//! | `?` | one byte |
//! | `[abc]` `[a-z]` `[^a]` | one byte of the class, or not of it |
//! | `\x` | the byte x itself |
//!
//! Redis's corner cases are kept, because a pattern in an ACL must mean the same here: a class that
//! never closes ends with the pattern; an escape inside a class ignores `nocase`; ranges compare
//! bytes as signed; nothing but the empty pattern matches the empty string.

/// More groups of stars than this match nothing, as in Redis, where each is a level of recursion.
const MAX_STARS: usize = 1000;

/// Does `pattern` match the whole of `string`? `nocase` folds ASCII letters.
///
/// Takes at most `pattern.len() * string.len()` steps: when what follows a star fails, only that
/// star is tried further along. Earlier stars need no second try, since matching more would leave
/// less for the rest.
pub fn glob_match(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut stars = 0;
    // Behind the last star, and where in the string that rest was last tried.
    let mut retry: Option<(usize, usize)> = None;
    while s < string.len() {
        if pattern.get(p) == Some(&b'*') {
            p = skip_stars(pattern, p);
            stars += 1;
            if p == pattern.len() {
                return true;
            }
            if stars > MAX_STARS {
                return false;
            }
            retry = Some((p, s));
            continue;
        }
        match match_one(&pattern[p..], string[s], nocase) {
            Some(used) => {
                p += used;
                s += 1;
            }
            None => {
                let Some((behind_star, tried)) = retry else {
                    return false;
                };
                (p, s) = (behind_star, tried + 1);
                retry = Some((p, s));
                if s == string.len() {
                    return false;
                }
            }
        }
    }
    !string.is_empty() && skip_stars(pattern, p) == pattern.len() || pattern.is_empty()
}

fn skip_stars(pattern: &[u8], p: usize) -> usize {
    p + pattern[p..].iter().take_while(|&&byte| byte == b'*').count()
}

/// Matches `byte` with the first element of `pattern`, which is not a star: the length of the
/// element, or None.
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => match_class(pattern, byte, nocase),
        [b'\\', literal, ..] => (fold(literal, nocase) == fold(byte, nocase)).then_some(2),
        [literal, ..] => (fold(literal, nocase) == fold(byte, nocase)).then_some(1),
    }
}

/// Matches `byte` with the class that opens `pattern`: the length of the class, or None.
fn match_class(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    let end = loop {
        match pattern[at..] {
            [] => break at,
            [b']', ..] => break at + 1,
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                found |= in_range(first, last, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= fold(literal, nocase) == fold(byte, nocase);
                at += 1;
            }
        }
    };
    (found != negated).then_some(end)
}

/// Ends in either order; put in order before folding, and compared as signed bytes, as in C.
fn in_range(first: u8, last: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if (first as i8) > (last as i8) { (last, first) } else { (first, last) };
    let signed = |byte| fold(byte, nocase) as i8;
    (signed(low)..=signed(high)).contains(&signed(byte))
}

fn fold(byte: u8, nocase: bool) -> u8 {
    if nocase { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documented_patterns() {
        for (pattern, string, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "hllo", true),
            ("h*llo", "heeeello", true),
            ("h*llo", "heeeell", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a**", "a", true),
            ("a*?", "a", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xbxa", false),
            ("*abc", "ababc", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("[a", "b", false),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]", "]", false),
            ("[^]", "a", true),
            ("[a-", "-", true),
            ("[a-]", "]", true),
            ("x[a-z]", "x", false),
        ] {
            assert_eq!(
                glob_match(pattern.as_bytes(), string.as_bytes(), false),
                expected,
                "{pattern} {string}"
            );
        }
    }

    #[test]
    fn case_is_folded_on_request() {
        assert!(glob_match(b"HeLLo*", b"hEllO there", true));
        assert!(!glob_match(b"HeLLo*", b"hEllO there", false));
        assert!(glob_match(b"[A-C]", b"b", true));
        assert!(!glob_match(b"[\\A]", b"a", true));
        assert!(!glob_match(b"[Z-a]", b"z", true));
    }

    #[test]
    fn abusive_patterns_are_cheap() {
        let string = [b'a'; 2000];
        assert!(!glob_match(
            &b"a*".repeat(900).into_iter().chain(*b"b").collect::<Vec<_>>(),
            &string,
            false
        ));
        assert!(glob_match(&b"*a".repeat(1000), &string, false));
        assert!(!glob_match(&b"*a".repeat(1001), &string, false));
    }

    /// The meaning of a pattern of `*`, `?` and literals, without any cleverness.
    fn model(pattern: &[u8], string: &[u8]) -> bool {
        match (pattern, string) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=string.len()).any(|cut| model(rest, &string[cut..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => model(rest, tail),
            ([first, rest @ ..], [byte, tail @ ..]) => first == byte && model(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn equals_the_model(pattern in "[ab?*]{0,8}", string in "[ab]{1,10}") {
            let (pattern, string) = (pattern.as_bytes(), string.as_bytes());
            prop_assert_eq!(glob_match(pattern, string, false), model(pattern, string));
        }

        #[test]
        fn survives_anything(pattern: Vec<u8>, string: Vec<u8>, nocase: bool) {
            glob_match(&pattern, &string, nocase);
        }
    }
}
