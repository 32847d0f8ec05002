//! Data to begin with, and a client that goes on writing until it is told to stop.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use redis::{Cmd, Connection, Pipeline, cmd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Function libraries; the second is long enough to be compressed.
const LIBRARIES: [&str; 2] = [
    "#!lua name=one\nredis.register_function('first', function() return 1 end)",
    "#!lua name=two\nredis.register_function{function_name='second', callback=function(keys) return keys[1] end,\n\
     description='its first key', flags={'no-writes', 'allow-stale'}}",
];

/// The databases that are written to.
pub const DATABASES: [usize; 3] = [0, 3, 15];
/// The consumer group of every stream.
const GROUP: &str = "group";
/// Collections of each type, in each database.
const COLLECTIONS: usize = 8;
/// Keys written before the replica comes, in each database.
const KEYS: usize = 1500;
/// Commands in one pipeline of the load.
const BURST: usize = 50;

/// Whether fields of hashes get an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    Stay,
    Expire,
}

/// Fills the databases with values of every type and encoding, with and without expiry.
pub fn fill(connection: &mut Connection, fields: Fields) {
    for library in LIBRARIES {
        cmd("FUNCTION").arg("LOAD").arg(library).exec(connection).expect("a library");
    }
    let mut rng = SmallRng::seed_from_u64(1);
    for db in DATABASES {
        let mut pipe = redis::pipe();
        pipe.add_command(select(db)).ignore();
        for n in 0..KEYS {
            let mut set = cmd("SET");
            set.arg(format!("key:{n}")).arg(value(&mut rng));
            match n % 10 {
                0 => set.arg("PX").arg(rng.random_range(1..1000)),
                1..4 => set.arg("EX").arg(rng.random_range(1000..100_000)),
                _ => &mut set,
            };
            pipe.add_command(set).ignore();
        }
        let binary: Vec<u8> = (0..=255).collect();
        pipe.cmd("SET").arg(&binary).arg(&binary).ignore();
        pipe.cmd("SET").arg("").arg("").ignore();
        for n in 0..COLLECTIONS {
            pipe.cmd("XGROUP")
                .arg("CREATE")
                .arg(format!("stream:{n}"))
                .arg(GROUP)
                .arg("0")
                .arg("MKSTREAM")
                .ignore();
        }
        pipe.exec(connection).expect("the primary takes the data");
        let mut pipe = redis::pipe();
        for _ in 0..COLLECTIONS * 60 {
            write_collection(&mut pipe, &mut rng, fields);
        }
        flush(&pipe, connection);
        for kind in ["list", "set", "hash", "zset", "stream"] {
            let found: usize =
                cmd("EXISTS").arg(format!("{kind}:0")).query(connection).expect("an answer");
            assert_eq!(found, 1, "there is a {kind}");
        }
    }
}

/// A value: a number of any size, a short or long text, bytes without pattern.
fn value(rng: &mut SmallRng) -> Vec<u8> {
    match rng.random_range(0..8) {
        0 => rng.random_range(0..100).to_string().into_bytes(),
        1 => rng.random::<i32>().to_string().into_bytes(),
        2 => rng.random::<i64>().to_string().into_bytes(),
        3 => b"0123456789".repeat(2),
        4 => vec![b'x'; rng.random_range(0..44)],
        5 => b"compressible ".repeat(rng.random_range(1..200)),
        6 => format!("{}.5", rng.random::<u32>()).into_bytes(),
        _ => {
            let mut bytes = vec![0; rng.random_range(1..400)];
            rng.fill_bytes(&mut bytes);
            bytes
        }
    }
}

fn select(db: usize) -> Cmd {
    let mut select = cmd("SELECT");
    select.arg(db);
    select
}

/// A client that writes.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(mut connection: Connection, fields: Fields) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut rng = SmallRng::seed_from_u64(2);
            while !stopped.load(Ordering::Relaxed) {
                let mut pipe = redis::pipe();
                pipe.add_command(select(DATABASES[rng.random_range(0..DATABASES.len())]));
                for _ in 0..BURST {
                    write_string(&mut pipe, &mut rng);
                    write_collection(&mut pipe, &mut rng, fields);
                }
                // A replica that is built for tests falls ever further behind a primary that is not.
                pipe.cmd("WAIT").arg(1).arg(100);
                flush(&pipe, &mut connection);
            }
        });
        Load { stop, thread: Some(thread) }
    }

    /// Ends the load; everything it sent has been answered.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(std::thread::panicking() || outcome.is_ok(), "the load failed");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a pipeline.
fn flush(pipe: &Pipeline, connection: &mut Connection) {
    if let Err(error) = pipe.exec(connection) {
        // Who writes does not know what a key holds: that a command is refused is no failure.
        assert!(error.code().is_some(), "the primary is gone: {error}");
    }
}

