//! Commands with arguments of the right types, made from the server's own specifications of them; few keys, so that
//! commands meet data, and now and then a word that does not belong.
#![forbid(unsafe_code)]

use crate::source::Source;
use aeolis::spec::{Arg, ArgFlags, COMMANDS, CommandSpec};

/// A command's words.
pub type Words = Vec<Vec<u8>>;

pub struct Grammar {
    /// Commands without subcommands, and subcommands.
    commands: Vec<&'static CommandSpec>,
    /// Milliseconds since 1970, around which points in time lie.
    pub now_ms: i64,
    /// Times that are to come are at least so many milliseconds away.
    pub min_ttl_ms: i64,
    /// One command of so many in a hundred gets a word too many, too few or wrong.
    pub spoilt_percent: u32,
}

impl Grammar {
    /// Of the commands that `wanted` chooses.
    pub fn new(now_ms: i64, wanted: impl Fn(&CommandSpec) -> bool) -> Grammar {
        let flat = COMMANDS.iter().flat_map(|spec| {
            if spec.subcommands.is_empty() { std::slice::from_ref(spec) } else { spec.subcommands }
        });
        let commands = flat.filter(|spec| wanted(spec)).collect();
        Grammar { commands, now_ms, min_ttl_ms: 1, spoilt_percent: 10 }
    }

    /// Any command.
    pub fn command(&self, source: &mut Source) -> Words {
        let spec = self.commands[source.below(self.commands.len())];
        self.fill(spec, source)
    }

    /// A command of this name (`config|get`), if there is one.
    pub fn named(&self, name: &str, source: &mut Source) -> Option<Words> {
        let spec = self.commands.iter().find(|spec| spec.name == name)?;
        Some(self.fill(spec, source))
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.commands.iter().map(|spec| spec.name)
    }

    fn fill(&self, spec: &CommandSpec, source: &mut Source) -> Words {
        let mut line = Line {
            source: &mut *source,
            group: spec.group,
            now_ms: self.now_ms,
            min_ttl_ms: self.min_ttl_ms,
            words: spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect(),
            number_at: None,
            same_number: None,
        };
        line.args(spec.args);
        let mut words = line.words;
        if source.percent(self.spoilt_percent) {
            spoil(&mut words, source);
        }
        words
    }
}

/// Makes one word wrong.
fn spoil(words: &mut Words, source: &mut Source) {
    let at = 1 + source.below(words.len());
    match source.below(6) {
        0 if at < words.len() => drop(words.remove(at)),
        1 if at < words.len() => {
            let word = words[at].clone();
            words.insert(at, word);
        }
        2 if at < words.len() => words[at] = odd_word(source),
        3 if at + 1 < words.len() => words.swap(at, at + 1),
        // An option once more, with what belongs to it.
        4 if at + 2 < words.len() => {
            let again = words[at..at + 2].to_vec();
            words.extend(again);
        }
        _ => words.push(odd_word(source)),
    }
}

/// A word that fits hardly anywhere.
fn odd_word(source: &mut Source) -> Vec<u8> {
    match source.below(5) {
        0 => source.edge().to_string().into_bytes(),
        1 => source.junk(12),
        2 => Vec::new(),
        _ => source
            .pick(&[
                "nan",
                "inf",
                "-inf",
                "1e400",
                "0x10",
                " 1",
                "1 ",
                "+1",
                "01",
                "-0",
                "1.5",
                "COUNT",
                "LIMIT",
                "WITHSCORES",
                "GET",
                "NX",
                "XX",
                "(",
                "[",
                "*",
                "-",
                "+",
                "$",
                ">",
                "0-0",
                "18446744073709551615-18446744073709551615",
                "18446744073709551616",
            ])
            .as_bytes()
            .to_vec(),
    }
}

/// A command that is being filled in.
struct Line<'a> {
    source: &'a mut Source,
    group: &'static str,
    now_ms: i64,
    min_ttl_ms: i64,
    words: Words,
    /// The word that says how many of the next argument there are.
    number_at: Option<usize>,
    /// Keys and ids of `STREAMS`: as many of the one as of the other.
    same_number: Option<usize>,
}

