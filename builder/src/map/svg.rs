//! A map as a drawing that stands alone: no fonts, scripts or other files.
//!
//! In: a map. Out: an SVG, the same for the same map.
//!
//! Each bar is joined to the block of which it is a closer look; a block tells its place when it is
//! pointed at; a table below has every number. It takes the reader's light or dark colours. What is one
//! node's own is hatched, too: colours alone are not seen by everyone.
//!
//! Source: W3C, "Scalable Vector Graphics (SVG) 1.1"; W3C, "Media Queries Level 5"
//! (`prefers-color-scheme`); W3C, "Graphics Accessibility API Mappings" (`role`, `aria-labelledby`).
//!
//! Not here: files (`verb`).

use super::chart::{self, Bar, Block};
use super::scale::{step, widths};
use super::{Kind, Map, rough};

/// The drawing's width, its margin, and that of a bar.
const WIDTH: usize = 1040;
const MARGIN: usize = 40;
const BAR: usize = WIDTH - 2 * MARGIN;
/// The height of a bar, and from one bar to the next.
const BAR_HEIGHT: usize = 36;
const BAR_STEP: usize = 92;
/// Where the first bar is.
const TOP: usize = 128;
/// The height of a line of the table.
const LINE: usize = 20;
/// The least width of a block, and of what is one node's own in it.
const LEAST: usize = 4;
/// The width of a character of a label.
const LETTER: usize = 7;

