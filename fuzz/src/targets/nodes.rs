//! A cluster's `nodes.conf`: read at start-up, and then commands.
#![forbid(unsafe_code)]

use super::Bench;
use crate::host::Host;
use crate::source::Source;

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut file = String::new();
    for i in 0..1 + source.below(4) {
        let id = format!("{i}").repeat(40);
        let flags = if i == 0 {
            "myself,master"
        } else {
            source.pick(&["master", "slave", "master,fail?", "noaddr", "x"])
        };
        let primary = source.pick(&["-", "0000000000000000000000000000000000000000", "abc"]);
        let slots = match source.below(6) {
            0 => String::new(),
            1 => format!("{}", source.edge()),
            2 => format!("{}-{}", source.below(16384), source.below(16400)),
            3 => format!("[{}->-{}]", source.below(16384), "1".repeat(40)),
            4 => format!("[{}-<-{}] 5-2", source.below(16384), "1".repeat(40)),
            _ => "0-5460 7000".to_string(),
        };
        let (epoch, port) = (source.edge(), source.edge());
        file.push_str(&format!(
            "{id} 127.0.0.1:{port}@1{port},host,shard-id={id} {flags} {primary} 0 {epoch} {i} connected {slots}\n"
        ));
    }
    file.push_str(&format!(
        "vars currentEpoch {} lastVoteEpoch {}\n",
        source.edge(),
        source.below(5)
    ));
    let mut file = file.into_bytes();
    if source.percent(60) {
        source.mutate(&mut file);
    }
    file
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let path = bench.dir.join("nodes.conf");
    std::fs::write(&path, input).expect("a file can be written");
    if let Some(mut host) = Host::start(bench.dir, &["--cluster-enabled", "yes"]) {
        for line in [
            "CLUSTER NODES",
            "CLUSTER SLOTS",
            "CLUSTER SHARDS",
            "CLUSTER INFO",
            "CLUSTER LINKS",
            "CLUSTER MYID",
            "CLUSTER ADDSLOTS 1 2",
            "CLUSTER DELSLOTSRANGE 1 200",
            "CLUSTER SETSLOT 5 STABLE",
            "SET k v",
            "CLUSTER COUNTKEYSINSLOT 12706",
            "CLUSTER GETKEYSINSLOT 12706 10",
            "CLUSTER BUMPEPOCH",
            "CLUSTER SAVECONFIG",
            "CLUSTER RESET HARD",
            "CLUSTER FLUSHSLOTS",
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            host.ask(&words);
        }
        host.check();
    }
    std::fs::remove_file(&path).expect("it is there");
}