impl Line<'_> {
    fn args(&mut self, args: &[Arg]) {
        args.iter().for_each(|arg| self.arg(arg));
    }

    fn arg(&mut self, arg: &Arg) {
        if arg.flags.contains(ArgFlags::OPTIONAL) && !self.source.percent(35) {
            return;
        }
        let many = arg.flags.contains(ArgFlags::MULTIPLE);
        let wanted = self.same_number.filter(|_| many);
        let times = if many { wanted.unwrap_or(1 + self.source.below(3)) } else { 1 };
        let streams = arg.name == "streams";
        if streams {
            self.same_number = Some(1 + self.source.below(2));
        }
        for i in 0..times {
            if let Some(token) = arg.token
                && (i == 0 || arg.flags.contains(ArgFlags::MULTIPLE_TOKEN))
            {
                self.push(token);
            }
            match arg.kind {
                "pure-token" => {}
                "block" => self.args(arg.args),
                "oneof" => {
                    let choice = self.source.below(arg.args.len());
                    self.arg(&Arg { flags: ArgFlags::empty(), ..arg.args[choice].clone() });
                }
                _ => self.value(arg),
            }
        }
        if streams {
            self.same_number = None;
        }
        if many && let Some(at) = self.number_at.take() {
            self.words[at] = times.to_string().into_bytes();
        }
    }

    fn push(&mut self, word: impl AsRef<[u8]>) {
        self.words.push(word.as_ref().to_vec());
    }

    fn value(&mut self, arg: &Arg) {
        let source = &mut *self.source;
        let word = match (arg.kind, arg.name) {
            ("key", _) => key(self.group, source),
            (_, "numkeys" | "numfields" | "numids") => {
                self.number_at = Some(self.words.len());
                "1".into()
            }
            ("integer" | "double", _) if source.percent(3) => odd_word(source),
            ("integer", name) => integer(name, self.min_ttl_ms, source).to_string().into_bytes(),
            ("double", name) => double(name, source),
            ("unix-time", name) => {
                let ms = match source.below(8) {
                    0 => source.edge(),
                    1 => self.now_ms - 1000,
                    _ => self.now_ms + self.min_ttl_ms + source.between(0, 100_000),
                };
                let is_ms = name.ends_with("milliseconds");
                (if is_ms { ms } else { ms / 1000 }).to_string().into_bytes()
            }
            ("pattern", _) => source
                .pick(&[
                    "*", "k*", "?0", "[a-z]0", "[^k]*", "*1*", "\\k0", "[", "a**b", "k[0-", "#",
                ])
                .into(),
            (_, name) => text(name, source),
        };
        self.push(word);
    }
}

/// A key, more likely one of the command's own type.
fn key(group: &str, source: &mut Source) -> Vec<u8> {
    let own = match group {
        "string" => "s",
        "bitmap" => "b",
        "hash" => "h",
        "list" => "l",
        "set" => "t",
        "sorted-set" => "z",
        "geo" => "g",
        "stream" => "x",
        "hyperloglog" => "p",
        _ => "k",
    };
    let letter = match source.below(10) {
        0 => "k",
        1 if own == "k" => "k",
        1..=5 if own == "k" => source.pick(&["s", "b", "h", "l", "t", "z", "g", "x", "p"]),
        1 => source.pick(&["s", "b", "h", "l", "t", "z", "g", "x", "p"]),
        _ => own,
    };
    format!("{letter}{}", source.below(4)).into_bytes()
}

fn integer(name: &str, min_ttl_ms: i64, source: &mut Source) -> i64 {
    match name {
        _ if source.percent(4) => source.edge(),
        "seconds" => source.between(0, 1) * (min_ttl_ms / 1000 + source.between(1, 200)),
        "milliseconds" | "ttl" => source.between(0, 1) * (min_ttl_ms + source.between(0, 20_000)),
        "timeout" => source.between(0, 3),
        "offset" if source.percent(2) => 1_000_000,
        "offset" | "bits" => source.between(0, 64),
        "bit" => source.between(0, 1),
        "cursor" => {
            if source.percent(80) {
                0
            } else {
                source.between(0, 1000)
            }
        }
        "slot" | "start-slot" | "end-slot" => source.between(0, 16384),
        "start" | "stop" | "end" | "index" | "rank" | "index1" | "index2" => source.between(-4, 6),
        "increment" | "decrement" => source.between(-100, 100),
        "destination-db" | "db" => source.between(0, 3),
        "protover" => source.between(2, 3),
        _ => source.between(0, 12),
    }
}

fn double(name: &str, source: &mut Source) -> Vec<u8> {
    let number = match name {
        "longitude" if source.percent(8) => 180.0 * source.between(-1, 1) as f64,
        "latitude" if source.percent(8) => 85.05112878 * source.between(-1, 1) as f64,
        "longitude" => source.between(-180_000, 180_000) as f64 / 1000.0,
        "latitude" => source.between(-85_000, 85_000) as f64 / 1000.0,
        "radius" | "width" | "height" => (source.between(0, 3_000_000) >> source.below(21)) as f64,
        "timeout" => source.between(0, 30) as f64 / 10.0,
        "min" | "max" => return score_bound(source),
        _ if source.percent(5) => {
            return source
                .pick(&["inf", "-inf", "1e308", "-1e-300", "nan", "0x1p3", "3.0e10"])
                .into();
        }
        _ if source.percent(60) => source.between(-9, 9) as f64,
        _ => source.between(-9_000, 9_000) as f64 / 64.0,
    };
    number.to_string().into_bytes()
}

