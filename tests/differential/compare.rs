//! Runs rounds on two servers, and compares.

use super::differences::{encoding_may_differ, event_name};
use super::grammar::{Grammar, Words, encode};
use super::harness::Server;
use super::peer::{Connection, start};
use super::peers::Kind;
use super::reply::{Agreement, Errors, Reply, Values, agree};
use super::rounds::{Maker, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How many databases a server has.
const DATABASES: usize = 16;

/// Behind a segment, until all that expires soon has expired. The server waits itself, so that the next segment may be
/// sent at once.
const SOON: &str = "DEBUG SLEEP 0.003";

/// Behind everything that a watcher has heard so far.
const END: &str = "PING end";

/// One server, with who watches it.
struct Side {
    main: Connection,
    /// Subscribed to events and channels, and told of every change of a key.
    watcher: Connection,
    /// Has read some keys, and is told when they change.
    reader: Connection,
    _server: Server,
}

/// What the watchers of a server have heard.
#[derive(Default, PartialEq)]
struct Heard {
    events: Vec<String>,
    changed: BTreeSet<String>,
    invalidated: Vec<String>,
}

impl Side {
    fn start(program: &Path, kind: Kind) -> io::Result<Side> {
        let server = start(program, kind);
        let [mut main, mut watcher, mut reader] = [(); 3].map(|()| Connection::to(&server));
        // Keys expire when somebody comes upon them, and not at some other time.
        main.line("DEBUG SET-ACTIVE-EXPIRE 0")?;
        for line in [
            "HELLO 3",
            "CLIENT TRACKING ON BCAST",
            "PSUBSCRIBE __keyevent*",
            "SUBSCRIBE c0",
            "SUBSCRIBE c1",
        ] {
            watcher.line(line)?;
        }
        for line in ["HELLO 3", "CLIENT TRACKING ON"] {
            reader.line(line)?;
        }
        Ok(Side { main, watcher, reader, _server: server })
    }

    /// The next reply, with the pushes before it.
    fn main_reply(&mut self) -> io::Result<(Vec<Reply>, Reply)> {
        let mut pushes = Vec::new();
        loop {
            match self.main.read()? {
                push @ Reply::Push(_) => pushes.push(push),
                reply => return Ok((pushes, reply)),
            }
        }
    }

    /// What was heard before [`END`], which both have been sent.
    fn heard(&mut self, kind: Kind) -> io::Result<Heard> {
        let mut heard = Heard::default();
        while let Reply::Push(push) = self.watcher.read()? {
            match push.as_slice() {
                [kind, keys] if kind.bytes() == b"invalidate" => {
                    heard.changed.extend(keys.items().iter().map(Reply::shown));
                }
                [_, _, channel, key] => {
                    let channel = String::from_utf8_lossy(channel.bytes());
                    let (db, event) = channel.split_once(':').unwrap_or_default();
                    if let Some(event) = event_name(kind, event) {
                        heard.events.push(format!("{db}:{event} {}", key.shown()));
                    }
                }
                message => {
                    let parts = message.iter().skip(1).map(Reply::shown);
                    heard.events.push(parts.collect::<Vec<_>>().join(" "));
                }
            }
        }
        while let Reply::Push(push) = self.reader.read()? {
            heard.invalidated.extend(push.get(1).map(Reply::shown));
        }
        Ok(heard)
    }
}

/// Empty servers, whose main connections are as if they were new. Each step goes to both before either is waited for.
fn begin_round(sides: &mut [Side; 2], kind: Kind, protocol: u8, tracks: bool) -> io::Result<()> {
    let hello = format!("HELLO {protocol}");
    let tracking = if tracks { "CLIENT TRACKING ON" } else { "CLIENT TRACKING OFF" };
    let clean = ["DISCARD", "UNWATCH", &hello, tracking, "SELECT 0", "FLUSHALL", "PING"];
    let read: Vec<String> = ["s", "h", "l", "t", "z", "x", "k"]
        .iter()
        .flat_map(|letter| (0..2).map(move |i| format!("EXISTS {letter}{i}")))
        .collect();
    for side in &mut *sides {
        side.main.send_lines(&clean)?;
    }
    for side in &mut *sides {
        side.main.skip_replies(clean.len())?;
        side.reader.send_lines(&read)?;
    }
    for side in &mut *sides {
        side.reader.skip_replies(read.len())?;
    }
    heard(sides, kind).map(drop)
}

/// What has been heard on both sides since they were asked last. All that the main connections were answered was told
/// before.
fn heard(sides: &mut [Side; 2], kind: Kind) -> io::Result<[Heard; 2]> {
    for side in &mut *sides {
        side.watcher.send_lines(&[END])?;
        side.reader.send_lines(&[END])?;
    }
    let [ours, theirs] = sides;
    Ok([ours.heard(kind)?, theirs.heard(kind)?])
}

/// What differs, with how often.
#[derive(Default)]
pub struct Report {
    pub commands: u64,
    pub rounds: u64,
    pub found: BTreeMap<String, u64>,
}

impl Report {
    /// Adds a round with the differences that it showed; one of a new kind is told at once.
    fn add(&mut self, commands: u64, found: Vec<(String, String)>) {
        self.commands += commands;
        self.rounds += 1;
        for (what, example) in found {
            let times = self.found.entry(what).or_insert_with_key(|what| {
                println!("* {what}: first with {example}");
                0
            });
            *times += 1;
        }
    }
}

/// What to run.
pub struct Plan {
    pub kind: Kind,
    pub peer: PathBuf,
    pub ours: PathBuf,
    pub commands: u64,
    pub rounds: u64,
    pub seed: u64,
    /// How many workers there are.
    pub jobs: usize,
    /// Tells all commands of a round before a difference, not just the last ones that name the same key.
    pub verbose: bool,
}

/// Several workers, each with servers of its own, take one round after the other: while one of them waits for its
/// servers, others run.
///
/// # Errors
/// If the servers can't be started, or don't answer.
pub fn compare(plan: &Plan) -> io::Result<Report> {
    let shared = Mutex::new(Shared { next_seed: plan.seed, report: Report::default() });
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs).map(|_| scope.spawn(|| work(plan, &shared))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let Shared { report, .. } = shared.into_inner().expect("no worker has panicked");
    Ok(report)
}

/// What the workers have in common.
struct Shared {
    next_seed: u64,
    report: Report,
}

impl Shared {
    /// The seed of the next round, if there is to be one.
    fn next(&mut self, plan: &Plan) -> Option<u64> {
        let seed = self.next_seed;
        let goes_on = self.report.commands < plan.commands && seed - plan.seed < plan.rounds;
        self.next_seed += 1;
        goes_on.then_some(seed)
    }
}

/// Plays rounds until enough commands were sent, or a server goes away.
fn work(plan: &Plan, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut sides = [Side::start(&plan.ours, plan.kind)?, Side::start(&plan.peer, plan.kind)?];
    let known = sides[1].main.line("COMMAND LIST")?;
    let known: BTreeSet<&[u8]> = known.items().iter().map(Reply::bytes).collect();
    let mut grammar = Grammar::new(now_ms(), |spec| known.contains(spec.name.as_bytes()));
    grammar.min_ttl_ms = 200_000;
    let lock = || shared.lock().expect("no worker has panicked");
    loop {
        let Some(seed) = lock().next(plan) else { return Ok(()) };
        grammar.now_ms = now_ms();
        let mut round = Round {
            seed,
            plan,
            sides: &mut sides,
            found: Vec::new(),
            sent: Vec::new(),
            events_differ: false,
        };
        let ended = round.run(&grammar);
        if let Err(error) = &ended {
            let last = round.sent.last().map(shown).unwrap_or_default();
            let example = format!("seed {seed}, {error}, behind {last}");
            round.found.push(("a server went away".into(), example));
        }
        lock().report.add(round.sent.len() as u64, round.found);
        if ended.is_err() {
            return Ok(());
        }
    }
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}

struct Round<'a> {
    seed: u64,
    plan: &'a Plan,
    sides: &'a mut [Side; 2],
    /// What differs, each with an example.
    found: Vec<(String, String)>,
    /// All commands of the round so far.
    sent: Vec<Words>,
    /// There was an error which may be found sooner on one side, before anything is looked up: events need not agree.
    events_differ: bool,
}

