//! Fetches an image, or a file where a URL is given, into a store: a program of its own, to be
//! killed, run many times at once, and measured.
//!
//! In: the store, a reference or a URL, then hosts that are asked without TLS. Credentials, proxies
//! and CAs are the environment's. Out: events.
//!
//! Not here: what is done with an image.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;
use talforge::oci::reference::Reference;
use talforge::oci::{Content as _, Descriptor};
use talforge::registry::{Client, Host, Settings};
use talforge::report::Diagnostic;
use talforge::report::progress::{Mode, Progress};
use talforge::store::Store;

fn main() -> ExitCode {
    let progress = Progress::new(Mode::Json);
    match pull(&progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.diagnostic(&Diagnostic::error("pull", format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn pull(progress: &Progress) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let store = Store::at(arguments.next().context("a store is named")?);
    let what = arguments.next().context("a reference or URL is named")?;
    let mut settings = Settings::from_environment(&|name| std::env::var_os(name));
    let plain = Host { mirrors: Vec::new(), plain_http: true };
    settings.hosts.extend(arguments.map(|name| (name, plain.clone())));
    let client = Client::new(settings, store, progress.clone())?;
    if what.contains("://") {
        client.file(&what, None)?;
        return Ok(());
    }
    let name = Reference::parse(&what)?;
    let manifest = client.resolve(&name)?;
    let blob = client.image(&name).get(&manifest)?;
    let manifest: Value = serde_json::from_slice(&blob.to_vec()?)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let wanted: Result<Vec<_>> = layers.chain([&manifest["config"]]).map(descriptor).collect();
    client.fetch_all(&name, &wanted?)?;
    Ok(())
}

fn descriptor(value: &Value) -> Result<Descriptor> {
    let text = |key: &str| value[key].as_str().with_context(|| format!("it has a `{key}`"));
    let digest = text("digest")?.strip_prefix("sha256:").context("it is SHA-256")?;
    Ok(Descriptor {
        media_type: text("mediaType")?.to_owned(),
        digest: digest.parse()?,
        len: value["size"].as_u64().context("it has a `size`")?,
    })
}
