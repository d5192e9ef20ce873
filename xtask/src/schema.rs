//! `cargo xtask schema`: the types of Talos' configs, read anew from Talos' own packages.
//!
//! In: the releases that `tests/talos` pins. Out: the files of `builder/src/config/schema`.
//!
//! Source: none.
//!
//! Not here: how the types are read (`tests/talos/schema.go`) and used (`config::schema`).

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use lab::talos::{MINORS, Oracle, schema_file};

use crate::{Done, complain};

pub(crate) fn run() -> Done {
    for minor in MINORS {
        let mut oracle = Oracle::start(minor)?.context("this needs `go`")?;
        let (file, text) = (schema_file(minor), oracle.schema()?);
        if fs::read_to_string(&file).unwrap_or_default() == text {
            complain(&format!("1.{minor}: as it was"));
        } else {
            fs::write(&file, text).with_context(|| file.display().to_string())?;
            complain(&format!("1.{minor}: written anew; look at what changed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
