//! Random documents, drawn from the schema: each type's good values, other types' values, and
//! what people and tools spell in odd ways.

use talforge::config::leaf::Leaf;
use talforge::config::schema::{Field, MAIN, Schema, Type};

use crate::raw::Raw;

/// Numbers that a seed decides (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// How documents are drawn.
pub(crate) struct Draw {
    pub(crate) dice: Dice,
    pub(crate) schema: &'static Schema,
    /// How many values of a hundred are odd.
    pub(crate) odd: usize,
    anchors: usize,
}

const ODD: [&str; 66] = [
    "",
    "null",
    "~",
    "Null",
    "NULL",
    "true",
    "True",
    "TRUE",
    "false",
    "yes",
    "Yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "0",
    "-0",
    "+0",
    "1",
    "+1",
    "-1",
    "0644",
    "0o644",
    "0O17",
    "0x1F",
    "0b11",
    "0755",
    "08",
    "1_000",
    "1__0",
    "_1",
    "1_",
    "0x_1",
    "1.0",
    "1.5",
    "1e3",
    "1E3",
    ".5",
    "5.",
    "-.5",
    "1.20",
    "7445.0",
    "4294967296",
    "18446744073709551616",
    "100000000000000000000",
    "-9223372036854775809",
    ".inf",
    "-.Inf",
    ".nan",
    "2024-01-02",
    "2024-1-2",
    "2024-01-02T03:04:05Z",
    "2024-01-02 03:04:05",
    "12:34:56",
    "\"quoted\"",
    "'single'",
    "\"\"",
    "\"1\"",
    "\"true\"",
    "!!str 5",
    "!!binary Zm9v",
    "!!int 5",
    "!!float 5",
    "!vault foo",
    "[a, b]",
];

const MORE: [&str; 25] = [
    "{a: b}",
    "[]",
    "{}",
    "[null]",
    "{a: null}",
    "!!null x",
    "!!bool yes",
    "!!int x",
    "!!str",
    "!!binary",
    "!!binary '****'",
    "!!binary /w==",
    "!!timestamp 2024-01-02",
    "!!set {a}",
    "=",
    "<",
    "1e400",
    "-1e400",
    "\"a\\tb\\u2028\\x07\"",
    "'ends with space '",
    "|\na\nb",
    "|-\na\n\nb",
    "|+\na\n\n",
    ">\na\nb",
    "!!float 1e3",
];

const WORDS: [&str; 12] = [
    "a",
    "eth0",
    "some words",
    "\"two\\nlines\\n\"",
    "x:y",
    "é",
    "'#5'",
    "a\u{a0}b",
    "-x",
    "--- x",
    "'- a'",
    "|\nline one\n  line two\nline three",
];

/// Names of documents; some are no texts alone.
const NAMES: [&str; 6] = ["eth0", "a", "b", "1000", "no", "\"x y\""];

impl Draw {
    pub(crate) fn new(seed: u64, schema: &'static Schema) -> Self {
        let mut dice = Dice::new(seed);
        let odd = [0, 0, 2, 8, 25][dice.below(5)];
        Self { dice, schema, odd, anchors: 0 }
    }

    /// A document of any kind.
    pub(crate) fn document(&mut self) -> Raw {
        let kinds: Vec<&str> = self.schema.kinds().collect();
        // The kind of machine and cluster has most of the types.
        let kind = if self.dice.percent(30) { MAIN } else { self.dice.pick(&kinds) };
        let name = *self
            .dice
            .pick(&[&NAMES[0], &NAMES[0], &NAMES[1], &NAMES[2], &NAMES[3], &NAMES[4], &NAMES[5]]);
        self.document_of(kind, name)
    }

