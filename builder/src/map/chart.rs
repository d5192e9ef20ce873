//! Bars to draw: the medium, and a bar of its own for each region worth a closer look.
//!
//! In: a map. Out: bars of blocks, the outer before the inner.
//!
//! Many small files side by side are one block, so that a boot loader's modules do not hide what
//! matters. A region that is but a hull of another is skipped: its bar would show one block.
//!
//! Source: none.
//!
//! Not here: colours, characters, shapes (`text`, `svg`).

use std::ops::Range;

use super::{Kind, Map, Region, rough};

/// The most blocks of a bar before neighbours are joined.
const BLOCKS: usize = 24;
/// A block is small if it is less than this part of its bar.
const SMALL: u64 = 64;
/// The most bars; a release's medium has about six.
const BARS: usize = 40;
/// The blocks that get a letter; further ones share a sign.
const KEYS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// One bar.
#[derive(Debug)]
pub(super) struct Bar<'a> {
    /// What it is a closer look at.
    pub(super) region: &'a Region,
    /// Its name, with those of the hulls around it.
    pub(super) name: String,
    /// Its blocks.
    pub(super) blocks: Vec<Block<'a>>,
    /// The bar and the block that it is a closer look at.
    pub(super) parent: Option<(usize, usize)>,
}

impl Bar<'_> {
    /// Notes which bar is a closer look at a block.
    fn zoom(&mut self, block: usize, bar: usize) {
        self.blocks.get_mut(block).into_iter().for_each(|block| block.zoom = Some(bar));
    }
}

/// One block of a bar.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// Its bytes on the medium.
    pub(super) range: Range<u64>,
    /// What it is.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) name: String,
    /// Whether it is one node's own.
    pub(super) is_own: bool,
    /// What in it is one node's own; all of it, where it is.
    pub(super) own: Vec<Range<u64>>,
    /// The sign by which its line is found.
    pub(super) key: char,
    /// The index of the bar that is a closer look at it.
    pub(super) zoom: Option<usize>,
    region: Option<&'a Region>,
}

impl Block<'_> {
    /// The length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// A name that may fit into the block: the end of a path, a partition's label.
    pub(super) fn label(&self) -> &str {
        let quoted = self.name.split('`').nth(1).unwrap_or(&self.name);
        quoted.rsplit('/').next().unwrap_or(quoted)
    }
}

/// The bars of a map.
pub(super) fn bars(map: &Map) -> Vec<Bar<'_>> {
    let mut out: Vec<Bar<'_>> = Vec::new();
    let mut todo: Vec<(&Region, Option<(usize, usize)>)> = vec![(&map.root, None)];
    while let Some((region, parent)) = todo.pop() {
        let (inner, name) = shell(region, &map.root);
        let index = out.len();
        if let Some((bar, block)) = parent
            && let Some(from) = out.get_mut(bar)
        {
            from.zoom(block, index);
        }
        let blocks = blocks(inner);
        let inside: Vec<_> = (0..)
            .zip(&blocks)
            .filter_map(|(at, block)| block.region.map(|region| (region, Some((index, at)))))
            .filter(|(region, _)| is_worth_a_look(region))
            .collect();
        // What is looked at first lies on top.
        todo.extend(inside.into_iter().rev());
        out.push(Bar { region: inner, name, blocks, parent });
        if out.len() == BARS {
            break;
        }
    }
    out
}

fn is_worth_a_look(region: &Region) -> bool {
    let parts = region.parts.iter().filter(|part| part.kind != Kind::Free);
    match region.kind {
        Kind::Initramfs | Kind::Structure => parts.count() > 1 || hull(region).is_some(),
        _ => parts.count() > 0,
    }
}

/// The one part of a region that has parts itself, if there is no other.
fn hull(region: &Region) -> Option<&Region> {
    let mut parts = region.parts.iter().filter(|part| part.kind != Kind::Free);
    let only = parts.next()?;
    (parts.next().is_none() && !only.parts.is_empty()).then_some(only)
}

