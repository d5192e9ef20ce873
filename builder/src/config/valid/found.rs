//! Findings, while they are gathered.
//!
//! In: what a rule finds. Out: diagnostics with their places, in the order of the rules.
//!
//! Source: none.
//!
//! Not here: the rules.

use crate::config::tree::Tree;
use crate::report::Diagnostic;

/// What has been found.
pub(super) struct Found {
    list: Vec<Diagnostic>,
}

impl Found {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// What Talos refuses, at the value it is about.
    pub(super) fn refuse(
        &mut self,
        at: &Tree,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.list.push(at.error(code, message).help(help));
    }

    /// What Talos warns of, at the value it is about.
    pub(super) fn warn(
        &mut self,
        at: &Tree,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.list.push(at.warning(code, message).help(help));
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}
