//! Patching: the same result, or an error on both sides.

use lab::talos::Oracle;
use serde_json::{Value, json};
use talforge::config::documents::Documents;
use talforge::config::patch::Patch;
use talforge::config::schema::{MAIN, Schema, Type};
use talforge::report::Diagnostic;

use crate::bench::{decode, each_release, first, rewritten, seeds, stand};
use crate::draw::{Dice, Draw};
use crate::known::{known, versioned};
use crate::raw::{Raw, shrink, stream};

fn patched(minor: u32, base: &str, patch: &str) -> Result<Documents, Vec<Diagnostic>> {
    let mut documents = decode(minor, base)?;
    let patch = Patch::read(Schema::of_minor(minor), "patch.yaml", patch.as_bytes())?;
    documents.apply(&patch)?;
    Ok(documents)
}

/// Before 1.14 a deletion in a document that is not there is added to the config as an empty
/// document, which Talos then cannot read. Ours is as 1.14.
fn without_selectors(minor: u32, text: &str) -> String {
    let documents = text.split("---\n").filter(|document| minor >= 14 || *document != "{}\n");
    documents.collect::<Vec<_>>().join("---\n")
}

/// How the two differ over a patch, if they do. A base that one of them refuses says nothing.
fn difference(oracle: &mut Oracle, base: &str, patch: &str) -> Option<String> {
    if oracle.decode(base).unwrap().text().is_none() || decode(oracle.minor, base).is_err() {
        return None;
    }
    let theirs = oracle.patch(base, &[patch]).unwrap();
    let ours = patched(oracle.minor, base, patch);
    let both = format!("{base}{patch}");
    let documents = match (theirs.text(), ours) {
        (None, Err(_)) => return None,
        (None, Ok(_)) if known(oracle.minor, &both, Some(theirs.reason()), None).is_some() => {
            return None;
        }
        (None, Ok(_)) => return Some(format!("Talos alone refuses: {}", theirs.reason())),
        (Some(_), Err(problems))
            if known(oracle.minor, &both, None, Some(&first(&problems))).is_some() =>
        {
            return None;
        }
        (Some(_), Err(problems)) => {
            return Some(format!("ours alone refuses: {}", first(&problems)));
        }
        (Some(_), Ok(documents)) => documents,
    };
    let wanted = without_selectors(oracle.minor, theirs.text().unwrap_or_default());
    let written = rewritten(documents);
    if written.is_empty() && wanted.is_empty() {
        return None;
    }
    let said = oracle.decode(&written).unwrap();
    let good = said.text().is_some() && said.text().map(versioned) == Some(versioned(&wanted));
    let reads = said.text().unwrap_or(said.reason());
    (!good)
        .then(|| format!("ours:\n{written}--- which Talos reads as\n{reads}--- and not\n{wanted}"))
}

/// Puts `$patch: delete` into a patch: at a mapping, or at an item of a list with its first key.
fn with_deletions(value: Raw, dice: &mut Dice, chance: usize, in_list: bool) -> Raw {
    match value {
        Raw::Map(mut entries) if dice.percent(chance) => {
            entries.truncate(if in_list { 1 } else { 0 });
            let at = dice.below(entries.len() + 1);
            entries.insert(at, ("$patch".to_owned(), Raw::word("delete")));
            Raw::Map(entries)
        }
        Raw::Map(entries) => Raw::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let delete = !in_list && dice.percent(chance / 2);
                    let value = if delete {
                        Raw::Map(vec![("$patch".to_owned(), Raw::word("delete"))])
                    } else {
                        value
                    };
                    (key, with_deletions(value, dice, chance, false))
                })
                .collect(),
        ),
        Raw::List(items) => Raw::List(
            items.into_iter().map(|item| with_deletions(item, dice, chance, true)).collect(),
        ),
        other => other,
    }
}

