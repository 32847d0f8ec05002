//! Users: rules one by one, and as a file.
#![forbid(unsafe_code)]

use super::Bench;
use crate::host::Host;
use crate::source::Source;

/// A rule, good or not.
pub fn rule(source: &mut Source) -> Vec<u8> {
    if source.percent(5) {
        return source.junk(12);
    }
    let rule = match source.below(7) {
        0 => source
            .pick(&[
                "on",
                "off",
                "nopass",
                "resetpass",
                "reset",
                "resetkeys",
                "allkeys",
                "allchannels",
                "resetchannels",
                "clearselectors",
                "sanitize-payload",
                "skip-sanitize-payload",
                "nosuch",
            ])
            .to_string(),
        1 => format!(
            "{}{}",
            source.pick(&["+", "-"]),
            source.pick(&["@all", "@read", "@write", "@dangerous", "@nosuch"])
        ),
        2 => format!(
            "{}{}",
            source.pick(&["+", "-"]),
            source.pick(&[
                "get",
                "set",
                "config",
                "config|get",
                "config|nosuch",
                "get|a",
                "select|1",
                "acl|whoami",
                "xgroup|create",
                "nosuch",
                ""
            ])
        ),
        3 => format!(
            "{}{}",
            source.pick(&["~", "%R~", "%W~", "%RW~", "%", "%X~", "%R"]),
            source.pick(&["*", "k*", "k[", "", "a b"])
        ),
        4 => format!("&{}", source.pick(&["*", "c*", ""])),
        5 => format!(
            "{}{}",
            source.pick(&[">", "<", "#", "!"]),
            source.pick(&[
                "pw",
                "",
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "XYZ"
            ])
        ),
        _ => format!(
            "({} {})",
            source.pick(&["+get", "-@all", "~k*", "(", "reset", ""]),
            source.pick(&["~k1", "%R~*", "+@read", ")", ""])
        ),
    };
    rule.into_bytes()
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..1 + source.below(5) {
        file.extend(
            format!("user {}", source.pick(&["default", "u0", "u1", "", "\0"])).into_bytes(),
        );
        for _ in 0..source.below(8) {
            file.push(b' ');
            file.extend(rule(source));
        }
        file.push(b'\n');
    }
    if source.percent(30) {
        source.mutate(&mut file);
    }
    file
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let host = bench.host();
    for line in input.split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').skip(1).collect();
        let Some(user) = words.first().filter(|user| **user != b"default") else { continue };
        host.ask(&[&[&b"ACL"[..], b"SETUSER", user][..], &words[1..]].concat());
        host.ask(&[b"ACL", b"GETUSER", user]);
        for command in [&b"get"[..], b"set", b"config"] {
            host.ask(&[b"ACL", b"DRYRUN", user, command, b"k0", b"v"]);
        }
    }
    host.ask(&[b"ACL", b"LIST"]);
    host.check();
    // The same as a file; what it makes of the users is written and read again.
    let path = bench.dir.join("users.acl");
    std::fs::write(&path, input).expect("a file can be written");
    if let Some(mut host) = Host::start(bench.dir, &["--aclfile", "users.acl"]) {
        host.ask(&[b"ACL", b"SAVE"]);
        host.ask(&[b"ACL", b"LOAD"]);
    }
    std::fs::remove_file(&path).expect("it is there");
}
