//! All that a server has, in a form that does not depend on its version, and where two servers differ.

use crate::harness::Server;
use crate::load::{DATABASES, Fields};
use redis::{Cmd, Connection, Value, cmd};
use std::collections::BTreeMap;
use std::mem;

/// Keys asked for in one pipeline.
const CHUNK: usize = 500;

/// In the place of a database: function libraries.
const LIBRARIES: usize = usize::MAX;

/// For each database and key: the value's parts, in text, and its expiry in milliseconds since 1970.
pub type Data = BTreeMap<(usize, String), (Vec<String>, i64)>;

/// Reads all data of a server; when fields expire, only if it can tell.
pub fn read(server: &Server, fields: Fields) -> Data {
    let mut connection = server.connect();
    let mut data = Data::new();
    for db in DATABASES {
        cmd("SELECT").arg(db).exec(&mut connection).expect("the database");
        let keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query(&mut connection).expect("the keys");
        for some in keys.chunks(CHUNK) {
            let types = ask(&mut connection, some.iter().map(|key| command("TYPE", key, &[])));
            let readers = some.iter().zip(&types).map(|(key, kind)| reader(&kind.join(""), key));
            let mut values = ask(&mut connection, readers);
            if fields == Fields::Expire {
                add_field_expiries(&mut connection, some, &types, &mut values);
            }
            let times =
                ask(&mut connection, some.iter().map(|key| command("PEXPIRETIME", key, &[])));
            for (((key, kind), value), time) in some.iter().zip(types).zip(values).zip(times) {
                let kind = kind.join("");
                let value = in_order(&kind, value);
                let time = time.join("").parse().expect("a time");
                // It may have expired between the questions, and so may all of a hash's fields.
                let is_there = time != -2 && !(kind == "hash" && value.is_empty());
                if is_there {
                    data.insert((db, key.escape_ascii().to_string()), (value, time));
                }
            }
        }
    }
    let mut listing = cmd("FUNCTION");
    listing.arg("LIST").arg("WITHCODE");
    for parts in ask(&mut connection, [listing].into_iter()) {
        let all = (LIBRARIES, "all".to_string());
        data.insert(all, (in_order("set", parts), -1));
    }
    data
}

/// The first key that two servers do not agree upon, if any.
pub fn difference(one: &Data, other: &Data) -> Option<String> {
    let key = one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key))?;
    Some(format!("database {}, key {}: {:?} and {:?}", key.0, key.1, one.get(key), other.get(key)))
}

/// The command that tells all of a value.
fn reader(kind: &str, key: &[u8]) -> Cmd {
    match kind {
        "list" => command("LRANGE", key, &["0", "-1"]),
        "set" => command("SMEMBERS", key, &[]),
        "hash" => command("HGETALL", key, &[]),
        "zset" => command("ZRANGE", key, &["0", "-1", "WITHSCORES"]),
        "stream" => command("XRANGE", key, &["-", "+"]),
        // It has expired since; whatever comes under that name now is no string.
        "none" => command("EXISTS", key, &[]),
        _ => command("GET", key, &[]),
    }
}

/// Puts behind each value of a hash when its field expires.
fn add_field_expiries(
    connection: &mut Connection,
    keys: &[Vec<u8>],
    types: &[Vec<String>],
    values: &mut [Vec<String>],
) {
    let hashes = || (0..keys.len()).filter(|&n| types[n] == ["hash"] && !values[n].is_empty());
    let questions: Vec<Cmd> = hashes()
        .map(|n| {
            let fields: Vec<&str> = values[n].iter().step_by(2).map(String::as_str).collect();
            let count = fields.len().to_string();
            command("HPEXPIRETIME", &keys[n], &[&["FIELDS", &count], &fields[..]].concat())
        })
        .collect();
    let hashes: Vec<usize> = hashes().collect();
    for (n, times) in hashes.into_iter().zip(ask(connection, questions.into_iter())) {
        let fields = mem::take(&mut values[n]);
        for (field, time) in fields.chunks(2).zip(times) {
            // -2: it has expired since.
            if let [name, value] = field
                && time != "-2"
            {
                values[n].extend([name.clone(), format!("{value} until {time}")]);
            }
        }
    }
}

/// Neither a set nor a hash has an order that two servers would share.
fn in_order(kind: &str, mut parts: Vec<String>) -> Vec<String> {
    match kind {
        "set" => parts.sort(),
        "hash" => {
            parts = parts.chunks(2).map(|pair| pair.join("=")).collect();
            parts.sort();
        }
        _ => {}
    }
    parts
}

fn command(name: &str, key: &[u8], rest: &[&str]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key).arg(rest);
    command
}

fn ask(connection: &mut Connection, commands: impl Iterator<Item = Cmd>) -> Vec<Vec<String>> {
    let mut pipe = redis::pipe();
    for command in commands {
        pipe.add_command(command);
    }
    let replies: Vec<Value> = pipe.query(connection).expect("the server answers");
    replies.iter().map(leaves).collect()
}

/// The strings and numbers of a reply, in their order.
fn leaves(reply: &Value) -> Vec<String> {
    match reply {
        Value::Array(parts) => parts.iter().flat_map(leaves).collect(),
        Value::BulkString(bytes) => vec![bytes.escape_ascii().to_string()],
        Value::SimpleString(text) => vec![text.clone()],
        Value::Int(n) => vec![n.to_string()],
        other => vec![format!("{other:?}")],
    }
}
