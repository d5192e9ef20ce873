//! Modules written by hand, and all that can be wrong with them.

use std::io::Write as _;

use proptest::prelude::*;

use super::elf::Facts;
use super::*;

/// A module to be written: in 64 bits unless told otherwise, the way a compiler orders its parts.
#[derive(Clone, Default)]
struct Plan {
    is_short: bool,
    info: Vec<&'static str>,
    /// Undefined symbols, then those of `__crc_`.
    needs: Vec<&'static str>,
    checksums: Vec<&'static str>,
    exports: Vec<&'static str>,
    versions: Vec<&'static str>,
}

impl Plan {
    fn write(&self) -> Vec<u8> {
        let (mut symbols, mut strings) = (self.symbol(0, 0), vec![0]);
        let checksums = self.checksums.iter().map(|name| (format!("__crc_{name}"), 0xfff1));
        let needs = self.needs.iter().map(|name| (name.to_string(), 0));
        let own = [("init_module".to_owned(), 1)];
        for (name, section) in own.into_iter().chain(needs).chain(checksums) {
            symbols.extend(self.symbol(strings.len(), section));
            strings.extend(name.bytes().chain([0]));
        }
        let joined = |texts: &[&str]| texts.iter().flat_map(|t| t.bytes().chain([0])).collect();
        let version = |name: &&str| {
            let mut entry = vec![0x5a; if self.is_short { 4 } else { 8 }];
            entry.extend(name.bytes());
            entry.resize(64, 0);
            entry
        };
        elf(
            self.is_short,
            &[
                (".text", vec![0xa5; 7]),
                (".modinfo", joined(&self.info)),
                ("__ksymtab_strings", joined(&self.exports)),
                ("__versions", self.versions.iter().flat_map(version).collect()),
                (".symtab", symbols),
                (".strtab", strings),
            ],
        )
    }

    fn symbol(&self, name: usize, section: u16) -> Vec<u8> {
        let name = u32::try_from(name).unwrap().to_le_bytes();
        let section = section.to_le_bytes();
        match self.is_short {
            true => [&name[..], &[0; 10], &section].concat(),
            false => [&name[..], &[0; 2], &section, &[0; 16]].concat(),
        }
    }

    fn read(&self, path: &str) -> Module {
        Module::read(path, &blob(&self.write())).unwrap()
    }
}

/// An ELF file of sections, their names last and the table of them behind.
fn elf(is_short: bool, sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let word = |n: usize| match is_short {
        true => u32::try_from(n).unwrap().to_le_bytes().to_vec(),
        false => (n as u64).to_le_bytes().to_vec(),
    };
    let (header_len, entry_len) = if is_short { (52, 40_usize) } else { (64, 64) };
    let (mut body, mut names) = (vec![0; header_len], vec![0]);
    let mut table = vec![0; entry_len];
    let names_at = names.len();
    names.extend(b".shstrtab\0");
    let mut add = |name_at: usize, bytes: &[u8]| {
        table.extend(u32::try_from(name_at).unwrap().to_le_bytes());
        table.extend([1, 0, 0, 0]);
        [0, 0, body.len(), bytes.len()].iter().for_each(|field| table.extend(word(*field)));
        let filled = table.len().next_multiple_of(entry_len);
        table.resize(filled, 0);
        body.extend(bytes);
    };
    for (name, bytes) in sections {
        add(names.len(), bytes);
        names.extend(name.bytes().chain([0]));
    }
    add(names_at, &names);
    let count = u16::try_from(sections.len() + 2).unwrap();
    let table_at = body.len();
    let class = if is_short { 1 } else { 2 };
    let mut header = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    header.resize(16, 0);
    header.extend([1, 0, 0x3e, 0, 1, 0, 0, 0]);
    [0, 0, table_at].iter().for_each(|field| header.extend(word(*field)));
    header.extend([0; 4]);
    let halves = [u16::try_from(header_len).unwrap(), 0, 0, u16::try_from(entry_len).unwrap()];
    halves.iter().for_each(|half| header.extend(half.to_le_bytes()));
    header.extend([count, count - 1].map(u16::to_le_bytes).as_flattened());
    assert_eq!(header.len(), header_len);
    body[..header_len].copy_from_slice(&header);
    body.extend(table);
    body
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::from_bytes("module", bytes)
}