/// Adds one random write to a string.
fn write_string(pipe: &mut Pipeline, rng: &mut SmallRng) {
    let key = |rng: &mut SmallRng| format!("key:{}", rng.random_range(0..KEYS + 250)).into_bytes();
    let number = |n: usize| n.to_string().into_bytes();
    let (name, rest) = match rng.random_range(0..18) {
        0..4 => ("SET", vec![value(rng)]),
        4 => ("PSETEX", vec![number(rng.random_range(1..500)), value(rng)]),
        5 => ("APPEND", vec![b"more".to_vec()]),
        6 => ("INCR", vec![]),
        7 => ("INCRBYFLOAT", vec![b"0.25".to_vec()]),
        8 => ("DEL", vec![]),
        9 => ("PEXPIRE", vec![number(rng.random_range(1..500))]),
        10 => ("PERSIST", vec![]),
        11 => ("RENAME", vec![key(rng)]),
        12 => ("COPY", vec![key(rng), b"REPLACE".to_vec()]),
        13 => ("GETEX", vec![b"PX".to_vec(), number(rng.random_range(1..500))]),
        14 => ("MSET", vec![value(rng), key(rng), value(rng)]),
        15 => ("SETRANGE", vec![number(rng.random_range(0..100)), b"range".to_vec()]),
        16 => ("GETDEL", vec![]),
        _ => ("MOVE", vec![number(DATABASES[rng.random_range(0..DATABASES.len())])]),
    };
    let mut command = cmd(name);
    command.arg(key(rng));
    for arg in rest {
        command.arg(arg);
    }
    pipe.add_command(command);
}

/// Adds one random write to a list, set, hash, sorted set or stream. Some have an effect that only the primary knows.
fn write_collection(pipe: &mut Pipeline, rng: &mut SmallRng, fields: Fields) {
    let choices = if fields == Fields::Expire { 27 } else { 22 };
    let (name, kind, rest): (&str, &str, &[&str]) = match rng.random_range(0..choices) {
        0..2 => ("RPUSH", "list", &["?", "?"]),
        2 => ("LPUSH", "list", &["?"]),
        3 => ("LPOP", "list", &[]),
        4 => ("LTRIM", "list", &["-200", "-1"]),
        5..8 => ("SADD", "set", &["?", "?"]),
        8 => ("SREM", "set", &["?"]),
        9 => ("SPOP", "set", &["2"]),
        10..12 => ("HSET", "hash", &["?", "?"]),
        12 => ("HINCRBYFLOAT", "hash", &["sum", "0.5"]),
        13 => ("HDEL", "hash", &["?"]),
        14..17 => ("ZADD", "zset", &["#", "?"]),
        17 => ("ZINCRBY", "zset", &["#", "?"]),
        18 => ("ZPOPMIN", "zset", &[]),
        19..21 => ("XADD", "stream", &["MAXLEN", "~", "300", "*", "field", "?"]),
        21 => ("XTRIM", "stream", &["MAXLEN", "250"]),
        // Fields that are about to go get nothing but a new value: Redis 8.2 as its own replica loses one that HPERSIST
        // has saved in the last moment.
        22 => ("HSETEX", "fleeting", &["PX", "60", "FIELDS", "2", "?", "?", "?", "?"]),
        23 => ("HEXPIRE", "hash", &["5000", "FIELDS", "1", "?"]),
        24 => ("HPERSIST", "hash", &["FIELDS", "1", "?"]),
        25 => ("HSETEX", "hash", &["EX", "8000", "FIELDS", "1", "?", "?"]),
        _ => ("HGETEX", "hash", &["EX", "7000", "FIELDS", "1", "?"]),
    };
    let mut command = cmd(name);
    command.arg(format!("{kind}:{}", rng.random_range(0..COLLECTIONS)));
    for word in rest {
        match *word {
            "?" => command.arg(element(rng)),
            "#" => command.arg(rng.random_range(-50..50)),
            word => command.arg(word),
        };
    }
    pipe.add_command(command);
    if name == "XADD" && rng.random_range(0..4) == 0 {
        let mut read = cmd("XREADGROUP");
        let stream = format!("stream:{}", rng.random_range(0..COLLECTIONS));
        read.arg("GROUP")
            .arg(GROUP)
            .arg("consumer")
            .arg("COUNT")
            .arg(3)
            .arg("STREAMS")
            .arg(stream)
            .arg(">");
        pipe.add_command(read);
    }
}

/// Mostly small numbers, sometimes a text, rarely a long one: collections of all encodings come of it.
fn element(rng: &mut SmallRng) -> String {
    match rng.random_range(0..50) {
        0..40 => rng.random_range(0..150).to_string(),
        40..49 => format!("element {}", rng.random_range(0..150)),
        _ => "long ".repeat(rng.random_range(1..40)),
    }
}
