//! The indexes of kernel modules, judged by depmod, modprobe and modinfo.
//!
//! The modules are those of Debian's kernels for clouds, and some that a compiler makes. There are
//! two judges: Debian 12's tools, which write binary indexes in another order (children before
//! parents) and know no `modules.weakdep`, and Debian 13's, of the release that we are equal to.

#[cfg(test)]
#[path = "kmod/judge.rs"]
mod judge;

#[cfg(test)]
#[path = "kmod/machine.rs"]
mod machine;

#[cfg(test)]
mod against_depmod {
    use std::fs;

    use lab::noise::noise;
    use lab::parts::{self, Parts};
    use lab::tools::{have, stdout};
    use talforge::kmod::KmodError;
    use talforge::talos::Arch;

    use super::judge::{Judge, judges};
    use super::machine::{Machine, walk};

    /// The kernels, and the judges of their modules; none of either where something is missing.
    fn ready(programs: &[&str]) -> (Vec<Parts>, Vec<Judge>) {
        let judges = if have(programs) { judges() } else { Vec::new() };
        if judges.is_empty() {
            return (Vec::new(), judges);
        }
        ([Arch::Amd64, Arch::Arm64].into_iter().filter_map(parts::ready).collect(), judges)
    }

    #[test]
    fn every_module_of_a_kernel_is_indexed_as_depmod_does() {
        let (kernels, judges) = ready(&[]);
        for parts in kernels {
            let files = Machine::of(&parts, |_| true).agrees(&judges);
            assert!(files["modules.dep"].len() > 50_000, "{}", files["modules.dep"].len());
        }
    }

    /// Without its fellows a module needs others, and the tables are of other sizes.
    #[test]
    fn any_choice_of_modules_is_indexed_as_depmod_does() {
        let (kernels, judges) = ready(&[]);
        for (parts, seed) in kernels.iter().flat_map(|parts| (0..12).map(move |n| (parts, n))) {
            let dice = noise(seed, 4096);
            let few = [1, 3, 20, 200][usize::try_from(seed % 4).unwrap()];
            Machine::of(parts, |number| dice[number] < few).agrees(&judges);
        }
    }

    /// Of modules with one name `extras` has the say, and in one folder the order of the walk.
    #[test]
    fn modules_of_extensions_take_the_place_of_the_kernels() {
        let (kernels, judges) = ready(&[]);
        for parts in kernels {
            let machine = Machine::of(&parts, |number| number % 3 != 0);
            let all = walk(&parts.modules);
            for (number, path) in all.iter().enumerate().filter(|(number, _)| number % 5 == 0) {
                let name = path.rsplit('/').next().unwrap();
                let folder = ["extras", "extras/a/b", "updates", "kernel/again", "extrasmore"];
                for folder in &folder[..number / 5 % 6] {
                    machine.put(&format!("{folder}/{name}"), &parts.modules.join(path));
                }
            }
            // No modules: by the folder, and by the ending.
            machine.put("build/virtio_net.ko", &parts.modules.join(&all[0]));
            machine.put("kernel/source/virtio_net.ko", &parts.modules.join(&all[0]));
            machine.put("kernel/.ko", &parts.modules.join(&all[0]));
            machine.put("kernel/virtio_net.kox", &parts.modules.join(&all[0]));
            let files = machine.agrees(&judges);
            let dep = String::from_utf8(files["modules.dep"].clone()).unwrap();
            assert!(dep.lines().any(|line| line.starts_with("extras/a/b/")), "{dep}");
            assert!(!dep.contains("source/"), "{dep}");
        }
    }

