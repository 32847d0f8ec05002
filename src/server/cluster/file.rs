//! `nodes.conf`: a line for each node, as `CLUSTER NODES` shows it but with more of what it announces, and one with the
//! epochs. Redis reads what is written here, and what Redis or Valkey have written is read.
//!
//! ```text
//! <id> <ip>:<port>@<bus port>,[<host name>][,<name>=<value>]... <flags> <primary> <ping sent> <pong received> <epoch>
//!     connected 0-5460 7000 [7001->-<id>] [7002-<-<id>]
//! vars currentEpoch <epoch> lastVoteEpoch <epoch>
//! ```
//!
//! The node's line is one line; `primary` is `-` for none.

use super::describe::{FLAG_NAMES, Reader, nodes_text};
use super::machine::{Announced, Cluster, NodeAddress, Now, SavedCluster, SavedNode};
use crate::bus::{NodeFlags, NodeId};
use crate::sys::durable::rename_durably;
use crate::util::io_reason;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::fmt::{self, Write};
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Fields of a node's line before its slots.
const FIELDS: usize = 8;
/// The bus's port lies so far behind the clients' where a file from before Redis 4 does not name it.
const BUS_PORT_DISTANCE: u16 = 10_000;

/// The file of one node, which no other process may use while this value is there.
#[derive(Debug)]
pub struct ClusterFile {
    path: PathBuf,
    /// The file as it is now, open: the lock is on it.
    _lock: File,
}

/// Why the file can't be used.
#[derive(Debug)]
pub enum ClusterFileError {
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    /// Another process uses it.
    InUse(PathBuf),
    Unlockable {
        path: PathBuf,
        error: io::Error,
    },
    /// This line can't be understood.
    Corrupt(String),
    /// What is told at the end is missing.
    Truncated(PathBuf),
    /// A new one can't be written.
    Unwritable(io::Error),
}

impl fmt::Display for ClusterFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                let (path, reason) = (path.display(), io_reason(error));
                write!(f, "Loading the cluster node config from {path}: {reason}")
            }
            Self::InUse(path) => write!(
                f,
                "Sorry, the cluster configuration file {} is already used by a different Redis Cluster node. \
                 Please make sure that different nodes use different cluster configuration files.",
                path.display()
            ),
            Self::Unlockable { path, error } => {
                let (path, reason) = (path.display(), io_reason(error));
                write!(f, "Can't open {path} in order to acquire a lock: {reason}")
            }
            Self::Corrupt(line) => {
                write!(f, "Unrecoverable error: corrupted cluster config file \"{line}\".")
            }
            Self::Truncated(path) => write!(
                f,
                "Unrecoverable error: corrupted cluster config file {}: its end is missing.",
                path.display()
            ),
            Self::Unwritable(error) => {
                write!(f, "Could not write the cluster config file: {}", io_reason(error))
            }
        }
    }
}

impl std::error::Error for ClusterFileError {}

impl ClusterFile {
    /// Takes the file for this process; makes an empty one if there is none.
    ///
    /// # Errors
    /// If another process has it, or the system refuses.
    pub fn lock(path: PathBuf) -> Result<ClusterFile, ClusterFileError> {
        loop {
            let opened = File::options().write(true).create(true).truncate(false).open(&path);
            let lock = match opened {
                Ok(file) => file,
                Err(error) => return Err(ClusterFileError::Unlockable { path, error }),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ClusterFileError::InUse(path)),
                Err(TryLockError::Error(error)) => {
                    return Err(ClusterFileError::Unlockable { path, error });
                }
            }
            // Its owner may have replaced it by a new one between the two.
            if is_at(&lock, &path) {
                return Ok(ClusterFile { path, _lock: lock });
            }
        }
    }

    /// Reads the file; `None` if it is empty. `is_tls`: a port of which the file does not tell the kind is for TLS.
    ///
    /// # Errors
    /// If it can't be read or understood.
    pub fn load(&self, is_tls: bool) -> Result<Option<SavedCluster>, ClusterFileError> {
        let path = self.path.clone();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => return Err(ClusterFileError::Unreadable { path, error }),
        };
        match parse(&String::from_utf8_lossy(&text), is_tls) {
            Err(Wrong::Line(line)) => Err(ClusterFileError::Corrupt(line)),
            Err(Wrong::End) => Err(ClusterFileError::Truncated(path)),
            Ok(saved) => Ok(saved),
        }
    }

    /// That what the file tells is not of a whole cluster, of which one node is this one.
    pub fn corrupt(&self) -> ClusterFileError {
        ClusterFileError::Corrupt(self.path.display().to_string())
    }

    /// Writes the file in place of what was there. `durably`: it is on the disk when this returns.
    ///
    /// # Errors
    /// What the system reports; then the file is as it was.
    pub fn save(&mut self, cluster: &Cluster, now: Now, durably: bool) -> io::Result<()> {
        let mut text = nodes_text(cluster, Reader::File);
        let (current, voted) = (cluster.current_epoch(), cluster.last_vote_epoch());
        let _ = writeln!(text, "vars currentEpoch {current} lastVoteEpoch {voted}");
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(format!(".tmp-{}-{}", std::process::id(), now.wall_ms));
        let outcome = self.replace(Path::new(&temporary), text.as_bytes(), durably);
        if outcome.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        outcome
    }

    fn replace(&mut self, temporary: &Path, text: &[u8], durably: bool) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        // It is locked before anybody can find it.
        file.try_lock()?;
        file.write_all(text)?;
        if durably {
            file.sync_all()?;
            rename_durably(temporary, &self.path)?;
        } else {
            std::fs::rename(temporary, &self.path)?;
        }
        self._lock = file;
        Ok(())
    }
}

