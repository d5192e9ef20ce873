//! A tree of modules, as the tools and we find it.
//!
//! Not here: what is expected of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lab::parts::Parts;
use lab::tools::stdout;
use talforge::blob::Blob;
use talforge::kmod::{self, KmodError, Module, Search, Tables};
use tempfile::TempDir;

use super::judge::Judge;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What the kernel's build writes, and depmod reads.
const TABLES: [&str; 3] = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];

/// A folder with `lib/modules/<release>`.
pub(crate) struct Machine {
    pub(crate) root: TempDir,
    pub(crate) release: String,
}

impl Machine {
    /// One without modules.
    pub(crate) fn new(release: &str) -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap(), release: release.to_owned() };
        fs::create_dir_all(machine.modules()).unwrap();
        // What Talos' imager gives to depmod.
        fs::write(machine.root.path().join("depmod.conf"), "search extras built-in\n").unwrap();
        machine
    }

    /// One with the tables of a kernel, and with those of its modules that are asked for.
    pub(crate) fn of(parts: &Parts, is_wanted: impl Fn(usize) -> bool) -> Self {
        let machine = Self::new(&parts.release);
        for table in TABLES {
            machine.write(table, &fs::read(parts.modules.join(table)).unwrap());
        }
        let mut found = walk(&parts.modules);
        found.sort();
        for (_, path) in found.iter().enumerate().filter(|(number, _)| is_wanted(*number)) {
            machine.put(path, &parts.modules.join(path));
        }
        machine
    }

    /// `lib/modules/<release>`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.path().join("lib/modules").join(&self.release)
    }

    /// Copies a module, unless one is there.
    pub(crate) fn put(&self, path: &str, from: &Path) {
        let to = self.place(path);
        if !to.exists() {
            fs::copy(from, &to).unwrap();
        }
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.place(path), bytes).unwrap();
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.modules().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    /// Makes a module of `.modinfo` strings and of symbols that it offers and needs.
    pub(crate) fn compile(&self, path: &str, info: &[&str], offers: &[&str], needs: &[&str]) {
        let strings = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| format!("{}\\0", text.replace('\\', "\\\\")))
                .collect::<String>()
        };
        let section = |name: &str, texts: &[&str]| match texts {
            [] => String::new(),
            _ => format!(".section {name},\"a\"\n.ascii \"{}\"\n", strings(texts)),
        };
        let words: String = needs.iter().map(|need| format!(".quad {need}\n")).collect();
        let source = [
            &section(".modinfo", info)[..],
            &section("__ksymtab_strings", offers),
            ".data\n.globl init_module\ninit_module:\n",
            &words,
        ];
        let assembly = self.root.path().join("module.s");
        fs::write(&assembly, source.concat()).unwrap();
        let to = self.place(path);
        let args = ["-c", "-o", to.to_str().unwrap(), assembly.to_str().unwrap()];
        stdout("gcc", &args, self.root.path()).unwrap();
    }

    /// Takes away all that depmod writes.
    pub(crate) fn take(&self) -> Files {
        let names = fs::read_dir(self.modules()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let names = names.filter(|n| n.starts_with("modules.") && !TABLES.contains(&&n[..]));
        let take = |name: String| {
            let bytes = fs::read(self.modules().join(&name)).unwrap();
            fs::remove_file(self.modules().join(&name)).unwrap();
            (name, bytes)
        };
        names.collect::<Vec<_>>().into_iter().map(take).collect()
    }

    /// Takes on files that depmod wrote elsewhere.
    pub(crate) fn adopt(&self, files: &Files) {
        files.iter().for_each(|(name, bytes)| self.write(name, bytes));
    }

    /// The files that we make.
    pub(crate) fn ours(&self) -> Result<Files, KmodError> {
        let read = |path: &String| {
            let file = File::open(self.modules().join(path)).unwrap();
            Module::read(path, &Blob::from_file(path, file).unwrap())
        };
        let modules: Vec<_> = walk(&self.modules()).iter().map(read).collect::<Result<_, _>>()?;
        let table = |name| fs::read(self.modules().join(name)).unwrap_or_default();
        let [order, builtin, builtin_modinfo] = TABLES.map(table);
        let tables = Tables { order, builtin, builtin_modinfo };
        let search = [Search::Folder("extras".to_owned()), Search::BuiltIn];
        let files = kmod::index(&modules, &tables, &search)?;
        Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    }

    /// Our files, which the judges find right; they have nothing to say.
    pub(crate) fn agrees(&self, judges: &[Judge]) -> Files {
        self.agrees_but(judges, |said| assert_eq!(said, ""))
    }

    /// Our files, which the judges find right; `listen` hears what they say besides.
    pub(crate) fn agrees_but(&self, judges: &[Judge], listen: impl Fn(&str)) -> Files {
        let ours = self.ours().unwrap();
        for judge in judges {
            listen(&judge.agrees(self, &ours));
        }
        ours
    }

    /// The name of the module that needs most others.
    pub(crate) fn deepest(&self) -> String {
        let dep = fs::read_to_string(self.modules().join("modules.dep")).unwrap();
        let line = dep.lines().max_by_key(|line| line.matches(' ').count()).unwrap();
        let path = line.split(':').next().unwrap();
        path.rsplit('/').next().unwrap().trim_end_matches(".ko").to_owned()
    }
}

/// The modules below a folder, in the order in which the system gives them to depmod.
pub(crate) fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk_into(folder, "", &mut found);
    found.retain(|path| kmod::is_module(path));
    found
}

fn walk_into(folder: &Path, above: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{above}{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => walk_into(&entry.path(), &format!("{path}/"), found),
            false => found.push(path),
        }
    }
}
