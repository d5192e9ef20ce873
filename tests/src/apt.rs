//! Packages of a Debian suite, fetched and unpacked without installing, by any user.
//!
//! In: the machine's own apt sources, for their mirror; a suite; package names. Out: folders with
//! what the packages hold.
//!
//! apt works in a folder of its own, so nothing of the machine's package state is read or changed,
//! and suites and architectures need not be known to it.
//!
//! Source: `sources.list(5)`, `apt.conf(5)`.
//!
//! Not here: which packages, and where they are kept (`parts`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tools;

/// Debian's keys, which sign the lists.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package lists of one suite, for both architectures.
#[derive(Debug)]
pub struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Fetches the lists of a suite (`bookworm`) into `folder`.
    ///
    /// # Errors
    ///
    /// Where the machine has no Debian mirror, or apt cannot fetch from it.
    pub fn open(suite: &str, folder: PathBuf) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "empty"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mirror = mirror().context("apt's sources name no Debian archive to fetch from")?;
        let keys = if Path::new(KEYRING).exists() { "[signed-by=KEYRING] " } else { "" };
        let keys = keys.replace("KEYRING", KEYRING);
        fs::write(folder.join("sources.list"), format!("deb {keys}{mirror} {suite} main\n"))?;
        let suite = Self { folder };
        suite.apt("apt-get", &["update"], &suite.folder)?;
        Ok(suite)
    }

    /// The packages that the newest version of `package` depends on.
    ///
    /// # Errors
    ///
    /// Where the suite does not hold it.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let show = ["show", "--no-all-versions", package];
        let text = self.apt("apt-cache", &show, &self.folder)?;
        let field = text.lines().find_map(|line| line.strip_prefix("Depends:"));
        let names = field.unwrap_or_default().split([',', '|']);
        let bare = |name: &str| name.split_whitespace().next().unwrap_or_default().to_owned();
        Ok(names.map(bare).filter(|name| !name.is_empty()).collect())
    }

    /// Fetches a package (`ovmf`, `systemd-boot-efi:arm64`) and unpacks it into a new folder, which
    /// appears only once it is whole.
    ///
    /// # Errors
    ///
    /// Where the suite does not hold it, or it cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let parent = into.parent().context("the folder of a part lies in the cache")?;
        let aside = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent)?;
        let root = aside.path().join("root");
        fs::create_dir(&root)?;
        self.apt("apt-get", &["download", package], aside.path())?;
        let file = only_deb(aside.path())?;
        tools::stdout("dpkg-deb", &["-x", &file, "root"], aside.path())?;
        fs::rename(root, into)?;
        Ok(())
    }

    fn apt(&self, program: &str, args: &[&str], dir: &Path) -> Result<String> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            format!("Dir::Etc::sourceparts={}", at("empty")),
            format!("Dir::State={}", self.folder.display()),
            format!("Dir::State::Lists={}", at("lists")),
            "Dir::State::status=/dev/null".into(),
            format!("Dir::Cache={}", at("cache")),
            "APT::Architectures=amd64,arm64".into(),
            // As root apt would fetch as a user of its own, who may not enter the cache.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::PDiffs=false".into(),
            "Acquire::Retries=3".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ];
        let mut all = vec!["-q"];
        all.extend(options.iter().flat_map(|option| ["-o", option.as_str()]));
        all.extend(args);
        tools::stdout(program, &all, dir)
            .with_context(|| format!("`{program} {}` in {}", args.join(" "), self.folder.display()))
    }
}

fn only_deb(dir: &Path) -> Result<String> {
    let names = fs::read_dir(dir)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|n| n.ends_with(".deb")).context("apt fetched no package")
}

/// The Debian mirror that this machine uses.
fn mirror() -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(folder.map(|entry| entry.path()));
    files.sort();
    files.iter().find_map(|file| archive(&fs::read_to_string(file).ok()?))
}

/// The first Debian archive in a file of apt sources, in either format: the one whose address ends
/// with `debian`, or with `debian.list` where it is a list of mirrors.
fn archive(sources: &str) -> Option<String> {
    let is_archive = |uri: &&str| {
        let name = uri.trim_end_matches('/').rsplit('/').next();
        uri.contains(":/") && matches!(name, Some("debian" | "debian.list"))
    };
    let lines = sources.lines().map(str::trim);
    let addresses = lines.filter_map(|line| match line.split_once(char::is_whitespace)? {
        ("deb" | "URIs:", rest) => Some(rest),
        _ => None,
    });
    addresses.flat_map(str::split_whitespace).find(is_archive).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_formats() {
        let old = "# deb http://old.example/debian stable main\n\
                   deb https://example.org/apt tools main\n\
                   deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian/ bookworm main\n";
        assert_eq!(archive(old).unwrap(), "http://a.example/debian/");
        let new = "Types: deb\n# http://snapshot.example/debian\nURIs: http://b.example/debian\n\
                   Suites: bookworm\n\nTypes: deb\nURIs: http://b.example/debian-security\n";
        assert_eq!(archive(new).unwrap(), "http://b.example/debian");
        let list = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n";
        assert_eq!(archive(list).unwrap(), "mirror+file:///etc/apt/mirrors/debian.list");
    }

    #[test]
    fn another_archive_is_not_taken_for_debians() {
        assert_eq!(archive("deb http://a.example/debian-security bookworm-security main\n"), None);
        assert_eq!(archive("URIs: http://a.example/ubuntu\n"), None);
    }
}
