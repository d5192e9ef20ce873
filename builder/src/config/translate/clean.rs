//! Trees beside their types: what is as good as absent, and what a type does not take.
//!
//! In: a tree and its type. Out: the tree without zero values of fields that are no pointers; what
//! is wrong with the values of a new document.
//!
//! Source: Talos `pkg/machinery/config/merge/merge.go`: a zero value on the right of a merge
//! changes nothing, unless the field is a pointer, or a list that is replaced.
//!
//! Not here: what the values mean.

use crate::config::schema::{Field, Schema, Type};
use crate::config::tree::{Data, Tree};
use crate::report::Diagnostic;

/// Takes out what is as good as absent.
pub(super) fn clean(schema: &Schema, ty: &Type, tree: &mut Tree) {
    match ty {
        Type::Pointer(inner) => clean(schema, inner, tree),
        Type::List(inner) => {
            if let Data::List(items) = tree.data_mut() {
                items.iter_mut().for_each(|item| clean(schema, inner, item));
            }
        }
        Type::Map(inner) => {
            if let Data::Map(entries) = tree.data_mut() {
                entries.iter_mut().for_each(|(_, value)| clean(schema, inner, value));
            }
        }
        Type::Struct(number) => {
            let structure = schema.structure(*number);
            if let Data::Map(entries) = tree.data_mut() {
                entries.retain_mut(|(key, value)| {
                    let Some(field) = structure.field(key) else { return true };
                    clean(schema, &field.ty, value);
                    !absent(field, value)
                });
            }
        }
        _ => {}
    }
}

fn absent(field: &Field, value: &Tree) -> bool {
    match (&field.ty, value.data()) {
        (_, Data::Null) => true,
        (Type::Pointer(_) | Type::Struct(_), _) => false,
        (_, Data::Text(text)) => text.is_empty(),
        (_, Data::Int(number)) => *number == 0,
        (_, Data::Bool(value)) => !value,
        (_, Data::List(items)) => items.is_empty() && !field.replace,
        (_, Data::Map(entries)) => entries.is_empty(),
        (_, Data::Float(_) | Data::Time(_)) => false,
    }
}

/// Tells what a type does not take: older fields that were texts have types of their own now.
pub(super) fn conform(schema: &Schema, ty: &Type, tree: &Tree, problems: &mut Vec<Diagnostic>) {
    match (ty, tree.data()) {
        (Type::Pointer(inner), _) => conform(schema, inner, tree, problems),
        (Type::List(inner), Data::List(items)) => {
            items.iter().for_each(|item| conform(schema, inner, item, problems));
        }
        (Type::Map(inner), Data::Map(entries)) => {
            entries.iter().for_each(|(_, value)| conform(schema, inner, value, problems));
        }
        (Type::Struct(number), Data::Map(entries)) => {
            let structure = schema.structure(*number);
            for (key, value) in entries {
                if let Some(field) = structure.field(key) {
                    conform(schema, &field.ty, value, problems);
                }
            }
        }
        (Type::Int(least, most), Data::Int(number)) if number < least || number > most => {
            let message = "the number is out of bounds";
            let help = format!("write one from {least} to {most}");
            problems.push(tree.error("translate-value", message).help(help));
        }
        (Type::Leaf(leaf), Data::Text(text)) => {
            if let Some((message, help)) = leaf.refuse(schema, text) {
                problems.push(tree.error("translate-value", message).help(help));
            }
        }
        _ => {}
    }
}
