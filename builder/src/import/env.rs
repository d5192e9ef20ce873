//! Variables, and texts with them replaced.
//!
//! In: `talenv.yaml`, `talenv.sops.yaml`, the environment. Out: [`Replaced`] texts.
//!
//! Source: talhelper `pkg/substitute/envsubst.go`, `cmd/genconfig.go` (which files there are; a
//! later one, and any of them over the environment, wins); <https://github.com/a8m/envsubst>,
//! `parse/lex.go` and `parse/node.go`, restricted: a variable must be set and say something.
//!
//! Not here: which texts have variables (`value`). No message shows a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::report::Diagnostic;
use crate::yaml::{self, Style};

/// The files that may hold variables, beside the site's file.
pub(super) const FILES: [&str; 4] =
    ["talenv.yaml", "talenv.sops.yaml", "talenv.yml", "talenv.sops.yml"];

/// The variables of an import.
pub(super) struct Environment<'w> {
    variable: &'w dyn Fn(&str) -> Option<OsString>,
    given: BTreeMap<String, Given>,
}

struct Given {
    value: Zeroizing<String>,
    is_secret: bool,
}

/// A text whose variables are replaced.
pub(super) struct Replaced {
    pub(super) text: String,
    /// The name of a variable in it that comes from an encrypted file.
    pub(super) secret: Option<Arc<str>>,
}

/// Why a text's variables cannot be replaced. Names only.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The variable is not set.
    Unset(String),
    /// The variable has no text.
    Empty(String),
    /// What follows a `$` is none of the forms.
    Syntax,
    /// The text gets too long.
    TooLarge,
}

impl Wrong {
    pub(super) fn diagnostic(&self) -> Diagnostic {
        let code = "import-variable";
        match self {
            Self::Unset(name) => {
                Diagnostic::error(code, format!("the variable `{name}` is not set"))
                    .help(format!("set it in `talenv.yaml`: `{name}: …`; `$$` is a plain `$`"))
            }
            Self::Empty(name) => Diagnostic::error(code, format!("the variable `{name}` is empty"))
                .help(format!("give it a text, or a default: `${{{name}:-text}}`")),
            Self::Syntax => Diagnostic::error(code, "no variable follows the `$`")
                .help("write `${NAME}` or `${NAME:-text}`; `$$` is a plain `$`"),
            Self::TooLarge => Diagnostic::error(code, "the variables make this text too long")
                .help("give them shorter values"),
        }
    }
}

impl<'w> Environment<'w> {
    /// What the caller's environment has.
    pub(super) fn new(variable: &'w dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable, given: BTreeMap::new() }
    }

    /// Adds the variables of a file: its keys and their texts.
    pub(super) fn add(
        &mut self,
        file: &str,
        bytes: &[u8],
        is_secret: bool,
        problems: &mut Vec<Diagnostic>,
    ) {
        let nodes = match yaml::parse(file, bytes) {
            Ok(nodes) => nodes,
            Err(problem) => return problems.push(problem),
        };
        for node in nodes.iter().filter(|node| !node.is_null()) {
            let Some(entries) = node.entries() else {
                let message = format!("variables are a mapping, and this is {}", node.kind());
                let problem = Diagnostic::error("import-variables", message).at(node.place());
                problems.push(problem.help("write `NAME: text`, one a line"));
                continue;
            };
            for entry in entries {
                let scalar = entry.value.scalar();
                let Some(scalar) =
                    scalar.filter(|s| s.style == Style::Text || !s.text.contains('$'))
                else {
                    let message = format!("the value of `{}` is not taken as it stands", entry.key);
                    let problem = Diagnostic::error("import-variables", message);
                    let help = "write one text; talhelper replaces variables in one without quotes";
                    problems.push(problem.at(entry.value.place()).help(help));
                    continue;
                };
                let value = if entry.value.is_null() { "" } else { scalar.text.as_str() };
                let given = Given { value: Zeroizing::new(value.to_owned()), is_secret };
                self.given.insert(entry.key.clone(), given);
            }
        }
    }

