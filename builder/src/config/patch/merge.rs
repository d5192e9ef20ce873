//! Laying one value over another.
//!
//! In: a value and what a patch says of it. Out: the value, changed.
//!
//! Source: Talos `pkg/machinery/config/merge/merge.go`, and the `Merge` methods of the types under
//! `pkg/machinery/config/types/`.
//!
//! Not here: which documents meet (`super`), and `$patch: delete` (`delete`).

use crate::config::leaf::{self, Leaf};
use crate::config::schema::{Schema, Type};
use crate::config::tree::{Data, Tree};
use crate::report::Diagnostic;

/// Lays a value over another of the same type.
pub(super) fn merge(
    schema: &'static Schema,
    ty: &Type,
    left: &mut Tree,
    right: &Tree,
) -> Result<(), Diagnostic> {
    Merger { schema }.lay(ty, left, right, How::default())
}

/// What a key's type says of the merge.
#[derive(Clone, Copy, Default)]
struct How {
    /// The new value takes the place of the old one as a whole.
    replace: bool,
    /// A zero counts: the value is behind a pointer, and it is present.
    zero_counts: bool,
}

#[derive(Clone, Copy)]
struct Merger {
    schema: &'static Schema,
}

impl Merger {
    fn lay(self, ty: &Type, left: &mut Tree, right: &Tree, how: How) -> Result<(), Diagnostic> {
        let counts = |zero: bool| how.zero_counts || !zero;
        match ty {
            Type::Pointer(inner) => {
                return self.lay(inner, left, right, How { zero_counts: true, ..how });
            }
            Type::Bool => left.clone_from(right),
            Type::Text => {
                if counts(right.text() == Some("")) {
                    left.clone_from(right);
                }
            }
            Type::Int(..) => {
                if counts(right.int() == Some(0)) {
                    left.clone_from(right);
                }
            }
            Type::List(_) | Type::Map(_) if how.replace => left.clone_from(right),
            Type::List(item) => return self.list(item, left, right),
            Type::Map(value) => return self.map(value, left, right),
            Type::Free if how.replace => {
                if !right.entries().is_empty() {
                    left.clone_from(right);
                }
            }
            Type::Free => return self.map(&Type::Any, left, right),
            Type::Any => return self.any(left, right),
            Type::Struct(number) => return self.structure(*number, left, right, how),
            Type::Leaf(leaf) => return self.leaf(*leaf, left, right, how),
        }
        Ok(())
    }

    fn structure(
        self,
        number: usize,
        left: &mut Tree,
        right: &Tree,
        how: How,
    ) -> Result<(), Diagnostic> {
        if how.replace {
            if !right.entries().is_empty() {
                left.clone_from(right);
            }
            return Ok(());
        }
        for field in &self.schema.structure(number).fields {
            match (left.get_mut(field.key), right.get(field.key)) {
                (Some(left), Some(right)) => {
                    let how = How { replace: field.replace, zero_counts: false };
                    self.lay(&field.ty, left, right, how)?;
                }
                (None, Some(right)) => match &field.ty {
                    // Items that tell themselves by a key meet in the new list already.
                    Type::List(item) if !field.replace && self.identity(item).is_some() => {
                        let mut list = Tree::from(Data::List(Vec::new()));
                        self.list(item, &mut list, right)?;
                        left.set(field.key, list);
                    }
                    _ => left.set(field.key, right.clone()),
                },
                (Some(old), None) => match field.ty {
                    // The types that a patch clears by saying nothing of them.
                    Type::Leaf(Leaf::ByteSize | Leaf::Expression) | Type::Bool => {
                        left.remove(field.key);
                    }
                    // A structure that is not behind a pointer is always there.
                    Type::Struct(number) => {
                        let how = How { replace: field.replace, zero_counts: false };
                        self.structure(number, old, &Tree::empty(), how)?;
                    }
                    _ => {}
                },
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn list(self, item: &Type, left: &mut Tree, right: &Tree) -> Result<(), Diagnostic> {
        let Some(same) = self.identity(item) else {
            left.items_mut().extend_from_slice(right.items());
            return Ok(());
        };
        let whole = self.struct_name(item) == Some("security.ImageVerificationRuleV1Alpha1");
        let before = left.items().len();
        for new in right.items() {
            let found = match whole {
                true => left.items()[..before].iter().rposition(|old| same(old, new)),
                false => left.items().iter().position(|old| same(old, new)),
            };
            match found {
                Some(at) if whole => left.items_mut()[at] = new.clone(),
                Some(at) => self.lay(item, &mut left.items_mut()[at], new, How::default())?,
                None => left.items_mut().push(new.clone()),
            }
        }
        Ok(())
    }

    fn struct_name(self, mut ty: &Type) -> Option<&'static str> {
        while let Type::Pointer(inner) = ty {
            ty = inner;
        }
        match ty {
            Type::Struct(number) => Some(self.schema.structure(*number).name),
            _ => None,
        }
    }

    /// How two items of a list are told to be one, for the lists that are not simply joined.
    fn identity(self, item: &Type) -> Option<fn(&Tree, &Tree) -> bool> {
        fn text<'t>(tree: &'t Tree, key: &str) -> &'t str {
            tree.get(key).and_then(Tree::text).unwrap_or_default()
        }
        Some(match self.struct_name(item)? {
            "v1alpha1.Device" => |old, new| {
                let name = text(new, "interface");
                if !name.is_empty() {
                    return text(old, "interface") == name;
                }
                match (old.get("deviceSelector"), new.get("deviceSelector")) {
                    // Go compares the address of `physical`, not what it points to.
                    (Some(old), Some(new)) => old == new && old.get("physical").is_none(),
                    _ => false,
                }
            },
            "v1alpha1.Vlan" => |old, new| {
                let id = |tree: &Tree| tree.get("vlanId").and_then(Tree::int).unwrap_or(0);
                id(old) == id(new)
            },
            "v1alpha1.AdmissionPluginConfig" => |old, new| text(old, "name") == text(new, "name"),
            "extensions.ConfigFile" => |old, new| text(old, "mountPath") == text(new, "mountPath"),
            "security.ImageVerificationRuleV1Alpha1" => {
                |old, new| text(old, "image") == text(new, "image")
            }
            _ => return None,
        })
    }

