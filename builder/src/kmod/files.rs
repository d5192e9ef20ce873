//! The files that depmod writes.
//!
//! In: numbered modules, who offers what, who needs whom. Out: the files' names and bytes.
//!
//! Source: kmod's `tools/depmod.c` (`depmod_output` and what it calls); `modules.dep(5)`.
//!
//! Not here: the layout of binary indexes (`trie`).

use std::borrow::Cow;

use super::graph::{Exports, Needs};
use super::names::{self, Names};
use super::trie::{self, Entry, MAX_LEN};
use super::{KmodError, Module, Tables, builtin};

/// The buckets of depmod's table of symbols.
const BUCKETS: u32 = 2048;

/// All files, in depmod's order.
///
/// # Errors
///
/// [`KmodError::NotAscii`], [`KmodError::TooLong`].
pub(super) fn write(
    modules: &[&Module],
    exports: &Exports<'_>,
    needs: &Needs,
    tables: &Tables,
) -> Result<Vec<(&'static str, Vec<u8>)>, KmodError> {
    let lines = dep_lines(modules, needs)?;
    let (symbols, symbols_bin) = symbols(modules, exports)?;
    Ok(vec![
        ("modules.dep", lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()),
        ("modules.dep.bin", dep_bin(modules, &lines)?),
        ("modules.alias", aliases(modules)?),
        ("modules.alias.bin", alias_bin(modules)?),
        ("modules.softdep", softdeps(modules)?),
        ("modules.weakdep", weakdeps(modules)?),
        ("modules.symbols", symbols),
        ("modules.symbols.bin", symbols_bin),
        ("modules.builtin.bin", builtin_bin(tables)?),
        ("modules.builtin.alias.bin", builtin_alias_bin(tables)?),
        ("modules.devname", devname(modules)?),
    ])
}

/// A file of lines, of bounded length.
struct Text {
    file: &'static str,
    bytes: Vec<u8>,
}

impl Text {
    fn of(file: &'static str, title: &str) -> Self {
        Self { file, bytes: title.into() }
    }

    fn line(&mut self, parts: &[&[u8]]) -> Result<(), KmodError> {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(b'\n');
        if self.bytes.len() > MAX_LEN {
            return Err(KmodError::TooLong { file: self.file });
        }
        Ok(())
    }
}

/// A binary index, of ASCII only.
struct Index<'a> {
    file: &'static str,
    entries: Vec<Entry<'a>>,
}

impl<'a> Index<'a> {
    fn of(file: &'static str) -> Self {
        Self { file, entries: Vec::new() }
    }

