//! The `aeolis` program.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(aeolis::cli::run(std::env::args_os()));
}
