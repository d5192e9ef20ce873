//! A binary index: a trie of keys, each with values of some priority.
//!
//! In: keys, values, priorities. Out: the bytes of a `.bin` file.
//!
//! All numbers are big-endian. A file is a header (magic, version, reference to the root) and its
//! nodes, parents before children. A reference is an offset whose upper four bits say which parts
//! the node has, in this order:
//!
//! | part | bytes |
//! |---|---|
//! | prefix | what all keys below go on with, and a NUL |
//! | children | the first and the last child's letter, and a reference for each letter between |
//! | values | their number; for each its priority, its text and a NUL |
//!
//! Source: kmod's `libkmod/libkmod-index.c` (head), `libkmod/libkmod-index.h`.
//!
//! Not here: what keys and values there are (`files`).

use std::borrow::Cow;
use std::ops::Range;

/// "libkmod-index.h".
const MAGIC: u32 = 0xb007_f457;
/// Major 2, minor 1.
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
const HEADER_LEN: usize = 12;

/// The longest index in bytes. References reach four times as far; Debian's 4,000 modules make
/// indexes of 1.5 MB.
pub(super) const MAX_LEN: usize = 64 << 20;
const _: () = assert!(MAX_LEN < 1 << 28);

/// A key and a value, both ASCII without a NUL.
pub(super) struct Entry<'a> {
    /// What is looked up.
    pub(super) key: Cow<'a, [u8]>,
    /// What is found.
    pub(super) value: &'a [u8],
    /// Lower ones are found first.
    pub(super) priority: u32,
}

/// A node, placed.
struct Node<'a> {
    prefix: &'a [u8],
    values: &'a [Entry<'a>],
    /// Letters and nodes, in the order of letters.
    children: Vec<(u8, usize)>,
    offset: usize,
}

/// The file, or nothing where it is longer than [`MAX_LEN`].
///
/// Values of one key go by priority; of those with one priority, the later comes first, as depmod
/// puts it there.
pub(super) fn write(mut entries: Vec<Entry<'_>>) -> Option<Vec<u8>> {
    entries.reverse();
    entries.sort_by(|a, b| (&a.key, a.priority).cmp(&(&b.key, b.priority)));
    let (nodes, len) = place(&entries);
    if len > MAX_LEN {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    out.extend([MAGIC, VERSION, nodes[0].reference()].map(u32::to_be_bytes).as_flattened());
    for node in &nodes {
        node.emit(&nodes, &mut out);
    }
    debug_assert_eq!(out.len(), len);
    Some(out)
}

/// A node to be made, of the entries whose keys start alike up to `depth`.
struct Plan {
    entries: Range<usize>,
    depth: usize,
    /// The parent and the letter that leads here; the root has none.
    from: Option<(usize, u8)>,
}

/// The nodes, each before its children and those in the order of letters, and the file's length.
fn place<'a>(entries: &'a [Entry<'a>]) -> (Vec<Node<'a>>, usize) {
    let mut nodes: Vec<Node<'a>> = Vec::new();
    let mut end = HEADER_LEN;
    let mut open = vec![Plan { entries: 0..entries.len(), depth: 0, from: None }];
    while let Some(Plan { entries: range, depth, from }) = open.pop() {
        let here = &entries[range.clone()];
        let number = nodes.len();
        if let Some((parent, letter)) = from {
            nodes[parent].children.push((letter, number));
        }
        // The root never has a prefix.
        let prefix = if from.is_some() { common(here, depth) } else { &[] };
        let depth = depth + prefix.len();
        let values = here.partition_point(|entry| entry.key.len() == depth);
        let children = plan_children(entries, range.start + values..range.end, depth, number);
        nodes.push(Node { prefix, values: &here[..values], children: Vec::new(), offset: end });
        end += nodes[number].len(&children);
        open.extend(children.into_iter().rev());
    }
    (nodes, end)
}

/// What the keys of sorted entries have in common from `depth` on.
fn common<'a>(entries: &'a [Entry<'a>], depth: usize) -> &'a [u8] {
    let [first, .., last] = entries else {
        return entries.first().map_or(&[], |only| &only.key[depth..]);
    };
    let (first, last) = (&first.key[depth..], &last.key[depth..]);
    let len = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    &first[..len]
}

fn plan_children(
    entries: &[Entry<'_>],
    range: Range<usize>,
    depth: usize,
    parent: usize,
) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let letter = entries[start].key[depth];
        let alike = entries[start..range.end].partition_point(|e| e.key[depth] == letter);
        let entries = start..start + alike;
        start = entries.end;
        plans.push(Plan { entries, depth: depth + 1, from: Some((parent, letter)) });
    }
    plans
}

impl Node<'_> {
    /// The node's length in bytes, given its children to be.
    fn len(&self, children: &[Plan]) -> usize {
        let letter =
            |plan: Option<&Plan>| plan.and_then(|plan| plan.from).map(|(_, letter)| letter);
        let references = match (letter(children.first()), letter(children.last())) {
            (Some(first), Some(last)) => 2 + 4 * (usize::from(last - first) + 1),
            _ => 0,
        };
        let prefix = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let values = self.values.iter().map(|entry| 4 + entry.value.len() + 1).sum::<usize>();
        prefix + references + if self.values.is_empty() { 0 } else { 4 + values }
    }

    fn reference(&self) -> u32 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        u32::try_from(self.offset).expect("offsets are below 2^28")
            | flag(!self.prefix.is_empty(), HAS_PREFIX)
            | flag(!self.values.is_empty(), HAS_VALUES)
            | flag(!self.children.is_empty(), HAS_CHILDREN)
    }

    fn emit(&self, nodes: &[Self], out: &mut Vec<u8>) {
        if !self.prefix.is_empty() {
            out.extend(self.prefix);
            out.push(0);
        }
        if let ([(first, _), ..], [.., (last, _)]) = (&self.children[..], &self.children[..]) {
            out.extend([*first, *last]);
            let mut children = self.children.iter().peekable();
            for letter in *first..=*last {
                let child = children.next_if(|(here, _)| *here == letter);
                let reference = child.map_or(0, |(_, number)| nodes[*number].reference());
                out.extend(reference.to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            let count = u32::try_from(self.values.len()).expect("a file has fewer than 2^28 bytes");
            out.extend(count.to_be_bytes());
        }
        for Entry { value, priority, .. } in self.values {
            out.extend(priority.to_be_bytes());
            out.extend(*value);
            out.push(0);
        }
    }
}