/// Whether an open file is the one that a path names.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// What is wrong with a text.
#[derive(Debug, PartialEq)]
enum Wrong {
    Line(String),
    End,
}

fn parse(text: &str, is_tls: bool) -> Result<Option<SavedCluster>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    // A list of slots that is cut off is still a list of slots.
    if !text.ends_with('\n') {
        return Err(Wrong::End);
    }
    let mut saved = SavedCluster::default();
    let mut has_epochs = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let wrong = || Wrong::Line(line.to_string());
        let fields: Vec<&str> = line.split(' ').filter(|field| !field.is_empty()).collect();
        if let ["vars", variables @ ..] = fields.as_slice() {
            has_epochs = parse_epochs(variables, &mut saved).ok_or_else(wrong)?;
        } else {
            let node = parse_node(&fields, is_tls).ok_or_else(wrong)?;
            if saved.nodes.iter().any(|other| other.id == node.id) {
                return Err(wrong());
            }
            saved.nodes.push(node);
        }
    }
    match (has_epochs, saved.nodes.is_empty()) {
        (true, false) => Ok(Some(saved)),
        (false, true) => Ok(None),
        _ => Err(Wrong::End),
    }
}

/// The names and values of the epochs; whether both are told. Others are for later versions.
fn parse_epochs(variables: &[&str], saved: &mut SavedCluster) -> Option<bool> {
    let mut known = 0;
    for variable in variables.chunks(2) {
        let &[name, value] = variable else { return None };
        let epoch = match name {
            "currentEpoch" => &mut saved.current_epoch,
            "lastVoteEpoch" => &mut saved.last_vote_epoch,
            _ => continue,
        };
        *epoch = value.parse().ok()?;
        known += 1;
    }
    Some(known == 2)
}

/// A node, of the fields of its line.
fn parse_node(fields: &[&str], is_tls: bool) -> Option<SavedNode> {
    let (&[id, address, flags, primary, sent, received, epoch, link], slots) =
        fields.split_first_chunk::<FIELDS>()?;
    if !["connected", "disconnected"].contains(&link) {
        return None;
    }
    let mut node = SavedNode {
        id: id.parse().ok()?,
        shard_id: None,
        address: NodeAddress::default(),
        announced: Announced::default(),
        flags: parse_flags(flags)?,
        primary: match primary {
            "-" => None,
            id => Some(id.parse().ok()?),
        },
        was_pinged: sent.parse::<i64>().ok()? != 0,
        has_answered: received.parse::<i64>().ok()? != 0,
        config_epoch: epoch.parse().ok()?,
        slots: SlotSet::default(),
        migrating: Vec::new(),
        importing: Vec::new(),
    };
    parse_address(address, is_tls, &mut node)?;
    for slot in slots {
        parse_slots(slot, &mut node)?;
    }
    Some(node)
}

fn parse_flags(names: &str) -> Option<NodeFlags> {
    let mut flags = NodeFlags::empty();
    for name in names.split(',').filter(|name| *name != "noflags") {
        flags |= FLAG_NAMES.iter().find(|(_, known)| *known == name)?.0;
    }
    Some(flags)
}

