//! DEBUG: for developers and tests.

use super::cluster;
use super::config::rewrite_config_file;
use crate::db::{Entry, EntryRef};
use crate::ds::quicklist::{Direction, NodeBytes, Quicklist, set_packed_threshold};
use crate::ds::table::TableStats;
use crate::rdb::dump::dump;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::call::Call;
use crate::server::empty;
use crate::server::persistence;
use crate::server::persistence::aof::load;
use crate::server::persistence::load::{LoadOptions, LoadProgress};
use crate::server::table::Row;
use crate::server::{Server, random_id};
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::sys::process;
use crate::util::glob::glob_match;
use crate::util::io_reason;
use crate::util::memory_units::parse_memory;
use crate::util::number::{MAX_F64_CHARS, fmt_shortest_f64, parse_i64};
use crate::value::hash::FOREVER_YOUNG;
use crate::value::stream::StreamId;
use crate::value::{Type, ValueRef};
use sha1::{Digest, Sha1};
use std::mem;
use std::time::Duration;

const HELP: &[&str] = &[
    "AOF-FLUSH-SLEEP <microsec>",
    "    Server will sleep before flushing the AOF, this is used for testing.",
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "    Dangerous: should be used only for testing the replication subsystem.",
    "CLOSE-CLUSTER-LINK-ON-PACKET-DROP <0|1>",
    "    Close the link of a packet that is dropped by DROP-CLUSTER-PACKET-FILTER.",
    "CLUSTERLINK KILL <to|from|all> <node-id>",
    "    Close the links to and from a node of the cluster.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE but writes all configuration options, including",
    "    keywords not listed in original configuration file or default values.",
    "DELAY-RDB-CLIENT-FREE-SECONDS <seconds>",
    "    How long the stream is kept for a replica whose RDB channel was closed.",
    "DICT-RESIZING <0|1>",
    "    Enable or disable the resizing of the databases' tables.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "DROP-CLUSTER-PACKET-FILTER <packet-type>",
    "    Drop all packets of that type from other nodes of the cluster; -1 for none.",
    "ERROR <string>",
    "    Return a protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate errors.",
    "LEAK <string>",
    "    Create a memory leak of the input string.",
    "LOADAOF",
    "    Flush the AOF buffers on disk and reload the AOF in memory.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "HTSTATS <dbid> [full]",
    "    Return hash table statistics of the specified database.",
    "HTSTATS-KEY <key> [full]",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "OBJECT <key> [fast]",
    "    Show low level info about `key` and associated value.",
    "PANIC",
    "    Crash the server simulating a panic.",
    "PAUSE-AFTER-FORK <0|1>",
    "    Stop the process with SIGSTOP after it forked for replication.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix. These are not propagated to",
    "    replicas.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Sets the threshold for elements to be inserted as plain vs packed nodes",
    "    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
    "RELOAD [option ...]",
    "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
    "    * MERGE: conflicting keys will be loaded from RDB.",
    "    * NOFLUSH: the existing database will not be removed before load, but",
    "      conflicting keys will generate an exception.",
    "    * NOSAVE: the database will be loaded from an existing RDB file.",
    "REPLICATE <string>",
    "    Replicates the provided string to replicas, allowing data divergence.",
    "REPLYBUFFER (PEAK-RESET-TIME <NEVER|RESET|time>|RESIZING <0|1>)",
    "    Accepted: clients have no reply buffers of their own.",
    "SEGFAULT",
    "    Crash the server with sigsegv.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed. Setting it to 1 reenables back the default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Allow scripts to call commands that are denied to them.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Enables or disables checksum checks for RDB files and RESTORE's payload.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <pattern> <string>",
    "    Run the glob matcher.",
    "STRUCTSIZE",
    "    Return the size of different core structures.",
];

const CAN_T_LOAD: CommandError =
    CommandError::err("Error trying to load the RDB dump, check server logs.");
const CAN_T_LOAD_AOF: CommandError =
    CommandError::err("Error trying to load the AOF files, check server logs.");
const SAVE_FAILED: CommandError = CommandError::err("");

