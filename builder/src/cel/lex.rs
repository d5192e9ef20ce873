//! From text to tokens.
//!
//! In: an expression. Out: its tokens, each with the place where it starts.
//!
//! Source: the CEL language definition, "Syntax",
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax>; cel-go
//! `parser/gen/CEL.g4`, `parser/unescape.go`.
//!
//! Not here: what tokens make (`parse`).

use super::Error;

/// A token and its first byte's place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned {
    pub(super) offset: usize,
    pub(super) token: Token,
}

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, or a word of the language: `in`, `true`, `false`, `null`.
    Name(String),
    /// A field's name in backticks, without them.
    Quoted(String),
    /// The digits of an int.
    Int {
        digits: String,
        radix: u32,
    },
    /// An unsigned int.
    Uint(u64),
    /// A double.
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// The longest first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%",
];

/// Splits the text into tokens; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, Box<Error>> {
    let mut all = vec![];
    let mut at = 0;
    loop {
        at += blank(&text[at..]);
        let rest = &text[at..];
        if rest.is_empty() {
            all.push(Spanned { offset: at, token: Token::End });
            return Ok(all);
        }
        let (token, len) = token(rest).map_err(|message| Error::new(at, message))?;
        all.push(Spanned { offset: at, token });
        at += len;
    }
}

/// How many bytes of white space and comments the text starts with.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']);
        match rest.strip_prefix("//") {
            Some(comment) => rest = comment.trim_start_matches(|c| c != '\n'),
            None => return text.len() - rest.len(),
        }
    }
}

/// The token at the start of the text, and its length.
fn token(text: &str) -> Result<(Token, usize), &'static str> {
    if let Some(found) = literal(text)? {
        return Ok(found);
    }
    let first = text.as_bytes()[0];
    if first.is_ascii_digit() || (first == b'.' && digits(&text[1..]) > 0) {
        return number(text);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let len = span(text, |b| b.is_ascii_alphanumeric() || b == b'_');
        return Ok((Token::Name(text[..len].to_owned()), len));
    }
    if first == b'`' {
        let len = span(&text[1..], |b| b.is_ascii_alphanumeric() || b"_.-/ ".contains(&b));
        let closed = text.as_bytes().get(len + 1) == Some(&b'`');
        return if len > 0 && closed {
            Ok((Token::Quoted(text[1..=len].to_owned()), len + 2))
        } else {
            Err("this name in backticks is not closed")
        };
    }
    match SIGNS.into_iter().find(|sign| text.starts_with(sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => Err("this character means nothing in CEL"),
    }
}

/// How many bytes at the start fulfil the condition.
fn span(text: &str, is: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|b| !is(b)).unwrap_or(text.len())
}

fn digits(text: &str) -> usize {
    span(text, |b| b.is_ascii_digit())
}

fn number(text: &str) -> Result<(Token, usize), &'static str> {
    let hex = text.strip_prefix("0x").map_or(0, |rest| span(rest, |b| b.is_ascii_hexdigit()));
    let (radix, start, whole) = if hex > 0 { (16, 2, hex) } else { (10, 0, digits(text)) };
    let end = start + whole;
    if radix == 10 {
        let float = end + fraction(&text[end..]);
        let float = float + exponent(&text[float..]);
        if float > end {
            let value = text[..float].parse().ok().filter(|value: &f64| value.is_finite());
            let value = value.ok_or("this number is larger than a double can be")?;
            return Ok((Token::Double(value), float));
        }
    }
    let digits = &text[start..end];
    if text[end..].starts_with(['u', 'U']) {
        let value = u64::from_str_radix(digits, radix);
        let value = value.map_err(|_| "this number is larger than a uint can be")?;
        return Ok((Token::Uint(value), end + 1));
    }
    Ok((Token::Int { digits: digits.to_owned(), radix }, end))
}

/// The length of a point and the digits behind it.
fn fraction(text: &str) -> usize {
    text.strip_prefix('.').map_or(0, digits).checked_add(1).filter(|&len| len > 1).unwrap_or(0)
}

/// The length of an `e`, its sign and its digits.
fn exponent(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else { return 0 };
    let sign = usize::from(rest.starts_with(['+', '-']));
    match digits(&rest[sign..]) {
        0 => 0,
        len => 1 + sign + len,
    }
}

/// A string or bytes, if the text starts with one, with its length.
fn literal(text: &str) -> Result<Option<(Token, usize)>, &'static str> {
    let (bytes, rest) = match text.strip_prefix(['b', 'B']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (raw, rest) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| rest.starts_with(q)) else {
        return Ok(None);
    };
    let body = &rest[quote.len()..];
    let len = body_len(body, quote, raw).ok_or("this text is not closed")?;
    let whole = text.len() - body.len() + len + quote.len();
    let content = body[..len].replace("\r\n", "\n").replace('\r', "\n");
    let content = if raw { content.into_bytes() } else { unescape(&content, bytes)? };
    let token = if bytes {
        Token::Bytes(content)
    } else {
        Token::String(String::from_utf8(content).map_err(|_| "this text is no UTF-8")?)
    };
    Ok(Some((token, whole)))
}

/// The length of what is between the quotes, if it ends.
fn body_len(body: &str, quote: &str, raw: bool) -> Option<usize> {
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        if body[at..].starts_with(quote) {
            return Some(at);
        }
        match c {
            '\\' if !raw => {
                chars.next()?;
            }
            '\n' | '\r' if quote.len() == 1 => return None,
            _ => {}
        }
    }
    None
}

/// The bytes that an escaped text means.
fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let c = escape.chars().next().ok_or("a `\\` ends this text")?;
        let (value, len) = match c {
            'x' | 'X' => code(&escape[1..], 2, 16)?,
            'u' if !bytes => code(&escape[1..], 4, 16)?,
            'U' if !bytes => code(&escape[1..], 8, 16)?,
            '0'..='3' => code(escape, 3, 8).map(|(value, len)| (value, len - 1))?,
            _ => (u32::from(plain_escape(c).ok_or("this text has an unknown escape")?), 0),
        };
        if bytes && (c.is_ascii_digit() || matches!(c, 'x' | 'X')) {
            out.push(u8::try_from(value).map_err(|_| "this byte is too large")?);
        } else {
            let c = char::from_u32(value).ok_or("this text escapes what is no character")?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = &escape[c.len_utf8() + len..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// A number of so many digits, and their count.
fn code(text: &str, len: usize, radix: u32) -> Result<(u32, usize), &'static str> {
    let digits = text.get(..len).filter(|d| d.chars().all(|c| c.is_digit(radix)));
    let value = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    Ok((value.ok_or("this text has an escape with too few digits")?, len))
}

const fn plain_escape(c: char) -> Option<char> {
    Some(match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '`' | '?' => c,
        _ => return None,
    })
}