    /// A document of a kind and a name.
    pub(crate) fn document_of(&mut self, kind: &str, name: &str) -> Raw {
        let known = *self.schema.kind(kind).unwrap();
        let root = self.schema.root(&known);
        let Raw::Map(mut entries) = self.value(&root, 0) else { panic!("a document is a mapping") };
        entries
            .retain(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "name" | "version"));
        let mut head = Vec::new();
        if kind == MAIN {
            head.push(("version", "v1alpha1"));
        } else {
            head.extend([("apiVersion", "v1alpha1"), ("kind", kind)]);
            if known.named {
                head.push(("name", name));
            }
        }
        let head = head.into_iter().map(|(key, value)| (key.to_owned(), Raw::word(value)));
        Raw::Map(head.chain(entries).collect())
    }

    fn odd_value(&mut self) -> Raw {
        match self.dice.below(10) {
            0..=5 => Raw::word(self.dice.pick(&ODD)),
            6 | 7 => Raw::word(self.dice.pick(&MORE)),
            8 => Raw::word(self.dice.pick(&WORDS)),
            _ if self.anchors > 0 => Raw::word(format!("*n{}", self.dice.below(self.anchors))),
            _ => Raw::Marked("!!str".to_owned(), Box::new(Raw::word("5"))),
        }
    }

    /// A value of a type, or one that is not.
    pub(crate) fn value(&mut self, ty: &Type, depth: usize) -> Raw {
        let odd = self.odd;
        if depth > 0 && self.dice.percent(odd) {
            return self.odd_value();
        }
        let value = match ty {
            Type::Pointer(inner) => return self.value(inner, depth),
            Type::Text => self.text(),
            Type::Bool => Raw::word(self.dice.pick(&["true", "false", "yes", "off", "True"])),
            Type::Int(least, most) => self.int(*least, *most),
            Type::Any => self.any(depth),
            Type::Free => self.free(depth),
            Type::List(item) => {
                let count = self.dice.below(4);
                Raw::List((0..count).map(|_| self.value(item, depth + 1)).collect())
            }
            Type::Map(value) => self.map(value, depth),
            Type::Struct(number) => self.structure(&self.schema.structure(*number).fields, depth),
            Type::Leaf(leaf) => self.leaf(*leaf, depth),
        };
        if depth > 0 && odd > 0 && self.dice.percent(3) {
            let mark = format!("&n{}", self.anchors);
            self.anchors += 1;
            return Raw::Marked(mark, Box::new(value));
        }
        value
    }

    fn text(&mut self) -> Raw {
        match self.dice.below(4) {
            0 => Raw::word(self.dice.pick(&ODD[16..50])),
            1 => Raw::word(self.dice.pick(&["yes", "no", "\"\"", "'5'", "true"])),
            _ => Raw::word(self.dice.pick(&WORDS)),
        }
    }

    fn int(&mut self, least: i128, most: i128) -> Raw {
        match self.dice.below(8) {
            0 => Raw::word(least.to_string()),
            1 => Raw::word(most.to_string()),
            2 => Raw::word((least - 1).to_string()),
            3 => Raw::word((most + 1).to_string()),
            _ => Raw::word(
                self.dice.pick(&["0", "1", "2", "100", "0x10", "010", "1_0", "10.0", "0b1", "1e1"]),
            ),
        }
    }

    fn any(&mut self, depth: usize) -> Raw {
        match self.dice.below(8) {
            0 if depth < 8 => {
                let count = self.dice.below(3);
                Raw::List((0..count).map(|_| self.any(depth + 1)).collect())
            }
            1 | 2 if depth < 8 => self.free(depth),
            3 | 4 => Raw::word(self.dice.pick(&WORDS)),
            5 => Raw::word(
                self.dice.pick(&["1", "2", "0", "true", "false", "1.5", "x", "\"\"", "null"]),
            ),
            _ => Raw::word(self.dice.pick(&ODD)),
        }
    }

    fn free(&mut self, depth: usize) -> Raw {
        let count = self.dice.below(4);
        let mut entries: Vec<(String, Raw)> = Vec::new();
        for _ in 0..count {
            let key = match self.dice.below(12) {
                0 if self.odd > 0 => self.dice.pick(&[
                    "1",
                    "true",
                    "1.5",
                    "null",
                    "yes",
                    "2024-01-02",
                    "<<",
                    "\"<<\"",
                    "0x1",
                    "~",
                ]),
                _ => self.dice.pick(&["a", "b", "c", "kind", "name", "apiVersion"]),
            };
            if entries.iter().all(|(known, _)| known != key)
                || (self.odd > 0 && self.dice.percent(20))
            {
                entries.push((key.to_owned(), self.any(depth + 1)));
            }
        }
        Raw::Map(entries)
    }

    fn map(&mut self, value: &Type, depth: usize) -> Raw {
        let count = self.dice.below(4);
        let mut entries: Vec<(String, Raw)> = Vec::new();
        for _ in 0..count {
            let key = match self.dice.below(10) {
                0 if self.odd > 0 => self.dice.pick(&[
                    "1",
                    "yes",
                    "1.50",
                    "null",
                    "<<",
                    "0644",
                    "2024-01-02",
                    "\"x y\"",
                ]),
                _ => self.dice.pick(&["a", "b", "net.core.x", "c/d"]),
            };
            if entries.iter().all(|(known, _)| known != key) {
                entries.push((key.to_owned(), self.value(value, depth + 1)));
            }
        }
        Raw::Map(entries)
    }

    fn structure(&mut self, fields: &'static [Field], depth: usize) -> Raw {
        let most = if depth == 0 { 6 } else { 4 };
        if fields.is_empty() {
            return Raw::Map(Vec::new());
        }
        let count = 1 + self.dice.below(fields.len().min(most));
        let mut entries: Vec<(String, Raw)> = Vec::new();
        for _ in 0..count {
            let field = &fields[self.dice.below(fields.len())];
            let again = self.odd > 0 && self.dice.percent(2);
            if again || entries.iter().all(|(known, _)| known != field.key) {
                entries.push((field.key.to_owned(), self.value(&field.ty, depth + 1)));
            }
        }
        if self.odd > 0 && self.dice.percent(self.odd / 2) {
            let key = self.dice.pick(&["nope", "<<", "Name", "null", "1"]);
            let at = self.dice.below(entries.len() + 1);
            entries.insert(at, (key.to_owned(), self.odd_value()));
        }
        Raw::Map(entries)
    }

    fn leaf(&mut self, leaf: Leaf, depth: usize) -> Raw {
        let words: &[&str] = match leaf {
            Leaf::Duration => &[
                "90s",
                "1h30m",
                "0s",
                "0",
                "1.5h",
                "-1m",
                "168h",
                "1ns",
                "1d",
                "1us",
                ".5s",
                "1.h",
                "+2m",
                "9223372036s",
                "9223372037s",
                "1h1h",
                "\"\"",
                "60",
            ],
            Leaf::FileMode => &[
                "0644",
                "0o644",
                "644",
                "0",
                "0x1ff",
                "07777",
                "4294967295",
                "4294967296",
                "\"0644\"",
            ],
            Leaf::DiskSize => &[
                "10GB", "1GiB", "100", "0", "1.5 TB", "10 gb", "1e3", "-1GB", "x", "1,000MB",
                "\"\"", "10.5", "0x10",
            ],
            Leaf::ByteSize => &[
                "10GB", "1GiB", "100", "0", "1.5 TB", "-10GB", "x", "50%", "\"\"", "\"100\"",
                "010", "1_000", "--1",
            ],
            Leaf::Size => &[
                "10GB", "50%", "0%", "100%", "101%", "-5%", "12.5%", "0", "\"\"", "1GiB", "-1GiB",
                "x%", "%", "5 %",
            ],
            Leaf::Prefix => &[
                "10.0.0.0/8",
                "fd00::/64",
                "FD00:0:0::0001/64",
                "::/0",
                "\"\"",
                "10.0.0.0",
                "10.0.0.0/33",
                "10.0.0.0/08",
                "fe80::1%eth0/64",
                "192.168.010.1/24",
                "::ffff:10.0.0.1/96",
                "10.0.0.0/+8",
            ],
            Leaf::Addr => &[
                "10.0.0.1",
                "\"fd00::1\"",
                "FD00::0:1",
                "\"\"",
                "fe80::1%eth0",
                "10.0.0.01",
                "10.0.0",
                "::ffff:1.2.3.4",
                "10.0.0.1%eth0",
                "fe80::1%",
                "1",
                "\"::\"",
            ],
            Leaf::AddrPort => &[
                "10.0.0.1:80",
                "\"[fd00::1]:51820\"",
                "\"\"",
                "10.0.0.1",
                "10.0.0.1:99999",
                "\"fd00::1:80\"",
                "\"[10.0.0.1]:80\"",
                "10.0.0.1:080",
                "'[fe80::1%a]:1'",
                "10.0.0.1:+1",
            ],
            Leaf::Url | Leaf::Endpoint => &[
                "https://host.example:6443",
                "https://[fd00::1]:6443/a?b#c",
                "\"\"",
                "http://u:p@h/p",
                "x",
                "//h/x",
                "http://a b",
                "\"a:b\"",
                "https://h:port/",
                "/p%zz",
                "http://h/?q",
                "https://h/%41",
                "mailto:x",
                "?x",
                "'#f'",
                "https://H.example/Ä",
                "1.5",
                "http://h?",
                "http://h#",
                "http://%41/",
                "http://h/a b",
                "\":x\"",
                "http://[fe80::1%25eth0]/",
                "http://u@h",
                "http://u:@h/",
                "a/b:c",
                "http://h//p",
                "1",
            ],
            Leaf::Base64 => &["Zm9v", "\"\"", "'!!!'", "Zm9", "Zg==", "\"Zm\\n9v\""],
            Leaf::PortRange => &[
                "80", "80-90", "\"80\"", "90-80", "65536", "-1", "80-", "1.0", "010", "080-090",
                "0", "0-0", "80.5", "0x50",
            ],
            Leaf::HardwareAddr => &[
                "52:54:00:12:34:56",
                "525400123456",
                "\"\"",
                "52:5",
                "zz",
                "A:A",
                "12:34:56:00:00:00",
                "1234",
            ],
            Leaf::Expression => &[
                "disk.size > 5u",
                "'true'",
                "true",
                "\"\"",
                "'x +'",
                "1",
                "'disk.transport == \"nvme\"'",
                "a.b",
                "'1 + 1'",
            ],
            Leaf::SizeMatcher => &[
                "'> 500GB'",
                "'>= 1TB'",
                "500GB",
                "'== 1,000'",
                "'=> 1'",
                "\"\"",
                "5",
                "'<1'",
                "'> -1GB'",
                "'>'",
                "'> = 5'",
            ],
            Leaf::Argument => return self.argument(depth),
            Leaf::Manifests => return self.manifests(depth),
            Leaf::Pair => return self.pair(&["crt", "key"]),
            Leaf::Certificate => return self.pair(&["crt"]),
            Leaf::Key => return self.pair(&["key"]),
            Leaf::Choice(name) => {
                let choices = self.schema.choice(name);
                assert!(!choices.is_empty(), "{name} has words");
                let word = choices[self.dice.below(choices.len())].1.to_owned();
                return match self.dice.below(8) {
                    0 => Raw::word(word.to_uppercase()),
                    1 => Raw::word(self.dice.pick(&["0", "1", "2", "\"\"", "nope", "-", "a,b"])),
                    _ if word.contains([':', '#', '%']) || word.is_empty() => {
                        Raw::word(format!("'{word}'"))
                    }
                    _ => Raw::word(word),
                };
            }
        };
        Raw::word(self.dice.pick(words))
    }

    fn argument(&mut self, depth: usize) -> Raw {
        match self.dice.below(3) {
            0 => {
                let count = self.dice.below(3);
                Raw::List((0..count).map(|_| self.value(&Type::Text, depth + 1)).collect())
            }
            _ => self.text(),
        }
    }

    fn manifests(&mut self, depth: usize) -> Raw {
        let item = |draw: &mut Self| {
            let name = draw.dice.pick(&["a", "b", "1", "null"]);
            let contents = draw.value(&Type::Text, depth + 1);
            Raw::Map(vec![("name".to_owned(), Raw::word(name)), ("contents".to_owned(), contents)])
        };
        let count = self.dice.below(3);
        Raw::List((0..count).map(|_| item(self)).collect())
    }

    fn pair(&mut self, keys: &[&str]) -> Raw {
        const PACKED: [&str; 7] =
            ["Zm9v", "\"\"", "YmFy", "'!!!'", "'******'", "\"Zm9v\\n\"", "|\nZm9v\nYmFy"];
        let mut entries = Vec::new();
        for key in keys {
            if self.dice.percent(80) {
                let word = match self.odd {
                    0 => self.dice.pick(&PACKED[..3]),
                    _ => self.dice.pick(&PACKED),
                };
                entries.push(((*key).to_owned(), Raw::word(word)));
            }
        }
        Raw::Map(entries)
    }
}
