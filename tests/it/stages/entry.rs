//! `your_program.sh`, with which the stages start the server: where it works, what it finds there, what it leaves.

use super::snapshot;
use crate::harness::{Server, encoded};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A checkout that is built already, by a `cargo` that says more than it should.
struct Checkout {
    dir: TempDir,
}

impl Checkout {
    fn new() -> Checkout {
        let dir = tempfile::tempdir().expect("a directory");
        let release = dir.path().join("target/release");
        fs::create_dir_all(&release).expect("directories");
        symlink(env!("CARGO_BIN_EXE_aeolis"), release.join("aeolis")).expect("a link");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("your_program.sh");
        fs::copy(script, dir.path().join("your_program.sh")).expect("the script");
        let cargo = dir.path().join("cargo");
        fs::write(&cargo, "#!/bin/sh\necho Compiling\n").expect("a cargo");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it may run");
        Checkout { dir }
    }

    /// Starts the script in a folder. What the server logs is its standard output alone.
    fn start(&self, folder: TempDir, args: &[&str]) -> Server {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let script = self.dir.path().join("your_program.sh");
        Server::launch(folder, |port| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" \"$@\" 2>/dev/null"]).arg(&script).env("PATH", &path);
            shell.args(["--port", &port.to_string()]).args(args);
            shell
        })
    }
}

fn new_folder() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_folder_is_the_server_s_and_stays_as_it_was() {
    let (checkout, mut folder) = (Checkout::new(), new_folder());
    let dir = folder.path().canonicalize().expect("its path").display().to_string();
    for _ in 0..2 {
        let mut server = checkout.start(folder, &[]);
        let mut raw = server.raw();
        raw.command(&["CONFIG", "GET", "dir", "dbfilename"]);
        raw.expect(encoded(&["dir", &dir, "dbfilename", "dump.rdb"]));
        raw.send("DBSIZE\r\nSET k v\r\n");
        raw.expect(":0\r\n+OK\r\n");
        server.terminate();
        assert!(!server.log().contains("Compiling"), "{}", server.log());
        folder = server.into_dir();
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn what_is_left_over_is_not_loaded() {
    let (checkout, folder) = (Checkout::new(), new_folder());
    let file = folder.path().join("dump.rdb");
    fs::write(&file, snapshot(&[("left", "over", None)])).expect("the file");
    let mut server = checkout.start(folder, &[]);
    assert_eq!(server.line("DBSIZE"), ":0");
    server.terminate();
    assert_eq!(names(server.dir()), ["dump.rdb"]);
    // Unless it was meant.
    let mut server = checkout.start(server.into_dir(), &["--dbfilename", "dump.rdb"]);
    assert_eq!(server.line("DBSIZE"), ":1");
}

#[test]
fn what_a_stage_brings_is_loaded_and_what_it_asks_for_is_saved() {
    let (checkout, mut folder, own) = (Checkout::new(), new_folder(), new_folder());
    let dir = own.path().to_str().expect("text");
    fs::write(own.path().join("pear.rdb"), snapshot(&[("a", "b", None)])).expect("the file");
    let mut server = checkout.start(folder, &["--dir", dir, "--dbfilename", "pear.rdb"]);
    assert_eq!(server.line("DBSIZE"), ":1");
    folder = server.into_dir();
    let aof = ["--dir", dir, "--appendonly", "yes", "--appendfsync", "always"];
    for reply in [":1", ":0"] {
        let mut server = checkout.start(folder, &aof);
        assert_eq!(server.line("SADD s m"), reply);
        folder = server.into_dir();
    }
    let mut server = checkout.start(folder, &["--save", "900 1"]);
    assert_eq!(server.line("SET k v"), "OK");
    server.terminate();
    assert_eq!(names(server.dir()), ["dump.rdb"]);
}
