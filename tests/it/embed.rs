//! A server as a part of a program: here, of this one.

use aeolis::Aeolis;
use redis::{Commands, Connection};

fn connect(server: &Aeolis) -> Connection {
    let client = redis::Client::open(server.url()).expect("a URL");
    client.get_connection().expect("a server that listens")
}

#[test]
fn two_servers_in_one_program_know_nothing_of_each_other() {
    let one = Aeolis::builder().directive("maxmemory", "10mb").spawn().expect("a server");
    let two = Aeolis::builder().port(0).spawn().expect("a server");
    let (mut of_one, mut of_two) = (connect(&one), connect(&two));
    for member in 0..1000 {
        let _: () = of_one.sadd("set", member).unwrap();
        let _: () = of_two.sadd("set", member * 2).unwrap();
    }
    assert_eq!(of_one.scard::<_, u32>("set").unwrap(), 1000);
    assert!(of_two.sismember::<_, _, bool>("set", 1998).unwrap());
    assert!(!of_one.sismember::<_, _, bool>("set", 1998).unwrap());
    let limit: (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query(&mut of_two).unwrap();
    assert_eq!(limit.1, "0");

    let dir = one.dir().to_owned();
    assert_eq!(one.stop(), 0);
    assert!(!dir.exists(), "what was made for it goes with it");
    assert!(of_one.get::<_, Option<String>>("key").is_err(), "it has ended");
    assert_eq!(of_two.scard::<_, u32>("set").unwrap(), 1000, "the other one goes on");
}

#[test]
fn one_follows_the_other() {
    let primary = Aeolis::builder().spawn().expect("a server");
    let mut of_primary = connect(&primary);
    let _: () = of_primary.set("key", "value").unwrap();
    let replicaof = format!("127.0.0.1 {}", primary.port());
    let replica = Aeolis::builder().directive("replicaof", &replicaof).spawn().expect("a server");
    let acknowledged: u32 = redis::cmd("WAIT").arg(1).arg(30_000).query(&mut of_primary).unwrap();
    assert_eq!(acknowledged, 1);
    assert_eq!(connect(&replica).get::<_, String>("key").unwrap(), "value");
}

#[test]
fn what_was_saved_is_there_when_it_starts_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = || Aeolis::builder().dir(dir.path()).directive("save", "3600 1").spawn();
    let server = start().expect("a server");
    let _: () = connect(&server).set("key", "value").unwrap();
    assert_eq!(server.stop(), 0);
    let server = start().expect("a server");
    assert_eq!(connect(&server).get::<_, String>("key").unwrap(), "value");
}

#[test]
fn what_can_not_start_says_why() {
    let error = Aeolis::builder().directive("no-such-directive", "1").spawn().unwrap_err();
    assert!(error.to_string().contains("no-such-directive"), "{error}");
    let first = Aeolis::builder().spawn().expect("a server");
    let error = Aeolis::builder().port(first.port()).spawn().unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("dump.rdb"), "no snapshot").expect("a writable file");
    let error = Aeolis::builder().dir(dir.path()).spawn().unwrap_err();
    assert!(error.to_string().contains("exit code 1"), "{error}");
}
