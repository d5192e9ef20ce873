//! A release as images and media, and sites that take it from there.
//!
//! In: a stand-in. Out: files, registries, what the program says.
//!
//! Source: none.
//!
//! Not here: what is expected of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use lab::foreign::release::{self, Output, Release};
use lab::foreign::{self, image, iso, layers, raw};
use lab::noise::noise;
use lab::product::{self, Said};
use lab::qemu::{Bus, Firmware, Limits, Machine, Medium, Start, Verdict};
use lab::servers::{self, Server};
use lab::standin::{self, Options, Standin, TALOS};
use lab::{parts, tools};
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::SectorSize;
use tempfile::TempDir;

pub(crate) const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);

/// A release's files, images and media, and two extensions.
///
/// `imager` and `imager-2` are OCI layouts that differ in the initramfs; `net` and `tools` folders of
/// extensions, `net.image` and `tools.image` OCI layouts of them.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) standin: Standin,
    pub(crate) other: Standin,
}

/// The world, made once for all tests; nothing where this machine cannot.
pub(crate) fn world() -> Option<&'static World> {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    WORLD.get_or_init(|| make().expect("the release can be made")).as_ref()
}

fn make() -> Result<Option<World>> {
    let arch = Arch::Amd64;
    let Some(parts) = parts::ready(arch) else { return Ok(None) };
    let programs = [
        &standin::tools(arch)[..],
        &release::tools(arch),
        &foreign::tools(arch),
        &iso::TOOLS,
        &raw::TOOLS,
        &image::TOOLS,
        &layers::TOOLS,
        &servers::TOOLS,
        &["xz", "grub-mkimage"],
    ];
    if !tools::have(&programs.concat()) {
        return Ok(None);
    }
    let standin = standin::build(&parts, Options::default())?;
    let folder = tempfile::tempdir()?;
    let other = Standin { arch, folder: folder.path().join("other") };
    fs::create_dir(&other.folder)?;
    for name in Standin::FILES {
        fs::copy(standin.file(name), other.file(name))?;
    }
    layers::extended(&standin.file("initramfs.xz"), &layers::two(), &other.file("initramfs.xz"))?;
    let world = World { folder, standin, other };
    image::imager(&[&world.standin], &world.path("imager"))?;
    image::imager(&[&world.other], &world.path("imager-2"))?;
    for (seed, name) in ["net", "tools"].into_iter().enumerate() {
        let files = world.path(name).join("rootfs/usr/local/lib");
        fs::create_dir_all(&files)?;
        fs::write(files.join(name), noise(seed as u64, 50_000))?;
        let manifest = format!(
            "version: v1alpha1\nmetadata:\n  name: {name}\n  version: v1.{seed}.0\n  author: A\n  \
             description: B\n  compatibility:\n    talos:\n      version: \">= v1.12.0\"\n"
        );
        fs::write(world.path(name).join("manifest.yaml"), manifest)?;
        let script =
            format!("chmod -R u+rwX,go-w,go+rX {name}; tar -C {name} -czf {name}.tar.gz .");
        tools::stdout("sh", &["-ec", &script], world.folder.path())?;
        image::of_folder(&world.path(name), &world.path(&format!("{name}.image")))?;
    }
    Ok(Some(world))
}

impl World {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn release(&self) -> Release<'_> {
        Release::plain(&self.standin)
    }

    /// Media of the release, and archives of its image, in a folder.
    pub(crate) fn media(&self, to: &Path) -> Result<()> {
        let release = self.release();
        iso::hybrid(&release, &to.join("metal.iso"))?;
        raw::dual(&release, &to.join("metal.raw"))?;
        release.uki(Output::Disk, &to.join("metal.efi"))?;
        let name = format!("ghcr.io/siderolabs/imager:{TALOS}");
        image::docker_archive(&self.path("imager"), &name, &to.join("imager.tar"))?;
        // One that is small: it is packed and unpacked.
        let work = tempfile::tempdir()?;
        let esp = foreign::esp(&self.standin, &to.join("metal.efi"), work.path())?;
        let disk = foreign::disk(&esp, work.path())?;
        let script = format!("zstd -q -1 -c {} > metal.raw.zst", disk.display());
        tools::stdout("sh", &["-ec", &script], to)?;
        Ok(())
    }
}

/// A folder with a site file; its store is `.talforge` in it.
pub(crate) struct Site {
    folder: TempDir,
    ca: Option<PathBuf>,
}

