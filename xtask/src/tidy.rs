//! `cargo xtask tidy`: the house rules that no compiler checks.
//!
//! In: the workspace. Out: one line a breach, `path:line: rule: what to do`.
//!
//! Source: the head of `builder/src/lib.rs` for the rooms and their order.
//!
//! Not here: what rustfmt and clippy check.
//!
//! The rules: rooms `use` only rooms above them in `lib.rs`; every file of the builder says in its
//! head what goes in, what comes out and what is not there; files have at most 600 lines without
//! tests, functions at most 70; no glob `use`, no `pub use`, no ignored tests, nothing left to do;
//! folders at most two deep; the top level is what it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What may lie at the top, beside files that start with a dot.
const TOP: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "builder",
    "overlays",
    "profiles",
    "xtask",
    "tests",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "clippy.toml",
    "rustfmt.toml",
    "deny.toml",
];
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Checks the workspace at `root`.
///
/// # Errors
///
/// Where a rule is broken; every breach has been printed.
pub(crate) fn check(root: &Path, print: &mut dyn FnMut(&str)) -> Result<()> {
    let builder = root.join("builder/src");
    let rooms = rooms(&builder.join("lib.rs"))?;
    let mut breaches = top_level(root)?;
    for file in ["builder/src", "tests", "xtask/src"].map(|folder| rust_files(&root.join(folder))) {
        for file in file? {
            let text = std::fs::read_to_string(&file)?;
            let mut found = lines(&text);
            // A test's goldens make it long.
            if !is_test(&file) {
                found.extend(lengths(&text));
            }
            if let Ok(inside) = file.strip_prefix(&builder) {
                found.extend([order(&rooms, inside, &text), head(inside, &text)].concat());
                found.extend(depth(inside));
            }
            let name = file.strip_prefix(root)?.display();
            breaches.extend(found.into_iter().map(|(line, what)| format!("{name}:{line}: {what}")));
        }
    }
    breaches.iter().for_each(|breach| print(breach));
    ensure!(breaches.is_empty(), "{} breaches of the house rules", breaches.len());
    Ok(())
}

/// A line's number and what to do.
type Breach = (usize, String);

/// Whether a file holds tests alone.
fn is_test(file: &Path) -> bool {
    let is_target = file.components().any(|part| part.as_os_str() == "tests");
    let is_bench = file.components().any(|part| part.as_os_str() == "src");
    file.ends_with("tests.rs") || (is_target && !is_bench)
}

fn depth(inside: &Path) -> Option<Breach> {
    let what = "depth: keep folders at most two deep".to_owned();
    (inside.components().count() > 3).then_some((1, what))
}

fn top_level(root: &Path) -> Result<Vec<String>> {
    let out = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("`git` lists the files")?;
    let text = String::from_utf8(out.stdout)?;
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('/').next()).collect();
    names.sort_unstable();
    names.dedup();
    let foreign = names.into_iter().filter(|name| !name.starts_with('.') && !TOP.contains(name));
    Ok(foreign.map(|name| format!("{name}: top level: it has no place there")).collect())
}

