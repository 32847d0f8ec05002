//! Runs the commands that the pages show.
//!
//! A page is a story: its blocks run in order, in one directory, and servers that one block starts are there for the
//! next. Blocks come in three kinds:
//!
//! * `sh`: a script; it must succeed.
//! * `console`: lines that begin with `$ ` are run, and what follows each is its output, in which `…` stands for
//!   anything, be it several lines.
//! * `sh no-run`: commands that build or install something, or need more than a test has: only programs in
//!   [`NOT_RUN`].
//!
//! The ports that a page names are replaced by free ones.

use crate::harness::{free_port, program};
use crate::{pages, read, root};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

/// What a block that is not run may consist of: what the gate runs, and what changes the machine.
const NOT_RUN: [&str; 12] = [
    "AEOLIS_",
    "RUSTC_",
    "apt",
    "benches/",
    "cargo ",
    "docker ",
    "for ",
    "mdbook ",
    "packaging/",
    "sudo ",
    "systemctl ",
    "tclsh",
];

/// The ports that pages use.
const PORTS: [&str; 14] = [
    "6379", "6380", "6381", "6382", "7001", "7002", "7003", "7777", "9121", "16379", "17001",
    "17002", "17003", "26379",
];

/// A reader types more slowly than a test: this one waits until the server that was started in the background listens.
const PATIENT_CLIENT: &str = r#"#!/bin/bash
if [ "${1:-}" = -p ]; then
  for _ in {1..600}; do
    (: < "/dev/tcp/127.0.0.1/$2") 2> /dev/null && break
    sleep 0.05
  done
fi
PATH=${PATH#*:} exec redis-cli "$@"
"#;

struct Block {
    kind: String,
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block { kind: kind.into(), line: at + 1, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// Where a page's commands run.
struct Stage {
    dir: tempfile::TempDir,
    ports: BTreeMap<&'static str, String>,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().expect("a directory");
        let bin = dir.path().join(".bin");
        fs::create_dir(&bin).expect("a directory");
        let program = fs::canonicalize(program()).expect("the program under test");
        for name in ["aeolis", "aeolis-check-rdb", "aeolis-check-aof"] {
            symlink(&program, bin.join(name)).expect("a link");
        }
        let client = bin.join("redis-cli");
        fs::write(&client, PATIENT_CLIENT).expect("a writable file");
        fs::set_permissions(&client, Permissions::from_mode(0o755)).expect("a script");
        Stage {
            dir,
            ports: PORTS.into_iter().map(|port| (port, free_port().to_string())).collect(),
        }
    }

    /// Runs a script with the page's ports replaced; gives them back in what it prints.
    fn run(&self, script: &str) -> (Output, String) {
        let script = replace(script, self.ports.iter().map(|(page, free)| (*page, free.as_str())));
        let path = env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("PATH", format!("{}:{path}", self.dir.path().join(".bin").display()))
            .current_dir(self.dir.path())
            .output()
            .expect("bash");
        let printed = [&output.stdout[..], &output.stderr[..]].concat();
        let printed = String::from_utf8_lossy(&printed).replace('\r', "");
        let printed =
            replace(&printed, self.ports.iter().map(|(page, free)| (free.as_str(), *page)));
        (output, printed)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for port in self.ports.values() {
            let stop = ["-p", port, "shutdown", "nosave"];
            // Most are not there.
            let _ = Command::new("redis-cli").args(stop).output();
        }
    }
}

/// Replaces numbers that stand alone.
fn replace<'a>(text: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: BTreeMap<&str, &str> = pairs.collect();
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let len = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let number = &rest[start..start + len];
        out.push_str(&rest[..start]);
        out.push_str(pairs.get(number).copied().unwrap_or(number));
        rest = &rest[start + len..];
    }
    out + rest
}

/// Whether `printed` is what the page shows, in which `…` stands for anything.
fn is_shown(shown: &str, printed: &str) -> bool {
    let mut parts = shown.trim_end().split('…').map(str::trim_end);
    let Some(mut rest) = printed.trim_end().strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.trim().is_empty() || last == Some("")
}

/// The commands of a block with what the page shows for each.
fn commands(block: &Block) -> Vec<(String, Option<String>)> {
    if block.kind == "sh" {
        return vec![(block.text.clone(), None)];
    }
    let mut commands: Vec<(String, Option<String>)> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.into(), Some(String::new()))),
            (None, Some((_, Some(shown)))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, _) => panic!("line {}: output before a command", block.line),
        }
    }
    commands
}

fn check_page(path: &Path) {
    let stage = Stage::new();
    let name = path.strip_prefix(root()).expect("a page").display().to_string();
    for block in blocks(&read(path)) {
        let at = format!("{name}:{}", block.line);
        match block.kind.as_str() {
            "sh" | "console" => {}
            "sh no-run" => {
                for line in block.text.lines().filter(|line| !line.starts_with(['#', ' '])) {
                    let may =
                        line.is_empty() || NOT_RUN.iter().any(|program| line.starts_with(program));
                    assert!(may, "{at}: this can be run, so it must be: {line}");
                }
                continue;
            }
            "text" | "conf" | "rust" | "" => continue,
            kind => panic!("{at}: a block of an unknown kind: {kind}"),
        }
        for (command, shown) in commands(&block) {
            let (output, printed) = stage.run(&command);
            match shown {
                None => assert!(output.status.success(), "{at}: {command}\n{printed}"),
                Some(shown) => assert!(
                    is_shown(&shown, &printed),
                    "{at}: $ {command}\n{printed}\n-- but the page shows\n{shown}"
                ),
            }
        }
    }
}

#[test]
fn every_command_that_is_shown_works() {
    let has_client = Command::new("redis-cli").arg("--version").output().is_ok();
    if !has_client {
        assert!(env::var_os("CI").is_none(), "redis-cli is not installed");
        println!("skipped: redis-cli is not installed");
        return;
    }
    pages().iter().for_each(|page| check_page(page));
}

#[test]
fn what_is_shown_may_leave_out() {
    assert!(is_shown("OK\n", "OK\n"));
    assert!(is_shown("a … c\n", "a b\nb c\n"));
    assert!(is_shown("a\n…\n", "a\nb\nc\n"));
    assert!(!is_shown("a\n", "a\nb\n"));
    assert!(!is_shown("a … d\n", "a b c\n"));
}