/// The document of the same kind with most keys of another, some values drawn anew.
fn near(draw: &mut Draw, ty: &Type, value: &Raw, depth: usize) -> Raw {
    if depth > 1 && draw.dice.percent(25) {
        return draw.value(ty, depth);
    }
    match (ty, value) {
        (Type::Pointer(inner), _) => near(draw, inner, value, depth),
        (Type::Struct(number), Raw::Map(entries)) => {
            let structure = draw.schema.structure(*number);
            let mut list = Vec::new();
            for (key, value) in entries {
                let Some(field) = structure.field(key) else { continue };
                let head = depth == 0
                    && matches!(key.as_str(), "apiVersion" | "kind" | "name" | "version");
                match () {
                    () if head => list.push((key.clone(), value.clone())),
                    () if draw.dice.percent(70) => {
                        list.push((key.clone(), near(draw, &field.ty, value, depth + 1)))
                    }
                    () => {}
                }
            }
            if draw.dice.percent(40) && !structure.fields.is_empty() {
                let field = &structure.fields[draw.dice.below(structure.fields.len())];
                if list.iter().all(|(key, _)| key != field.key) && depth > 0 {
                    list.push((field.key.to_owned(), draw.value(&field.ty, depth + 1)));
                }
            }
            Raw::Map(list)
        }
        (Type::List(item), Raw::List(items)) => {
            let mut list: Vec<Raw> =
                items.iter().map(|value| near(draw, item, value, depth + 1)).collect();
            if draw.dice.percent(30) {
                list.push(draw.value(item, depth + 1));
            }
            Raw::List(list)
        }
        (Type::Map(item), Raw::Map(entries)) => Raw::Map(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), near(draw, item, value, depth + 1)))
                .collect(),
        ),
        (_, value) => value.clone(),
    }
}

/// A base and a patch.
fn draw(seed: u64, schema: &'static Schema) -> Vec<Raw> {
    let mut draw = Draw::new(seed, schema);
    draw.odd = [0, 0, 0, 2, 8][draw.dice.below(5)];
    let kinds: Vec<&str> = schema.kinds().collect();
    let kind = if draw.dice.percent(40) { MAIN } else { draw.dice.pick(&kinds) };
    let base = draw.document_of(kind, "eth0");
    let root = schema.root(schema.kind(kind).unwrap());
    let name = if draw.dice.percent(85) { "eth0" } else { "eth1" };
    let patch = match draw.dice.below(10) {
        0..=5 => near(&mut draw, &root, &base, 0),
        6..=8 => draw.document_of(kind, name),
        _ => draw.document(),
    };
    let chance = [0, 0, 10, 30][draw.dice.below(4)];
    vec![base, with_deletions(patch, &mut draw.dice, chance, false)]
}

