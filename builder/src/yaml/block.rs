//! YAML in YAML: what stands behind `patch: |`, with its places.
//!
//! In: a text's node, and the file that it stands in. Out: its documents.
//!
//! Source: YAML 1.2.2, chapter 8.1.2 ("Literal Style").
//!
//! Not here: reading itself (`super`).

use std::sync::Arc;

use super::{Entry, Node, Spot, Value};
use crate::report::{Diagnostic, Place};

/// Reads the documents of a text that stands as a block in another file, which is `source`. The
/// places are those in that file.
///
/// # Errors
///
/// As [`super::parse`].
pub fn parse(block: &Node, source: &str) -> Result<Vec<Node>, Diagnostic> {
    let text = block.scalar().map_or("", |scalar| scalar.text.as_str());
    let origin = Origin::of(block, text, source);
    let nodes = super::parse(&block.file, text.as_bytes()).map_err(|error| {
        let place = error.place.clone().map(|place| origin.place(place));
        Diagnostic { place, ..error }
    })?;
    Ok(nodes.iter().map(|node| origin.node(node)).collect())
}

/// Where a block's text stands in its file.
enum Origin {
    /// Its lines are the file's, so many lines further on and as many columns to the right.
    Literal(Spot),
    /// A text in quotes or a folded one starts here; what is in it has no places of its own.
    Other(Spot),
}

impl Origin {
    /// A literal block's place is that of its first line that is not empty.
    fn of(block: &Node, text: &str, source: &str) -> Self {
        let Spot { line, column } = block.spot;
        let empty = text.lines().take_while(|line| line.is_empty()).count();
        let skipped = u32::try_from(empty).unwrap_or(u32::MAX).saturating_add(1);
        let number = |spot| usize::try_from(spot).unwrap_or(usize::MAX);
        let mut lines = source.lines().skip(number(line) - 1);
        let is_same = |inner: &str| {
            let outer = lines.next().unwrap_or_default();
            outer.get(number(column) - 1..).unwrap_or_default() == inner
        };
        if line >= skipped && text.lines().skip(empty).all(is_same) {
            Self::Literal(Spot { line: line - skipped, column: column - 1 })
        } else {
            Self::Other(block.spot)
        }
    }

    fn spot(&self, spot: Spot) -> Spot {
        match self {
            Self::Literal(origin) => Spot {
                line: spot.line.saturating_add(origin.line),
                column: spot.column.saturating_add(origin.column),
            },
            Self::Other(origin) => *origin,
        }
    }

    fn place(&self, place: Place) -> Place {
        let spot = self.spot(Spot { line: place.line, column: place.column });
        Place { line: spot.line, column: spot.column, ..place }
    }

    fn node(&self, node: &Node) -> Node {
        let value = match node.value() {
            Value::Scalar(_) => Arc::clone(&node.value),
            Value::Sequence(items) => {
                Arc::new(Value::Sequence(items.iter().map(|item| self.node(item)).collect()))
            }
            Value::Mapping(entries) => {
                let moved = |entry: &Entry| Entry {
                    place: self.place(entry.place.clone()),
                    ..entry.with(self.node(&entry.value))
                };
                Arc::new(Value::Mapping(entries.iter().map(moved).collect()))
            }
        };
        Node { spot: self.spot(node.spot), value, ..node.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "a:\n  - |\n\n    b: [c,\n      d]\n    ---\n    e\n  - \"b: x\"\n  - |2\n      f: [\n";

    fn item(number: usize) -> Node {
        let file = super::super::parse("f", FILE.as_bytes()).unwrap().remove(0);
        file.get("a").unwrap().items().unwrap()[number].clone()
    }

    #[test]
    fn places_are_those_in_the_file() {
        let documents = parse(&item(0), FILE).unwrap();
        let list = documents[0].get("b").unwrap();
        let places = [&list.items().unwrap()[0], &list.items().unwrap()[1], &documents[1]];
        assert_eq!(places.map(|node| node.place().to_string()), ["f:4:9", "f:5:7", "f:7:5"]);
        assert_eq!(documents[0].entries().unwrap()[0].place.to_string(), "f:4:5");
    }

    #[test]
    fn a_text_in_quotes_has_one_place() {
        let documents = parse(&item(1), FILE).unwrap();
        assert_eq!(documents[0].get("b").unwrap().place().to_string(), "f:8:5");
    }

    #[test]
    fn mistakes_have_a_place_in_the_file() {
        let error = parse(&item(2), FILE).unwrap_err();
        assert_eq!((error.code, error.place.unwrap().line), ("yaml-syntax", 10));
    }
}
