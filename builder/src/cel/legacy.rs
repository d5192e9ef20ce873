//! `machine.install.diskSelector`, the selector of before CEL.
//!
//! In: its keys and values. Out: the expression that Talos makes of them.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_provider.go#DiskMatchExpression`,
//! `v1alpha1_types.go#InstallDiskSizeMatcher`; `dustin/go-humanize` `bytes.go#ParseBytes`; cel-go
//! `parser/unparser.go`; Go `strconv.Quote`. The same in v1.12.7, v1.13.9 and v1.14.1.
//!
//! Not here: what an expression selects (`super`).

use std::fmt;

/// What is wrong with a selector. It never tells a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The key that it is about.
    pub key: String,
    /// What is wrong. Lower case, no full stop.
    pub message: &'static str,
    /// What to do.
    pub help: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`diskSelector.{}`: {}", self.key, self.message)
    }
}

impl std::error::Error for Error {}

/// The keys whose values are globs, and the fields of a disk that they look at, in Talos' order.
/// `busPath` is one, too, and comes last.
const GLOBS: [(&str, &str); 5] = [
    ("uuid", "uuid"),
    ("wwid", "wwid"),
    ("model", "model"),
    ("serial", "serial"),
    ("modalias", "modalias"),
];

/// What a size may be compared with by, the longest first.
const SIGNS: [&str; 5] = [">=", "<=", "==", ">", "<"];

/// How many bytes a unit has, in lower case.
const UNITS: [(&str, u64); 26] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("ki", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mi", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gi", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("ti", 1 << 40),
    ("tib", 1 << 40),
    ("p", 1_000_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("pi", 1 << 50),
    ("pib", 1 << 50),
    ("e", 1_000_000_000_000_000_000),
    ("eb", 1_000_000_000_000_000_000),
    ("ei", 1 << 60),
    ("eib", 1 << 60),
];

/// The expression for a selector's keys and values, letter by letter what Talos makes. To what the
/// selector says Talos adds that a disk has a transport, can be written to and is no CD-ROM.
///
/// # Errors
///
/// A key or a value that Talos refuses.
pub fn expression(selector: &[(&str, &str)]) -> Result<String, Error> {
    let known = |key: &str| {
        matches!(key, "size" | "name" | "type" | "busPath") || GLOBS.iter().any(|g| g.0 == key)
    };
    if let Some((key, _)) = selector.iter().find(|(key, _)| !known(key)) {
        let message = "there is no such key";
        let help = "the keys are size, model, serial, modalias, uuid, wwid, type and busPath";
        return Err(Error { key: (*key).to_owned(), message, help });
    }
    let value = |key: &str| selector.iter().find(|(own, _)| *own == key).map(|(_, value)| *value);
    let text = |key: &str| value(key).filter(|value| !value.is_empty());
    if text("name").is_some() {
        let message = "Talos does not select disks by name any more";
        let help = "select by `model`, `serial`, `wwid` or `busPath`";
        return Err(Error { key: "name".to_owned(), message, help });
    }
    let mut terms = vec![];
    if let Some(condition) = value("size") {
        terms.push(size(condition)?);
    }
    for (key, field) in GLOBS {
        terms.extend(text(key).map(|pattern| glob(pattern, field)));
    }
    terms.push("disk.transport != \"\"".to_owned());
    if let Some(kind) = text("type") {
        terms.push(of_type(kind)?.to_owned());
    }
    terms.extend(text("busPath").map(|pattern| glob(pattern, "bus_path")));
    terms.extend(["!disk.readonly".to_owned(), "!disk.cdrom".to_owned()]);
    Ok(joined(&terms))
}

/// The terms with `&&` between, wrapped as cel-go wraps them: behind an operator that, written
/// `_&&_`, would end past the 80th byte since the last wrapped one.
fn joined(terms: &[String]) -> String {
    let mut out = String::new();
    let mut wrapped = 0;
    for (at, term) in terms.iter().enumerate() {
        if at > 0 {
            let wraps = out.len() - wrapped + "_&&_".len() >= 80;
            wrapped = if wraps { out.len() } else { wrapped };
            out.push_str(if wraps { " &&\n" } else { " && " });
        }
        out.push_str(term);
    }
    out
}

fn glob(pattern: &str, field: &str) -> String {
    format!("glob({}, disk.{field})", quote(pattern))
}

fn of_type(kind: &str) -> Result<&'static str, Error> {
    Ok(match kind {
        "nvme" => "disk.transport == \"nvme\"",
        "sd" => "disk.transport == \"mmc\"",
        "hdd" => "disk.rotational",
        "ssd" => "!disk.rotational",
        _ => {
            let message = "there is no such type of disk";
            let help = "write `ssd`, `hdd`, `nvme` or `sd`";
            return Err(Error { key: "type".to_owned(), message, help });
        }
    })
}

fn size(condition: &str) -> Result<String, Error> {
    // Go's pattern ends at the end of the text, and its `.` stands for no line end.
    let line = condition.trim().rsplit('\n').next().unwrap_or_default();
    let sign = SIGNS.into_iter().find(|sign| line.starts_with(sign));
    let rest = line[sign.map_or(0, str::len)..].trim();
    let bytes = bytes(rest).ok_or_else(|| Error {
        key: "size".to_owned(),
        message: "this is no size",
        help: "write it as `>= 500GB`, with one of >=, <=, >, <, ==, or none, which means ==",
    })?;
    Ok(format!("disk.size {} {bytes}u", sign.unwrap_or("==")))
}

/// A number of bytes with a unit, as people write it: `1.5 TiB`, `500GB`, `1,000`.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    super::call::to_uint(number * factor as f64)
}

/// `strconv.Quote`: a text in double quotes, in which what cannot be printed is escaped.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out += &format!("\\x{:02x}", u32::from(c)),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xffff => out += &format!("\\u{:04x}", u32::from(c)),
            c => out += &format!("\\U{:08x}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

/// Whether it is a letter, a mark, a number, a sign or a plain space. The standard library escapes
/// what is not when it stands behind another character.
fn is_printable(c: char) -> bool {
    let text: String = ['x', c].iter().collect();
    text.escape_debug().eq(['x', c]) || c == '\''
}
