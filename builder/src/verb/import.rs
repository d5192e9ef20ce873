//! `talforge import`: another tool's site as one of ours.
//!
//! In: the site. Out: `site.yaml` and the files that it names, in a folder; nothing that is there
//! is touched.
//!
//! Source: none.
//!
//! Not here: what becomes of what (`import`).

use std::path::Path;

use crate::cli::Import;
use crate::import;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::site::{self, World};
use crate::verb::file::{self, Secrecy};
use crate::verb::{Cause, Failure};

/// Writes the site.
///
/// # Errors
///
/// Where the other tool's site is wrong, or one of the files is there already.
pub fn import(args: &Import, progress: &Progress) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var_os(name);
    let imported =
        import::talhelper(&args.site, &World { read: &site::file::read, variable: &variable })
            .map_err(|diagnostics| Failure { cause: Cause::Files, diagnostics })?;
    let paths: Vec<_> = imported.files.iter().map(|(path, _)| args.out.join(path)).collect();
    let there = paths.iter().filter(|path| path.symlink_metadata().is_ok());
    let there: Vec<_> = there.map(|path| exists(path)).collect();
    if !there.is_empty() {
        return Err(Failure { cause: Cause::World, diagnostics: there });
    }
    for folder in paths.iter().filter_map(|path| path.parent()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("the folder `{}` cannot be made: {error}", folder.display());
            Failure::new(Cause::World, Diagnostic::error("write", message))
        })?;
    }
    // The site comes last: where it is, everything that it names is there too.
    for ((_, bytes), path) in imported.files.iter().zip(&paths).rev() {
        let secrecy = Secrecy { what: "file", advice: "" };
        file::write(path, bytes, false, secrecy, progress)?;
    }
    imported.notes.iter().for_each(|note| progress.diagnostic(note));
    let site = args.out.join("site.yaml");
    progress.note(&format!("read `{0}`, then run `talforge check {0}`", site.display()));
    Ok(())
}

fn exists(path: &Path) -> Diagnostic {
    Diagnostic::error("exists", format!("`{}` is there already", path.display()))
        .help("name another folder: `--out DIR`")
}