/// What a bar shows: a region, or what it is but a hull of; and the name of all that.
fn shell<'a>(region: &'a Region, root: &Region) -> (&'a Region, String) {
    let is_root = std::ptr::eq(region, root);
    let mut name = region.name.clone();
    let mut inner = region;
    while let Some(only) = hull(inner).filter(|_| !is_root) {
        name += &format!(" > {}", only.name);
        inner = only;
    }
    (inner, name)
}

fn blocks(region: &Region) -> Vec<Block<'_>> {
    let mut out: Vec<Block<'_>> = region.parts.iter().map(block).collect();
    if out.len() > BLOCKS {
        out = join_small(out, region.len() / SMALL);
    }
    let mut keys = KEYS.chars();
    for block in &mut out {
        block.key = match block.kind {
            _ if block.is_own => '#',
            Kind::Free => '.',
            _ => keys.next().unwrap_or('+'),
        };
    }
    out
}

fn block(region: &Region) -> Block<'_> {
    let mut name = region.name.clone();
    // An initramfs of one archive has no bar: its name says all.
    let mut parts = region.parts.iter().filter(|part| part.kind != Kind::Free);
    if let (Some(only), None) = (parts.next(), parts.next())
        && !is_worth_a_look(region)
    {
        name += &format!(": {}", only.name);
    }
    Block {
        range: region.range.clone(),
        kind: region.kind,
        name,
        is_own: region.is_own,
        own: region.own(),
        key: '?',
        zoom: None,
        region: Some(region),
    }
}

/// Joins neighbours that are shorter than `small` and hold nothing that matters.
fn join_small(blocks: Vec<Block<'_>>, small: u64) -> Vec<Block<'_>> {
    let mut out: Vec<Block<'_>> = Vec::new();
    let mut run: Vec<Block<'_>> = Vec::new();
    for block in blocks {
        let is_plain = block.own.is_empty() && block.kind >= Kind::File;
        if block.len() < small && is_plain {
            run.push(block);
            continue;
        }
        out.extend(joined(std::mem::take(&mut run)));
        out.push(block);
    }
    out.extend(joined(run));
    out
}

/// One block for a run of several.
fn joined(mut run: Vec<Block<'_>>) -> Vec<Block<'_>> {
    while run.last().is_some_and(|last| last.kind == Kind::Free) {
        run.pop();
    }
    let is_file = |block: &&Block<'_>| block.kind != Kind::Free;
    let files: Vec<&Block<'_>> = run.iter().filter(is_file).collect();
    let [first, .., last] = files.as_slice() else { return run };
    let of = files.iter().fold(folder(first), |shared, block| common(shared, folder(block)));
    let place = if of.is_empty() { String::new() } else { format!(" in `{of}`") };
    let name = format!("{} files{place}", files.len());
    let (range, kind) = (first.range.start..last.range.end, Kind::File);
    let (own, key, zoom) = (Vec::new(), '?', None);
    vec![Block { range, kind, name, is_own: false, own, key, zoom, region: None }]
}

/// The folder of a block's path.
fn folder<'a>(block: &'a Block<'_>) -> &'a str {
    let path = block.name.split('`').nth(1).unwrap_or_default();
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folders that two paths have in common.
fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let mut end = 0;
    for (x, y) in a.split_inclusive('/').zip(b.split_inclusive('/')) {
        if x.trim_end_matches('/') != y.trim_end_matches('/') {
            break;
        }
        end += x.len();
    }
    a[..end].trim_end_matches('/')
}

/// What is said above all bars of what is a node's own.
pub(super) fn own_text(map: &Map) -> String {
    let own = map.root.own();
    let bytes: u64 = own.iter().map(|range| range.end - range.start).sum();
    let places = if own.len() == 1 { "1 place" } else { &format!("{} places", own.len()) };
    match bytes {
        0 => "nothing on it is one node's own".to_owned(),
        _ => format!("one node's own: {bytes} bytes ({}) in {places}", rough(bytes)),
    }
}
