//! One file a command: its arguments and their execution, no logic.

use std::process::ExitCode;

/// Parses the command line, runs the command and gives its exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