    /// Replaces the variables of a text. The result has at most `limit` bytes.
    pub(super) fn replace(&self, text: &str, limit: usize) -> Result<Replaced, Wrong> {
        let mut done = Replaced { text: String::new(), secret: None };
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            done.text.push_str(&rest[..at]);
            rest = self.one(&rest[at + 1..], &mut done)?;
            if done.text.len() > limit {
                return Err(Wrong::TooLarge);
            }
        }
        done.text.push_str(rest);
        if done.text.len() > limit { Err(Wrong::TooLarge) } else { Ok(done) }
    }

    /// Replaces what follows a `$`, and gives what follows that.
    fn one<'t>(&self, rest: &'t str, done: &mut Replaced) -> Result<&'t str, Wrong> {
        if let Some(rest) = rest.strip_prefix('$') {
            done.text.push('$');
            return Ok(rest);
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let (inside, rest) = inner.split_once('}').ok_or(Wrong::Syntax)?;
            if inside.contains(['\n', '\r']) {
                return Err(Wrong::Syntax);
            }
            let (name, tail) = name(inside);
            if name.is_empty() {
                return Err(Wrong::Syntax);
            }
            self.form(name, tail, done)?;
            return Ok(rest);
        }
        let (name, rest) = name(rest);
        match name {
            "" => done.text.push('$'),
            "_" => done.text.push_str("$_"),
            name => self.put(name, done)?,
        }
        Ok(rest)
    }

    /// `NAME`, `NAME-other`, `NAME:-other`, `=` like `-`, and `NAME+other`.
    fn form(&self, name: &str, tail: &str, done: &mut Replaced) -> Result<(), Wrong> {
        let (operator, other) = match tail.strip_prefix(':') {
            Some(tail) => (tail.chars().next(), tail.get(1..)),
            None => (tail.chars().next(), tail.get(1..)),
        };
        let or_empty = tail.starts_with(':');
        let other = other.unwrap_or_default();
        match operator {
            None if tail.is_empty() => self.put(name, done),
            Some('-' | '=' | '+') if other.is_empty() => self.put(name, done),
            Some('-' | '=') => match self.get(name) {
                None => self.other(other, done),
                Some(given) if given.value.is_empty() && or_empty => self.other(other, done),
                Some(_) => self.put(name, done),
            },
            Some('+') if self.get(name).is_some() => self.other(other, done),
            Some('+') => Ok(()),
            _ => Err(Wrong::Syntax),
        }
    }

    /// What stands for a variable without a value: a text, or one other variable.
    fn other(&self, text: &str, done: &mut Replaced) -> Result<(), Wrong> {
        let Some(variable) = text.strip_prefix('$') else {
            if text.contains('$') {
                return Err(Wrong::Syntax);
            }
            done.text.push_str(text);
            return Ok(());
        };
        match name(variable) {
            (name, "") if !name.is_empty() => self.put(name, done),
            _ => Err(Wrong::Syntax),
        }
    }

    fn put(&self, name: &str, done: &mut Replaced) -> Result<(), Wrong> {
        let given = self.get(name).ok_or_else(|| Wrong::Unset(name.to_owned()))?;
        if given.value.is_empty() {
            return Err(Wrong::Empty(name.to_owned()));
        }
        done.text.push_str(&given.value);
        if given.is_secret {
            done.secret = Some(name.into());
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<std::borrow::Cow<'_, Given>> {
        use std::borrow::Cow;
        if let Some(given) = self.given.get(name) {
            return Some(Cow::Borrowed(given));
        }
        let value = (self.variable)(name)?.into_string().ok()?;
        Some(Cow::Owned(Given { value: Zeroizing::new(value), is_secret: false }))
    }
}

impl Clone for Given {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), is_secret: self.is_secret }
    }
}

/// The letters, digits and underscores at the start of a text, and the rest.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric());
    text.split_at(end.unwrap_or(text.len()))
}
