//! The `aeolis` program.

use aeolis::sys::stack::run_with_room;

fn main() {
    std::process::exit(run_with_room(|| aeolis::cli::run(std::env::args_os())));
}
