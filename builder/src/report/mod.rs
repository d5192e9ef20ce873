//! What is said to a person or a machine: diagnostics and progress. The only room that prints.
//!
//! In: findings, events. Out: lines on the terminal, bars, JSON lines.
//!
//! Source: none; the shape of a message is that of `rustc`.
//!
//! Not here: who finds what, and exit codes (`verb`).

use std::fmt;

pub mod progress;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is built until it is mended.
    Error,
    /// Built, but worth a look.
    Warning,
}

/// A place in a text file. Lines and columns count from 1; a column is a character, not a byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path, as the user would write it.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A finding in the user's files: what is wrong, where, and how to mend it.
///
/// It prints in three lines:
///
/// ```text
/// error: node `cp-1` uses the profile `metall`, which is not known
///   --> site.yaml:14:11
/// help: did you mean `metal-iso`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name for machines: `unknown-key`.
    pub code: &'static str,
    /// What is wrong. Lower case, no full stop, values in backticks, never a secret.
    pub message: String,
    /// Where, if at one place.
    pub place: Option<Place>,
    /// What to do, as an imperative.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), place: None, help: None }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// The same, at a place.
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same, with a remedy.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Paint::Plain))
    }
}

/// Whether text carries colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// None.
    Plain,
    /// ECMA-48 sequences, as terminals take them.
    Ansi,
}

impl Diagnostic {
    /// The finding's lines, without a line end after the last. Control characters are escaped:
    /// names from foreign files must not steer a terminal.
    pub fn render(&self, paint: Paint) -> String {
        let (severity, colour) = match self.severity {
            Severity::Error => ("error", "31"),
            Severity::Warning => ("warning", "33"),
        };
        let mut text = match paint {
            Paint::Plain => format!("{severity}: "),
            Paint::Ansi => format!("\x1b[1;{colour}m{severity}:\x1b[0m "),
        };
        text.push_str(&printable(&self.message));
        if let Some(place) = &self.place {
            text.push_str("\n  --> ");
            text.push_str(&printable(&place.to_string()));
        }
        if let Some(help) = &self.help {
            text.push_str("\nhelp: ");
            text.push_str(&printable(help));
        }
        text
    }
}

/// The text with its control characters escaped, line ends and tabs aside.
fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Diagnostic {
        Diagnostic::error("unknown-profile", "profile `\x1b[2Jmetall` is not known")
            .at(Place { file: "site.yaml".into(), line: 14, column: 11 })
            .help("did you mean `metal-iso`?")
    }

    #[test]
    fn a_finding_prints_in_three_lines_that_cannot_steer_a_terminal() {
        insta::assert_snapshot!(finding(), @r"
        error: profile `\u{1b}[2Jmetall` is not known
          --> site.yaml:14:11
        help: did you mean `metal-iso`?
        ");
    }

    #[test]
    fn only_the_first_word_is_coloured() {
        let plain = finding().render(Paint::Plain);
        let ansi = finding().render(Paint::Ansi);
        assert_eq!(ansi, plain.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1));
    }
}
