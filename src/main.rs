//! The program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tanner::cli::run(std::env::args_os())
}