fn debug(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let name = args[1].to_ascii_lowercase();
    if set_switch(s, &name, &args[2..])? {
        call.reply.ok();
        return Ok(());
    }
    match (name.as_slice(), &args[2..]) {
        (b"help", []) => reply_help(&mut call.reply, "DEBUG", HELP),
        (b"sleep", [seconds]) => sleep(call, seconds)?,
        (b"object", [key] | [key, _]) => object(s, call, key)?,
        // A file that is being loaded may hold these very commands.
        (b"reload", _) if s.persistence.is_loading() => return Err(CAN_T_LOAD),
        (b"loadaof", _) if s.persistence.is_loading() => return Err(CAN_T_LOAD_AOF),
        (b"reload", options) => reload(s, call, options)?,
        (b"loadaof", []) => {
            if !load::reload_aof(s) {
                return Err(CAN_T_LOAD_AOF);
            }
            s.ks.changes.dirty = 0;
            s.notice("Append Only File loaded by DEBUG LOADAOF");
            call.reply.ok();
        }
        (b"digest", []) => digest(s, call),
        (b"digest-value", keys) => digest_value(s, call, keys),
        (b"populate", [count, rest @ ..]) if rest.len() <= 2 => populate(s, call, count, rest)?,
        (b"protocol", [kind]) => protocol(&mut call.reply, kind)?,
        (b"htstats", [db, ..]) => htstats(s, call, db)?,
        (b"htstats-key", [key, ..]) => htstats_key(s, call, key)?,
        (b"change-repl-id", []) => change_repl_id(s, call),
        (b"replicate", command @ [_, ..]) => {
            let db = call.db;
            s.repl.feed(db, command);
            call.reply.ok();
        }
        (b"stringmatch-len", [pattern, string]) => {
            call.reply.int(glob_match(pattern, string, false).into());
        }
        (b"config-rewrite-force-all", []) => {
            rewrite_config_file(s, true).map_err(|error| {
                CommandError::err_with(format!(
                    "CONFIG-REWRITE-FORCE-ALL failed: {}",
                    io_reason(&error)
                ))
            })?;
            call.reply.ok();
        }
        (b"quicklist-packed-threshold", [size]) => quicklist_packed_threshold(call, size)?,
        (b"error", [text]) => call.reply.error_text(text),
        (b"log", [text]) => {
            s.warning(&format!("DEBUG LOG: {}", String::from_utf8_lossy(text)));
            call.reply.ok();
        }
        (b"leak", [text]) => {
            Vec::leak(text.to_vec());
            call.reply.ok();
        }
        (b"structsize", []) => structsize(&mut call.reply),
        (b"panic", []) => panic!("DEBUG PANIC called at Unix time {}", s.now_seconds()),
        (b"segfault", []) => process::raise(libc::SIGSEGV),
        _ => return Err(subcommand_syntax_error("DEBUG", args)),
    }
    Ok(())
}

