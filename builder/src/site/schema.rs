//! The JSON Schema of a site file, for editors.
//!
//! In: the tables of keys. Out: the schema.
//!
//! Source: JSON Schema 2020-12, <https://json-schema.org/draft/2020-12>.
//!
//! Not here: checks that a schema cannot make; the rest of this room makes those. To a reader that
//! takes all scalars for texts, as this room does, the same files must fit.

use serde_json::{Value, json};

use super::key::{self, Section, Shape};
use crate::catalog;

/// The schema of the whole file.
pub(super) fn site() -> Value {
    let mut schema = section(&key::SITE);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("talforge site");
    schema["description"] = json!("A whole site: a cluster, what its machines boot, the machines");
    schema["properties"]["nodes"]["minItems"] = json!(1);
    schema
}

/// A mapping with its keys and no others.
fn section(section: &Section) -> Value {
    let property = |key: &key::Key| {
        let mut schema = shape(key.shape);
        schema["description"] = json!(key.about);
        (key.name.to_owned(), schema)
    };
    let properties: serde_json::Map<_, _> = section.keys.iter().map(property).collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    let needed: Vec<_> = section.keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    schema
}

fn shape(of: Shape) -> Value {
    let own_file = || text(r"(/|\.yaml$)");
    match of {
        Shape::Any => json!({}),
        Shape::Text(pattern) => text(pattern),
        Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Shape::Flag => json!({"enum": [true, false, "true", "false"]}),
        Shape::Number => {
            json!({"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$"})
        }
        Shape::Off => json!({"enum": ["off", false]}),
        Shape::Yes => json!({"enum": [true, "true"]}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::WordOr(usual, words) => json!({"enum": words, "default": usual}),
        Shape::List(item) => json!({"type": "array", "items": shape(*item)}),
        Shape::OneOrMore(item) => {
            let item = shape(*item);
            json!({"anyOf": [item, {"type": "array", "items": item}]})
        }
        Shape::Map(value) => json!({"type": "object", "additionalProperties": shape(*value)}),
        Shape::OneOf(shapes) => {
            json!({"anyOf": shapes.iter().map(|&one| shape(one)).collect::<Vec<_>>()})
        }
        Shape::Part(of) => section(of),
        Shape::Version => json!({"enum": [1, "1"]}),
        Shape::Profile => {
            json!({"anyOf": [{"enum": catalog::profile_names().collect::<Vec<_>>()}, own_file()]})
        }
        Shape::Overlay => {
            json!({"anyOf": [{"enum": catalog::overlay_names().collect::<Vec<_>>()}, own_file()]})
        }
        Shape::Meta => json!({
            "type": "object",
            "propertyNames": {"pattern": "^(0[xX][0-9A-Fa-f]+|[1-9][0-9]*)$"},
            "additionalProperties": {
                "type": ["string", "number", "boolean"],
                "not": {"type": "string", "pattern": ";"},
            },
        }),
    }
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}
