//! Which Talos versions an extension says that it runs on.
//!
//! In: `>= v1.5.0 < v1.13.0`. Out: whether a version is in it.
//!
//! Talos reads ranges with blang/semver's `ParseRange` after it has dropped each `v` before a digit,
//! and compares the numbers of its own version alone: `v1.14.0-rc.1` counts as `1.14.0`. What that
//! reader takes, with its oddities, is taken here: a lone `!` or `|` is passed over, `1.x.x` is
//! `1.0.x`.
//!
//! Source: Talos `pkg/machinery/extensions/validate.go#validateConstraints`; blang/semver v4
//! `range.go`, `semver.go`.
//!
//! Not here: what a constraint means for a build (`problem`).

use std::cmp::Ordering;

use crate::talos::Version;

/// A range of versions: one of these lists must hold, each of whose bounds must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint(Vec<Vec<Bound>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    operator: Operator,
    numbers: [u64; 3],
    /// Whether it is a version before that of its numbers.
    is_pre: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Constraint {
    /// Reads a range, or nothing where Talos would not read it.
    pub fn parse(text: &str) -> Option<Self> {
        let words = words(&without_v(text));
        if words.first().is_none_or(|word| word == "||") || words.last()? == "||" {
            return None;
        }
        let lists = words.split(|word| word == "||").map(|list| {
            let bounds = list.iter().map(|word| expand(word));
            let bounds = bounds.collect::<Option<Vec<_>>>()?.concat();
            bounds.iter().map(|bound| Bound::parse(bound)).collect::<Option<Vec<_>>>()
        });
        let lists = lists.collect::<Option<Vec<_>>>()?;
        // Between two `||` that touch, Go has no function to call.
        lists.iter().all(|list| !list.is_empty()).then_some(Self(lists))
    }

    /// Whether a version is in the range. Its pre-release part does not count.
    pub fn allows(&self, talos: &Version) -> bool {
        let numbers = [talos.major, talos.minor, talos.patch].map(u64::from);
        self.0.iter().any(|list| list.iter().all(|bound| bound.allows(numbers)))
    }
}

/// The text without each `v` that stands before a digit.
fn without_v(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_dropped = c == 'v' && rest.peek().is_some_and(char::is_ascii_digit);
        if !is_dropped {
            out.push(c);
        }
    }
    out
}

/// The words between blanks; a blank after `<`, `>` or `=` ends none. One of a single byte is lost.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut last = '\0';
    let mut end_word = |start: usize, end: usize| {
        if end > start + 1 {
            words.push(text[start..end].replace(' ', ""));
        }
    };
    for (at, c) in text.char_indices() {
        if c == ' ' && !matches!(last, '<' | '>' | '=') {
            end_word(start, at);
            start = at + 1;
        } else if c != ' ' {
            last = c;
        }
    }
    end_word(start, text.len());
    words
}

/// The operator and the version of a bound.
fn split(word: &str) -> Option<(&str, &str)> {
    let (operator, version) = word.split_at(word.find(|c: char| c.is_ascii_digit())?);
    Some((operator.trim(), version))
}

/// A bound whose version ends in `.x` as one or two bounds without.
fn expand(word: &str) -> Option<Vec<String>> {
    if !word.contains('x') {
        return Some(vec![word.to_owned()]);
    }
    let (operator, version) = split(word)?;
    let next = || next(version).unwrap_or_default();
    let flat = flat(version);
    Some(match operator {
        ">" => vec![format!(">={}", next())],
        ">=" => vec![format!(">={flat}")],
        "<" => vec![format!("<{flat}")],
        "<=" => vec![format!("<{}", next())],
        "" | "=" | "==" => vec![format!(">={flat}"), format!("<{}", next())],
        "!" | "!=" => vec![format!("<{flat}"), format!(">={}", next())],
        _ => vec![flat],
    })
}

/// The lowest version of a wildcard: `1.13.0` of `1.13.x`.
fn flat(version: &str) -> String {
    let flat = version.replacen(".x.x", ".x", 1).replacen(".x", ".0", 1);
    if flat.split('.').count() == 2 { flat + ".0" } else { flat }
}

/// The first version after a wildcard's: `1.14.0` of `1.13.x`, `2.0.0` of `1.x`.
fn next(version: &str) -> Option<String> {
    let parts: Vec<_> = version.split('.').collect();
    let counts = match parts.as_slice() {
        [_, "x"] => 0,
        [_, _, "x"] => 1,
        _ => return None,
    };
    let flat = flat(version);
    let mut parts: Vec<_> = flat.split('.').map(str::to_owned).collect();
    let number: u64 = parts[counts].parse().ok()?;
    parts[counts] = number.checked_add(1)?.to_string();
    Some(parts.join("."))
}

impl Bound {
    fn parse(word: &str) -> Option<Self> {
        let (operator, version) = split(word)?;
        let operator = match operator {
            "" | "=" | "==" => Operator::Equal,
            "!" | "!=" => Operator::NotEqual,
            ">" => Operator::Above,
            ">=" => Operator::AtLeast,
            "<" => Operator::Below,
            "<=" => Operator::AtMost,
            _ => return None,
        };
        let (version, build) = version.split_once('+').unwrap_or((version, "0"));
        let (core, pre) = version.split_once('-').unwrap_or((version, "0"));
        let good = build.split('.').all(is_identifier) && pre.split('.').all(is_pre_identifier);
        let mut numbers = core.split('.').map(number);
        let numbers = [numbers.next()??, numbers.next()??, numbers.next()??];
        let is_whole = core.split('.').count() == 3;
        (good && is_whole).then_some(Self { operator, numbers, is_pre: version.contains('-') })
    }

