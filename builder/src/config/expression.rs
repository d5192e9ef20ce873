//! Pieces of CEL expressions.
//!
//! In: texts. Out: the same as literals and comparisons.
//!
//! Source: the Common Expression Language's definition, chapter "Syntax" (string literals); Talos
//! `pkg/machinery/cel/celenv/celenv.go` (`glob`).
//!
//! Not here: checking an expression (`valid`).

/// A text as a literal.
pub(super) fn literal(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// Whether a value is as a pattern has it, where `*` is any text.
pub(super) fn matches(pattern: &str, value: &str) -> String {
    if pattern.contains('*') {
        format!("glob({}, {value})", literal(pattern))
    } else {
        format!("{value} == {}", literal(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_literal() {
        assert_eq!(literal("a\" || true || \"\\\n"), r#""a\" || true || \"\\\u000a""#);
        assert_eq!(matches("S4*", "disk.serial"), r#"glob("S4*", disk.serial)"#);
        assert_eq!(matches("S4", "disk.serial"), r#"disk.serial == "S4""#);
    }
}
