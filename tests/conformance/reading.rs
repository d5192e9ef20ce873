//! Reading and writing: what Talos refuses ours refuses, and what ours writes means the same.

use std::path::Path;

use lab::talos::{Oracle, Said, schema_file};
use talforge::config::schema::Schema;

use crate::bench::{decode, each_release, first, rewritten, seeds, stand};
use crate::draw::Draw;
use crate::known::{known, versioned};
use crate::raw::{shrink, stream};

/// How the two differ over a config, if they do.
pub(crate) fn difference(oracle: &mut Oracle, text: &str) -> Option<String> {
    let theirs = oracle.decode(text).unwrap();
    let ours = decode(oracle.minor, text);
    let documents = match (theirs.text(), &ours) {
        (None, Err(_)) => return None,
        (None, Ok(_)) if known(oracle.minor, text, Some(theirs.reason()), None).is_some() => {
            return None;
        }
        (None, Ok(_)) => return Some(format!("Talos alone refuses: {}", theirs.reason())),
        (Some(_), Err(problems))
            if known(oracle.minor, text, None, Some(&first(problems))).is_some() =>
        {
            return None;
        }
        (Some(_), Err(problems)) => {
            return Some(format!("ours alone refuses: {}", first(problems)));
        }
        (Some(_), Ok(documents)) => documents.clone(),
    };
    let same = |oracle: &mut Oracle, what: &str, written: &str| {
        let said = oracle.decode(written).unwrap();
        let good =
            said.text().is_some() && said.text().map(versioned) == theirs.text().map(versioned);
        let reads = match &said {
            Said::Yes(_) => said.text().unwrap_or_default(),
            Said::No(reason) | Said::Panic(reason) => reason,
        };
        let wanted = theirs.text().unwrap_or_default();
        (!good).then(|| {
            format!("{what}:\n{written}--- which Talos reads as\n{reads}--- and not\n{wanted}")
        })
    };
    if let Some(different) = same(oracle, "kept", &documents.encode()) {
        return Some(different);
    }
    let written = rewritten(documents);
    if let Some(different) = same(oracle, "rewritten", &written) {
        return Some(different);
    }
    let again = decode(oracle.minor, &written).map(rewritten);
    (again.ok()? != written).then(|| format!("not the same when read again:\n{written}"))
}

#[test]
fn the_schema_is_the_one_of_talos_types() {
    each_release(|oracle| {
        let committed = std::fs::read_to_string(schema_file(oracle.minor)).unwrap();
        let same = oracle.schema().unwrap() == committed;
        assert!(same, "1.{}: run `cargo xtask schema`", oracle.minor);
    });
}

#[test]
fn strange_files_are_read_as_talos_reads_them() {
    each_release(|oracle| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml-cases");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let different = difference(oracle, &text);
            assert_eq!(different, None, "1.{}: {}", oracle.minor, path.display());
            count += 1;
        }
        assert!(count >= 36);
    });
}

#[test]
fn random_documents_are_read_as_talos_reads_them() {
    each_release(|oracle| {
        let schema = Schema::of_minor(oracle.minor);
        let (mut read, mut refused) = (0, 0);
        let mut failures = Vec::new();
        for seed in seeds(2000) {
            let documents = [Draw::new(seed, schema).document()];
            match difference(oracle, &stream(&documents)) {
                None => {
                    *(if decode(oracle.minor, &stream(&documents)).is_ok() {
                        &mut read
                    } else {
                        &mut refused
                    }) += 1
                }
                Some(_) => {
                    let small = shrink(&documents, &mut |smaller| {
                        difference(oracle, &stream(smaller)).is_some()
                    });
                    let text = stream(&small);
                    let different = difference(oracle, &text).unwrap_or_default();
                    failures.push(format!(
                        "1.{}, seed {seed}: {different}\n=== in\n{text}",
                        oracle.minor
                    ));
                    if failures.len() >= stand() {
                        break;
                    }
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n##########\n"));
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    });
}