    fn allows(&self, numbers: [u64; 3]) -> bool {
        // A release comes after all that lead to it.
        let lead = if self.is_pre { Ordering::Greater } else { Ordering::Equal };
        let order = numbers.cmp(&self.numbers).then(lead);
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Above => order.is_gt(),
            Operator::AtLeast => order.is_ge(),
            Operator::Below => order.is_lt(),
            Operator::AtMost => order.is_le(),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let good =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    good.then(|| text.parse().ok())?
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_pre_identifier(text: &str) -> bool {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_identifier(text) && (!is_number || number(text).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go says of 1.12.0, 1.13.9 and 1.14.0: `y` or `n` of each, `-` of a range that it refuses.
    const BY_GO: [(&str, &str); 76] = [
        (">= v1.5.0", "yyy"),
        (">=1.5.0", "yyy"),
        (">= v1.0.0", "yyy"),
        ("> v1.13.9", "nny"),
        ("<v1.13.9", "ynn"),
        ("<= v1.13.9", "yyn"),
        ("v1.13.9", "nyn"),
        ("= v1.13.9", "nyn"),
        ("== v1.13.9", "nyn"),
        ("!= v1.13.9", "yny"),
        ("! v1.13.9", "nyn"),
        ("!v1.13.9", "yny"),
        (">= v1.12.0 < v1.13.0", "ynn"),
        (">= v1.12.0 < v1.14.0", "yyn"),
        ("< v1.12.0 || >= v1.13.0", "nyy"),
        ("< v1.12.0 || >= v1.14.0", "nny"),
        ("1.13.x", "nyn"),
        ("v1.13.x", "nyn"),
        ("1.x", "yyy"),
        ("1.x.x", "nnn"),
        ("> 1.12.x", "nyy"),
        ("> 1.13.x", "nny"),
        ("<= 1.13.x", "yyn"),
        ("< 1.13.x", "ynn"),
        ("!= 1.13.x", "nnn"),
        ("!= 1.12.x", "nnn"),
        (">= 1.13.x", "nyy"),
        (">= v1.14.0-alpha.0", "nny"),
        ("<= v1.14.0-alpha.0", "yyn"),
        ("v1.14.0-rc.1", "nnn"),
        ("> v1.14.0-rc.1", "nny"),
        (">= v1.13.9-beta", "nyy"),
        ("< v1.13.9-beta", "ynn"),
        ("", "-"),
        ("*", "-"),
        ("latest", "-"),
        (">= 1.13", "-"),
        (">= v1", "-"),
        ("|| 1.0.0", "-"),
        ("1.0.0 ||", "-"),
        (">= v01.2.3", "-"),
        ("~1.13.0", "-"),
        ("^1.13.0", "-"),
        (">=  v1.12.0   <v1.14.0", "yyn"),
        (" >= v1.12.0 ", "yyy"),
        (">= v1.12.0, < v1.14.0", "-"),
        (">=1.12.0<1.14.0", "-"),
        ("=>1.12.0", "-"),
        (">= v1.5.0+build", "yyy"),
        ("x", "-"),
        ("1.x.3", "-"),
        ("9", "-"),
        ("> = 1.2.3", "yyy"),
        (">= v1.13.9 ", "nyy"),
        ("1.13.9-", "-"),
        (">= v99999999999999999999.0.0", "-"),
        (">=v1.12.0 <v1.14.0 !1.13.9 || 1.13.9", "yyn"),
        (">= 1.13.x-rc", "nyy"),
        ("<v1.13.x-x", "ynn"),
        ("1.x.x.x", "-"),
        (">1.X", "-"),
        ("= = 1.13.9", "nyn"),
        ("< = 1.13.9", "yyn"),
        ("1 .13.9", "-"),
        ("\t1.13.9", "nyn"),
        ("é1.13.9", "-"),
        (">=1.13.9-01", "-"),
        (">=1.13.9-a..b", "-"),
        ("!=1.x", "nnn"),
        ("==1.13.x", "nyn"),
        ("!1.12.x", "nnn"),
        ("xx1.2", "nnn"),
        ("1.2.3x", "-"),
        ("a1.x", "nnn"),
        ("1.x || ", "-"),
        ("| 1.13.9", "nyn"),
    ];

    #[test]
    fn ranges_are_read_as_go_reads_them() {
        for (text, want) in BY_GO {
            let allows = |range: Constraint| {
                let tags = ["v1.12.0", "v1.13.9", "v1.14.0-rc.1"];
                let answer = |tag| range.allows(&Version::parse(tag).unwrap());
                tags.map(|tag| if answer(tag) { 'y' } else { 'n' }).iter().collect()
            };
            let found = Constraint::parse(text).map_or("-".to_owned(), allows);
            assert_eq!(found, want, "{text:?}");
        }
    }
}
