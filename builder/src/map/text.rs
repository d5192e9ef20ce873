//! A map on a terminal: bars to scale, and a line for each block.
//!
//! In: a map, a width. Out: a text of ASCII alone, but for ECMA-48 sequences where colours are wanted.
//!
//! Source: ECMA-48, "SGR"; xterm's 256 colours, whose first sixteen a terminal may change.
//!
//! Not here: what the terminal is (`report`).

use super::chart::{self, Bar, Block};
use super::scale::{step, widths};
use super::{Kind, Map, rough};
use crate::report::Paint;

/// The least width, and the greatest: longer bars say no more.
const WIDTHS: [usize; 2] = [60, 160];
/// The columns before a bar and its lines.
const MARGIN: usize = 3;
/// The columns of a line before the name: key, start, length, length for a person.
const LEAD: usize = MARGIN + 2 + 12 + 2 + 14 + 1 + 8 + 2;
/// The sign of what is one node's own.
const OWN: char = '#';

/// Draws a map in `width` columns.
pub fn draw(map: &Map, width: usize, paint: Paint) -> String {
    let width = width.clamp(WIDTHS[0], WIDTHS[1]);
    let bars = chart::bars(map);
    let mut text = format!("{}: {}\n", ascii(&map.name), ascii(&map.about));
    let own = format!("{OWN} {}", chart::own_text(map));
    text += &match (map.root.own().is_empty(), paint) {
        (true, _) => format!("{}\n", chart::own_text(map)),
        (false, Paint::Plain) => format!("{own}\n"),
        (false, Paint::Ansi) => format!("{}\n", Style::OWN.on(&format!(" {own} "))),
    };
    for (number, bar) in (1..).zip(&bars) {
        text += &heading(number, bar, width, paint);
        text += &format!("{:MARGIN$}{}\n", "", line(bar, width - MARGIN, paint));
        for block in shown(bar, width - MARGIN).iter().flat_map(|(_, blocks)| *blocks) {
            text += &legend(block, width, paint);
        }
    }
    if map.left_out > 0 {
        text += &format!("\n{} further regions are not shown\n", map.left_out);
    }
    text
}

fn heading(number: usize, bar: &Bar<'_>, width: usize, paint: Paint) -> String {
    let size = rough(bar.region.len());
    let room = width.saturating_sub(MARGIN + size.len() + 2);
    let name = short(&ascii(&bar.name), room);
    let fill = room - name.len() + 2;
    let (on, off) = match paint {
        Paint::Plain => ("", ""),
        Paint::Ansi => ("\x1b[1m", "\x1b[0m"),
    };
    format!("\n{on}{number:<MARGIN$}{name}{off}{:fill$}{size}\n", "")
}