    fn map(self, value: &Type, left: &mut Tree, right: &Tree) -> Result<(), Diagnostic> {
        for (key, new) in right.entries() {
            match left.get_mut(key) {
                Some(old) if *old.data() != Data::Null => {
                    self.lay(value, old, new, How::default())?;
                }
                _ => left.set(key, new.clone()),
            }
        }
        Ok(())
    }

    fn any(self, left: &mut Tree, right: &Tree) -> Result<(), Diagnostic> {
        match (left.data_mut(), right.data()) {
            (Data::Bool(old), Data::Bool(new)) => *old = *new,
            (Data::Int(old), Data::Int(new)) => {
                if *new != 0 {
                    *old = *new;
                }
            }
            (Data::Float(old), Data::Float(new)) => {
                if *new != 0.0 {
                    *old = *new;
                }
            }
            (Data::Text(old), Data::Text(new)) => {
                if !new.is_empty() {
                    old.clone_from(new);
                }
            }
            (Data::List(old), Data::List(new)) => old.extend_from_slice(new),
            (Data::Map(_), Data::Map(_)) => return self.map(&Type::Any, left, right),
            (_, Data::Null) => {
                let problem =
                    right.error("patch-null", "a patch cannot set a value to nothing here");
                return Err(problem.help("take it out: `KEY: {$patch: delete}`"));
            }
            (Data::Time(_), Data::Time(_)) => {
                let problem = right.error("patch-time", "a patch cannot change a date here");
                return Err(problem.help("put both dates in quotes"));
            }
            (old, new) => {
                let message = format!("{new:?} cannot be laid over {old:?}");
                let problem = right.error("patch-type", message);
                return Err(problem.help("write a value of the same type, or delete the old one"));
            }
        }
        Ok(())
    }

    fn leaf(self, leaf: Leaf, left: &mut Tree, right: &Tree, how: How) -> Result<(), Diagnostic> {
        let text = right.text();
        let zero = text.is_some_and(|text| leaf.is_zero(self.schema, text));
        match leaf {
            Leaf::Url | Leaf::Endpoint => {
                let (old, new) = (left.text().unwrap_or_default(), text.unwrap_or_default());
                match leaf::merge_urls(old, new) {
                    Some(merged) => *left.data_mut() = Data::Text(merged),
                    None => return Err(fixed(right)),
                }
            }
            Leaf::Manifests => left.items_mut().extend_from_slice(right.items()),
            Leaf::Duration | Leaf::DiskSize | Leaf::Choice(_) => {
                if how.zero_counts || !zero {
                    left.clone_from(right);
                }
            }
            Leaf::FileMode => {
                if how.zero_counts || right.int() != Some(0) {
                    left.clone_from(right);
                }
            }
            // A percentage is kept beside a number of bytes, which goes first when it is written.
            Leaf::Size => {
                let is_bytes = |text: Option<&str>| {
                    text.is_some_and(|text| !text.is_empty() && !text.contains('%'))
                };
                if !zero && (is_bytes(text) || !is_bytes(left.text())) {
                    left.clone_from(right);
                }
            }
            Leaf::Prefix | Leaf::Addr | Leaf::AddrPort => {
                if !zero {
                    left.clone_from(right);
                }
            }
            Leaf::SizeMatcher => {
                if left != right && !zero {
                    return Err(fixed(right));
                }
            }
            Leaf::ByteSize
            | Leaf::Expression
            | Leaf::Pair
            | Leaf::Certificate
            | Leaf::Key
            | Leaf::Argument
            | Leaf::Base64
            | Leaf::PortRange
            | Leaf::HardwareAddr => left.clone_from(right),
        }
        Ok(())
    }
}

/// What Talos' own merge cannot change.
fn fixed(right: &Tree) -> Diagnostic {
    right
        .error("patch-fixed", "Talos cannot lay this value over the old one")
        .help("delete the old one with `$patch: delete` first")
}
