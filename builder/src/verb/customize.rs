//! `talforge customize`: a finished medium with another config or more kernel arguments.
//!
//! In: a medium, what to put on it. Out: a changed copy, or the medium changed where it lies; each
//! read back before it counts.
//!
//! Source: none.
//!
//! Not here: what is changed (`custom`), how it gets onto the disk (`sink`).

use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use crate::blob::Blob;
use crate::cli::Customize;
use crate::config::documents::Documents;
use crate::config::schema::{OLDEST, Schema};
use crate::config::{self, MachineConfig, valid};
use crate::custom::error::CustomError;
use crate::custom::medium::Medium as Known;
use crate::custom::{self, Change, Plan};
use crate::digest::Digest;
use crate::plan::cmdline::mask_meta;
use crate::report::progress::Progress;
use crate::report::{Diagnostic, Severity};
use crate::sink::SinkError;
use crate::sink::duplicate::Duplicate;
use crate::sink::patch::{self, Leftover, Medium, PatchError};
use crate::site;
use crate::sops::{self, identity::Identities};
use crate::talos::Version;
use crate::verb::{Cause, Failure, chain, epoch, file};
use crate::yaml;

/// The largest file of identities that is read, in bytes.
const MAX_IDENTITIES: u64 = 64 << 10;

/// What a medium is to become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish<'a> {
    /// It gets what is named here, and keeps what is not.
    Put {
        /// The file of a machine config.
        config: Option<&'a Path>,
        /// Kernel arguments.
        kernel_args: &'a [String],
    },
    /// It gets back what it was.
    Pristine,
}

/// Changes a medium, or a copy of it.
///
/// # Errors
///
/// Where config, medium or machine do not allow it; nothing is changed then.
pub fn customize(args: &Customize, progress: &Progress) -> Result<(), Failure> {
    let wish = Wish::Put { config: args.config.as_deref(), kernel_args: &args.kernel_args };
    match &args.out {
        Some(out) => copy(&args.medium, wish, out, progress),
        None => change_in_place(&args.medium, wish, progress),
    }
}

/// Writes a changed copy.
fn copy(path: &Path, wish: Wish<'_>, out: &Path, progress: &Progress) -> Result<(), Failure> {
    let is_same = |a: PathBuf| out.canonicalize().is_ok_and(|b| a == b);
    if path.canonicalize().is_ok_and(is_same) {
        let message = format!("`{}` is the medium itself", out.display());
        let help = "name another file, or change the medium itself with `--in-place`";
        return Err(Failure::new(Cause::World, Diagnostic::error("exists", message).help(help)));
    }
    if matches!(patch::leftover(path), Ok(Leftover::CutShort)) {
        tell_taken_back(
            &Medium::open(path).map_err(|error| patch_failure(&error))?,
            path,
            progress,
        );
    }
    let medium = patch::read(path).map_err(|error| patch_failure(&error))?;
    let known = look(path, &medium)?;
    let (change, plan) = decide(path, &known, wish, progress)?;
    let task = progress.task(&out.display().to_string(), medium.len());
    let copy = Duplicate::write(&medium, &plan.edit, out, &task).map_err(|e| sink_failure(&e))?;
    let written = copy.blob().map_err(|error| Failure::of(Cause::World, "read-back", &error))?;
    let written = known.after(&plan.edit, &written);
    written
        .and_then(|written| custom::check(&written, &change))
        .map_err(|error| not_meant(out, &error))?;
    copy.keep().map_err(|error| sink_failure(&error))?;
    task.done("written and read back");
    tell(out, &change, &plan, progress);
    Ok(())
}

/// Changes a medium where it lies.
pub(super) fn change_in_place(
    path: &Path,
    wish: Wish<'_>,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut medium = Medium::open(path).map_err(|error| patch_failure(&error))?;
    tell_taken_back(&medium, path, progress);
    let unreadable = |error| Failure::of(Cause::World, "read", &error);
    let blob = medium.blob().map_err(unreadable)?;
    let known = look(path, &blob)?;
    let (change, plan) = decide(path, &known, wish, progress)?;
    let mode = medium.is_open_to_others();
    let changed = medium.change(&plan.edit).map_err(|error| patch_failure(&error))?;
    let written = changed.blob().map_err(unreadable)?;
    let written = known.after(&plan.edit, &written);
    if let Err(error) = written.and_then(|written| custom::check(&written, &change)) {
        changed.take_back().map_err(|error| patch_failure(&error))?;
        return Err(not_meant(path, &error));
    }
    changed.keep().map_err(|error| patch_failure(&error))?;
    if let (Some(mode), Some(_)) = (mode, &change.config) {
        let shown = path.display();
        let message =
            format!("others can read `{shown}` (mode {mode:04o}), and a config holds secrets");
        let help = format!("run `chmod 600 {shown}`");
        progress.diagnostic(&Diagnostic::warning("medium-readable", message).help(help));
    }
    tell(path, &change, &plan, progress);
    Ok(())
}