fn score_bound(source: &mut Source) -> Vec<u8> {
    match source.below(5) {
        0 => source.pick(&["-inf", "+inf", "(-inf", "(inf"]).into(),
        1 => format!("({}", source.between(-9, 9)).into_bytes(),
        _ => source.between(-9, 9).to_string().into_bytes(),
    }
}

/// A member, field or value.
pub fn datum(source: &mut Source) -> Vec<u8> {
    match source.below(12) {
        0 => source.between(-100, 100_000).to_string().into_bytes(),
        1 => source.edge().to_string().into_bytes(),
        2 => "x".repeat([0, 44, 64, 65, 300, 5000][source.below(6)]).into_bytes(),
        3 => source.junk(6),
        4 => source.pick(&["1.5", "3.0e2", "-0", "\u{e9}", "a\0b", "\r\n"]).into(),
        5..=7 => source.between(0, 9).to_string().into_bytes(),
        _ => format!("m{}", source.below(6)).into_bytes(),
    }
}

fn text(name: &str, source: &mut Source) -> Vec<u8> {
    match name {
        "group" => format!("g{}", source.below(2)).into_bytes(),
        "consumer" => format!("c{}", source.below(2)).into_bytes(),
        "id" | "lastid" | "last-id" | "start" | "end" | "stop" | "max-deleted-id" | "threshold" => {
            stream_id(source)
        }
        "min" | "max" => match source.below(3) {
            0 => score_bound(source),
            1 => source.pick(&["-", "+", "[", "(", "[m1", "(m3", "[m5", "(m"]).into(),
            _ => stream_id(source),
        },
        "encoding" => {
            let sign = source.pick(&["i", "u"]);
            format!("{sign}{}", [1, 4, 8, 16, 32, 63, 64, 65][source.below(8)]).into_bytes()
        }
        "offset" => {
            let hash = source.pick(&["", "#"]);
            format!("{hash}{}", source.below(40)).into_bytes()
        }
        "channel" | "shardchannel" => source.pick(&["c0", "c1", "__keyevent@0__:set"]).into(),
        "username" => source.pick(&["default", "u0", "u1"]).into(),
        "rule" => crate::targets::acl::rule(source),
        "parameter" => crate::targets::config::name(source).into(),
        "script" | "function-code" => crate::targets::lua::script(source),
        "function" => format!("f{}", source.below(3)).into_bytes(),
        "library-name" => format!("lib{}", source.below(2)).into_bytes(),
        "sha1" => "0123456789abcdef0123456789abcdef01234567".into(),
        "node-id" => source.pick(&["0000", "0123456789abcdef0123456789abcdef01234567"]).into(),
        "host" | "ip" => "127.0.0.1".into(),
        "command" | "command-name" => {
            source.pick(&["get", "set", "config|get", "xread", "nosuch"]).into()
        }
        "section" => source.pick(&["server", "keyspace", "all", "everything", "nosuch"]).into(),
        "event" => source.pick(&["command", "fork", "nosuch"]).into(),
        "type" => source.pick(&["string", "hash", "zset", "stream", "nosuch"]).into(),
        _ => datum(source),
    }
}

fn stream_id(source: &mut Source) -> Vec<u8> {
    match source.below(8) {
        0 => source.pick(&["-", "+", "$", ">", "*"]).into(),
        1 => format!("({}-{}", source.below(6), source.below(3)).into_bytes(),
        2 => format!("{}-*", source.below(9)).into_bytes(),
        3 => source.below(9).to_string().into_bytes(),
        4 => source.pick(&["0", "0-0", "18446744073709551615-18446744073709551615", "1-x"]).into(),
        _ => format!("{}-{}", source.below(9), source.below(3)).into_bytes(),
    }
}

/// A request as a client sends it.
pub fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).into_bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
    out
}

/// The requests at the start of `input`, as far as they are whole.
pub fn decode(mut input: &[u8]) -> Vec<Words> {
    let mut requests = Vec::new();
    while let Some((words, rest)) = decode_one(input) {
        requests.push(words);
        input = rest;
    }
    requests
}

fn decode_one(input: &[u8]) -> Option<(Words, &[u8])> {
    let (argc, mut rest) = header(input, b'*')?;
    let mut words = Vec::new();
    for _ in 0..argc {
        let (len, behind) = header(rest, b'$')?;
        words.push(behind.get(..len)?.to_vec());
        rest = behind.get(len..)?.strip_prefix(b"\r\n")?;
    }
    Some((words, rest))
}

fn header(input: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let line = input.strip_prefix(&[kind])?;
    let end = line.iter().position(|byte| *byte == b'\r')?;
    let number = std::str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    Some((number, line[end..].strip_prefix(b"\r\n")?))
}
