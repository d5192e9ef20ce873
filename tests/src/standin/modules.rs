//! Which files of a kernel's modules must be loaded, in which order.
//!
//! In: the folder `lib/modules/<release>` and names of modules. Out: paths, each after those it
//! depends on.
//!
//! Source: `modinfo(8)`: a module's section `.modinfo` is `key=value` texts, each with a NUL.
//!
//! Not here: symbols, aliases and soft dependencies, which the few modules needed here lack.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files of the modules `wanted` and of all that they depend on. A module that the kernel has
/// built in has no file.
///
/// # Errors
///
/// Where a module is neither a file nor built in, or the folder cannot be read.
pub(super) fn closure(folder: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut search = Search { files: files(folder)?, built_in: built_in(folder)?, found: vec![] };
    for name in wanted {
        search.add(name)?;
    }
    Ok(search.found)
}

struct Search {
    files: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
    found: Vec<PathBuf>,
}

impl Search {
    /// Dependencies have no circles: modules are linked in order when the kernel is built.
    fn add(&mut self, name: &str) -> Result<()> {
        let name = canonical(name);
        if self.built_in.contains(&name) {
            return Ok(());
        }
        let path = self.files.get(&name).with_context(|| format!("no module `{name}`"))?.clone();
        for dependency in depends(&fs::read(&path)?) {
            self.add(&dependency)?;
        }
        if !self.found.contains(&path) {
            self.found.push(path);
        }
        Ok(())
    }
}

/// A module's name has underscores where its file's name may have dashes.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name, where the path is that of a module.
fn module_name(path: &Path) -> Option<String> {
    let is_module = path.extension().is_some_and(|extension| extension == "ko");
    is_module.then(|| canonical(&path.file_stem().unwrap_or_default().to_string_lossy()))
}

fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Some(name) = module_name(&path) {
                all.insert(name, path);
            }
        }
    }
    Ok(all)
}

fn built_in(folder: &Path) -> Result<Vec<String>> {
    let list = fs::read_to_string(folder.join("modules.builtin"))?;
    Ok(list.lines().filter_map(|line| module_name(Path::new(line))).collect())
}

/// The names in a module's `depends=`.
fn depends(module: &[u8]) -> Vec<String> {
    let texts = module.split(|byte| *byte == 0);
    let list = texts.filter_map(|text| text.strip_prefix(b"depends=")).next();
    let list = String::from_utf8_lossy(list.unwrap_or_default()).into_owned();
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_those_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        fs::create_dir(folder.path().join("fs")).unwrap();
        put("modules.builtin", b"kernel/lib/crc16.ko\n");
        put("fs/top-fs.ko", b"\x7fELF\0\0license=GPL\0depends=base_a,crc16\0");
        put("base-a.ko", b"\x7fELF\0depends=\0");
        let found = closure(folder.path(), &["top_fs", "base_a"]).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["base-a.ko", "top-fs.ko"]);
        assert!(closure(folder.path(), &["other"]).is_err());
    }
}
