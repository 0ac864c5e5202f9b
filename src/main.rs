//! The `reprofix` command: parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    reprofix::cli::main()
}
