//! `your_program.sh`, with which the stages start the server: where it works, what it finds there, what it leaves.

use super::snapshot;
use crate::process::{Raw, free_port, wait_for};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

    /// Starts the script in a folder.
    fn start(&self, folder: &Path, args: &[&str]) -> Stage {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        for _ in 0..20 {
            let port = free_port();
            let mut child = Command::new(self.dir.path().join("your_program.sh"))
                .args(["--port", &port.to_string()])
                .args(args)
                .env("PATH", &path)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the script");
            let up = wait_for("the server", || match child.try_wait() {
                Ok(Some(_)) => Some(false),
                // Another's server may have taken the port meanwhile.
                _ => {
                    let info = Raw::to_port(port).ok()?.ask("INFO server");
                    info.contains(&format!("process_id:{}\r", child.id())).then_some(true)
                }
            });
            if up {
                return Stage { child: Some(child), port };
            }
        }
        panic!("no free port");
    }
}

/// A server as a stage has it.
struct Stage {
    child: Option<Child>,
    port: u16,
}

impl Stage {
    fn raw(&self) -> Raw {
        Raw::to_port(self.port).expect("a connection")
    }

    /// Ends the server as the stages do; what it has written to standard output.
    fn end(mut self) -> String {
        let child = self.child.take().expect("it runs");
        Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
        String::from_utf8(child.wait_with_output().expect("its output").stdout).expect("text")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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
    let (checkout, folder) = (Checkout::new(), tempfile::tempdir().expect("a folder"));
    let dir = folder.path().canonicalize().expect("its path").display().to_string();
    for _ in 0..2 {
        let stage = checkout.start(folder.path(), &[]);
        let mut raw = stage.raw();
        raw.command(&["CONFIG", "GET", "dir", "dbfilename"]);
        raw.expect(format!(
            "*4\r\n$3\r\ndir\r\n${}\r\n{dir}\r\n$10\r\ndbfilename\r\n$8\r\ndump.rdb\r\n",
            dir.len()
        ));
        raw.send("DBSIZE\r\nSET k v\r\n");
        raw.expect(":0\r\n+OK\r\n");
        let output = stage.end();
        assert!(!output.contains("Compiling"), "{output}");
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    }
}

#[test]
fn what_is_left_over_is_not_loaded() {
    let (checkout, folder) = (Checkout::new(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("dump.rdb");
    fs::write(&file, snapshot(&[("left", "over", None)])).expect("the file");
    let stage = checkout.start(folder.path(), &[]);
    assert_eq!(stage.raw().ask("DBSIZE"), ":0");
    stage.end();
    assert_eq!(names(folder.path()), ["dump.rdb"]);
    // Unless it was meant.
    let stage = checkout.start(folder.path(), &["--dbfilename", "dump.rdb"]);
    assert_eq!(stage.raw().ask("DBSIZE"), ":1");
}

#[test]
fn what_a_stage_brings_is_loaded_and_what_it_asks_for_is_saved() {
    let (checkout, folder) = (Checkout::new(), tempfile::tempdir().expect("a folder"));
    let own = tempfile::tempdir().expect("the stage's folder");
    let dir = own.path().to_str().expect("text");
    fs::write(own.path().join("pear.rdb"), snapshot(&[("a", "b", None)])).expect("the file");
    let stage = checkout.start(folder.path(), &["--dir", dir, "--dbfilename", "pear.rdb"]);
    assert_eq!(stage.raw().ask("DBSIZE"), ":1");
    drop(stage);
    let aof = ["--dir", dir, "--appendonly", "yes", "--appendfsync", "always"];
    for reply in [":1", ":0"] {
        let stage = checkout.start(folder.path(), &aof);
        assert_eq!(stage.raw().ask("SADD s m"), reply);
    }
    let stage = checkout.start(folder.path(), &["--save", "900 1"]);
    assert_eq!(stage.raw().ask("SET k v"), "+OK");
    stage.end();
    assert_eq!(names(folder.path()), ["dump.rdb"]);
}
