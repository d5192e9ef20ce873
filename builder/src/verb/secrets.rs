//! `talforge secrets`: the secrets of a cluster, made or taken from one.
//!
//! In: what to take them from. Out: a bundle that `talosctl` reads too.
//!
//! Source: Talos `cmd/talosctl/cmd/mgmt/gen/secrets.go` (names and defaults of flags). A token is
//! read from a file alone: arguments show in lists of processes.
//!
//! Not here: what a bundle is (`pki`).

use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::cli::Secrets;
use crate::config::documents::Documents;
use crate::config::recover;
use crate::config::schema::Schema;
use crate::pki::secret::Secret;
use crate::pki::{Bundle, Loaded, kubeadm};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::talos::Version;
use crate::verb::file::{self, Secrecy};
use crate::verb::{Cause, Failure};

/// Makes the bundle and writes it.
///
/// # Errors
///
/// Where what it is to be taken from is wrong, or the file is there already.
pub fn secrets(args: &Secrets, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let version = Version::parse(&args.talos).ok_or_else(|| {
        let problem = Diagnostic::error("talos-version", "`--talos` is no version of Talos");
        Failure::new(Cause::Files, problem.help("write the release's whole tag: `v1.13.9`"))
    })?;
    let files = |diagnostics| Failure { cause: Cause::Files, diagnostics };
    let loaded = match (&args.from_controlplane_config, &args.from_kubernetes_pki) {
        (Some(path), _) => {
            let bytes = file::read(path, "machine config", crate::config::MAX_BYTES)?;
            let name = path.display().to_string();
            let documents = Documents::decode(Schema::of(&version), &name, &bytes);
            recover::bundle(&documents.map_err(files)?, now).map_err(files)?
        }
        (None, Some(folder)) => {
            let token = args.kubernetes_bootstrap_token_file.as_deref();
            let folder = kubeadm_folder(folder, token)?;
            Bundle::from_kubeadm(folder, &version, now).map_err(files)?
        }
        (None, None) => {
            let bundle = Bundle::generate(&version, now);
            let bundle = bundle.map_err(|error| Failure::of(Cause::World, "keys", &error))?;
            Loaded { bundle, warnings: Vec::new() }
        }
    };
    loaded.warnings.iter().for_each(|warning| progress.diagnostic(warning));
    let text = loaded.bundle.to_yaml();
    let secrecy = Secrecy {
        what: "cluster's secrets",
        advice: ": keep a copy in a safe place, the cluster cannot be reached again without them",
    };
    file::write(&args.out, text.reveal().as_bytes(), args.force, secrecy, progress)
}

fn kubeadm_folder(folder: &Path, token: Option<&Path>) -> Result<kubeadm::Folder, Failure> {
    let limit = kubeadm::MAX_FILE_BYTES;
    let mut files: [Zeroizing<Vec<u8>>; 7] = Default::default();
    for (name, bytes) in kubeadm::FILES.iter().zip(&mut files) {
        *bytes = file::read(&folder.join(name), "file of the PKI folder", limit)?;
    }
    let bootstrap_token = match token {
        Some(path) => {
            let bytes = file::read(path, "bootstrap token", limit)?;
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            Some(Secret::new(text))
        }
        None => None,
    };
    Ok(kubeadm::Folder { path: folder.display().to_string(), files, bootstrap_token })
}