/// `ip:port[@bus port][,[host name][,name=value]...]`
fn parse_address(text: &str, is_tls: bool, node: &mut SavedNode) -> Option<()> {
    let mut parts = text.split(',');
    let (ip, ports) = parts.next()?.rsplit_once(':')?;
    if !ip.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:%-_".contains(&byte)) {
        return None;
    }
    let (port, bus_port) = match ports.split_once('@') {
        Some((port, bus_port)) => (port.parse().ok()?, bus_port.parse().ok()?),
        None => {
            let port: u16 = ports.parse().ok()?;
            (port, port.checked_add(BUS_PORT_DISTANCE)?)
        }
    };
    let hostname = parts.next().unwrap_or_default();
    if !hostname.is_empty() && !is_plain(hostname) {
        return None;
    }
    node.announced.hostname = hostname.to_string();
    node.address = NodeAddress { ip: ip.to_string(), tcp_port: 0, tls_port: 0, bus_port };
    let (mut has_tcp, mut has_tls) = (false, false);
    for part in parts {
        let (name, value) = part.split_once('=').filter(|(_, value)| is_plain(value))?;
        let announced = &mut node.announced;
        let text = match name {
            "shard-id" => {
                node.shard_id = Some(value.parse::<NodeId>().ok()?);
                continue;
            }
            "tcp-port" => {
                (node.address.tcp_port, has_tcp) = (value.parse().ok()?, true);
                continue;
            }
            "tls-port" => {
                (node.address.tls_port, has_tls) = (value.parse().ok()?, true);
                continue;
            }
            "client-tcp-port" => {
                announced.client_tcp_port = value.parse().ok()?;
                continue;
            }
            "client-tls-port" => {
                announced.client_tls_port = value.parse().ok()?;
                continue;
            }
            "nodename" => &mut announced.human_name,
            "client-ipv4" => &mut announced.client_ipv4,
            "client-ipv6" => &mut announced.client_ipv6,
            "availability-zone" => &mut announced.availability_zone,
            _ => return None,
        };
        *text = value.to_string();
    }
    // The port is the one that no name tells of.
    match (has_tcp, has_tls) {
        (true, false) => node.address.tls_port = port,
        (false, false) if is_tls => node.address.tls_port = port,
        (false, _) => node.address.tcp_port = port,
        (true, true) => {}
    }
    Some(())
}

/// Whether a value can't be taken for something else in its line.
fn is_plain(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"!\"#$&'()*+,;<=>?@[]^{|}~".contains(&byte))
}

