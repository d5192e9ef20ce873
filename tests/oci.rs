//! Images and archives that other programs made, against what those programs unpack them to.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use lab::noise::noise;
    use lab::tools;
    use talforge::blob::Blob;
    use talforge::oci::archive::Archive;
    use talforge::oci::image::{self, Platform};
    use talforge::oci::layout::Layout;
    use talforge::oci::{Content, Descriptor, unpack};
    use talforge::store::Store;
    use talforge::talos::Arch;
    use talforge::tree::{Entry, Kind, Tree};

    /// A path's mode, and what is there in a line.
    type Files = BTreeMap<String, (u32, String)>;

    fn of_tree(tree: &Tree) -> Files {
        let line = |(path, entry): (&str, &Entry)| {
            let what = match &entry.kind {
                Kind::Folder => "folder".to_owned(),
                Kind::File(blob, digest) => {
                    assert_eq!(talforge::digest::Digest::of_blob(blob).unwrap(), *digest);
                    format!("file {} {digest}", blob.len())
                }
                Kind::Symlink(target) => format!("link {target}"),
                Kind::Other(what) => (*what).to_owned(),
            };
            let mode = if what.starts_with("link ") { 0o777 } else { entry.mode };
            (path.to_owned(), (mode, what))
        };
        tree.iter().map(line).collect()
    }

    fn of_disk(root: &Path) -> Files {
        let mut files = Files::new();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let status = fs::symlink_metadata(&path).unwrap();
                let what = if status.is_dir() {
                    "folder".to_owned()
                } else if status.is_symlink() {
                    format!("link {}", fs::read_link(&path).unwrap().display())
                } else if status.is_file() {
                    let bytes = fs::read(&path).unwrap();
                    format!("file {} {}", bytes.len(), talforge::digest::Digest::of(&bytes))
                } else {
                    "a pipe".to_owned()
                };
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, (status.mode() & 0o7777, what));
                if status.is_dir() {
                    open.push(path);
                }
            }
        }
        files
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn must(dir: &Path, line: &str) {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        tools::stdout(program, &words.collect::<Vec<_>>(), dir).unwrap();
    }

    fn tree_of(content: &dyn Content, root: &Descriptor, store: &Store) -> Tree {
        let manifest = image::manifest(content, root, Platform::Rather(Arch::Amd64)).unwrap();
        image::tree(content, &manifest, &|_| true, store, &|_| {}).unwrap()
    }

    /// The first state of an image's files, and the changes to it that make the second.
    fn first(root: &Path) {
        write(&root.join("usr/install/amd64/vmlinuz"), &noise(1, 3 << 20), 0o644);
        write(&root.join("usr/install/amd64/empty"), b"", 0o600);
        write(&root.join("usr/bin/tool"), &noise(2, 5000), 0o4755);
        write(&root.join("etc/gone"), b"1", 0o644);
        write(&root.join("opt/all/gone/a"), b"2", 0o644);
        write(&root.join("opt/anew/old"), b"3", 0o644);
        write(&root.join("opt/file"), b"4", 0o644);
        write(&root.join(format!("long/{}", "n".repeat(180))), b"5", 0o644);
        write(&root.join("ümlaut/日本"), b"6", 0o640);
        fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/same")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("../nowhere", root.join("opt/dangling")).unwrap();
    }

    fn second(root: &Path) {
        fs::remove_file(root.join("etc/gone")).unwrap();
        fs::remove_dir_all(root.join("opt/all")).unwrap();
        fs::remove_dir_all(root.join("opt/anew")).unwrap();
        write(&root.join("opt/anew/new"), b"7", 0o644);
        fs::remove_file(root.join("opt/file")).unwrap();
        write(&root.join("opt/file/is/a/folder"), b"8", 0o644);
        fs::remove_file(root.join("opt/dangling")).unwrap();
        write(&root.join("opt/dangling"), b"9", 0o444);
        write(&root.join("usr/bin/tool"), &noise(3, 100), 0o755);
    }

    #[test]
    fn an_image_is_the_tree_that_umoci_unpacks() {
        if !tools::have(&["umoci", "skopeo", "tar"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let is_root = tools::stdout("id", &["-u"], dir).unwrap().trim() == "0";
        let rootless = if is_root { "" } else { "--rootless " };
        must(dir, "umoci init --layout img");
        must(dir, "umoci new --image img:v1");
        for (round, change) in [first, second].into_iter().enumerate() {
            must(dir, &format!("umoci unpack {rootless}--image img:v1 bundle{round}"));
            change(&dir.join(format!("bundle{round}/rootfs")));
            must(dir, &format!("umoci repack --refresh-bundle --image img:v1 bundle{round}"));
        }
        must(dir, &format!("umoci unpack {rootless}--image img:v1 last"));
        let want = of_disk(&dir.join("last/rootfs"));
        assert!(want.contains_key("opt/file/is/a/folder") && !want.contains_key("etc/gone"));

        must(dir, "tar -C img -cf layout.tar .");
        let insecure = "skopeo --insecure-policy copy -q";
        must(dir, &format!("{insecure} oci:img:v1 docker-archive:saved.tar:example.org/a/b:v1"));
        must(dir, &format!("{insecure} oci:img:v1 oci-archive:archive.tar:v1"));
        must(dir, &format!("{insecure} --dest-compress-format zstd oci:img:v1 oci:zstd:v1"));
        for (name, pick) in
            [("img", Some("v1")), ("layout.tar", None), ("archive.tar", None), ("zstd", None)]
        {
            let store = Store::at(dir.join(format!("store-{name}")));
            let layout = Layout::open(&dir.join(name)).unwrap();
            let root = layout.pick(pick).unwrap();
            assert_eq!(of_tree(&tree_of(&layout, &root, &store)), want, "{name}");
            assert_eq!(of_tree(&tree_of(&layout, &root, &store)), want, "{name}, by the store");
        }
        let store = Store::at(dir.join("store-saved"));
        let archive = Archive::open(&dir.join("saved.tar")).unwrap();
        let root = archive.pick(Some("example.org/a/b:v1")).unwrap();
        assert_eq!(of_tree(&tree_of(&archive, &root, &store)), want);
        if is_root {
            let tool = tree_of(&archive, &root, &store);
            assert_eq!(tool.get("usr/bin/tool").map(|e| (e.uid, e.gid)), Some((0, 0)));
        }
    }

    #[test]
    fn a_tarball_is_the_tree_that_tar_extracts() {
        if !tools::have(&["tar", "gzip", "zstd", "xz", "mkfifo"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        first(&dir.join("in"));
        must(dir, "mkfifo in/pipe");
        let store = Store::at(dir.join("store"));
        let kinds = [
            ("gnu", "--format=gnu", ""),
            ("posix", "--format=posix", "--gzip"),
            ("ustar", "--format=ustar --exclude=*nnnn*", "--zstd"),
            ("oldgnu", "--format=oldgnu", "--xz"),
        ];
        for (name, format, compress) in kinds {
            let line = format!("tar {format} {compress} --numeric-owner -C in -cf {name}.tar .");
            must(dir, &line.replace("  ", " "));
            fs::create_dir(dir.join(name)).unwrap();
            must(dir, &format!("tar -C {name} -xpf {name}.tar"));
            let file = fs::File::open(dir.join(format!("{name}.tar"))).unwrap();
            let blob = Blob::from_file(name, file).unwrap();
            let tree = unpack::tarball(name, &blob, &|_| true, &store, &|_| {}).unwrap();
            assert_eq!(of_tree(&tree), of_disk(&dir.join(name)), "{name}");
        }
        let tree = unpack::folder(&dir.join("in"), &|_| true, &store).unwrap();
        assert_eq!(of_tree(&tree), of_disk(&dir.join("in")));
    }

    #[test]
    fn attributes_of_files_come_as_tar_wrote_them() {
        if !tools::have(&["tar", "setfattr"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(&dir.join("in/a"), b"1", 0o644);
        let set = ["-n", "user.note", "-v", "0x610a6200ff", "in/a"];
        if !tools::run("setfattr", &set, dir).unwrap().status.success() {
            // The file system has none; `oci`'s own tests have archives that do.
            return;
        }
        must(dir, "tar --xattrs --format=posix -C in -cf a.tar .");
        let blob = Blob::from_file("a.tar", fs::File::open(dir.join("a.tar")).unwrap()).unwrap();
        let store = Store::at(dir.join("store"));
        let tree = unpack::tarball("a.tar", &blob, &|_| true, &store, &|_| {}).unwrap();
        assert_eq!(tree.get("a").unwrap().xattrs["user.note"], b"a\nb\0\xff");
    }

    #[test]
    fn sparse_files_and_cut_archives_are_refused() {
        if !tools::have(&["tar", "truncate"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::create_dir(dir.join("in")).unwrap();
        must(dir, "truncate -s 10M in/hole");
        let store = Store::at(dir.join("store"));
        let refused = |name: &str| {
            let file = fs::File::open(dir.join(name)).unwrap();
            let blob = Blob::from_file(name, file).unwrap();
            let error = unpack::tarball(name, &blob, &|_| true, &store, &|_| {}).unwrap_err();
            let why = std::error::Error::source(&error).map(ToString::to_string);
            assert!(error.to_string().starts_with(name), "{error}");
            why.unwrap_or_default()
        };
        must(dir, "tar --sparse --format=gnu -C in -cf gnu.tar .");
        must(dir, "tar --sparse --format=posix -C in -cf posix.tar .");
        for name in ["gnu.tar", "posix.tar"] {
            assert!(refused(name).contains("`--sparse`"), "{}", refused(name));
        }
        write(&dir.join("in2/file"), &noise(1, 100_000), 0o644);
        for (name, flag) in
            [("z.tar", "--gzip"), ("s.tar", "--zstd"), ("x.tar", "--xz"), ("p.tar", "-v")]
        {
            must(dir, &format!("tar {flag} -C in2 -cf {name} ."));
            let whole = fs::read(dir.join(name)).unwrap();
            for len in [whole.len() / 2, whole.len() - 1] {
                let cut = if name == "p.tar" { len.min(100_000) } else { len };
                fs::write(dir.join(name), &whole[..cut]).unwrap();
                assert!(!refused(name).is_empty(), "{name} {cut}");
            }
        }
    }
}
