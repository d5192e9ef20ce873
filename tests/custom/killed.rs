//! `talforge config set` and `remove`, killed at every call that changes what others see: every
//! door leads to the old config or to the new one, and the next command ends it.

use std::fs::{self, File};

use lab::product;
use lab::tools::have;
use talforge::blob::Blob;
use talforge::digest::Digest;
use talforge::inspect;
use talforge::inspect::memo::Memo;
use talforge::sink::patch::{self, Leftover, Medium};

use crate::media::{Taken, config, shelf};

const CALLS: [&str; 5] = ["pwrite64", "fdatasync", "fsync", "linkat", "unlinkat"];

/// Runs the program under strace, which kills it at a call. Whether it ended well.
fn run_killed(taken: &Taken, args: &[&str], call: &str, when: u32) -> bool {
    let (inject, trace) =
        (format!("inject={call}:signal=KILL:when={when}"), format!("trace={call}"));
    let by = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &inject, "-e", &trace];
    let mut command = product::command(&by, taken.folder.path(), args).unwrap();
    command.output().unwrap().status.success()
}

/// The digests of the configs that the boots find.
fn found(taken: &Taken) -> Vec<Option<Digest>> {
    let file = File::open(taken.path()).unwrap();
    let blob = Blob::from_file("medium", file).unwrap();
    let medium = inspect::open(&blob, &mut Memo::default()).unwrap();
    medium.boots.iter().map(|boot| boot.found.as_ref().map(|found| found.digest)).collect()
}

fn digest(name: &str) -> Digest {
    Digest::of(config(name).as_bytes())
}

/// From the config `one` to `two`, and back to none, on an ISO with all four doors.
#[test]
fn killed_at_any_call_every_door_leads_to_the_old_or_the_new() {
    if !have(&["strace"]) {
        return;
    }
    let Some(shelf) = shelf() else { return };
    let name = "hybrid.iso";
    let before = shelf.take(name).unwrap();
    before.run(&["config", "set", name, "one.yaml"]).unwrap().well().unwrap();
    let mut cut = 0;
    let set: &[&str] = &["config", "set", name, "two.yaml"];
    for (args, new) in [(set, Some(digest("two"))), (&["config", "remove", name], None)] {
        for call in CALLS {
            for when in 1.. {
                let taken = before.copy().unwrap();
                let is_over = run_killed(&taken, args, call, when);
                let what = format!("{args:?} killed at {call} {when}");
                for config in found(&taken) {
                    assert!(config == new || config == Some(digest("one")), "{what}");
                }
                let is_cut = patch::leftover(&taken.path()).unwrap() == Leftover::CutShort;
                cut += u32::from(is_cut);
                assert_eq!(Medium::open(&taken.path()).unwrap().was_cut_short(), is_cut, "{what}");
                let is_old = taken.is_like(&before.path()).unwrap();
                assert!(is_old || (!is_cut && found(&taken).iter().all(|c| *c == new)), "{what}");
                assert_eq!(fs::read_dir(taken.folder.path()).unwrap().count(), 3, "{what}");
                if is_over {
                    break;
                }
            }
        }
    }
    assert!(cut >= 20, "{cut} cut short");
}

/// Readers tell of what was cut short; the next command that changes the medium takes it back, even
/// if it does nothing else, and says so.
#[test]
fn what_was_cut_short_is_told_and_taken_back() {
    if !have(&["strace"]) {
        return;
    }
    let Some(shelf) = shelf() else { return };
    let name = "uefi.iso";
    let before = shelf.take(name).unwrap();
    before.run(&["config", "set", name, "one.yaml"]).unwrap().well().unwrap();
    let ends: [&[&str]; 3] = [
        &["config", "set", name, "wrong.yaml"],
        &["customize", name, "--config", "wrong.yaml", "-o", "b.iso"],
        &["customize", name, "--karg=-wrong", "--in-place"],
    ];
    for args in ends {
        let taken = before.copy().unwrap();
        fs::write(taken.folder.path().join("wrong.yaml"), "a: 1").unwrap();
        assert!(!run_killed(&taken, &["config", "set", name, "two.yaml"], "fdatasync", 2));
        for reader in [&["config", "show", name][..], &["inspect", name]] {
            let said = taken.run(reader).unwrap().well().unwrap();
            assert!(said.err.contains("was cut short"), "{}", said.err);
        }
        let said = taken.run(args).unwrap();
        assert!(said.code == Some(1) && said.err.contains("is taken back"), "{}", said.err);
        assert!(taken.is_like(&before.path()).unwrap(), "{args:?}");
        let said = taken.run(&["config", "remove", name]).unwrap().well().unwrap();
        assert!(said.err.is_empty() && taken.is_pristine().unwrap(), "{}", said.err);
    }
}