/// Looks at a medium.
fn look(path: &Path, medium: &Blob) -> Result<Known, Failure> {
    refuse_packed(path, medium)?;
    Known::open(medium).map_err(|error| custom_failure(path, &error))
}

/// What the medium is to hold, and the way there.
fn decide(
    path: &Path,
    medium: &Known,
    wish: Wish<'_>,
    progress: &Progress,
) -> Result<(Change, Plan), Failure> {
    let failure = |error: CustomError| custom_failure(path, &error);
    let (change, plan) = match wish {
        Wish::Pristine => (Change::default(), custom::remove(medium).map_err(failure)?),
        Wish::Put { config, kernel_args } => {
            let now = custom::read(medium).map_err(failure)?;
            let config = match config {
                Some(path) => {
                    let mode = match custom::platform(medium).map_err(failure)?.as_deref() {
                        None | Some("metal") => valid::Mode::Metal,
                        Some(_) => valid::Mode::Cloud,
                    };
                    Some(ready(path, now.talos.as_ref(), mode, progress)?.bytes().clone())
                }
                None => now.config,
            };
            let kernel_args = match kernel_args {
                [] => now.kernel_args,
                new => new.to_owned(),
            };
            let change = Change { config, kernel_args, epoch: epoch()? };
            let plan = custom::set(medium, &change).map_err(failure)?;
            (change, plan)
        }
    };
    for note in &plan.notes {
        progress.diagnostic(&Diagnostic::warning(note.code(), note.to_string()));
    }
    Ok((change, plan))
}

/// Reads a machine config and holds it to the rules of a release; a medium of no known release is
/// refused later.
fn ready(
    path: &Path,
    talos: Option<&Version>,
    mode: valid::Mode,
    progress: &Progress,
) -> Result<MachineConfig, Failure> {
    let wrong = |diagnostics| Failure { cause: Cause::Files, diagnostics };
    let bytes = file::read(path, "machine config", config::MAX_BYTES)?;
    let bytes = decrypted(path, bytes).map_err(|problem| wrong(vec![problem]))?;
    let config =
        MachineConfig::parse(&path.display().to_string(), bytes.as_slice()).map_err(wrong)?;
    let Some(talos) = talos.filter(|talos| talos.at_least(1, OLDEST)) else { return Ok(config) };
    let start = config.place();
    let documents = Documents::decode(Schema::of(talos), &start.file, config.bytes());
    let documents = documents.map_err(wrong)?;
    let findings = valid::check(&documents, mode).into_iter();
    let findings = findings.chain(valid::kubernetes::check(&documents)).map(|finding| {
        let place = finding.place.clone().or_else(|| Some(start.clone()));
        Diagnostic { place, ..finding }
    });
    let findings: Vec<_> = findings.collect();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(wrong(findings));
    }
    findings.iter().for_each(|finding| progress.diagnostic(finding));
    Ok(config)
}

/// The bytes of a file, decrypted where they are encrypted.
fn decrypted(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let file = path.display().to_string();
    // What is no YAML is told by who reads it.
    let sops = || yaml::parse(&file, &bytes).is_ok_and(|nodes| sops::is_encrypted(&nodes));
    if !sops::is_age(&bytes) && !sops() {
        return Ok(bytes);
    }
    let read = |path: &Path| site::file::read(path, MAX_IDENTITIES);
    let identities = Identities::find(&|name| std::env::var_os(name), &read)?;
    sops::decrypt(&file, &bytes, &identities)
}

