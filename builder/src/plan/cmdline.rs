//! Kernel command lines by Talos' rules.
//!
//! In: arguments from platform, profile, version, META and user. Out: a [`Cmdline`].
//!
//! Source: Talos `pkg/imager/imager.go#buildCmdline`, `pkg/machinery/kernel/kernel.go#DefaultArgs`;
//! printing and merging by `procfs/cmdline.go` of siderolabs/go-procfs v0.1.2.
//!
//! Not here: where the line is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use thiserror::Error;

use crate::catalog::kernel_arg::COMMAND_LINE_BYTES;
use crate::talos::Version;

/// What boot menu entries and boot loaders add: ` talos.experimental.wipe=system:EPHEMERAL,STATE`,
/// and GRUB's `BOOT_IMAGE=/boot/vmlinuz `.
const ADDED_LEN: usize = 80;

/// The most bytes of a line that every entry can start with.
const MAX_LEN: usize = COMMAND_LINE_BYTES - 1 - ADDED_LEN;

/// Encoded META values longer than this are compressed (Talos `pkg/machinery/meta/meta.go#Encode`).
const META_PLAIN_LEN: usize = 256;

/// A kernel command line: keys in order of their first appearance, each with all its values.
///
/// Invariant: printable ASCII, and no longer than the kernel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline(Vec<Parameter>);

/// A key and its values. They print side by side, at the place of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    key: String,
    values: Vec<String>,
}

/// What a command line is made from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `metal`, `nocloud` …
    pub platform: &'a str,
    /// The platform's own arguments, such as its consoles.
    pub platform_args: &'a [String],
    /// Whether the medium refuses to start where Talos is installed already.
    pub halt_if_installed: bool,
    /// META values that travel on the command line, because the medium has no META partition.
    pub meta: &'a BTreeMap<u8, String>,
    /// The user's arguments: added, or replacing (`console`, `talos.platform`), or removing (`-key`).
    pub user: &'a [String],
}

/// Why there is no command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CmdlineError {
    /// Longer than the kernel takes.
    #[error(
        "the kernel command line has {len} bytes; a kernel takes {MAX_LEN}, with what boot entries add, and cuts off the rest"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Talos' machined stops the boot without these two.
    #[error("the kernel command line lacks `{0}`, without which Talos refuses to boot")]
    Required(&'static str),
    /// An argument holds what a command line cannot.
    #[error("the kernel argument `{0}` holds a character that is not printable ASCII")]
    Unprintable(String),
}

impl Cmdline {
    /// Assembles the command line in the order and by the rules of Talos' imager.
    ///
    /// # Errors
    ///
    /// Where the result is too long, not printable, or lacks what Talos enforces
    /// (`pkg/kernel/kspp/kspp.go#RequiredKSPPKernelParameters`).
    pub fn assemble(talos: &Version, parts: &Parts<'_>) -> Result<Self, CmdlineError> {
        let mut line = Self::default();
        line.append("talos.platform", parts.platform);
        for parameter in group(parts.platform_args) {
            line.set(parameter);
        }
        if parts.halt_if_installed {
            line.append("talos.halt_if_installed", "1");
        }
        for arg in default_args(talos) {
            let (key, value) = split(arg);
            line.append(key, value);
        }
        if !parts.meta.is_empty() {
            let meta = format!("INSTALLER_META_BASE64={}", encode_meta(parts.meta));
            line.append("talos.environment", &meta);
        }
        line.customise(parts.user);
        line.check()
    }

    /// Reads a command line that someone else assembled.
    ///
    /// # Errors
    ///
    /// As [`Cmdline::assemble`].
    pub fn parse(text: &str) -> Result<Self, CmdlineError> {
        let args: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        Self(group(&args)).check()
    }

    /// The same line with one more argument at its end.
    pub fn with(&self, arg: &str) -> String {
        format!("{self} {arg}")
    }

    /// The line for a person or a manifest: without the META values, which may be secrets.
    pub fn shown(&self) -> String {
        mask_meta(&self.to_string())
    }

    fn append(&mut self, key: &str, value: &str) {
        match self.find(key) {
            Some(parameter) => parameter.values.push(value.to_owned()),
            None => self.0.push(Parameter { key: key.to_owned(), values: vec![value.to_owned()] }),
        }
    }

