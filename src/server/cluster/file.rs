//! `nodes.conf`: a line for each node, as `CLUSTER NODES` shows it, and one with the epochs.
//!
//! ```text
//! <id> <ip>:<port>@<bus port>[,<hostname>][,shard-id=<id>] myself,master - 0 0 <epoch> connected 0-5460 7000
//! vars currentEpoch <epoch> lastVoteEpoch 0
//! ```

use super::{Address, Cluster};
use crate::sys::durable::write_durably;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use std::fmt::{self, Write};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Fields of a node's line before its slots.
const FIELDS: usize = 8;

/// This node's line. `in_file`: with what only the file has.
pub fn node_line(cluster: &Cluster, address: &Address, in_file: bool) -> String {
    let Address { ip, port, bus_port, hostname } = address;
    let mut line = format!("{} {ip}:{port}@{bus_port}", cluster.id);
    match hostname {
        Some(name) => line.extend([",", name]),
        None if in_file => line.push(','),
        None => {}
    }
    if in_file {
        line.extend([",shard-id=", &cluster.shard_id]);
    }
    let _ = write!(line, " myself,master - 0 0 {} connected", cluster.config_epoch);
    for range in cluster.slots.ranges() {
        let _ = match range.start() == range.end() {
            true => write!(line, " {}", range.start()),
            false => write!(line, " {}-{}", range.start(), range.end()),
        };
    }
    line.push('\n');
    line
}

/// Writes the file.
///
/// # Errors
/// What the system reports; then the file is as it was.
pub fn save(path: &Path, cluster: &Cluster, address: &Address) -> io::Result<()> {
    let mut text = node_line(cluster, address, true);
    let _ = writeln!(text, "vars currentEpoch {} lastVoteEpoch 0", cluster.current_epoch);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}", std::process::id()));
    write_durably(Path::new(&temporary), path, text.as_bytes())
}

/// Why the file can't be used.
#[derive(Debug)]
pub enum ClusterFileError {
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    /// This line can't be understood.
    Corrupt(String),
    /// It tells of more nodes than this one.
    SeveralNodes,
    /// A new one can't be written.
    Unwritable {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for ClusterFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "Loading the cluster node config from {}: {error}", path.display())
            }
            Self::Corrupt(line) => {
                write!(f, "Unrecoverable error: corrupted cluster config file \"{line}\".")
            }
            Self::SeveralNodes => f.write_str(
                "The cluster config file tells of other nodes: a cluster of several nodes is not supported yet.",
            ),
            Self::Unwritable { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ClusterFileError {}

/// Reads the file; `None` if there is none, or an empty one.
///
/// # Errors
/// If it can't be read or understood, or tells of more nodes than this one.
pub fn load(path: &Path) -> Result<Option<Cluster>, ClusterFileError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ClusterFileError::Unreadable { path: path.to_owned(), error });
        }
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Option<Cluster>, ClusterFileError> {
    let corrupt = |line: &str| ClusterFileError::Corrupt(line.to_string());
    let mut cluster = None;
    let mut current_epoch = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(' ').collect();
        if let ["vars", pairs @ ..] = fields.as_slice() {
            for pair in pairs.chunks(2) {
                match pair {
                    ["currentEpoch", epoch] => {
                        current_epoch = epoch.parse().map_err(|_| corrupt(line))?;
                    }
                    ["lastVoteEpoch", _] => {}
                    _ => return Err(corrupt(line)),
                }
            }
        } else if cluster.is_some() || !fields.get(2).is_some_and(|f| f.contains("myself")) {
            return Err(ClusterFileError::SeveralNodes);
        } else {
            cluster = Some(parse_node(&fields).ok_or_else(|| corrupt(line))?);
        }
    }
    if let Some(cluster) = &mut cluster {
        cluster.current_epoch = current_epoch.max(cluster.config_epoch);
    }
    Ok(cluster)
}

/// This node, of the fields of its line.
fn parse_node(fields: &[&str]) -> Option<Cluster> {
    let is_id = |id: &str| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let (fields, ranges) = fields.split_at_checked(FIELDS)?;
    let id = Some(fields[0]).filter(|id| is_id(id))?;
    let shard_id = fields[1].split(',').find_map(|aux| aux.strip_prefix("shard-id="));
    let mut slots = SlotSet::default();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last >= SLOTS {
            return None;
        }
        (first..=last).for_each(|slot| _ = slots.insert(slot));
    }
    Some(Cluster {
        id: id.into(),
        // Files from before Redis 7.2 have none.
        shard_id: shard_id.filter(|id| is_id(id)).unwrap_or(id).into(),
        config_epoch: fields[6].parse().ok()?,
        current_epoch: 0,
        slots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";

    #[test]
    fn what_is_written_is_read() {
        let mut cluster = parse(&format!("{ID} :6379@16379 myself,master - 0 0 3 connected 0-7 9"))
            .unwrap()
            .unwrap();
        assert_eq!((cluster.slots.len(), cluster.config_epoch), (9, 3));
        cluster.shard_id = ID.replace('0', "a");
        cluster.current_epoch = 12;
        let address = Address {
            ip: "10.0.0.1".into(),
            port: 6379,
            bus_port: 16379,
            hostname: Some("host".into()),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.conf");
        assert_eq!(load(&path).unwrap(), None);
        save(&path, &cluster, &address).unwrap();
        assert_eq!(load(&path).unwrap(), Some(cluster));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let node = format!("{ID} :1@2 myself,master - 0 0 0 connected");
        for text in [
            "hello",
            "vars currentEpoch x",
            "vars other 1",
            &format!("{ID} :1@2 myself,master - 0 0"),
            &format!("{node} 5-16384"),
            &format!("{node} a-b"),
            &format!("{}\n{node}", node.replace("myself,", "")),
            &format!("{node}\n{node}"),
            &format!("x{node}"),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("\n").unwrap(), None);
    }
}