/// Variables would be shorter; not every program that draws SVG knows them.
const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,sans-serif;font-size:13px;fill:#1b1f24}\
.head{font-size:22px;font-weight:600}.bar{font-weight:600}\
.mono{font-family:ui-monospace,monospace;font-size:12px}.label{font-size:12px;pointer-events:none}\
.end{text-anchor:end}.faint{fill:#57606a}.own-text{fill:#c2185b;font-weight:600}\
.page{fill:#fff}.lens{fill:#8c959f;opacity:.18}.rule{stroke:#d0d7de}\
.block{stroke:#fff;stroke-width:1}.block:hover{stroke:#1b1f24;stroke-width:2}\
.medium,.structure{fill:#afb8c1}.partition,.store{fill:#80b3ff}\
.file,.section,.entry{fill:#8fd3dd}.program{fill:#5ec4a8}.kernel{fill:#f5a962}\
.initramfs,.archive{fill:#a6cf72}.value,.data{fill:#e6c95c}.free{fill:#eaeef2}\
.own{fill:#d6186e}.own-lens{fill:#d6186e}.on-own{fill:#fff;font-weight:600}.hatch{fill:url(#hatch);pointer-events:none}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.own-text{fill:#ff6cb0}\
.page{fill:#0d1117}.lens{fill:#b1bac4;opacity:.15}.rule{stroke:#3d444d}\
.block{stroke:#0d1117}.block:hover{stroke:#e6edf3}\
.medium,.structure{fill:#59626d}.partition,.store{fill:#2f6bc0}\
.file,.section,.entry{fill:#237582}.program{fill:#1f7a60}.kernel{fill:#a85c20}\
.initramfs,.archive{fill:#557c28}.value,.data{fill:#7f6814}.free{fill:#212830}\
.own,.own-lens{fill:#ff4d9d}.on-own{fill:#0d1117}}";

/// Draws a map.
pub fn draw(map: &Map) -> String {
    let bars = chart::bars(map);
    let placed: Vec<Vec<Placed<'_>>> = bars.iter().map(place).collect();
    let lines: usize = bars.iter().map(|bar| bar.blocks.len() + 2).sum();
    let table = TOP + bars.len() * BAR_STEP;
    let height = table + lines * LINE + 2 * MARGIN;
    let mut out = head(map, height);
    for (index, bar) in bars.iter().enumerate() {
        out += &lens(index, bar, &placed);
    }
    for (index, (bar, blocks)) in bars.iter().zip(&placed).enumerate() {
        out += &drawn(index, bar, blocks);
    }
    let mut y = table;
    for (number, bar) in (1..).zip(&bars) {
        out += &listed(number, bar, &mut y);
    }
    if map.left_out > 0 {
        let text = format!("{} further regions are not shown", map.left_out);
        out += &text_at(MARGIN, y, "faint", &text);
    }
    out + "</svg>\n"
}

/// A block and where it is drawn, from the bar's left.
struct Placed<'a> {
    block: &'a Block<'a>,
    x: usize,
    width: usize,
}

fn place<'a>(bar: &'a Bar<'a>) -> Vec<Placed<'a>> {
    let lens: Vec<u64> = bar.blocks.iter().map(Block::len).collect();
    let least = (BAR / lens.len().max(1)).min(LEAST);
    let mut x = 0;
    let widths = widths(&lens, BAR, least).into_iter().zip(&bar.blocks);
    widths
        .map(|(width, block)| {
            let placed = Placed { block, x, width };
            x += width;
            placed
        })
        .collect()
}

fn head(map: &Map, height: usize) -> String {
    let (name, about) = (escape(&map.name), escape(&map.about));
    let own = escape(&chart::own_text(map));
    let title = text_at(MARGIN, MARGIN + 16, "head", &map.name);
    let about_line = text_at(MARGIN, MARGIN + 40, "faint", &map.about);
    let size = rough(map.root.len());
    let size_text = text_at(WIDTH - MARGIN, MARGIN + 16, "head end", &size);
    let own_class = if map.root.own().is_empty() { "faint" } else { "own-text" };
    let own_line = text_at(MARGIN, MARGIN + 62, own_class, &chart::own_text(map));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title about\">\n\
         <title id=\"title\">{name}</title>\n<desc id=\"about\">{about}, {} bytes; {own}</desc>\n\
         <style>{STYLE}</style>\n\
         <defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><path d=\"M0 0V6\" stroke=\"#fff\" stroke-opacity=\".45\" \
         stroke-width=\"3\"/></pattern></defs>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         {title}{about_line}{size_text}{own_line}",
        map.root.len()
    )
}

/// The shape that joins a bar to the block of which it is a closer look.
fn lens(index: usize, bar: &Bar<'_>, placed: &[Vec<Placed<'_>>]) -> String {
    let Some((parent, block)) = bar.parent else { return String::new() };
    let Some(from) = placed.get(parent).and_then(|blocks| blocks.get(block)) else {
        return String::new();
    };
    let (left, right) = (MARGIN + from.x, MARGIN + from.x + from.width);
    let (top, bottom) = (bar_y(parent) + BAR_HEIGHT, bar_y(index));
    let end = WIDTH - MARGIN;
    let class = if from.block.is_own { "lens own-lens" } else { "lens" };
    format!("<path class=\"{class}\" d=\"M{left} {top}H{right}L{end} {bottom}H{MARGIN}Z\"/>\n")
}

const fn bar_y(index: usize) -> usize {
    TOP + index * BAR_STEP + 28
}

fn drawn(index: usize, bar: &Bar<'_>, blocks: &[Placed<'_>]) -> String {
    let y = bar_y(index);
    let title = format!("{}  {}", index + 1, plain(&bar.name));
    let mut out = text_at(MARGIN, y - 9, "bar", &shortened(&title, 110));
    out += &text_at(WIDTH - MARGIN, y - 9, "faint end", &rough(bar.region.len()));
    for placed in blocks {
        out += &drawn_block(placed, y);
    }
    out
}

fn drawn_block(placed: &Placed<'_>, y: usize) -> String {
    let Placed { block, x, width } = placed;
    let x = MARGIN + x;
    let class = if block.is_own { "own" } else { block.kind.name() };
    let rect = |class: &str, x: usize, width: usize| {
        format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BAR_HEIGHT}\"/>"
        )
    };
    let tip = format!(
        "{}\n{:#x} to {:#x}: {} bytes ({})",
        plain(&block.name),
        block.range.start,
        block.range.end,
        block.len(),
        rough(block.len())
    );
    let mut out = format!("<g><title>{}</title>", escape(&tip));
    out += &rect(&format!("block {class}"), x, *width);
    if block.is_own {
        out += &rect("hatch", x, *width);
    }
    for own in block.own.iter().filter(|_| !block.is_own) {
        let at = |place: u64| step(place - block.range.start, block.len(), *width);
        let least = LEAST.min(*width);
        let first = at(own.start).min(width - least);
        let len = (at(own.end).max(first) - first).max(least);
        out += &rect("own", x + first, len);
        out += &rect("hatch", x + first, len);
    }
    let label = block.label();
    if block.kind != Kind::Free && (label.chars().count() + 2) * LETTER <= *width {
        let class = if block.is_own { "label on-own" } else { "label" };
        out += &text_at(x + LETTER, y + BAR_HEIGHT / 2 + 4, class, label);
    }
    out + "</g>\n"
}

/// The lines of the table for one bar.
fn listed(number: usize, bar: &Bar<'_>, y: &mut usize) -> String {
    *y += LINE;
    let mut out =
        text_at(MARGIN, *y, "bar", &shortened(&format!("{number}  {}", plain(&bar.name)), 120));
    let rule = *y + 6;
    let end = WIDTH - MARGIN;
    out += &format!("<path class=\"rule\" d=\"M{MARGIN} {rule}H{end}\"/>\n");
    *y += LINE;
    for block in &bar.blocks {
        *y += LINE;
        // The line's own place: one line up, so that a gap lies between tables.
        let line = *y - LINE + 4;
        let class = if block.is_own { "own" } else { block.kind.name() };
        let swatch = line - 10;
        out += &format!(
            "<rect class=\"{class}\" x=\"{MARGIN}\" y=\"{swatch}\" width=\"12\" height=\"12\" rx=\"2\"/>"
        );
        let hue = match (block.is_own, block.kind) {
            (true, _) => " own-text",
            (false, Kind::Free) => " faint",
            _ => "",
        };
        let numbers = [
            (MARGIN + 130, format!("{:#012x}", block.range.start)),
            (MARGIN + 250, block.len().to_string()),
            (MARGIN + 330, rough(block.len())),
        ];
        for (x, text) in numbers {
            out += &text_at(x, line, &format!("mono end{hue}"), &text);
        }
        let mut name = shortened(&plain(&block.name), 80);
        if let Some(bar) = block.zoom {
            name += &format!("  \u{2192} {}", bar + 1);
        }
        out += &text_at(MARGIN + 350, line, hue.trim_start(), &name);
    }
    out
}

fn text_at(x: usize, y: usize, class: &str, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{x}\" y=\"{y}\">{}</text>\n", escape(text))
}

/// A name without its quotes.
fn plain(name: &str) -> String {
    name.replace('`', "")
}

/// A name of at most so many characters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['\u{2026}']).collect()
}

/// The text as XML takes it: no markup, and none of the characters that XML 1.0 has no place for.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out.push(c),
            // Marks of direction could make a name look like another.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