impl Round<'_> {
    fn run(&mut self, grammar: &Grammar) -> io::Result<()> {
        let tracks = self.seed % 4 == 1;
        let protocol = if self.seed.is_multiple_of(2) { 2 } else { 3 };
        begin_round(self.sides, self.plan.kind, protocol, tracks)?;
        let segments = Maker::new(grammar, self.plan.kind, self.seed, tracks).round();
        let mut bytes = Vec::new();
        for segment in &segments {
            bytes.extend(segment.iter().flat_map(|request| encode(&request.words)));
            bytes.extend(encode(&words(SOON)));
        }
        for side in &mut *self.sides {
            side.main.send(&bytes)?;
        }
        for segment in &segments {
            let mut queued = Vec::new();
            for request in segment {
                self.sent.push(request.words.clone());
                let (our_pushes, ours) = self.sides[0].main_reply()?;
                let (their_pushes, theirs) = self.sides[1].main_reply()?;
                self.judge(request, &ours, &theirs, &mut queued);
                // What expires in the same moment goes in no order.
                let all = |pushes: &[Reply]| {
                    let mut shown: Vec<_> = pushes.iter().map(Reply::shown).collect();
                    shown.sort();
                    shown.join(" ")
                };
                let (ours, theirs) = (all(&our_pushes), all(&their_pushes));
                if ours != theirs && !self.events_differ {
                    self.differs(
                        format!("pushes before {}", request_name(&request.words)),
                        &ours,
                        &theirs,
                        &request.words,
                    );
                }
            }
            for side in &mut *self.sides {
                side.main.skip_replies(1)?;
            }
        }
        let heard = heard(self.sides, self.plan.kind)?;
        self.judge_heard(&heard[0], &heard[1]);
        self.judge_state()
    }

    fn judge(
        &mut self,
        request: &Request,
        ours: &Reply,
        theirs: &Reply,
        queued: &mut Vec<(Words, Agreement)>,
    ) {
        if request.is_queued && ours.bytes() == b"QUEUED" {
            queued.push((request.words.clone(), request.agreement));
        }
        if request.words[0].eq_ignore_ascii_case(b"EXEC")
            && ours.items().len() == theirs.items().len()
            && !ours.items().is_empty()
        {
            for ((words, agreement), (ours, theirs)) in
                queued.drain(..).zip(ours.items().iter().zip(theirs.items()))
            {
                self.judge_reply(&words, ours, theirs, agreement);
            }
            return;
        }
        if request.words.len() == 1 && !request.is_queued {
            queued.clear();
        }
        let agreement = if request.is_queued {
            Agreement { values: Values::Exact, ..request.agreement }
        } else {
            request.agreement
        };
        self.judge_reply(&request.words, ours, theirs, agreement);
    }

    fn judge_reply(&mut self, words: &Words, ours: &Reply, theirs: &Reply, agreement: Agreement) {
        let is_error = |reply: &Reply| matches!(reply, Reply::Error(_));
        self.events_differ |=
            agreement.errors > Errors::ButSha1 && (is_error(ours) || is_error(theirs));
        if !self.agrees(ours, theirs, agreement) {
            self.differs(request_name(words), &ours.shown(), &theirs.shown(), words);
        }
    }

    fn agrees(&self, ours: &Reply, theirs: &Reply, agreement: Agreement) -> bool {
        match agreement.values {
            Values::Encoding => {
                encoding_may_differ(self.plan.kind, ours.bytes(), theirs.bytes())
                    || agree(ours, theirs, agreement)
            }
            Values::Timeless => agree(&timeless(ours), &timeless(theirs), agreement),
            _ => agree(ours, theirs, agreement),
        }
    }

    fn judge_heard(&mut self, ours: &Heard, theirs: &Heard) {
        if let Some(at) = (0..ours.events.len().max(theirs.events.len()))
            .find(|at| ours.events.get(*at) != theirs.events.get(*at))
            .filter(|_| !self.events_differ)
        {
            let from = at.saturating_sub(2);
            let part = |heard: &Heard| {
                heard.events[from.min(heard.events.len())..]
                    .iter()
                    .take(6)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let [our, their] = [ours, theirs].map(|heard| {
                let event = heard.events.get(at).map_or("none", String::as_str);
                event.rsplit(':').next().unwrap_or_default().split_once(' ').unwrap_or((event, ""))
            });
            let keys = [our.1, their.1].map(|key| key.trim_matches('"').as_bytes().to_vec());
            let what = format!("event {} here, {} there", our.0, their.0);
            self.differs(what, &part(ours), &part(theirs), &keys.to_vec());
        }
        for (what, ours, theirs) in [
            (
                "changed keys",
                ours.changed.iter().collect::<Vec<_>>(),
                theirs.changed.iter().collect::<Vec<_>>(),
            ),
            (
                "invalidated keys",
                ours.invalidated.iter().collect(),
                theirs.invalidated.iter().collect(),
            ),
        ] {
            if ours != theirs {
                self.differs(
                    what.into(),
                    &format!("{ours:?}"),
                    &format!("{theirs:?}"),
                    &Vec::new(),
                );
            }
        }
    }

    /// Compares all data.
    fn judge_state(&mut self) -> io::Result<()> {
        let line = |db: usize| [format!("SELECT {db}"), "KEYS *".into()];
        let lines = (0..DATABASES).flat_map(line).map(|line| words(&line));
        let all: Vec<Words> = std::iter::once(words("DISCARD")).chain(lines).collect();
        let [ours, theirs] = self.both(&all)?;
        let keys_of = |db: usize| -> BTreeSet<Vec<u8>> {
            let found = [&ours, &theirs].map(|replies| replies[2 + 2 * db].items());
            found.into_iter().flatten().map(|key| key.bytes().to_vec()).collect()
        };
        // A key that has expired and is still there is answered by neither.
        let keys: Vec<(usize, Vec<u8>)> = (0..DATABASES)
            .flat_map(|db| keys_of(db).into_iter().map(move |key| (db, key)))
            .collect();
        let types: Vec<Words> = keys
            .iter()
            .flat_map(|(db, key)| [select(*db), vec![b"TYPE".to_vec(), key.clone()]])
            .collect();
        let [kinds, _] = self.both(&types)?;
        let checks: Vec<(usize, Words, Agreement)> = keys
            .iter()
            .zip(kinds.chunks(2))
            .flat_map(|((db, key), kind)| checks(*db, key, kind[1].bytes()))
            .collect();
        let requests: Vec<Words> = checks.iter().map(|(_, words, _)| words.clone()).collect();
        let [ours, theirs] = self.both(&requests)?;
        for ((db, words, agreement), (ours, theirs)) in checks.iter().zip(ours.iter().zip(&theirs))
        {
            if !self.agrees(ours, theirs, *agreement) {
                let what = format!("state: {}", request_name(words));
                self.differs(what, &format!("db{db} {}", ours.shown()), &theirs.shown(), words);
            }
        }
        Ok(())
    }

    /// Asks both sides the same questions, in one go.
    fn both(&mut self, requests: &[Words]) -> io::Result<[Vec<Reply>; 2]> {
        let bytes: Vec<u8> = requests.iter().flat_map(|words| encode(words)).collect();
        for side in &mut *self.sides {
            side.main.send(&bytes)?;
        }
        let mut answers = [Vec::new(), Vec::new()];
        for (side, replies) in self.sides.iter_mut().zip(&mut answers) {
            for _ in requests {
                replies.push(side.main_reply()?.1);
            }
        }
        Ok(answers)
    }

    /// Notes a difference, with the commands of the round that name the same keys.
    fn differs(&mut self, what: String, ours: &str, theirs: &str, words: &Words) {
        let keys: Vec<&Vec<u8>> = words.iter().filter(|word| is_key(word)).collect();
        let all = self.plan.verbose || keys.is_empty();
        let related = |sent: &&Words| all || sent.iter().any(|word| keys.contains(&word));
        let before: Vec<String> = self.sent.iter().filter(related).map(shown).collect();
        let from = if self.plan.verbose { 0 } else { before.len().saturating_sub(25) };
        let text = |s: &str| s.chars().take(600).collect::<String>();
        let example = format!(
            "seed {}\n    {}\n    ours:   {}\n    theirs: {}",
            self.seed,
            before[from..].join("\n    "),
            text(ours),
            text(theirs)
        );
        self.found.push((what, example));
    }
}

