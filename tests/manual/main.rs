//! The manual: `docs/` is a book whose pages must be true.
//!
//! * [`generated`]: pages, the example file and man pages that are made from the tables of commands and directives.
//! * [`blocks`]: every command that a page shows is run, and its output compared with what the page shows.
//! * [`book`]: every page can be found, and every link leads somewhere.
//!
//! `AEOLIS_WRITE_MANUAL=1 cargo test --test manual` writes what is generated.

mod blocks;
mod book;
mod generated;
#[allow(dead_code, unused_imports, reason = "what other tests use")]
#[path = "../it/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of the book and what stands beside it, in order of their names.
fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).expect("the folder of the book");
    let mut pages: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.push(root().join("README.md"));
    pages.push(root().join("CONTRIBUTING.md"));
    pages.sort();
    pages
}
