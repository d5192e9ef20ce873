//! `talforge schema` and `talforge completions`: texts for editors and shells.
//!
//! In: the kind of file, or the shell. Out: the text on standard output.
//!
//! Source: none.
//!
//! Not here: the schemas themselves (`site`, `catalog`).

use clap::CommandFactory as _;

use crate::catalog;
use crate::cli::{Cli, Completions, Schema, SchemaKind};
use crate::report::progress::Progress;
use crate::site;
use crate::verb::Failure;

/// Prints a JSON Schema.
///
/// # Errors
///
/// None.
pub fn print(args: &Schema, progress: &Progress) -> Result<(), Failure> {
    let schema = match args.kind {
        SchemaKind::Site => site::schema(),
        SchemaKind::Profile => catalog::profile_schema(),
        SchemaKind::Overlay => catalog::overlay_schema(),
    };
    progress.print(format!("{schema:#}\n").as_bytes());
    Ok(())
}

/// Prints a shell's completions.
///
/// # Errors
///
/// None.
pub fn completions(args: &Completions, progress: &Progress) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "talforge", &mut text);
    progress.print(&text);
    Ok(())
}