/// What is asked about a key of a database that holds a value of this type, and how closely the replies have to agree.
fn checks(db: usize, key: &[u8], kind: &[u8]) -> Vec<(usize, Words, Agreement)> {
    let only = |values| Agreement { values, ..Agreement::EXACT };
    let unordered = |pairs| only(Values::Unordered { pairs });
    let (value, agreement) = match kind {
        b"string" => ("GET *", Agreement::EXACT),
        b"list" => ("LRANGE * 0 -1", Agreement::EXACT),
        b"set" => ("SMEMBERS *", unordered(false)),
        b"hash" => ("HGETALL *", unordered(true)),
        b"zset" => ("ZRANGE * 0 -1 WITHSCORES", only(Values::Number)),
        b"stream" => ("XINFO STREAM * FULL COUNT 0", only(Values::Timeless)),
        _ => ("EXISTS *", Agreement::EXACT),
    };
    let select = format!("SELECT {db}");
    [
        (select.as_str(), Agreement::EXACT),
        ("TYPE *", Agreement::EXACT),
        ("PEXPIRETIME *", only(Values::Near)),
        ("OBJECT ENCODING *", only(Values::Encoding)),
        (value, agreement),
    ]
    .into_iter()
    .map(|(line, agreement)| {
        let word = |word: Vec<u8>| if word == b"*" { key.to_vec() } else { word };
        (db, words(line).into_iter().map(word).collect(), agreement)
    })
    .collect()
}

