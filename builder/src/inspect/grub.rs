//! GRUB's menu: what each entry would hand to the kernel.
//!
//! In: the text of a `grub.cfg`. Out: its entries with kernel, command line and initrds.
//!
//! Source: GNU GRUB Manual 2.12, chapter 6.2 ("Writing full configuration files directly") and
//! 6.3 (the commands `menuentry`, `linux`, `initrd`).
//!
//! Not here: conditions, functions and variables. A file that uses them for a kernel or an initrd
//! is refused, not guessed at.

use super::damage::Damage;

/// An entry of the menu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MenuEntry {
    /// Its title.
    pub title: String,
    /// The path of the kernel.
    pub linux: String,
    /// The command line, its words apart by one space each.
    pub cmdline: String,
    /// The paths of the initrds, in order.
    pub initrds: Vec<String>,
}

/// A word or the end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, and whether a variable was in it.
    Word(String, bool),
    /// `{`, standing alone.
    Open,
    /// `}`, standing alone.
    Close,
    /// The end of a line, or `;`.
    End,
}

/// Reads the menu.
///
/// # Errors
///
/// [`Damage`] where a quotation or an entry does not end, an entry has no kernel or two, or a
/// variable stands in a kernel's or initrd's line.
pub fn read(text: &str) -> Result<Vec<MenuEntry>, Damage> {
    let tokens = tokens(text)?;
    let mut entries = Vec::new();
    let mut open: Option<MenuEntry> = None;
    let mut depth = 0u32;
    for command in tokens.split(|t| *t == Token::End) {
        let words: Vec<&str> = command.iter().filter_map(word).collect();
        let variable = command.iter().any(|t| matches!(t, Token::Word(_, true)));
        let opens = command.contains(&Token::Open);
        let closes = command.contains(&Token::Close);
        match (words.as_slice(), &mut open) {
            (["menuentry", title, ..], None) if opens => {
                open = Some(MenuEntry { title: (*title).to_owned(), ..MenuEntry::default() });
                depth = 0;
            }
            (["linux" | "linux16" | "initrd" | "initrd16", ..], Some(_)) if variable => {
                return Err(damage("a variable stands in a `linux` or `initrd` line"));
            }
            (["linux" | "linux16", path, args @ ..], Some(entry)) => {
                if !entry.linux.is_empty() {
                    return Err(damage(format!("`{}` has two kernels", entry.title)));
                }
                (entry.linux, entry.cmdline) = ((*path).to_owned(), args.join(" "));
            }
            (["initrd" | "initrd16", paths @ ..], Some(entry)) => {
                // A further `initrd` takes the place of the one before.
                entry.initrds = paths.iter().map(|&p| p.to_owned()).collect();
            }
            (_, Some(_)) if opens => depth += 1,
            _ => (),
        }
        if closes && depth > 0 {
            depth -= 1;
        } else if closes && let Some(entry) = open.take() {
            if entry.linux.is_empty() {
                return Err(damage(format!("`{}` has no kernel", entry.title)));
            }
            entries.push(entry);
        }
    }
    match open {
        Some(entry) => Err(damage(format!("`{}` does not end", entry.title))),
        None => Ok(entries),
    }
}

fn damage(wrong: impl Into<String>) -> Damage {
    Damage::new("grub.cfg", 0, wrong)
}

fn word(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word, _) => Some(word),
        _ => None,
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Damage> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '\n' | ';' => {
                chars.next();
                tokens.push(Token::End);
            }
            '#' => while chars.next_if(|&c| c != '\n').is_some() {},
            '{' | '}' => {
                chars.next();
                // A brace ends the command before it, as in `menuentry x { … }`.
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
                tokens.push(Token::End);
            }
            c if c.is_whitespace() => drop(chars.next()),
            _ => tokens.push(one_word(&mut chars)?),
        }
    }
    Ok(tokens)
}

fn one_word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, Damage> {
    let mut word = String::new();
    let mut variable = false;
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => break,
            ';' | '{' | '}' => break,
            '\\' => {
                chars.next();
                // A line's end that is escaped joins the lines.
                word.extend(chars.next().filter(|&c| c != '\n'));
            }
            '\'' => {
                chars.next();
                word.push_str(&quoted(chars, '\'', &mut variable)?);
            }
            '"' => {
                chars.next();
                word.push_str(&quoted(chars, '"', &mut variable)?);
            }
            c => {
                variable |= c == '$';
                word.push(c);
                chars.next();
            }
        }
    }
    Ok(Token::Word(word, variable))
}

fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    end: char,
    variable: &mut bool,
) -> Result<String, Damage> {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            c if c == end => return Ok(text),
            '\\' if end == '"' => match chars.next() {
                Some(c @ ('$' | '"' | '\\')) => text.push(c),
                Some('\n') | None => (),
                Some(c) => text.extend(['\\', c]),
            },
            c => {
                *variable |= c == '$' && end == '"';
                text.push(c);
            }
        }
    }
    Err(damage("a quotation does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talos_menu_is_read() {
        let text = r#"
set default=0
set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry "Talos ISO" {
	set gfxmode=auto
	set gfxpayload=text
	linux /boot/vmlinuz talos.platform=metal talos.config=https://x/\?a=\$\{uuid\}\&b console=tty0
	initrd /boot/initramfs.xz /boot/config.cpio
}

menuentry "Reset Talos installation" {
	linux /boot/vmlinuz a talos.experimental.wipe=system
	initrd /boot/initramfs.xz
}
"#;
        let entries = read(text).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].title, "Talos ISO");
        assert_eq!(entries[0].linux, "/boot/vmlinuz");
        assert_eq!(
            entries[0].cmdline,
            "talos.platform=metal talos.config=https://x/?a=${uuid}&b console=tty0"
        );
        assert_eq!(entries[0].initrds, ["/boot/initramfs.xz", "/boot/config.cpio"]);
        assert_eq!(entries[1].cmdline, "a talos.experimental.wipe=system");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "menuentry x { linux /k $args\n}",
            "menuentry x { linux /k \"${args}\"\n}",
            "menuentry x { initrd /i\n}",
            "menuentry x { linux /k\n",
            "menuentry \"x",
            "menuentry x { linux /k\nlinux /l\n}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_inner_block_does_not_end_the_entry() {
        let text = "if a; then {\n}\nmenuentry x { foo {\n}\nlinux /k\n}";
        assert_eq!(read(text).unwrap()[0].linux, "/k");
    }
}