/// What an image is packed in: its name, where its mark lies, the mark, and how to unpack it.
const PACKED: [(&str, u64, &[u8], &str); 11] = [
    ("compressed with Zstandard", 0, b"\x28\xb5\x2f\xfd", "unpack it first: `zstd -d`"),
    ("compressed with xz", 0, b"\xfd7zXZ\0", "unpack it first: `xz -d`"),
    (
        "compressed with gzip",
        0,
        b"\x1f\x8b",
        "unpack it first: `gzip -d`, then `tar -x` if it is a tar",
    ),
    ("compressed with bzip2", 0, b"BZh", "unpack it first: `bzip2 -d`"),
    ("a ZIP archive", 0, b"PK\x03\x04", "unpack it first: `unzip`"),
    ("a tar archive", 257, b"ustar", "unpack it first: `tar -x`"),
    ("a qcow2 image", 0, b"QFI\xfb", "make it raw first: `talforge convert`"),
    ("a VMDK image", 0, b"KDMV", "make it raw first: `talforge convert`"),
    ("a VHDX image", 0, b"vhdxfile", "make it raw first: `talforge convert`"),
    ("a VHD image", 0, b"conectix", "make it raw first: `talforge convert`"),
    ("a VDI image", 64, b"\x7f\x10\xda\xbe", "make it raw first: `qemu-img convert -O raw`"),
];

/// Says by name in what an image is packed that is not as firmware reads it.
fn refuse_packed(path: &Path, medium: &Blob) -> Result<(), Failure> {
    let has = |at: u64, mark: &[u8]| {
        let place = medium.get(at..at + mark.len() as u64);
        place.and_then(|place| place.to_vec().ok()).is_some_and(|bytes| bytes == mark)
    };
    match PACKED.iter().find(|(_, at, mark, _)| has(*at, mark)) {
        None => Ok(()),
        Some((what, _, _, help)) => {
            let message = format!("`{}` is {what}", path.display());
            let problem = Diagnostic::error("medium-packed", message).help(*help);
            Err(Failure::new(Cause::Medium, problem))
        }
    }
}

/// Says that an earlier change was taken back.
fn tell_taken_back(medium: &Medium, path: &Path, progress: &Progress) {
    if medium.was_cut_short() {
        let message = format!(
            "an earlier change of `{}` had been cut short, and is taken back",
            path.display()
        );
        progress.diagnostic(&Diagnostic::warning("medium-taken-back", message));
    }
}

/// Says what a medium holds now.
fn tell(path: &Path, change: &Change, plan: &Plan, progress: &Progress) {
    let path = path.display();
    let digest = change.config.as_ref().map(|config| Digest::of(config).to_string());
    let args = mask_meta(&change.kernel_args.join(" "));
    progress.event(json!({
        "event": "customized", "path": path.to_string(), "config_sha256": digest,
        "kernel_args": args, "is_changed": !plan.edit.is_empty(),
    }));
    let config = digest.map(|digest| format!("machine config {digest}"));
    let args = (!args.is_empty()).then(|| format!("kernel arguments `{args}`"));
    let holds: Vec<_> = config.into_iter().chain(args).collect();
    match holds.is_empty() {
        true => progress.say(&format!("{path}: nothing is added")),
        false => progress.say(&format!("{path}: {}", holds.join(", "))),
    }
}

fn not_meant(path: &Path, error: &CustomError) -> Failure {
    let message = format!("`{}` is not what was meant: {}", path.display(), chain(error));
    let help = "nothing was kept of the change; check the disk, and report this if it comes again";
    Failure::new(Cause::Medium, Diagnostic::error("read-back", message).help(help))
}

fn custom_failure(path: &Path, error: &CustomError) -> Failure {
    let cause = match error {
        CustomError::Io(_) => Cause::World,
        CustomError::Argument { .. } | CustomError::Line { .. } => Cause::Files,
        _ => Cause::Medium,
    };
    let message = format!("`{}` cannot be changed: {}", path.display(), chain(error));
    Failure::new(cause, Diagnostic::error(error.code(), message).help(error.help()))
}

fn patch_failure(error: &PatchError) -> Failure {
    let cause = match error {
        PatchError::Foreign { .. } | PatchError::Untrusted { .. } => Cause::Medium,
        _ => Cause::World,
    };
    Failure::new(cause, error.diagnostic())
}

fn sink_failure(error: &SinkError) -> Failure {
    Failure::new(Cause::World, error.diagnostic())
}