/// What tells of the moment or of the implementation is taken out of what tells of streams.
fn timeless(reply: &Reply) -> Reply {
    const LEFT_OUT: &[&[u8]] = &[
        b"radix-tree-keys",
        b"radix-tree-nodes",
        b"seen-time",
        b"active-time",
        b"idle",
        b"inactive",
    ];
    let all = |items: &[Reply]| {
        let mut left = Vec::new();
        let mut rest = items.iter();
        while let Some(item) = rest.next() {
            match item {
                Reply::Text(name) if LEFT_OUT.contains(&name.as_slice()) => {
                    rest.next();
                }
                _ => left.push(timeless(item)),
            }
        }
        left
    };
    match reply {
        Reply::Array(items) => Reply::Array(all(items)),
        Reply::Map(items) => Reply::Map(all(items)),
        // A time: when an entry was delivered.
        Reply::Number(':', n) if n.len() == 13 => Reply::Number(':', "time".into()),
        other => other.clone(),
    }
}

fn is_key(word: &[u8]) -> bool {
    matches!(word, [letter, digit] if b"sbhltzgxpk".contains(letter) && digit.is_ascii_digit())
}

fn request_name(words: &Words) -> String {
    let lower = |at: usize| words.get(at).map(|word| String::from_utf8_lossy(word).to_lowercase());
    match (lower(0), lower(3)) {
        (Some(eval), Some(command)) if eval == "eval" => format!("eval of {command}"),
        (Some(name), _) => match name.as_str() {
            "object" | "xgroup" | "xinfo" | "function" | "script" | "pubsub" => {
                format!("{name} {}", lower(1).unwrap_or_default())
            }
            _ => name,
        },
        _ => String::new(),
    }
}

fn select(db: usize) -> Words {
    words(&format!("SELECT {db}"))
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn shown(words: &Words) -> String {
    let one = |word: &Vec<u8>| match word.len() {
        0 => "\"\"".to_string(),
        100.. => format!("({} bytes)", word.len()),
        _ => word.escape_ascii().to_string().replace(' ', "\\x20"),
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ")
}