/// `first-last`, `slot`, `[slot->-id]` or `[slot-<-id]`
fn parse_slots(text: &str, node: &mut SavedNode) -> Option<()> {
    let slot = |text: &str| text.parse().ok().filter(|slot| *slot < SLOTS);
    if let Some(moving) = text.strip_prefix('[') {
        let moving = moving.strip_suffix(']')?;
        let (number, rest) = moving.split_once('-')?;
        let (list, id) = match rest.strip_prefix(">-") {
            Some(id) => (&mut node.migrating, id),
            None => (&mut node.importing, rest.strip_prefix("<-")?),
        };
        list.push((slot(number)?, id.parse().ok()?));
        return Some(());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (slot(first)?, slot(last)?);
    if first > last {
        return None;
    }
    (first..=last).for_each(|slot| _ = node.slots.insert(slot));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock::Clock;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    /// What Valkey 9.1 and Redis 8.2 and 7.0 have written.
    const VALKEY: &str = "68f840c21f4be176450fb908cc1b85ebe0f7db99 10.0.0.1:22085@32085,hh.example,availability-zone=zoneA,client-tls-port=7778,client-tcp-port=7777,client-ipv6=::1,client-ipv4=10.1.1.1,tls-port=0,nodename=humy,shard-id=7442edaefe9e4668d89f66fc4605c6d0198690a2 myself,master - 0 0 0 connected 0-8191 9000\nvars currentEpoch 0 lastVoteEpoch 0\n";
    const REDIS_8: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 127.0.0.1:14257@24257,,tls-port=0,shard-id=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb master - 0 1795982917398 0 connected\nff4e431789e60682a053ab5c619b4232595f920a 127.0.0.1:12612@22612,,tls-port=0,shard-id=1162dc0245a114f6ec8b13ea4ef1d938b5acfc52 myself,master - 0 0 3 connected 0-8191 [9-<-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa] [8191->-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nvars currentEpoch 7 lastVoteEpoch 6\n";
    const REDIS_7_0: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 127.0.0.1:16569@26569 slave b2d7acd24b0bc98c5d745f3ed05af5f5e62fbcf7 0 1795982912199 0 connected\nb2d7acd24b0bc98c5d745f3ed05af5f5e62fbcf7 127.0.0.1:24732@34732 myself,master - 0 0 0 connected 0-8191\nvars currentEpoch 0 lastVoteEpoch 0\n";

    fn read(text: &str) -> SavedCluster {
        parse(text, false).unwrap().unwrap()
    }

    #[test]
    fn what_others_have_written_is_read_and_written_alike() {
        let dir = tempfile::tempdir().unwrap();
        for (text, name) in [(VALKEY, "valkey"), (REDIS_8, "redis")] {
            let mut file = ClusterFile::lock(dir.path().join(name)).unwrap();
            let (mut rng, now) = (SmallRng::seed_from_u64(1), Now::default());
            let cluster = Cluster::restore(read(text), &mut rng, now).unwrap();
            file.save(&cluster, now, true).unwrap();
            let written = std::fs::read_to_string(dir.path().join(name)).unwrap();
            // When a node last answered is not known any more.
            let times = |text: &str| text.replace(" 1795982917398 ", " 0 ");
            assert_eq!(
                times(&written),
                times(text).replace("0 0 connected\n", "0 0 disconnected\n")
            );
            assert_eq!(
                format!("{:?}", file.load(false).unwrap().unwrap().nodes),
                format!("{:?}", read(&written).nodes)
            );
        }
    }

    #[test]
    fn all_that_is_told_of_a_node_is_read() {
        let saved = read(REDIS_8);
        assert_eq!((saved.current_epoch, saved.last_vote_epoch), (7, 6));
        let [other, myself] = &saved.nodes[..] else { panic!("two nodes") };
        assert!(other.has_answered && !other.was_pinged && !myself.has_answered);
        assert_eq!((myself.slots.ranges(), myself.config_epoch), (vec![0..=8191], 3));
        assert_eq!(
            (&myself.migrating[..], &myself.importing[..]),
            (&[(8191, other.id)][..], &[(9, other.id)][..])
        );
        let saved = read(VALKEY);
        let announced = &saved.nodes[0].announced;
        assert_eq!(announced.availability_zone, "zoneA");
        assert_eq!((announced.client_tcp_port, announced.client_tls_port), (7777, 7778));
        assert_eq!(
            (saved.nodes[0].address.tcp_port, saved.nodes[0].address.bus_port),
            (22085, 32085)
        );
        let saved = read(REDIS_7_0);
        assert_eq!(
            (saved.nodes[0].primary, saved.nodes[0].shard_id),
            (Some(saved.nodes[1].id), None)
        );
        let saved = parse(REDIS_7_0, true).unwrap().unwrap();
        assert_eq!((saved.nodes[0].address.tcp_port, saved.nodes[0].address.tls_port), (0, 16569));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        for text in [VALKEY, REDIS_8, REDIS_7_0] {
            for cut in 1..text.len() {
                assert!(parse(&text[..cut], false).is_err(), "{}", &text[..cut]);
            }
        }
        assert!(parse("", false).unwrap().is_none());
        assert!(parse("\n", false).unwrap().is_none());
    }

    #[test]
    fn a_byte_that_is_wrong_is_refused_or_read_as_what_it_is() {
        let mut refused = 0;
        for at in 0..REDIS_8.len() {
            for byte in [0, b' ', b'\n', b'~', 0xff] {
                let mut bytes = REDIS_8.as_bytes().to_vec();
                bytes[at] = byte;
                refused += usize::from(parse(&String::from_utf8_lossy(&bytes), false).is_err());
            }
        }
        assert!(refused > 4 * REDIS_8.len(), "{refused} of {}", 5 * REDIS_8.len());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (part, wrong) in [
            ("0-8191", "0-16384"),
            ("0-8191", "8191-0"),
            ("0-8191", "a-b"),
            ("myself", "me"),
            ("connected", "connecte"),
            ("tls-port", "port"),
            ("12612@", "65536@"),
            ("[9-<-", "[9-"),
            (
                "ff4e431789e60682a053ab5c619b4232595f920a 1",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1",
            ),
            ("lastVoteEpoch 6", "lastVoteEpoch x"),
            ("vars currentEpoch 7 lastVoteEpoch 6\n", ""),
        ] {
            assert!(REDIS_8.contains(part), "{part}");
            assert!(parse(&REDIS_8.replace(part, wrong), false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_process_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.conf");
        let mut file = ClusterFile::lock(path.clone()).unwrap();
        let is_refused =
            || matches!(ClusterFile::lock(path.clone()), Err(ClusterFileError::InUse(_)));
        assert!(is_refused());
        let now = Now { wall_ms: Clock::default().unix_ms(), mono_ms: 0 };
        let cluster = Cluster::new(&mut SmallRng::seed_from_u64(1), now);
        file.save(&cluster, now, false).unwrap();
        assert!(is_refused(), "the new file is locked, too");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(file);
        assert!(ClusterFile::lock(path.clone()).is_ok());
    }
}