    fn set(&mut self, parameter: Parameter) {
        match self.find(&parameter.key) {
            Some(old) => *old = parameter,
            None => self.0.push(parameter),
        }
    }

    fn find(&mut self, key: &str) -> Option<&mut Parameter> {
        self.0.iter_mut().find(|p| p.key == key)
    }

    fn customise(&mut self, args: &[String]) {
        for parameter in group(args) {
            match parameter.key.strip_prefix('-') {
                // A lone `-` ends the kernel's arguments and begins those of init.
                Some(key) if !key.is_empty() => self.remove(key, &parameter.values),
                _ if ["console", "talos.platform"].contains(&&*parameter.key) => {
                    self.set(parameter)
                }
                _ => parameter.values.iter().for_each(|value| self.append(&parameter.key, value)),
            }
        }
    }

    fn remove(&mut self, key: &str, values: &[String]) {
        if values.first().is_some_and(String::is_empty) {
            self.0.retain(|p| p.key != key);
        } else if let Some(parameter) = self.find(key) {
            parameter.values.retain(|value| !values.contains(value));
        }
    }

    fn check(mut self) -> Result<Self, CmdlineError> {
        let text = self.to_string();
        if let Some(arg) = text.split(' ').find(|arg| !arg.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(CmdlineError::Unprintable(arg.escape_default().to_string()));
        }
        if text.len() > MAX_LEN {
            return Err(CmdlineError::TooLong { len: text.len() });
        }
        for (key, value, arg) in [("slab_nomerge", "", "slab_nomerge"), ("pti", "on", "pti=on")] {
            let first = self.find(key).and_then(|p| p.values.first());
            if first.is_none_or(|first| first != value) {
                return Err(CmdlineError::Required(arg));
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Cmdline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.0.iter().flat_map(|p| p.values.iter().map(|value| (&p.key, value)));
        for (i, (key, value)) in args.enumerate() {
            let space = if i > 0 { " " } else { "" };
            let equals = if value.is_empty() { "" } else { "=" };
            write!(f, "{space}{key}{equals}{value}")?;
        }
        Ok(())
    }
}

/// What stands before META values on a command line.
const META_ARG: &str = "talos.environment=INSTALLER_META_BASE64=";

/// A command line without the META values that travel on it.
pub fn mask_meta(line: &str) -> String {
    let mask = |arg: &str| match arg.starts_with(META_ARG) {
        true => format!("{META_ARG}<hidden>"),
        false => arg.to_owned(),
    };
    line.split(' ').map(mask).collect::<Vec<_>>().join(" ")
}

fn split(arg: &str) -> (&str, &str) {
    arg.split_once('=').unwrap_or((arg, ""))
}

/// The arguments by key, in order of first appearance.
fn group(args: &[String]) -> Vec<Parameter> {
    let mut line = Cmdline::default();
    for arg in args.iter().flat_map(|arg| arg.split_ascii_whitespace()) {
        let (key, value) = split(arg);
        line.append(key, value);
    }
    line.0
}

fn default_args(talos: &Version) -> impl Iterator<Item = &'static str> {
    let since = |minor, arg| talos.at_least(1, minor).then_some(arg);
    let before = |minor, arg| (!talos.at_least(1, minor)).then_some(arg);
    [
        before(14, "init_on_alloc=1"),
        Some("slab_nomerge"),
        Some("pti=on"),
        Some("consoleblank=0"),
        before(14, "nvme_core.io_timeout=4294967295"),
        Some("printk.devkmsg=on"),
        before(11, "ima_template=ima-ng"),
        before(11, "ima_appraise=fix"),
        before(11, "ima_hash=sha512"),
        since(10, "selinux=1"),
        since(12, "module.sig_enforce=1"),
        since(13, "proc_mem.force_override=never"),
    ]
    .into_iter()
    .flatten()
}

/// META values as `talos.environment` carries them (Talos `pkg/machinery/meta/meta.go#Encode`).
fn encode_meta(values: &BTreeMap<u8, String>) -> String {
    let items: Vec<_> = values.iter().map(|(key, value)| format!("{key:#x}={value}")).collect();
    let mut bytes = items.join(";").into_bytes();
    if bytes.len() > META_PLAIN_LEN {
        let mut gzip =
            flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
        gzip.write_all(&bytes).expect("memory takes every byte");
        bytes = gzip.finish().expect("memory takes every byte");
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    fn iso(version: &str, user: &[&str]) -> Result<String, CmdlineError> {
        let parts = Parts {
            platform: "metal",
            platform_args: &strings(&["console=tty0"]),
            halt_if_installed: true,
            meta: &BTreeMap::new(),
            user: &strings(user),
        };
        Cmdline::assemble(&Version::parse(version).unwrap(), &parts).map(|line| line.to_string())
    }

    /// The lines that Talos' own imager prints for these releases.
    #[test]
    fn an_iso_has_the_line_of_talos_own() {
        assert_eq!(
            iso("v1.12.11", &[]).unwrap(),
            "talos.platform=metal console=tty0 talos.halt_if_installed=1 init_on_alloc=1 \
             slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on \
             selinux=1 module.sig_enforce=1"
        );
        assert_eq!(
            iso("v1.14.0-rc.1", &[]).unwrap(),
            "talos.platform=metal console=tty0 talos.halt_if_installed=1 slab_nomerge pti=on \
             consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 \
             proc_mem.force_override=never"
        );
    }

    /// What Talos' own packages (machinery v1.13.9, go-procfs v0.1.2) make of the same arguments.
    #[test]
    fn a_customised_line_is_that_of_talos_own_packages() {
        let user =
            ["console=ttyS0", "a=1", "-selinux", "console=ttyS1", "b", "a=2", "-a=1", "x=y=z"];
        assert_eq!(
            iso("v1.10.3", &user).unwrap(),
            "talos.platform=metal console=ttyS0 console=ttyS1 talos.halt_if_installed=1 \
             init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 \
             printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512 a=2 b x=y=z"
        );
        assert_eq!(
            iso("v1.13.9", &user).unwrap(),
            "talos.platform=metal console=ttyS0 console=ttyS1 talos.halt_if_installed=1 \
             init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 \
             printk.devkmsg=on module.sig_enforce=1 proc_mem.force_override=never a=2 b x=y=z"
        );
    }

    #[test]
    fn a_users_console_replaces_all_others() {
        let line = iso("v1.14.0", &["console=ttyS0", "console=ttyS1,115200n8"]).unwrap();
        assert!(line.starts_with(
            "talos.platform=metal console=ttyS0 console=ttyS1,115200n8 talos.halt_if_installed=1 "
        ));
    }

    #[test]
    fn a_dash_removes_a_key_or_one_value() {
        let line = iso("v1.14.0", &["-selinux", "-console=tty0", "a=1", "a=2", "-"]).unwrap();
        assert_eq!(
            line,
            "talos.platform=metal talos.halt_if_installed=1 slab_nomerge pti=on consoleblank=0 \
             printk.devkmsg=on module.sig_enforce=1 proc_mem.force_override=never a=1 a=2 -"
        );
    }

    #[test]
    fn what_talos_enforces_cannot_go() {
        assert_eq!(iso("v1.13.0", &["-slab_nomerge"]), Err(CmdlineError::Required("slab_nomerge")));
        assert_eq!(iso("v1.13.0", &["-pti=on", "pti=off"]), Err(CmdlineError::Required("pti=on")));
        let long = format!("a={}", "b".repeat(2000));
        assert!(matches!(iso("v1.13.0", &[&long]), Err(CmdlineError::TooLong { len: 2048.. })));
        assert!(matches!(iso("v1.13.0", &["a=\u{e9}"]), Err(CmdlineError::Unprintable(_))));
    }

    #[test]
    fn meta_values_are_not_shown() {
        let line =
            "a=1 talos.environment=INSTALLER_META_BASE64=MHhjPXJhY2sgNw== talos.environment=x=y";
        let want = "a=1 talos.environment=INSTALLER_META_BASE64=<hidden> talos.environment=x=y";
        assert_eq!(mask_meta(line), want);
    }

    #[test]
    fn meta_values_travel_in_base64_and_long_ones_compressed() {
        let short = BTreeMap::from([(0xa, "x".to_owned()), (0xc, "y".to_owned())]);
        let decode = |text: String| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        assert_eq!(decode(encode_meta(&short)), b"0xa=x;0xc=y");

        let long = BTreeMap::from([(0xa, "x".repeat(300))]);
        let mut text = String::new();
        let bytes = decode(encode_meta(&long));
        flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("0xa={}", "x".repeat(300)));
    }
}