    #[test]
    fn compressed_modules_are_indexed_as_depmod_does() {
        let (kernels, judges) = ready(&["xz", "zstd", "gzip"]);
        for parts in kernels {
            let machine = Machine::of(&parts, |number| number % 24 == 0);
            let plain = machine.ours().unwrap();
            let packers: [(&str, &[&str]); 3] = [
                ("xz", &["--check=crc32", "--lzma2=dict=1MiB", "-f"]),
                ("zstd", &["-q", "--rm", "-f"]),
                ("xz", &["-9e", "-f"]),
            ];
            for (number, path) in walk(&machine.modules()).iter().enumerate() {
                let (packer, args) = packers[number % 3];
                stdout(packer, &[args, &[path]].concat(), &machine.modules()).unwrap();
            }
            let packed = machine.agrees(&judges);
            // Debian's tools are built without zlib, so that gzip is held to the plain modules.
            for path in walk(&machine.modules()) {
                let packer = if path.ends_with(".xz") { "xz" } else { "zstd" };
                stdout(packer, &["-d", "-q", "-f", &path], &machine.modules()).unwrap();
                let plain = path.rsplit_once('.').unwrap().0;
                stdout("gzip", &["-f", plain], &machine.modules()).unwrap();
                let _ = fs::remove_file(machine.modules().join(&path));
            }
            let zipped = machine.ours().unwrap();
            for name in ["modules.alias.bin", "modules.symbols", "modules.symbols.bin"] {
                assert_eq!(zipped[name], plain[name], "{name}");
                assert_eq!(packed[name], plain[name], "{name}");
            }
            let dep = String::from_utf8(zipped["modules.dep"].clone()).unwrap();
            assert_eq!(dep.replace(".ko.gz", ".ko").as_bytes(), plain["modules.dep"]);
        }
    }

    /// What Debian's modules do not have: odd aliases, device files, weak needs, names with dots.
    #[test]
    fn odd_modules_are_indexed_as_depmod_does() {
        if !have(&["gcc"]) {
            return;
        }
        let machine = Machine::new("6.12.0-talos");
        let info = [
            "alias=pci:v0000-d[0-9A-F]*",
            "alias=half[-open",
            "alias=half-open]",
            "alias=",
            "alias",
            "alias=a-b[c-d]e-f[g]-h",
            "alias=same",
            "alias=same",
            "alias=same-1",
            "alias=char-major-10-223junk",
            "alias=devname:net/tun",
            "alias=block-major-7-*",
            "alias=char-major-5-1",
            "softdep=pre: a b post: c",
            "weakdep=x-y",
            "weakdep=z",
            "aliases=none",
            "author=a=b",
        ];
        machine.compile("kernel/b-one.two.ko", &info, &["one"], &["three", "two", "printk"]);
        let block = ["alias=block-major-259-0", "alias=devname:loop", "alias=same"];
        machine.compile("kernel/c.ko", &block, &["two", "twice"], &["three"]);
        let other = ["alias=devname:only", "alias=same", "alias=char-major-x-1", "alias=s"];
        machine.compile("extras/d.ko", &other, &["three", "twice"], &[]);
        machine.compile("kernel/empty.ko", &[], &[], &["twice"]);
        machine.compile("e/u_v-w.ko", &["softdep=pre: q"], &[".dot", "x"], &["one"]);
        let order = "kernel/empty.ko\nkernel/b-one.tw\nnone.ko\ne/u_v-w.ko\n";
        machine.write("modules.order", order.as_bytes());
        let builtin = b"kernel/fs/ext-4.ko\n/bad.ko\n9p.ko\nno-dot\nkernel/a.ko";
        machine.write("modules.builtin", builtin);
        let modinfo = b"ext4.alias=fs-ext4\0ext4.license=GPL\0a.alias=x[1-2]\0a.alias=x]\0\
            b.alias=fs-ext4\0b.file=a.b=alias\0c.parm=x.alias=1\0d.alias=\0e.alias=cut";
        machine.write("modules.builtin.modinfo", modinfo);
        // depmod says on standard error what it leaves out.
        let listen = |said: &str| {
            assert!(said.contains("Unmatched bracket in half[-open"), "{said}");
            assert!(said.contains("Module 'd' has devname (only) but lacks"), "{said}");
        };
        let mut judges = judges();
        machine.agrees_but(&judges, listen);
        // Of two lines, old releases believe the second.
        judges.retain(|judge| judge.is_new);
        machine.write("modules.order", format!("{order}kernel/empty.ko\n").as_bytes());
        let files = machine.agrees_but(&judges, listen);
        let weak = String::from_utf8(files["modules.weakdep"].clone()).unwrap();
        assert!(weak.contains("weakdep b_one x-y\n") || weak.contains("weakdep b x-y\n"), "{weak}");
    }