/// Sets what a subcommand of `DEBUG` sets; `false`: it is one of those that do more.
fn set_switch(s: &mut Server, name: &[u8], args: &[&[u8]]) -> CommandResult<bool> {
    match (name, args) {
        (b"aof-flush-sleep", [micros]) => {
            let micros = parse_i64(micros).ok_or(CommandError::NOT_AN_INTEGER)?;
            s.persistence.aof.set_flush_sleep(Duration::from_micros(micros.max(0) as u64));
        }
        (b"set-active-expire", [flag]) => s.lifecycle.debug.no_active_expire = !is_on(flag),
        (b"set-skip-checksum-validation", [flag]) => {
            s.lifecycle.debug.skip_checksum_validation = is_on(flag)
        }
        (b"pause-after-fork", [flag]) => s.repl.set_pause_after_fork(is_on(flag)),
        (b"delay-rdb-client-free-seconds", [seconds]) => {
            let seconds = parse_i64(seconds).ok_or(CommandError::NOT_AN_INTEGER)?;
            s.repl.set_rdb_channel_grace(seconds);
        }
        (b"drop-cluster-packet-filter", [kind]) => {
            cluster::debug::drop_messages(s, parse_i64(kind).ok_or(CommandError::NOT_AN_INTEGER)?);
        }
        (b"close-cluster-link-on-packet-drop", [flag]) => {
            cluster::debug::close_on_drop(s, is_on(flag));
        }
        (b"clusterlink", [kill, way, id]) if kill.eq_ignore_ascii_case(b"kill") => {
            cluster::debug::kill_links(s, way, id)?;
        }
        (b"pause-cron", [flag]) => s.lifecycle.debug.pause_cron = is_on(flag),
        (b"dict-resizing", [flag]) => {
            for db in &mut s.ks.dbs {
                db.table.set_resize_allowed(is_on(flag));
            }
        }
        (b"replybuffer", [_, _]) | (b"client-enforce-reply-list", [_]) => {}
        (b"set-disable-deny-scripts", [on]) => s.scripting.scripts.set_may_call_all(**on == *b"1"),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A flag as Redis reads it: anything but a number that is not 0 means no.
fn is_on(flag: &[u8]) -> bool {
    parse_i64(flag).is_some_and(|n| n != 0)
}

fn sleep(call: &mut Call, seconds: &[u8]) -> CommandResult {
    let seconds: f64 =
        std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    call.reply.ok();
    Ok(())
}

/// An entry as it is, whether its time has come or not.
fn raw_entry<'a>(s: &'a Server, db: usize, key: &[u8]) -> Option<EntryRef<'a>> {
    s.ks.dbs[db].table.get(s.ks.hash(key), key)
}

fn object(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult {
    let entry = raw_entry(s, call.db, key).ok_or(CommandError::NO_SUCH_KEY)?;
    // A dump is the type, the value, two bytes of version and eight of checksum.
    let payload = dump(entry.value(), s.config.rdbcompression, s.config.expiring_fields_version());
    let serialized = payload.len().saturating_sub(11);
    let access = &s.ks.access;
    let text = format!(
        "Value at:{:?} refcount:1 encoding:{} serializedlength:{serialized} lru:{} lru_seconds_idle:{} lfu_freq:{} \
         lfu_access_time_minutes:{}",
        entry.key().as_ptr(),
        entry.encoding(),
        entry.lru(),
        access.idle_seconds(entry),
        access.frequency(entry),
        entry.lru() >> 8,
    );
    let quicklist = match entry.value() {
        ValueRef::List(list) => list.as_quicklist(),
        _ => None,
    };
    let text = text + &quicklist.map(quicklist_facts).unwrap_or_default();
    call.reply.simple(&text);
    Ok(())
}

/// What DEBUG OBJECT says of a list of nodes beside what it says of any value.
fn quicklist_facts(list: &Quicklist) -> String {
    let nodes = list.node_count();
    let average = list.len() as f64 / nodes.max(1) as f64;
    let (fill, depth) = list.limits();
    let compressed = u8::from(depth != 0);
    let bytes: usize = list
        .nodes()
        .map(|(_, node)| match node {
            NodeBytes::Raw(bytes) => bytes.len(),
            NodeBytes::Lzf { raw_len, .. } => raw_len,
        })
        .sum();
    format!(
        " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{fill} ql_compressed:{compressed} \
         ql_uncompressed_size:{bytes}"
    )
}

fn reload(s: &mut Server, call: &mut Call, options: &[&[u8]]) -> CommandResult {
    let (mut flush, mut save, mut merge) = (true, true, false);
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"merge" => merge = true,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => {
                let text = "DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
                return Err(CommandError::err(text));
            }
        }
    }
    if save && !persistence::rdb_save(s) {
        return Err(SAVE_FAILED);
    }
    if flush {
        let fresh = s.ks.new_dbs();
        let old = mem::replace(&mut s.ks.dbs, fresh);
        empty::free_databases(s, old, false);
        s.scripting.libraries.clear();
    }
    load(s, LoadOptions { merge, ignore_origin: true })?;
    // What was loaded is what was saved.
    s.ks.changes.dirty = 0;
    s.notice("DB reloaded by DEBUG RELOAD");
    call.reply.ok();
    Ok(())
}

