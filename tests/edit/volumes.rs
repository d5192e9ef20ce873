//! FAT volumes that foreign tools wrote, changed by random amounts, judged by `fsck.fat`.

use std::path::Path;

use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use talforge::blob::Blob;
use talforge::edit::{Edit, Write};
use talforge::format::fat::edit::{Changes, Editor};

use crate::rig::{blob, folder, save, shell};

const TOOLS: &[&str] = &["fsck.fat", "mkfs.vfat", "mcopy", "mdel"];

fn apply(volume: &Blob, changes: &Changes) -> Blob {
    let Changes { data, table, info, entries } = changes;
    let mut edit = Edit::default();
    edit.push([data, table, info, entries].into_iter().flatten().cloned().collect());
    edit.apply(volume)
}

fn undo(volume: &Blob, changes: &Changes) -> Vec<Write> {
    let Changes { data, table, info, entries } = changes;
    let writes = [data, table, info, entries].into_iter().flatten();
    let old = |write: &Write| volume.slice(write.range()).to_vec().unwrap();
    writes.map(|write| Write { at: write.at, bytes: old(write).into() }).collect()
}

fn assert_clean(volume: &Blob, dir: &Path) {
    save(volume, &dir.join("image"));
    let out = run("fsck.fat", &["-n", "image"], dir).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.lines().count() == 2, "{text}");
}

/// A volume with `files` in `EFI/Linux`, and a hole where some were deleted.
fn volume(dir: &Path, options: &str, mib: u32, files: usize, deleted: usize) -> Blob {
    let script = format!(
        "rm -rf t v; mkdir -p t/EFI/Linux; truncate -s {mib}M v; mkfs.vfat -F 32 --invariant {options} v >/dev/null
        for i in $(seq {files}); do head -c $((i * 3001)) /dev/zero | tr '\\0' x > t/EFI/Linux/Talos-$i.efi; done
        mcopy -s -p -Q -m -i v t/EFI ::
        for i in $(seq {deleted}); do mdel -i v ::EFI/Linux/Talos-$i.efi; done"
    );
    shell(dir, &script);
    blob(&dir.join("v"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Whatever is there, new files are where tools look for them, and their taking away leaves no
    /// trace. The folder they are in may be new or not.
    #[test]
    fn files_are_added_and_taken_away(
        kind in prop::sample::select(vec![0usize, 0, 0, 1, 1, 1, 2, 3]), files in 1usize..20, deleted in 0usize..3,
        lens in prop::collection::vec(1usize..90_000, 1..4), is_there: bool,
    ) {
        if !have(TOOLS) {
            return Ok(());
        }
        let dir = folder("volumes");
        let (options, mib) = [("-s 1", 36), ("-s 2", 70), ("-s 8", 300), ("-s 1 -S 4096", 264)][kind];
        let before = volume(&dir, options, mib, files, deleted.min(files - 1));
        let before = match is_there {
            false => before,
            true => {
                shell(&dir, "mmd -i v '::EFI/Linux/Talos-20.efi.extra.d'; echo x > x; \
                             mcopy -i v x '::EFI/Linux/Talos-20.efi.extra.d/other.addon.efi'");
                blob(&dir.join("v"))
            }
        };
        let mut editor = Editor::open(&before).unwrap();
        let names = ["talforge.addon.efi", "talforge.und", "talforge.cfg"];
        let mut rooms = Vec::new();
        for (index, len) in lens.iter().enumerate() {
            let room = editor.reserve(*len as u64, 2048).unwrap();
            prop_assert_eq!(room.offset % 2048, 0);
            editor.fill(&room, vec![b'a' + u8::try_from(index).unwrap(); *len]);
            rooms.push(room);
        }
        let new: Vec<_> = names.iter().copied().zip(&rooms).collect();
        editor.add("EFI/Linux", "Talos-20.efi.extra.d", &new, 1_700_000_000).unwrap();
        let changes = editor.finish().unwrap();
        // One piece of a sector; or, where the folder's clusters are full, the link to a new one.
        let doors: Vec<_> = changes.entries.iter().map(|write| write.bytes.len()).collect();
        prop_assert!(doors.len() == 1 || doors == [4, 4], "{:?}", doors);
        let after = apply(&before, &changes);
        assert_clean(&after, &dir);
        for ((name, _), (index, len)) in new.iter().zip(lens.iter().enumerate()) {
            let path = format!("::EFI/Linux/Talos-20.efi.extra.d/{name}");
            let read = stdout("mtype", &["-i", "image", &path], &dir).unwrap();
            prop_assert_eq!(read, String::from_utf8(vec![b'a' + u8::try_from(index).unwrap(); *len]).unwrap());
        }
        let mut back = Edit::default();
        back.push(undo(&before, &changes));
        prop_assert_eq!(
            talforge::digest::Digest::of_blob(&back.apply(&after)).unwrap(),
            talforge::digest::Digest::of_blob(&before).unwrap()
        );
        // Taken away as if they had never been: where the folder was new, that is how it was before.
        let mut editor = Editor::open(&after).unwrap();
        editor.remove("EFI/Linux", "Talos-20.efi.extra.d").unwrap();
        let without = apply(&after, &editor.finish().unwrap());
        assert_clean(&without, &dir);
    }
}