/// The rooms, in reading order.
fn rooms(lib: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(lib).with_context(|| lib.display().to_string())?;
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_built = path.ends_with("target") || path.ends_with("fuzz/target");
        if path.is_dir() && !is_built {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The part of a file that is not its tests.
fn code(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn order(rooms: &[String], file: &Path, text: &str) -> Vec<Breach> {
    let first = file.components().next().map(|part| part.as_os_str().to_string_lossy());
    let own = first.map(|name| name.trim_end_matches(".rs").to_owned()).unwrap_or_default();
    let Some(place) = rooms.iter().position(|room| *room == own) else { return Vec::new() };
    let mut breaches = Vec::new();
    for (number, line) in code(text).lines().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        for used in line.split("crate::").skip(1).filter(|_| !is_comment) {
            let end = used.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(used.len());
            let below = rooms.iter().position(|room| *room == used[..end]);
            if below.is_some_and(|below| below > place) {
                let what = format!("order: `{own}` comes before `{}` in lib.rs", &used[..end]);
                breaches.push((number + 1, format!("{what}; it may not use it")));
            }
        }
    }
    breaches
}

fn head(file: &Path, text: &str) -> Vec<Breach> {
    let is_door = [Path::new("lib.rs"), Path::new("main.rs")].contains(&file);
    let head: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let has = |word: &str| head.iter().any(|line| line.starts_with(&format!("//! {word}")));
    let missing = ["In: ", "Out: ", "Source: ", "Not here: "].into_iter().filter(|word| {
        let inline = head.iter().any(|line| line.contains(word));
        !has(word) && !inline
    });
    match head.is_empty() {
        true => vec![(1, "head: say in `//!` what the file is".to_owned())],
        _ if is_door || is_test(file) => Vec::new(),
        _ => missing.map(|word| (1, format!("head: add a line `{}`", word.trim()))).collect(),
    }
}

fn lines(text: &str) -> Vec<Breach> {
    let rules: [(&str, &str); 6] = [
        ("pub use ", "re-export: name the item where it lives"),
        ("#[ignore", "ignored test: mend it or remove it"),
        ("#[should_panic", "panic test: assert the error instead"),
        (concat!("TO", "DO"), "left to do: do it, or write an issue"),
        (concat!("FIX", "ME"), "left to do: do it, or write an issue"),
        ("std::thread::sleep", "sleep: wait for what you wait for"),
    ];
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_glob = line.trim_start().starts_with("use ") && line.trim_end().ends_with("::*;");
        if is_glob && !line.contains("use super::*;") && !line.contains("proptest::prelude::*") {
            breaches.push((number + 1, "glob `use`: name the items".to_owned()));
        }
        let quoted = |word: &str| line.contains(&format!("\"{word}"));
        let broken = rules.iter().filter(|(word, _)| line.contains(word) && !quoted(word));
        breaches.extend(broken.map(|(_, what)| (number + 1, (*what).to_owned())));
    }
    breaches
}

fn lengths(text: &str) -> Vec<Breach> {
    let code = code(text);
    let mut breaches = Vec::new();
    let count = code.lines().count();
    if count > FILE_LINES {
        breaches.push((count, format!("length: {count} lines; make it two rooms, or data")));
    }
    let mut open: Option<(usize, usize)> = None;
    for (number, line) in code.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let start = line.trim_start();
        let is_fn =
            ["fn ", "pub fn ", "const fn ", "pub const fn "].iter().any(|w| start.starts_with(w));
        if open.is_none() && is_fn && !line.trim_end().ends_with([';', '}']) {
            open = Some((number, indent));
        } else if let Some((from, depth)) = open
            && indent == depth
            && start.starts_with('}')
        {
            let length = number - from + 1;
            if length > FUNCTION_LINES {
                breaches.push((from + 1, format!("function: {length} lines; split it")));
            }
            open = None;
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_the_house_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut said = String::new();
        let result = check(&root, &mut |line| said += &format!("{line}\n"));
        assert!(result.is_ok(), "{said}");
    }

    #[test]
    fn a_room_may_not_use_one_below_it() {
        let rooms = ["blob", "sink"].map(str::to_owned);
        let text = "//! x\nuse crate::sink::Batch;\n";
        assert_eq!(order(&rooms, Path::new("blob.rs"), text).len(), 1);
        assert_eq!(order(&rooms, Path::new("sink/mod.rs"), "use crate::blob::Blob;\n").len(), 0);
    }

    #[test]
    fn a_long_function_is_found() {
        let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
        assert_eq!(lengths(&long).len(), 1);
        assert_eq!(lengths(&long.replacen("    b();\n", "", 1)).len(), 0);
    }

    #[test]
    fn a_glob_and_a_re_export_are_found() {
        assert_eq!(lines(concat!("use std::fs::*;\npub", " use a::b;\n")).len(), 2);
        assert_eq!(lines("    use super::*;\n").len(), 0);
    }
}
