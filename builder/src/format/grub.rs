//! What GRUB reads from a medium: its menu, and places patched into its images.
//!
//! In: menu entries, the block of a boot image. Out: the text of `grub.cfg`, patched boot code.
//!
//! Source: GNU GRUB manual 2.12, chapters 6.1 ("Writing full configuration files directly:
//! Shell-like scripting"), <https://www.gnu.org/software/grub/manual/grub/grub.html>; the manual
//! page of `xorrisofs`, options `--grub2-mbr` and `--grub2-boot-info`.
//!
//! Not here: GRUB's images themselves, and where they lie (`iso9660`, `layout`).

/// A menu entry that boots a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What the menu shows.
    pub title: &'a str,
    /// The kernel's path on the medium: `/boot/vmlinuz`.
    pub kernel: &'a str,
    /// The kernel command line, as the kernel is to see it.
    pub cmdline: &'a str,
    /// The paths of the initial ramdisks, laid one after another in memory; at least one.
    pub initrds: &'a [&'a str],
}

/// The text of `boot/grub/grub.cfg`: the first entry boots after `timeout_seconds`.
pub fn iso_cfg(timeout_seconds: u32, entries: &[Entry<'_>]) -> String {
    let head = format!(
        "set default=0\nset timeout={timeout_seconds}\n\ninsmod all_video\n\n\
         terminal_input console\nterminal_output console\n"
    );
    std::iter::once(head).chain(entries.iter().map(menu_entry)).collect::<Vec<_>>().join("\n")
}

fn menu_entry(entry: &Entry<'_>) -> String {
    let cmdline = quote(entry.cmdline);
    let space = if cmdline.is_empty() { "" } else { " " };
    let (title, kernel, initrds) =
        (quote_title(entry.title), entry.kernel, entry.initrds.join(" "));
    format!(
        "menuentry \"{title}\" {{\n\tset gfxmode=auto\n\tset gfxpayload=text\n\
         \tlinux {kernel}{space}{cmdline}\n\tinitrd {initrds}\n}}\n"
    )
}

/// A command line as a GRUB script needs it: a backslash before each character that the script
/// would take for its own. Spaces stay, for they separate arguments.
pub fn quote(cmdline: &str) -> String {
    escape(cmdline, r#"\{}&$|;<>""#)
}

/// A text between double quotes.
fn quote_title(title: &str) -> String {
    escape(title, r#"\$""#)
}

fn escape(text: &str, special: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Where `boot_hybrid.img` keeps the sector of the image that it loads.
const HYBRID_SECTOR_AT: usize = 0x1b0;

/// The boot code of a hybrid ISO's first sector: the code of `boot_hybrid.img`, told where the
/// El Torito image lies, in sectors of 512 bytes. It loads from the image's second sector on: the
/// first is the CD's own loader.
///
/// Nothing where the image is too short to be one.
pub fn hybrid_code(boot_hybrid: &[u8], eltorito_sector: u32) -> Option<[u8; 440]> {
    let mut code = *boot_hybrid.first_chunk::<440>()?;
    let sector = u64::from(eltorito_sector) + 4;
    code[HYBRID_SECTOR_AT..].copy_from_slice(&sector.to_le_bytes());
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_reads_so() {
        let cmdline = "panic=0 config=http://[::1]/?u=${uuid}&m=1";
        let initrds = ["/boot/initramfs.xz", "/boot/config.cpio"];
        let entry = Entry { title: "First", kernel: "/boot/vmlinuz", cmdline, initrds: &initrds };
        let second = Entry { title: "Say \"$hi\"", cmdline: "", initrds: &initrds[..1], ..entry };
        let want = r#"set default=0
set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry "First" {
	set gfxmode=auto
	set gfxpayload=text
	linux /boot/vmlinuz panic=0 config=http://[::1]/?u=\$\{uuid\}\&m=1
	initrd /boot/initramfs.xz /boot/config.cpio
}

menuentry "Say \"\$hi\"" {
	set gfxmode=auto
	set gfxpayload=text
	linux /boot/vmlinuz
	initrd /boot/initramfs.xz
}
"#;
        assert_eq!(iso_cfg(3, &[entry, second]), want);
    }

    #[test]
    fn every_special_character_is_quoted_once() {
        assert_eq!(quote(r#"a\{}&$|;<>"' b"#), r#"a\\\{\}\&\$\|\;\<\>\"' b"#);
    }

    #[test]
    fn hybrid_code_names_the_sector_after_the_first_four() {
        let code = hybrid_code(&[0xa5; 512], 598 * 4).unwrap();
        assert_eq!(code[432..], [0x5c, 0x09, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code[..432], [0xa5; 432]);
        assert_eq!(hybrid_code(&[0; 439], 0), None);
    }
}
