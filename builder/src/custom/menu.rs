//! GRUB's menu with arguments and an initramfs more.
//!
//! In: a `grub.cfg`, what to add. Out: the new text; every other line is as it was.
//!
//! Source: GNU GRUB Manual 2.12, chapter 6.1; Talos `pkg/imager/iso/grub.cfg`, `bootloader/grub/quote.go`.
//!
//! Not here: where the menu lies.

use crate::custom::error::CustomError;
use crate::custom::medium::MENU;
use crate::inspect::grub;

/// The menu with `args` after every kernel's and `initrd` after every initramfs.
///
/// # Errors
///
/// Where the text is not one command a line, so that it would not lead to just that.
pub(super) fn extend(
    text: &str,
    args: &[String],
    initrd: Option<&str>,
) -> Result<String, CustomError> {
    let quoted: String = args.iter().map(|arg| format!(" {}", quote(arg))).collect();
    let initrd = initrd.map_or(String::new(), |path| format!(" {path}"));
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body.trim_end(), "\n"),
            None => (line, ""),
        };
        let more = match body.split_whitespace().next() {
            Some("linux") => &*quoted,
            Some("initrd") => &*initrd,
            _ => "",
        };
        out.extend([body, more, end]);
    }
    let wanted = grub::read(text)?.into_iter().map(|mut entry| {
        entry.initrds.extend(initrd.split_whitespace().map(str::to_owned));
        let words = std::iter::once(&entry.cmdline).chain(args).filter(|word| !word.is_empty());
        entry.cmdline = words.cloned().collect::<Vec<_>>().join(" ");
        entry
    });
    match grub::read(&out)? == wanted.collect::<Vec<_>>() {
        true => Ok(out),
        false => Err(CustomError::Menu(MENU)),
    }
}

/// An argument as a GRUB script needs it: a backslash before all that the script would take for its
/// own.
fn quote(arg: &str) -> String {
    let mut out = String::with_capacity(arg.len());
    for c in arg.chars() {
        if r#"\{}&$|;<>"'#"#.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