/// A config that Talos takes, another for each name.
pub(crate) fn config_of(name: &str) -> String {
    let text = include_str!("../talos-gen/talos-1.13/worker.yaml");
    format!(
        "# {name}\n{}",
        text.replace(":v1.13.0", ":v1.13.9").replace("/dev/sda", "/dev/disk/by-id/x")
    )
}

impl Site {
    /// A site whose `boot` has these keys besides `arch`, with nodes: name, profile, more keys.
    pub(crate) fn new(boot: &str, nodes: &[(&str, &str, &str)]) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()?, ca: None };
        site.write(boot, nodes)?;
        Ok(site)
    }

    /// Writes the site file anew.
    pub(crate) fn write(&self, boot: &str, nodes: &[(&str, &str, &str)]) -> Result<()> {
        let mut text = format!(
            "version: 1\ncluster: {{name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: {TALOS}}}\n\
             boot:\n  arch: amd64\n"
        );
        boot.lines().for_each(|line| text += &format!("  {line}\n"));
        text += "nodes:\n";
        for (name, profile, more) in nodes {
            text += &format!(
                "  - {{name: {name}, role: worker, profile: {profile}, config: {name}.yaml{more}}}\n"
            );
            fs::write(self.path(&format!("{name}.yaml")), config_of(name))?;
        }
        text += "silence: [planes-none, planes-even]\n";
        Ok(fs::write(self.path("site.yaml"), text)?)
    }

    /// Trusts a CA.
    pub(crate) fn trust(&mut self, ca: &Path) {
        self.ca = Some(ca.to_owned());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Said> {
        let mut command = product::command(&[], self.folder.path(), args)?;
        command.envs(self.ca.as_ref().map(|ca| ("SSL_CERT_FILE", ca)));
        Ok(Said::of(command.output()?))
    }

    /// What it says where it does not do its work: the exit code, then its words without the
    /// folder's name, digests and ports.
    #[track_caller]
    pub(crate) fn refusal(&self, args: &[&str]) -> String {
        let said = self.run(&[&["--quiet"], args].concat()).unwrap();
        assert_ne!(said.code, Some(0), "{}", said.err);
        format!("exit code {}\n{}", said.code.unwrap_or(-1), self.steady(&said.err))
    }

    /// A text without the folder's name, digests and ports.
    pub(crate) fn steady(&self, text: &str) -> String {
        let text = text.replace(&format!("{}/", self.folder.path().display()), "");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("sha256:") {
            let (before, after) = rest.split_at(at + 7);
            out += before;
            let end = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
            out += "…";
            rest = &after[end..];
        }
        out += rest;
        let mut parts = out.split("localhost:");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            out += "localhost:PORT";
            out += part.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        out
    }

    /// The digest that the lock file has for the reference that ends so.
    pub(crate) fn locked(&self, reference: &str) -> Option<String> {
        let text = self.read("site.lock");
        let mut lines = text.lines().skip_while(|line| {
            !line.strip_prefix("- reference: ").is_some_and(|name| name.ends_with(reference))
        });
        let line = lines.find_map(|line| line.trim().strip_prefix("digest: "));
        line.map(str::to_owned)
    }

    /// Boots a medium of the site, which must find its node's config; what it told.
    #[track_caller]
    pub(crate) fn boots(&self, image: &str, firmware: Firmware, medium: Medium) -> Verdict {
        let node = image.split(['/', '.']).nth(1).unwrap();
        let start = Start::Medium(firmware, medium, self.path(image));
        let label = format!("sources-{node}-{firmware:?}-{medium:?}");
        // The kernel talks to the screen alone; by BIOS calls GRUB is slow to load it.
        let limits = Limits { silence: Duration::from_secs(180), total: Duration::from_secs(400) };
        let verdict = Machine { limits, ..Machine::new(&label, start) }.boot().unwrap();
        let found = verdict.expect_config(Digest::of(config_of(node).as_bytes()));
        assert_eq!(found, Ok(()), "{}", verdict.log.display());
        verdict
    }
}

/// A registry with its files below a folder, and what a site says to reach it.
pub(crate) struct Registry {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Registry {
    pub(crate) fn new() -> Result<Self> {
        Self::at(tempfile::tempdir()?)
    }

    /// One with the files of an earlier one.
    pub(crate) fn at(folder: TempDir) -> Result<Self> {
        Ok(Self { server: Server::registry(folder.path())?, folder })
    }

    /// The keys that say where it is.
    pub(crate) fn keys(&self) -> String {
        format!("registries: {{\"{}\": {{plain_http: true}}}}\n", self.server.host)
    }

    /// Stops it, and gives its files.
    pub(crate) fn stop(self) -> TempDir {
        drop(self.server);
        self.folder
    }
}
