//! `talforge config`: the machine config of a finished medium, shown, put on, removed.
//!
//! In: a medium, perhaps a config. Out: the config on standard output, or the medium changed where
//! it lies.
//!
//! Source: none.
//!
//! Not here: copies, and how a change goes (`customize`).

use std::path::Path;

use crate::cli::{Config, ConfigCommand};
use crate::inspect::memo::Memo;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::verb::customize::{Wish, change_in_place};
use crate::verb::{Cause, Failure, inspect};

/// Shows or changes a medium's config.
///
/// # Errors
///
/// Where the medium or the config cannot be read, or the medium not be changed.
pub fn config(args: &Config, progress: &Progress) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Show { medium } => show(medium, progress),
        ConfigCommand::Set { medium, config } => {
            let wish = Wish::Put { config: Some(config), kernel_args: &[] };
            change_in_place(medium, wish, progress)
        }
        ConfigCommand::Remove { medium } => change_in_place(medium, Wish::Pristine, progress),
    }
}

/// Prints the config that all boots find.
fn show(path: &Path, progress: &Progress) -> Result<(), Failure> {
    let (_, medium) = inspect::open(path, &mut Memo::default(), progress)?;
    let path = path.display();
    let fail = |code, message: String, help| {
        Err(Failure::new(Cause::Medium, Diagnostic::error(code, message).help(help)))
    };
    let found = inspect::configs(&medium);
    match found.first() {
        None => fail(
            "no-config",
            format!("`{path}` holds no machine config"),
            "Talos would wait in maintenance mode; put one on it with `talforge config set`",
        ),
        Some(first) if found.iter().any(|other| other.digest() != first.digest()) => fail(
            "two-configs",
            format!("the boot entries of `{path}` find different machine configs"),
            "run `talforge inspect` to see which",
        ),
        Some(first) => {
            progress.print(first.bytes());
            Ok(())
        }
    }
}