    /// depmod does not believe an order that is cut, and neither do we.
    #[test]
    fn a_cut_order_is_no_order() {
        let (kernels, judges) = ready(&[]);
        for parts in kernels {
            let machine = Machine::of(&parts, |number| number % 50 == 0);
            machine.write("modules.order", b"kernel/drivers/net/virtio_net.ko");
            machine.agrees_but(&judges, |said| assert!(said.contains("corrupted line"), "{said}"));
            for table in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
                machine.write(table, b"");
            }
            machine.agrees(&judges);
        }
    }

    #[test]
    fn modules_that_need_each_other_are_named() {
        let judges = judges();
        if judges.is_empty() || !have(&["gcc"]) {
            return;
        }
        let machine = Machine::new("6.12.0-talos");
        machine.compile("kernel/a.ko", &[], &["a"], &["b", "leaf"]);
        machine.compile("kernel/b.ko", &[], &["b"], &["c"]);
        machine.compile("kernel/c.ko", &[], &["c"], &["a"]);
        machine.compile("kernel/user.ko", &[], &[], &["c"]);
        machine.compile("kernel/leaf.ko", &[], &["leaf"], &[]);
        let Err(KmodError::Circle { names }) = machine.ours() else { panic!("no circle") };
        let ours = names.join(" -> ");
        for judge in judges {
            let (is_content, said, _) = judge.depmod(&machine);
            assert!(!is_content);
            let theirs = said.lines().find_map(|line| line.split_once("Cycle detected: "));
            // Where a circle starts does not matter.
            let theirs: Vec<_> = theirs.unwrap().1.split(" -> ").skip(1).collect();
            let turns = (0..theirs.len()).map(|by| {
                let mut turned = theirs.clone();
                turned.rotate_left(by);
                turned.push(turned[0]);
                turned.join(" -> ")
            });
            assert!(turns.collect::<Vec<_>>().contains(&ours), "{ours} is not in {said}");
        }
    }

    /// What is looked up in our indexes is what is looked up in depmod's own.
    #[test]
    fn modprobe_and_modinfo_find_modules_by_our_indexes() {
        let (kernels, judges) = ready(&["modprobe", "modinfo"]);
        for parts in kernels {
            let [ours, theirs] = [(); 2].map(|()| Machine::of(&parts, |number| number % 2 == 0));
            for (name, bytes) in ours.ours().unwrap() {
                ours.write(&name, &bytes);
            }
            let deepest = ours.deepest();
            for judge in &judges {
                theirs.take();
                let (is_content, said, files) = judge.depmod(&theirs);
                assert!(is_content, "{said}");
                theirs.adopt(&files);
                for (tool, args) in [
                    ("modprobe", &["--show-depends", &deepest][..]),
                    ("modprobe", &["--resolve-alias", "virtio:d00000001v00000001"]),
                    ("modprobe", &["--resolve-alias", "pci:v00001AF4d00001000sv0sd0bc00sc00i0"]),
                    ("modprobe", &["--resolve-alias", "fs-xfs"]),
                    ("modprobe", &["--resolve-alias", "symbol:__fscache_use_cookie"]),
                    ("modinfo", &["--filename", &deepest]),
                ] {
                    let [ours, theirs] = [&ours, &theirs].map(|m| judge.ask(tool, args, m));
                    assert_eq!(ours, theirs, "{tool} {args:?} of {}", judge.name);
                }
                let chain = judge.ask("modprobe", &["--show-depends", &deepest], &ours);
                assert!(chain.lines().count() > 2, "{chain}");
            }
        }
    }

    #[test]
    fn files_that_are_no_modules_are_refused_by_name() {
        let machine = Machine::new("6.12.0-talos");
        for (bytes, wrong) in [
            (&b""[..], "it is too short for an ELF file"),
            (&[b'#'; 100], "it is no ELF file"),
            (b"\x1f\x8b\x08 and nothing", "cannot be read"),
            (b"\xfd7zXZ\0 and nothing", "cannot be read"),
            (b"\x28\xb5\x2f\xfd and nothing", "cannot be read"),
        ] {
            machine.write("kernel/bad.ko", bytes);
            let error = machine.ours().unwrap_err().to_string();
            assert!(error.contains("`kernel/bad.ko`") && error.contains(wrong), "{error}");
        }
    }
}
