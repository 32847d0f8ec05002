//! Makes Rust tables of the specifications of commands, `src/spec/commands`: see `src/spec/source.rs`. And what the
//! linker is to be told.

#[path = "src/spec/flags.rs"]
mod flags;
#[path = "src/spec/source.rs"]
mod source;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

const FOLDER: &str = "src/spec/commands";

fn main() {
    // Where the program has addresses of its own, which the loader adjusts, is then listed in a few kilobytes, in place
    // of 24 bytes for each.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rerun-if-changed={FOLDER}");
    let entries = fs::read_dir(FOLDER).expect("the folder of the specifications");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let table: String = paths.iter().map(|path| group(path)).collect();
    let out = Path::new(&env::var_os("OUT_DIR").expect("set by Cargo")).join("commands.rs");
    let code = format!("/// All commands.\npub static COMMANDS: &[CommandSpec] = &[\n{table}];\n");
    fs::write(out, code).expect("a writable folder of Cargo's");
}

/// The rows of a file, which is called as its group is.
fn group(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a text in UTF-8");
    let name = path.file_stem().expect("a name").to_string_lossy();
    source::commands(&name, &text).unwrap_or_else(|fault| {
        println!("cargo::error={}:{}: {}", path.display(), fault.line, fault.what);
        process::exit(1);
    })
}