/// The blocks of a bar, each with its width; where there is no room for all, neighbours share one.
fn shown<'a, 'b>(bar: &'b Bar<'a>, width: usize) -> Vec<(usize, &'b [Block<'a>])> {
    let share = bar.blocks.len().div_ceil(width).max(1);
    let groups: Vec<&[Block<'_>]> = bar.blocks.chunks(share).collect();
    let lens: Vec<u64> = groups.iter().map(|group| group.iter().map(Block::len).sum()).collect();
    widths(&lens, width, 1).into_iter().zip(groups).collect()
}

/// The bar itself.
fn line(bar: &Bar<'_>, width: usize, paint: Paint) -> String {
    let mut out = String::new();
    let mut is_odd = false;
    for (width, group) in shown(bar, width) {
        let [block, rest @ ..] = group else { continue };
        is_odd = !is_odd;
        let mut cells = cells(block, width, paint);
        if rest.iter().any(|block| !block.own.is_empty()) {
            cells = vec![OWN; width];
        }
        out += &painted(&cells, block, is_odd, paint);
    }
    out
}

/// The characters of a block: its key, its label where that fits, and where in it there are own bytes.
fn cells(block: &Block<'_>, width: usize, paint: Paint) -> Vec<char> {
    let filling = match (paint, block.kind) {
        _ if block.is_own => OWN,
        (_, Kind::Free) => '.',
        (Paint::Plain, _) => '=',
        (Paint::Ansi, _) => ' ',
    };
    let mut cells = vec![filling; width];
    cells[0] = block.key;
    let label = ascii(block.label());
    if block.kind != Kind::Free && label.len() + 4 <= width {
        let words = format!(" {label} ");
        cells.splice(1..1 + words.len(), words.chars());
    }
    for range in block.own.iter().filter(|_| !block.is_own) {
        let at = |place: u64| step(place - block.range.start, block.len(), width);
        // A key at the start is kept where there is a second column.
        let first = at(range.start).clamp(usize::from(width > 1), width - 1);
        let end = at(range.end).max(first + 1);
        cells[first..end].fill(OWN);
    }
    cells
}

fn painted(cells: &[char], block: &Block<'_>, is_odd: bool, paint: Paint) -> String {
    let mut out = String::new();
    for run in cells.chunk_by(|a, b| (*a == OWN) == (*b == OWN)) {
        let text: String = run.iter().collect();
        out += &match (paint, run[0]) {
            (Paint::Plain, _) => text,
            (Paint::Ansi, OWN) => Style::OWN.on(&text),
            (Paint::Ansi, _) if block.is_own => Style::OWN.on(&text),
            (Paint::Ansi, _) => Style::of(block.kind, is_odd).on(&text),
        };
    }
    out
}

/// The line of a block.
fn legend(block: &Block<'_>, width: usize, paint: Paint) -> String {
    let (start, len) = (block.range.start, block.len());
    let mut end = block.zoom.map_or(String::new(), |bar| format!(" -> {}", bar + 1));
    if !block.is_own && !block.own.is_empty() {
        end += &format!(" {OWN}");
    }
    let name = short(&ascii(&block.name), width.saturating_sub(LEAD + end.len()));
    let numbers = format!("{start:#012x} {len:>14} {:>8}", rough(len));
    let key = match (paint, block.is_own) {
        (Paint::Plain, _) => block.key.to_string(),
        (Paint::Ansi, true) => Style::OWN.on(&block.key.to_string()),
        (Paint::Ansi, false) => Style::of(block.kind, true).on(&block.key.to_string()),
    };
    let rest = format!("  {numbers}  {name}{end}");
    let rest = match (paint, block.is_own, block.kind) {
        (Paint::Ansi, true, _) => format!("\x1b[1m{rest}\x1b[0m"),
        (Paint::Ansi, false, Kind::Free) => format!("\x1b[2m{rest}\x1b[0m"),
        _ => rest,
    };
    format!("{:MARGIN$}{key}{rest}\n", "")
}

/// Colours of a text and its ground, of xterm's 256.
#[derive(Clone, Copy)]
struct Style(Option<[u8; 2]>);

impl Style {
    const OWN: Self = Self(Some([231, 161]));

    /// The colours of a kind of block; neighbours differ a little.
    const fn of(kind: Kind, is_odd: bool) -> Self {
        let [odd, even] = match kind {
            Kind::Free => return Self(None),
            Kind::Medium | Kind::Structure => [250, 247],
            Kind::Partition | Kind::Store => [111, 110],
            Kind::File | Kind::Entry | Kind::Section => [152, 116],
            Kind::Program => [79, 78],
            Kind::Kernel => [215, 214],
            Kind::Initramfs | Kind::Archive => [150, 149],
            Kind::Value | Kind::Data => [222, 221],
        };
        Self(Some([16, if is_odd { odd } else { even }]))
    }

    fn on(self, text: &str) -> String {
        match self.0 {
            Some([ink, ground]) => format!("\x1b[38;5;{ink};48;5;{ground}m{text}\x1b[0m"),
            None => format!("\x1b[2m{text}\x1b[0m"),
        }
    }
}

/// The text with all else than printable ASCII escaped: it is a foreign medium's, and must neither
/// steer a terminal nor take more columns than it has characters.
fn ascii(text: &str) -> String {
    let escape = |c: char| match c {
        ' '..='~' => c.to_string(),
        c => c.escape_default().to_string(),
    };
    text.chars().map(escape).collect()
}

/// A name in `room` columns: its end says most. It is ASCII.
fn short(name: &str, room: usize) -> String {
    match name.len().checked_sub(room) {
        None | Some(0) => name.to_owned(),
        Some(over) => {
            let rest = name.get(over + 4..).unwrap_or_default();
            // What a name is comes first, and a path ends in what it is.
            match name.strip_prefix('`') {
                Some(_) => format!("`...{}", rest.find('/').map_or(rest, |at| &rest[at..])),
                None => format!("{}...", name.get(..room.saturating_sub(3)).unwrap_or_default()),
            }
        }
    }
}