#[test]
fn random_patches_change_configs_as_those_of_talos_do() {
    each_release(|oracle| {
        let schema = Schema::of_minor(oracle.minor);
        let failures = stand();
        let mut failed = Vec::new();
        let mut changed = 0;
        for seed in seeds(2000) {
            let case = draw(seed, schema);
            let fails = |oracle: &mut Oracle, case: &[Raw]| {
                difference(oracle, &case[0].text(), &stream(&case[1..]))
            };
            if fails(oracle, &case).is_none() {
                changed += usize::from(
                    patched(oracle.minor, &case[0].text(), &stream(&case[1..])).is_ok(),
                );
                continue;
            }
            let small = shrink(&case, &mut |smaller| fails(oracle, smaller).is_some());
            let different = fails(oracle, &small).unwrap_or_default();
            failed.push(format!(
                "1.{}, seed {seed}: {different}\n=== base\n{}=== patch\n{}",
                oracle.minor,
                small[0].text(),
                stream(&small[1..])
            ));
            if failed.len() >= failures {
                break;
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n##########\n"));
        assert!(changed > 0);
    });
}

/// A value of JSON that fits a type, mostly.
fn value(dice: &mut Dice, ty: &Type) -> Value {
    match ty {
        Type::Pointer(inner) => value(dice, inner),
        Type::Bool => json!(dice.percent(50)),
        Type::Int(..) => json!(dice.below(1000)),
        Type::List(item) => {
            let count = dice.below(3);
            (0..count).map(|_| value(dice, item)).collect()
        }
        Type::Map(item) => json!({"a": value(dice, item), "c/d": value(dice, item)}),
        Type::Text => json!(*dice.pick(&["x", "yes", "1.20", ""])),
        _ => json!({}),
    }
}

/// A pointer into a document of a type, and the type of what it points to.
fn pointer<'s>(
    dice: &mut Dice,
    schema: &'static Schema,
    ty: &'s Type,
    depth: usize,
) -> (String, &'s Type) {
    let step = |dice: &mut Dice, key: &str, ty: &'s Type| {
        let (rest, ty) = pointer(dice, schema, ty, depth + 1);
        (format!("/{}{rest}", key.replace('~', "~0").replace('/', "~1")), ty)
    };
    if depth > 1 && dice.percent(35) {
        return (String::new(), ty);
    }
    match ty {
        Type::Pointer(inner) => pointer(dice, schema, inner, depth),
        Type::Struct(number) if !schema.structure(*number).fields.is_empty() => {
            let fields = &schema.structure(*number).fields;
            let field = &fields[dice.below(fields.len())];
            if field.key == "version" {
                return pointer(dice, schema, ty, depth);
            }
            step(dice, field.key, &field.ty)
        }
        Type::Map(item) => {
            let key = dice.pick(&["a", "b", "c/d"]);
            step(dice, key, item)
        }
        Type::List(item) => {
            let key = dice.pick(&["0", "1", "-", "2"]);
            step(dice, key, item)
        }
        _ => (String::new(), ty),
    }
}

/// A document of machine and cluster, and operations on it.
fn operations(seed: u64, schema: &'static Schema) -> (Raw, String) {
    let mut draw = Draw::new(seed, schema);
    draw.odd = 0;
    let base = draw.document_of(MAIN, "");
    let root = schema.root(schema.kind(MAIN).unwrap());
    let count = 1 + draw.dice.below(2);
    let operations: Vec<Value> = (0..count)
        .map(|_| {
            let dice = &mut draw.dice;
            let (path, ty) = pointer(dice, schema, &root, 0);
            let (from, _) = pointer(dice, schema, &root, 0);
            match dice.below(8) {
                0..=3 => json!({"op": "add", "path": path, "value": value(dice, ty)}),
                4 => json!({"op": "replace", "path": path, "value": value(dice, ty)}),
                5 => json!({"op": "remove", "path": path}),
                6 => json!({"op": "test", "path": path, "value": value(dice, ty)}),
                _ => json!({"op": "move", "path": path, "from": from}),
            }
        })
        .collect();
    (base, serde_json::to_string(&operations).unwrap())
}

/// How the two differ over operations, if they do. Talos takes the whole document through YAML 1.1,
/// which makes `no` a switch and `0777` another number: that is done to it beforehand.
fn operated(oracle: &mut Oracle, base: &Raw, patch: &str) -> Option<String> {
    let base = oracle.patch(&base.text(), &["[]"]).unwrap();
    difference(oracle, base.text()?, patch)
}

#[test]
fn random_operations_change_one_document_as_those_of_talos_do() {
    each_release(|oracle| {
        let schema = Schema::of_minor(oracle.minor);
        let (mut failed, mut changed) = (Vec::new(), 0);
        for seed in seeds(1000) {
            let (base, patch) = operations(seed, schema);
            if operated(oracle, &base, &patch).is_none() {
                changed += usize::from(patched(oracle.minor, &base.text(), &patch).is_ok());
                continue;
            }
            let small =
                shrink(&[base], &mut |smaller| operated(oracle, &smaller[0], &patch).is_some());
            let different = operated(oracle, &small[0], &patch).unwrap_or_default();
            failed.push(format!(
                "1.{}, seed {seed}: {different}\n=== base\n{}=== patch\n{patch}",
                oracle.minor,
                small[0].text()
            ));
            if failed.len() >= stand() {
                break;
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n##########\n"));
        assert!(changed > 0);
    });
}