    fn add(&mut self, key: Cow<'a, [u8]>, value: &'a [u8], rank: usize) -> Result<(), KmodError> {
        if let Some(text) = [&key[..], value].into_iter().find(|text| !text.is_ascii()) {
            let text = text.escape_ascii().to_string();
            return Err(KmodError::NotAscii { file: self.file, text });
        }
        let priority = u32::try_from(rank).expect("modules are numbered in 16 bits");
        self.entries.push(Entry { key, value, priority });
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, KmodError> {
        trie::write(self.entries).ok_or(KmodError::TooLong { file: self.file })
    }
}

/// One line a module: its path, and those of all that it needs.
fn dep_lines(modules: &[&Module], needs: &Needs) -> Result<Vec<Vec<u8>>, KmodError> {
    let mut seen = needs.marks();
    let mut lines = Vec::with_capacity(modules.len());
    let mut len = 0;
    for (number, module) in modules.iter().enumerate() {
        let mut line = [module.path.as_bytes(), b":"].concat();
        for need in needs.all(number, &mut seen) {
            line.push(b' ');
            line.extend_from_slice(modules[need].path.as_bytes());
        }
        len += line.len();
        if len > MAX_LEN {
            return Err(KmodError::TooLong { file: "modules.dep" });
        }
        lines.push(line);
    }
    Ok(lines)
}

fn dep_bin(modules: &[&Module], lines: &[Vec<u8>]) -> Result<Vec<u8>, KmodError> {
    let mut index = Index::of("modules.dep.bin");
    for (number, (module, line)) in modules.iter().zip(lines).enumerate() {
        index.add(module.name.as_bytes().into(), line, number)?;
    }
    index.finish()
}

fn aliases(modules: &[&Module]) -> Result<Vec<u8>, KmodError> {
    let title = "# Aliases extracted from modules themselves.\n";
    let mut text = Text::of("modules.alias", title);
    for module in modules {
        for alias in module.facts.aliases.iter() {
            text.line(&[b"alias ", alias, b" ", module.name.as_bytes()])?;
        }
    }
    Ok(text.bytes)
}

/// Aliases with a bracket that has no partner are left out, as depmod does.
fn alias_bin(modules: &[&Module]) -> Result<Vec<u8>, KmodError> {
    let mut index = Index::of("modules.alias.bin");
    for (number, module) in modules.iter().enumerate() {
        for alias in module.facts.aliases.iter().filter_map(names::fold_alias) {
            index.add(alias.into(), module.name.as_bytes(), number)?;
        }
    }
    index.finish()
}

fn softdeps(modules: &[&Module]) -> Result<Vec<u8>, KmodError> {
    let title = "# Soft dependencies extracted from modules themselves.\n";
    let text = Text::of("modules.softdep", title);
    deps(modules, text, b"softdep ", |module| &module.facts.softdeps)
}

fn weakdeps(modules: &[&Module]) -> Result<Vec<u8>, KmodError> {
    let title = "# Weak dependencies extracted from modules themselves.\n";
    let text = Text::of("modules.weakdep", title);
    deps(modules, text, b"weakdep ", |module| &module.facts.weakdeps)
}

fn deps(
    modules: &[&Module],
    mut text: Text,
    word: &[u8],
    list: fn(&Module) -> &Names,
) -> Result<Vec<u8>, KmodError> {
    for module in modules {
        for dep in list(module).iter() {
            text.line(&[word, module.name.as_bytes(), b" ", dep])?;
        }
    }
    Ok(text.bytes)
}

/// `modules.symbols`, in the order of depmod's table of symbols, and its binary index.
fn symbols(modules: &[&Module], exports: &Exports<'_>) -> Result<(Vec<u8>, Vec<u8>), KmodError> {
    let mut symbols: Vec<_> = exports.iter().collect();
    symbols.sort_by_cached_key(|(symbol, _)| names::bucket(symbol, BUCKETS));
    let title = "# Aliases for symbols, used by symbol_request().\n";
    let mut text = Text::of("modules.symbols", title);
    let mut index = Index::of("modules.symbols.bin");
    for (symbol, owner) in symbols {
        let name = modules[owner].name.as_bytes();
        text.line(&[b"alias symbol:", symbol, b" ", name])?;
        index.add([b"symbol:", symbol].concat().into(), name, owner)?;
    }
    Ok((text.bytes, index.finish()?))
}

fn builtin_bin(tables: &Tables) -> Result<Vec<u8>, KmodError> {
    let mut index = Index::of("modules.builtin.bin");
    for name in builtin::modules(&tables.builtin) {
        index.add(name.into_bytes().into(), b"", 0)?;
    }
    index.finish()
}

fn builtin_alias_bin(tables: &Tables) -> Result<Vec<u8>, KmodError> {
    let mut index = Index::of("modules.builtin.alias.bin");
    for (alias, name) in builtin::aliases(&tables.builtin_modinfo) {
        if let Some(alias) = names::fold_alias(alias) {
            index.add(alias.into(), name, 0)?;
        }
    }
    index.finish()
}

/// The device files whose opening loads a module, for those modules that say name and numbers.
fn devname(modules: &[&Module]) -> Result<Vec<u8>, KmodError> {
    let mut text = Text::of("modules.devname", "");
    for module in modules {
        let Some((name, kind, numbers)) = device(module) else { continue };
        if text.bytes.is_empty() {
            text.line(&[b"# Device nodes to trigger on-demand module loading."])?;
        }
        let numbers = numbers.map(|number| number.to_string());
        let parts = [name, b" ", kind, numbers[0].as_bytes(), b":", numbers[1].as_bytes()];
        text.line(&[&[module.name.as_bytes(), b" "][..], &parts].concat())?;
    }
    Ok(text.bytes)
}

/// The name, kind and numbers of a module's device file. A later alias counts more than an earlier
/// one of its kind, up to where both are known.
fn device(module: &Module) -> Option<(&[u8], &'static [u8], [u32; 2])> {
    let (mut name, mut numbers) = (None, None);
    for alias in module.facts.aliases.iter() {
        if let Some(text) = alias.strip_prefix(b"devname:") {
            name = Some(text);
        } else if let Some(pair) = alias.strip_prefix(b"char-major-").and_then(pair) {
            numbers = Some((&b"c"[..], pair));
        } else if let Some(pair) = alias.strip_prefix(b"block-major-").and_then(pair) {
            numbers = Some((&b"b"[..], pair));
        }
        if let (Some(name), Some((kind, numbers))) = (name, numbers) {
            return Some((name, kind, numbers));
        }
    }
    None
}

/// Two decimal numbers with a `-` between; what follows them does not matter.
fn pair(text: &[u8]) -> Option<[u32; 2]> {
    let (major, rest) = decimal(text)?;
    let (minor, _) = decimal(rest.strip_prefix(b"-")?)?;
    Some([major, minor])
}

fn decimal(text: &[u8]) -> Option<(u32, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}