/// Loads the snapshot file while everybody waits.
fn load(s: &mut Server, options: LoadOptions) -> CommandResult {
    let path = persistence::rdb_path(s);
    if !crate::server::persistence::load::begin_loading_file(s, &path).unwrap_or(false) {
        s.warning(&format!("Can't open the snapshot {}", path.display()));
        return Err(CAN_T_LOAD);
    }
    if let Some(loading) = &mut s.persistence.loading {
        loading.set_options(options);
    }
    loop {
        match persistence::load_some(s) {
            Ok(LoadProgress::Done) => return Ok(()),
            Ok(LoadProgress::More) => {}
            Err(error) => {
                s.warning(&format!("DEBUG RELOAD: {error}"));
                return Err(CAN_T_LOAD);
            }
        }
    }
}

/// A signature of data: SHA-1 sums, combined with or without regard to their order.
#[derive(Clone, Copy, Default)]
struct Signature([u8; 20]);

impl Signature {
    /// Adds an element of something that has no order.
    fn xor(&mut self, data: &[u8]) {
        let sum = Sha1::digest(data);
        self.0.iter_mut().zip(sum).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds the next element of something that has an order.
    fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds a key's value, and that it expires, as Redis does.
    fn add_value(&mut self, entry: EntryRef<'_>) {
        // Redis's numbers of the types; 5 are modules.
        let number: u32 = match entry.value().kind() {
            Type::String => 0,
            Type::List => 1,
            Type::Set => 2,
            Type::Zset => 3,
            Type::Hash => 4,
            Type::Stream => 6,
        };
        self.mix(&number.to_be_bytes());
        match entry.value() {
            ValueRef::Int(n) => self.mix(itoa::Buffer::new().format(n).as_bytes()),
            ValueRef::Str(bytes) => self.mix(bytes),
            ValueRef::Set(set) => set.for_each(|member| self.xor(&member.to_vec())),
            ValueRef::Hash(hash) => hash.for_each(FOREVER_YOUNG, |pair| {
                let mut one = Signature::default();
                one.mix(&pair.field.to_vec());
                one.mix(&pair.value.to_vec());
                self.xor(&one.0);
            }),
            ValueRef::List(list) => {
                list.range(0, list.len(), Direction::Forward, |element| {
                    self.mix(&element.to_vec())
                });
            }
            ValueRef::Zset(zset) => {
                for (member, score) in zset.iter() {
                    let mut one = Signature::default();
                    one.mix(&member.to_vec());
                    one.mix(fmt_shortest_f64(score, &mut [0; MAX_F64_CHARS]));
                    self.xor(&one.0);
                }
            }
            ValueRef::Stream(stream) => {
                for item in stream.log.range(StreamId::MIN, StreamId::MAX) {
                    self.mix(format!("{}.{}", item.id.ms, item.id.seq).as_bytes());
                    for (name, value) in item.fields {
                        self.mix(&name.to_vec());
                        self.mix(&value.to_vec());
                    }
                }
            }
        }
        if entry.has_expire() {
            self.xor(b"!!expire!!");
        }
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn digest(s: &mut Server, call: &mut Call) {
    let mut all = Signature::default();
    for (n, db) in s.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        all.mix(&(n as u32).to_be_bytes());
        for entry in db.table.iter() {
            let mut one = Signature::default();
            one.mix(entry.key());
            one.add_value(entry);
            all.xor(&one.0);
        }
    }
    call.reply.simple(all.hex());
}

fn digest_value(s: &mut Server, call: &mut Call, keys: &[&[u8]]) {
    call.reply.array(keys.len());
    for key in keys {
        let mut one = Signature::default();
        if let Some(entry) = raw_entry(s, call.db, key) {
            one.add_value(entry);
        }
        call.reply.simple(one.hex());
    }
}

fn populate(s: &mut Server, call: &mut Call, count: &[u8], rest: &[&[u8]]) -> CommandResult {
    let number = |arg: &[u8]| {
        let n = parse_i64(arg).ok_or(CommandError::NOT_AN_INTEGER)?;
        usize::try_from(n).map_err(|_| CommandError::err("value is out of range, must be positive"))
    };
    let count = number(count)?;
    let prefix = rest.first().copied().unwrap_or(b"key");
    let size = rest.get(1).map_or(Ok(0), |size| number(size))?;
    if size as u64 > s.config.proto_max_bulk_len {
        return Err(CommandError::TOO_LONG);
    }
    if s.persistence.is_loading() {
        return Err(CommandError::loading(s.config.title()));
    }
    let db = call.db;
    for n in 0..count {
        let key = [prefix, format!(":{n}").as_bytes()].concat();
        if s.ks.exists(db, &key) {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        let entry = Entry::string(&key, &value, None);
        entry.view().set_lru(s.ks.access.fresh());
        s.ks.put(db, entry);
        s.ks.changes.signal_modified(db, &key);
    }
    call.reply.ok();
    Ok(())
}

fn protocol(reply: &mut Reply, kind: &[u8]) -> CommandResult {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        // What Redis answers: not meant to be pi.
        #[expect(clippy::approx_constant, reason = "the value is part of the interface")]
        b"double" => reply.double(3.141),
        b"bignum" => reply.bignum(b"1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.bool(n == 1);
            }
        }
        b"attrib" => {
            if reply.is_resp3() {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            // An attribute describes the reply behind it, which there must be.
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !reply.is_resp3() => {
            return Err(CommandError::err("RESP2 is not supported by this command"));
        }
        b"push" => {
            // A push is no reply: a client that waits for one has to get it, and gets it first.
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"true" => reply.bool(true),
        b"false" => reply.bool(false),
        b"verbatim" => reply.verbatim(b"txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::err(
                "Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn htstats(s: &mut Server, call: &mut Call, db: &[u8]) -> CommandResult {
    let index = parse_i64(db).ok_or(CommandError::NOT_AN_INTEGER)?;
    let db = usize::try_from(index).ok().and_then(|n| s.ks.dbs.get(n));
    let db = db.ok_or_else(|| CommandError::err("Out of range database"))?;
    // Keys that expire are marked in the same table: they have none of their own.
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n", describe(&db.table.stats()));
    call.reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn htstats_key(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult {
    let stats = match raw_entry(s, call.db, key).ok_or(CommandError::NO_SUCH_KEY)?.value() {
        ValueRef::Set(set) => set.table().map(|table| table.stats()),
        ValueRef::Hash(hash) => hash.table().map(|table| table.stats()),
        _ => None,
    };
    let stats = stats.ok_or(CommandError::err(
        "The value stored at the specified key is not represented using an hash table",
    ))?;
    call.reply.verbatim(b"txt", describe(&stats).as_bytes());
    Ok(())
}

fn describe(stats: &TableStats) -> String {
    let mut text = format!(
        "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {}\n overflow buckets: {}\n max \
         chain length: {}\n",
        stats.buckets, stats.len, stats.overflow_buckets, stats.longest_chain
    );
    if let Some(buckets) = stats.rehashing_from {
        text.push_str(&format!("Hash table 1 stats (rehashing source):\n table size: {buckets}\n"));
    }
    text
}

fn quicklist_packed_threshold(call: &mut Call, size: &[u8]) -> CommandResult {
    let bytes =
        std::str::from_utf8(size).ok().and_then(parse_memory).and_then(|n| usize::try_from(n).ok());
    if !bytes.is_some_and(set_packed_threshold) {
        return Err(CommandError::err(
            "argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    call.reply.ok();
    Ok(())
}

fn change_repl_id(s: &mut Server, call: &mut Call) {
    s.notice("Changing replication IDs after receiving DEBUG change-repl-id");
    let id = random_id(&mut s.rng);
    s.repl.change_id(id);
    call.reply.ok();
}

fn structsize(reply: &mut Reply) {
    let sizes = format!(
        "bits:{} entry:{} client:{} server:{}",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<crate::server::client::Client>(),
        size_of::<Server>()
    );
    reply.bulk_str(&sizes);
}

pub const COMMANDS: &[Row] = &[("debug", debug)];
