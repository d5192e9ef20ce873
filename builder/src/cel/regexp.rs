//! Regular expressions as Go has them.
//!
//! In: a pattern and a text. Out: whether it is found in the text.
//!
//! The crate `regex` has the same engine; what it writes otherwise, or means otherwise, is
//! rewritten: classes such as `\d` are of ASCII in Go, `\<` is a `<`, a `{` that repeats nothing is
//! itself, and there are no sets within sets.
//!
//! Source: Go `regexp/syntax`, <https://pkg.go.dev/regexp/syntax>.
//!
//! Not here: the rest of CEL.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex::RegexBuilder;

/// The longest pattern.
const MAX_PATTERN: usize = 1 << 12;

/// How many bytes a pattern may become.
const MAX_SIZE: usize = 1 << 20;

/// The most that Go lets a part repeat.
const MAX_REPEAT: u32 = 1000;

/// Whether the pattern is found anywhere in the text.
pub(super) fn is_match(pattern: &str, text: &str) -> Result<bool, &'static str> {
    if pattern.len() > MAX_PATTERN {
        return Err("this pattern is too long");
    }
    let pattern = translate(pattern).ok_or("this is no regular expression of Go")?;
    let regex = RegexBuilder::new(&pattern).size_limit(MAX_SIZE).nest_limit(100).build();
    Ok(regex.map_err(|_| "this is no regular expression of Go")?.is_match(text))
}

/// The pattern as `regex` wants it, or nothing, where Go refuses what `regex` would take.
fn translate(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    // Whether what stands before is a repetition: Go refuses a second one.
    let mut repeated = false;
    while let Some(c) = chars.next() {
        let again = repeated;
        repeated = false;
        match c {
            '\\' => escape(&mut chars, &mut out, false)?,
            '[' => class(&mut chars, &mut out)?,
            '(' => group(&mut chars, &mut out)?,
            '*' | '+' | '?' => {
                if again {
                    return None;
                }
                out.push(c);
                repeated = true;
            }
            '{' => match repetition(&mut chars) {
                Some(_) if again => return None,
                Some(text) => {
                    out.push_str(&text?);
                    repeated = true;
                }
                None => out.push_str("\\{"),
            },
            _ => out.push(c),
        }
        if repeated && chars.next_if_eq(&'?').is_some() {
            out.push('?');
        }
    }
    Some(out)
}

/// A repetition after its `{`, if it is one: within, nothing where it repeats too often.
fn repetition(chars: &mut Peekable<Chars<'_>>) -> Option<Option<String>> {
    let text: String = chars.clone().take_while(|&c| c != '}').collect();
    let closed = chars.clone().any(|c| c == '}');
    let (low, high) = text.split_once(',').unwrap_or((&text, &text));
    let number = |text: &str| -> Option<u32> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let low = number(low)?;
    let high = if high.is_empty() { low } else { number(high)? };
    if !closed {
        return None;
    }
    (0..=text.chars().count()).for_each(|_| {
        chars.next();
    });
    Some((low <= high && high <= MAX_REPEAT).then(|| format!("{{{text}}}")))
}

/// What follows a `(`.
fn group(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('(');
    if chars.next_if_eq(&'?').is_none() {
        return Some(());
    }
    out.push('?');
    let flags: String = chars.clone().take_while(|&c| c != ':' && c != ')').collect();
    let named = flags.starts_with('<') || flags.starts_with("P<");
    (named || flags.chars().all(|c| "imsU-".contains(c))).then_some(())
}

/// What follows a `\`, within a class or outside.
fn escape(chars: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) -> Option<()> {
    let c = chars.next()?;
    let set = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\x0C\r\x20",
        _ => "",
    };
    match c {
        'd' | 'w' | 's' if in_class => out.push_str(set),
        'd' | 'w' | 's' => write!(out, "[{set}]").ok()?,
        'D' | 'W' | 'S' => write!(out, "[^{set}]").ok()?,
        'b' | 'B' if !in_class => write!(out, "(?-u:\\{c})").ok()?,
        'A' | 'z' if !in_class => write!(out, "\\{c}").ok()?,
        'Q' if !in_class => quoted(chars, out),
        '0'..='7' => octal(c, chars, out)?,
        'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' => write!(out, "\\{c}").ok()?,
        'p' | 'P' => property(c, chars, out)?,
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => literal(c, out)?,
        _ => return None,
    }
    Some(())
}

/// A character that stands for itself.
fn literal(c: char, out: &mut String) -> Option<()> {
    write!(out, "\\x{{{:X}}}", u32::from(c)).ok()
}

/// `\Q…\E`
fn quoted(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// `\123`; one digit other than 0 would refer to a group, which Go does not know.
fn octal(first: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    let mut value = first.to_digit(8)?;
    let mut digits = 1;
    while digits < 3
        && let Some(digit) = chars.peek().and_then(|c| c.to_digit(8))
    {
        chars.next();
        value = value * 8 + digit;
        digits += 1;
    }
    if first != '0' && digits == 1 {
        return None;
    }
    literal(char::from_u32(value)?, out)
}

/// `\pL`, `\p{Greek}`, `\p{^Greek}`
fn property(c: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    let first = chars.next()?;
    if first != '{' {
        return write!(out, "\\{c}{first}").ok();
    }
    let name: String = chars.by_ref().take_while(|&c| c != '}').collect();
    let (not, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name.as_str()),
    };
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let kind = if (c == 'P') == not { 'p' } else { 'P' };
    if plain { write!(out, "\\{kind}{{{name}}}").ok() } else { None }
}

/// What follows a `[`, to its `]`.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if chars.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    loop {
        match chars.next()? {
            ']' => {
                out.push(']');
                return Some(());
            }
            '\\' => escape(chars, out, true)?,
            '[' if chars.peek() == Some(&':') => {
                let name: String = chars.by_ref().take_while(|&c| c != ']').collect();
                write!(out, "[{name}]").ok()?;
            }
            c @ ('[' | '&' | '~') => literal(c, out)?,
            c => out.push(c),
        }
    }
}
