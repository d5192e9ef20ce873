//! The door: parse the arguments, run the verb, give its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use talforge::cli::Cli;
use talforge::report::Diagnostic;
use talforge::report::progress::{Mode, Progress};
use talforge::verb;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mode = match (cli.json, cli.quiet) {
        (true, _) => Mode::Json,
        (_, true) => Mode::Quiet,
        _ => Mode::Auto,
    };
    let progress = Progress::new(mode);
    match verb::run(&cli, &progress) {
        Ok(()) => match progress.outcome() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let message = format!("standard output could not be written: {error}");
                progress.diagnostic(&Diagnostic::error("output", message));
                ExitCode::from(3)
            }
        },
        Err(failure) => {
            failure.diagnostics.iter().for_each(|diagnostic| progress.diagnostic(diagnostic));
            ExitCode::from(failure.exit_code())
        }
    }
}