fn extras() -> [Search; 2] {
    [Search::Folder("extras".to_owned()), Search::BuiltIn]
}

fn file(modules: &[Module], tables: &Tables, name: &str) -> Vec<u8> {
    let files = index(modules, tables, &extras()).unwrap();
    files.into_iter().find(|(file, _)| *file == name).unwrap().1
}

fn text(modules: &[Module], name: &str) -> String {
    String::from_utf8(file(modules, &Tables::default(), name)).unwrap()
}

fn wrong(bytes: &[u8]) -> String {
    Module::read("kernel/x.ko", &blob(bytes)).unwrap_err().to_string()
}

fn sample() -> Plan {
    Plan {
        info: vec!["license=GPL", "alias=pci:v*", "", "softdep=pre: a", "weakdep=b", "alias=x=y"],
        needs: vec!["printk", ".one"],
        checksums: vec!["two"],
        exports: vec!["two", "", "", "three"],
        versions: vec!["module_layout", "printk"],
        ..Plan::default()
    }
}

#[test]
fn both_classes_say_the_same() {
    let wide = sample().read("kernel/a.ko");
    let short = Plan { is_short: true, ..sample() }.read("kernel/a.ko");
    assert_eq!(format!("{wide:?}"), format!("{short:?}"));
    let Facts { aliases, softdeps, weakdeps, exports, needs } = wide.facts;
    insta::assert_snapshot!(
        format!("{aliases:?}\n{softdeps:?}\n{weakdeps:?}\n{exports:?}\n{needs:?}"), @r#"
    ["pci:v*", "x=y"]
    ["pre: a"]
    ["b"]
    ["two"]
    ["printk", ".one", "module_layout", "printk"]
    "#);
}

#[test]
fn exports_are_those_with_checksums_or_all_strings() {
    let plan = Plan { checksums: vec![], ..sample() };
    let exports = format!("{:?}", plan.read("a.ko").facts.exports);
    assert_eq!(exports, r#"["two", "three"]"#);
}

#[test]
fn a_part_outside_of_the_file_is_refused() {
    let whole = Plan { checksums: vec![], ..sample() }.write();
    for len in 0..whole.len() {
        let error = Module::read("kernel/x.ko", &blob(&whole[..len])).unwrap_err();
        assert!(error.to_string().contains("`kernel/x.ko`"), "{error}");
    }
    // The length of every section in turn, and where it starts.
    let count = whole[60];
    for (section, field) in (1..usize::from(count)).flat_map(|s| [(s, 24), (s, 32)]) {
        let at = usize::try_from(u64::from_le_bytes(whole[40..48].try_into().unwrap())).unwrap();
        let mut bytes = whole.clone();
        bytes[at + section * 64 + field..][..8].fill(0xff);
        match section {
            // `.text` is not read.
            1 => assert!(Module::read("kernel/x.ko", &blob(&bytes)).is_ok()),
            _ => assert!(wrong(&bytes).ends_with("ends past the file"), "{}", wrong(&bytes)),
        }
    }
}

#[test]
fn what_is_no_module_is_refused() {
    let good = sample().write();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        wrong(&bytes)
    };
    assert_eq!(with(0, b'#'), "kernel module `kernel/x.ko`: it is no ELF file");
    assert_eq!(with(4, 3), "kernel module `kernel/x.ko`: its ELF class is neither 32 nor 64 bit");
    assert_eq!(with(5, 2), "kernel module `kernel/x.ko`: its numbers are big-endian");
    assert_eq!(with(58, 65), "kernel module `kernel/x.ko`: its section headers have 65 bytes each");
    assert!(with(62, 0xee).ends_with("its names of sections have no section"));
    assert!(with(62, 1).ends_with("its names of sections do not end"));
    let symbols = vec![0; 48];
    for (sections, expected) in [
        (vec![(".symtab", symbols.clone())], "it has no table of symbols"),
        (vec![(".strtab", vec![0]), (".symtab", vec![0; 25])], "its table of symbols is cut"),
        (
            vec![(".strtab", vec![]), (".symtab", symbols.clone())],
            "a symbol has its name at 0, outside of `.strtab`",
        ),
        (
            vec![(".strtab", vec![b'a']), (".symtab", symbols.clone())],
            "a symbol's name at 0 does not end",
        ),
        (
            vec![(".strtab", vec![0]), (".symtab", symbols.clone()), ("__versions", vec![0; 65])],
            "`__versions` is cut",
        ),
        (
            vec![(".strtab", vec![0]), (".symtab", symbols.clone()), ("__versions", vec![1; 64])],
            "a name in `__versions` does not end",
        ),
        (
            vec![(".strtab", vec![0]), (".symtab", symbols), ("__ksymtab_strings", vec![1])],
            "`__ksymtab_strings` does not end",
        ),
    ] {
        let error = wrong(&elf(false, &sections));
        assert!(error.ends_with(expected), "{error}");
    }
}

/// A few bytes must not cost seconds or gigabytes.
#[test]
fn a_module_that_swells_is_refused() {
    // Each of 100 symbols has the same name, of a megabyte.
    let mut strings = vec![b'a'; 1 << 20];
    strings.push(0);
    let bytes = elf(false, &[(".symtab", vec![0; 2400]), (".strtab", strings)]);
    assert!(wrong(&bytes).ends_with("its symbols' names take more than 16 MiB"));
    let empty = [(".symtab", vec![0; 48]), (".strtab", vec![0])];
    let long = (".modinfo", vec![b'a'; 3 << 20]);
    assert!(wrong(&elf(false, &[&empty[..], &[long]].concat())).ends_with("more than 2 MiB"));
    let long = ("__versions", vec![0; 17 << 20]);
    assert!(wrong(&elf(false, &[&empty[..], &[long]].concat())).ends_with("more than 16 MiB"));

    let zeros = vec![0; 32 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    for packed in [zstd::encode_all(&zeros[..], 19).unwrap(), gzip.finish().unwrap()] {
        let error = Module::read("x.ko", &blob(&packed)).unwrap_err();
        let KmodError::Read { cause, .. } = error else { panic!("{error}") };
        assert_eq!(cause.to_string(), "it unpacks to far more bytes than a module has");
    }
}

proptest! {
    /// Bytes changed anywhere give names or an error, and the names can be indexed or not.
    #[test]
    fn a_damaged_module_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        is_short: bool,
    ) {
        let mut bytes = Plan { is_short, ..sample() }.write();
        for (at, byte) in changes {
            let len = bytes.len();
            bytes[at.index(len)] = byte;
        }
        if let Ok(module) = Module::read("kernel/x.ko", &blob(&bytes)) {
            let _ = index(&[module], &Tables::default(), &extras());
        }
    }

    /// Tables of any bytes give indexes, or one of the errors that say what is wrong with a name.
    #[test]
    fn damaged_tables_do_no_harm(
        lines in prop::collection::vec("(kernel/|a|\\.|=|alias|\u{0}|\n|\u{e9}|\\[|\\]|-){0,9}", 0..9),
    ) {
        let table = lines.concat().into_bytes();
        let tables = Tables { order: table.clone(), builtin: table.clone(), builtin_modinfo: table };
        match index(&[sample().read("kernel/a.ko")], &tables, &extras()) {
            Ok(files) => prop_assert_eq!(files.len(), 11),
            Err(error) => prop_assert!(matches!(error, KmodError::NotAscii { .. }), "{}", error),
        }
    }

    /// What was put into an index is found in it, by a reader that goes letter by letter.
    #[test]
    fn an_index_finds_what_was_put_in(keys in prop::collection::vec("[ab_*]{0,6}", 0..40)) {
        let entry = |(number, key): (usize, &String)| trie::Entry {
            key: key.clone().into_bytes().into(),
            value: b"v",
            priority: u32::try_from(number % 3).unwrap(),
        };
        let bytes = trie::write(keys.iter().enumerate().map(entry).collect()).unwrap();
        for key in &keys {
            let mut expected: Vec<_> = (0..keys.len()).filter(|n| keys[*n] == *key).collect();
            expected.iter_mut().for_each(|number| *number %= 3);
            expected.sort_unstable();
            prop_assert_eq!(find(&bytes, key.as_bytes()), expected);
        }
        prop_assert_eq!(find(&bytes, b"c"), [0; 0]);
    }
}

/// The priorities of a key's values.
fn find(index: &[u8], key: &[u8]) -> Vec<usize> {
    let word = |at: usize| {
        usize::try_from(u32::from_be_bytes(index[at..at + 4].try_into().unwrap())).unwrap()
    };
    let (mut reference, mut rest) = (word(8), key);
    loop {
        let mut at = reference & 0x0fff_ffff;
        if reference & 0x8000_0000 != 0 {
            let len = index[at..].iter().position(|byte| *byte == 0).unwrap();
            let Some(left) = rest.strip_prefix(&index[at..at + len]) else { return Vec::new() };
            rest = left;
            at += len + 1;
        }
        let letters = match reference & 0x2000_0000 {
            0 => None,
            _ => Some((index[at], index[at + 1], at + 2)),
        };
        if let (Some((first, last, children)), [letter, left @ ..]) = (letters, rest) {
            if !(first..=last).contains(letter) {
                return Vec::new();
            }
            reference = word(children + 4 * usize::from(letter - first));
            rest = left;
            if reference == 0 {
                return Vec::new();
            }
            continue;
        }
        if !rest.is_empty() || reference & 0x4000_0000 == 0 {
            return Vec::new();
        }
        if let Some((first, last, children)) = letters {
            at = children + 4 * (usize::from(last - first) + 1);
        }
        return (0..word(at)).map(|number| word(at + 4 + 6 * number)).collect();
    }
}

#[test]
fn a_binary_index_is_laid_out_parents_first() {
    let entry = |key: &'static str, value: &'static str, priority| trie::Entry {
        key: key.as_bytes().into(),
        value: value.as_bytes(),
        priority,
    };
    let entries = vec![entry("ab", "x", 2), entry("abcd", "y", 1), entry("ab", "z", 1)];
    insta::assert_snapshot!(trie::write(entries).unwrap().escape_ascii().to_string(), @r"\xb0\x07\xf4W\x00\x02\x00\x01 \x00\x00\x0caa\xe0\x00\x00\x12b\x00cc\xc0\x00\x00*\x00\x00\x00\x02\x00\x00\x00\x01z\x00\x00\x00\x00\x02x\x00d\x00\x00\x00\x00\x01\x00\x00\x00\x01y\x00");
    insta::assert_snapshot!(trie::write(vec![]).unwrap().escape_ascii().to_string(), @r"\xb0\x07\xf4W\x00\x02\x00\x01\x00\x00\x00\x0c");
}

#[test]
fn needs_come_in_the_order_of_unloading() {
    let a = Plan { needs: vec!["b", "d"], ..Plan::default() };
    let b = Plan { needs: vec!["c"], exports: vec!["b"], ..Plan::default() };
    let c = Plan { needs: vec!["d"], exports: vec!["c"], ..Plan::default() };
    let d = Plan { exports: vec!["d"], ..Plan::default() };
    let modules = [d.read("d.ko"), a.read("x/a.ko.xz"), c.read("c.ko"), b.read("b.ko")];
    let order = b"x/a.ko\nd.ko\nb.ko\n".to_vec();
    let dep = file(&modules, &Tables { order, ..Tables::default() }, "modules.dep");
    insta::assert_snapshot!(String::from_utf8(dep).unwrap(), @r"
    x/a.ko.xz: b.ko c.ko d.ko
    d.ko:
    b.ko: c.ko d.ko
    c.ko: d.ko
    ");
}

#[test]
fn a_circle_is_named() {
    let link = |needs, exports| Plan { needs, exports, ..Plan::default() };
    let modules = [
        link(vec!["b"], vec![]).read("user.ko"),
        link(vec!["b", "leaf"], vec!["a"]).read("a.ko"),
        link(vec!["a"], vec!["b"]).read("b-b.ko"),
        link(vec![], vec!["leaf"]).read("leaf.ko"),
    ];
    let error = index(&modules, &Tables::default(), &extras()).unwrap_err();
    assert_eq!(error.to_string(), "kernel modules need each other: a -> b_b -> a");
}

#[test]
fn the_earlier_word_of_search_has_the_say() {
    let module = |path: &str| Plan::default().read(path);
    let taken = |paths: &[&str], search: &[Search]| {
        let modules: Vec<_> = paths.iter().map(|path| module(path)).collect();
        let files = index(&modules, &Tables::default(), search).unwrap();
        String::from_utf8(files[0].1.clone()).unwrap()
    };
    let all = ["kernel/a.ko", "extras/x/a.ko", "updates/a.ko", "extras/a.ko.gz", "lib/a.ko"];
    let folder = |name: &str| Search::Folder(name.to_owned());
    for (search, expected) in [
        (&[folder("extras"), Search::BuiltIn][..], "extras/a.ko.gz:\n"),
        (&[Search::BuiltIn, folder("extras")], "kernel/a.ko:\n"),
        (&[folder("lib"), folder("extras"), Search::BuiltIn], "lib/a.ko:\n"),
        (&[Search::BuiltIn], "kernel/a.ko:\n"),
        (&[], "updates/a.ko:\n"),
        (&[folder("extra")], "kernel/a.ko:\n"),
    ] {
        assert_eq!(taken(&all, search), expected, "{search:?}");
    }
}

#[test]
fn device_files_need_a_name_and_numbers() {
    let info = |info| Plan { info, ..Plan::default() };
    let modules = [
        info(vec!["alias=devname:net/tun", "alias=char-major-10-200"]).read("tun.ko"),
        info(vec!["alias=block-major-7-*", "alias=devname:loop"]).read("loop.ko"),
        info(vec!["alias=char-major-1-2", "alias=block-major-3-4x", "alias=devname:late"])
            .read("late.ko"),
        info(vec!["alias=char-major-4294967296-0", "alias=devname:big"]).read("big.ko"),
    ];
    insta::assert_snapshot!(text(&modules, "modules.devname"), @r"
    # Device nodes to trigger on-demand module loading.
    late late b3:4
    tun net/tun c10:200
    ");
}

#[test]
fn names_that_no_index_holds_are_refused() {
    for path in [
        "kernel/a.txt",
        "kernel/.ko",
        ".ko.xz",
        "build/a.ko",
        "x/source/a.ko",
        "kernel/a b.ko",
        "kernel/a\n.ko",
        "kernel/\u{e9}.ko",
        "kernel/a:.ko",
        "",
    ] {
        let error = Module::read(path, &blob(&sample().write())).unwrap_err();
        assert!(matches!(&error, KmodError::Path { path: named } if named == path), "{error}");
    }
    let odd = Plan { info: vec!["alias=\u{e9}"], ..Plan::default() }.read("a.ko");
    let error = index(&[odd], &Tables::default(), &extras()).unwrap_err().to_string();
    assert_eq!(error, r"`modules.alias.bin` cannot hold `\xc3\xa9`, which is not ASCII");
}

#[test]
fn more_than_an_index_holds_is_refused() {
    let module = Plan::default().read("a.ko");
    let named = |number: usize| Module { name: format!("m{number}"), ..module.clone() };
    let many: Vec<_> = (0..=choose::MAX_MODULES).map(named).collect();
    let error = index(&many, &Tables::default(), &extras()).unwrap_err();
    assert!(matches!(error, KmodError::TooMany { count: 65_535 }), "{error}");
    let long = |number: usize| Module { path: "p".repeat(40_000), ..named(number) };
    let long: Vec<_> = (0..2_000).map(long).collect();
    let error = index(&long, &Tables::default(), &extras()).unwrap_err();
    assert_eq!(error.to_string(), "`modules.dep` would have more than 64 MiB");
}

#[test]
fn tables_of_the_kernel_are_indexed() {
    let tables = Tables {
        builtin: b"kernel/fs/ext-4.ko\n/bad.ko\nkernel/a.ko".to_vec(),
        builtin_modinfo: b"a.alias=x-y\0a.license=GPL\0b.alias=[\0c.alias=cut".to_vec(),
        ..Tables::default()
    };
    let builtin = file(&[], &tables, "modules.builtin.bin");
    assert_eq!([&b"ext_4"[..], b"a", b"bad"].map(|key| find(&builtin, key).len()), [1, 1, 0]);
    let alias = file(&[], &tables, "modules.builtin.alias.bin");
    assert_eq!(
        [&b"x_y"[..], b"x-y", b"[", b"cut"].map(|key| find(&alias, key).len()),
        [1, 0, 0, 0]
    );
}
