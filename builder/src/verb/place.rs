//! The places that `export` and `fetch` work with.
//!
//! In: a place's name, flags, the environment. Out: the place, ready to be asked.
//!
//! Source: none.
//!
//! Not here: what is put there (`export`).

use std::ffi::OsString;
use std::sync::Arc;

use crate::cli::Sources;
use crate::export::bucket::Objects;
use crate::export::error::ExportError;
use crate::export::folder::Folder;
use crate::export::place::{Address, Place};
use crate::export::registry::Repository;
use crate::registry::aws::Aws;
use crate::registry::bucket::Bucket;
use crate::registry::{Client, Host, Network, Settings};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::SinkError;
use crate::store::{self, Store};
use crate::verb::{Cause, Failure, chain, now};

/// How a place is asked.
pub(super) struct Asking<'a> {
    /// Where what is fetched is kept.
    pub(super) sources: &'a Sources,
    /// Whether it is asked without TLS.
    pub(super) plain_http: bool,
    /// The command that fetches what is not there offline.
    pub(super) command: String,
    /// Who is told.
    pub(super) progress: &'a Progress,
}

/// Opens a place.
///
/// # Errors
///
/// Where its name is none, or there is no key for it.
pub(super) fn open(text: &str, asking: &Asking<'_>) -> Result<Box<dyn Place>, ExportError> {
    match Address::parse(text)? {
        Address::Folder(path) => Ok(Box::new(Folder::at(path))),
        Address::Registry(name) => {
            let host = name.split('/').next().unwrap_or_default();
            let client = client(host, asking)?;
            Ok(Box::new(Repository::new(client, &name)?))
        }
        Address::Bucket(bucket, prefix) => {
            let aws = Aws::from_environment(&variable)?;
            let bucket = Bucket::new(aws, &bucket, &prefix, Arc::new(now))?;
            let client = client(&bucket.host(), asking)?;
            let name = text.trim_end_matches('/').to_owned();
            Ok(Box::new(Objects::new(client, bucket, name)))
        }
    }
}

fn client(host: &str, asking: &Asking<'_>) -> Result<Client, ExportError> {
    let mut settings = Settings::from_environment(&variable);
    if asking.plain_http {
        settings.hosts.insert(host.to_owned(), Host { plain_http: true, ..Host::default() });
    }
    if asking.sources.offline {
        settings.network = Network::Offline { command: asking.command.clone() };
    }
    let root = asking.sources.store.clone().or_else(|| store::default_root(&variable));
    let store = Store::at(root.unwrap_or_else(|| ".talforge".into()));
    Ok(Client::new(settings, store, asking.progress.clone())?)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What an error means for the command.
pub(super) fn failure(error: &ExportError) -> Failure {
    let cause = match error {
        ExportError::Address { .. }
        | ExportError::List { .. }
        | ExportError::Node { .. }
        | ExportError::Absent { .. } => Cause::Files,
        ExportError::Changed { .. } | ExportError::Artifact { .. } | ExportError::Oci(_) => {
            Cause::Medium
        }
        ExportError::Read { .. }
        | ExportError::Write { .. }
        | ExportError::Contended(_)
        | ExportError::Registry(_)
        | ExportError::Aws(_) => Cause::World,
    };
    Failure::new(cause, Diagnostic::error(error.code(), chain(error)).help(error.help()))
}

/// What an error of writing means.
pub(super) fn sink_failure(error: &SinkError) -> Failure {
    Failure::new(Cause::World, error.diagnostic())
}
