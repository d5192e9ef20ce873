//! From parser events to trees, within the limits.
//!
//! In: the text of a file. Out: its documents' nodes.
//!
//! Source: YAML 1.2.2, chapter 3.2 ("Information Models").
//!
//! Not here: the characters of the text (`super`), which are checked already.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{
    ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag,
};

use super::{Entry, MAX_DEPTH, MAX_NODES, Node, Scalar, Spot, Style, Value, place};
use crate::report::Diagnostic;

/// Reads all documents, up to the first error.
pub(super) fn documents(file: &Arc<str>, text: &str) -> Result<Vec<Node>, Diagnostic> {
    // One more than ours in each of the two counts, so that the message is ours.
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    let mut tree = Tree { file: Arc::clone(file), ..Tree::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| scan_error(file, &error))?;
        tree.event(event, &span)?;
    }
    Ok(tree.documents)
}

/// The tree under construction.
#[derive(Default)]
struct Tree {
    file: Arc<str>,
    documents: Vec<Node>,
    /// The collections that are still open, the innermost last.
    open: Vec<Frame>,
    /// The finished nodes that have an anchor, by the parser's number for it, with their height.
    anchors: BTreeMap<usize, (Node, Size)>,
    /// How many nodes there are so far, counting what aliases repeat.
    nodes: u64,
}

/// A collection that is still open.
struct Frame {
    head: Head,
    /// Whether it is a mapping that is written in braces.
    braces: bool,
    size: Size,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<Key>, seen: BTreeMap<String, u32> },
}

/// A key whose value is still to come.
struct Key {
    text: String,
    style: Style,
    at: Spot,
}

/// What precedes a node's content. Anchor 0 is none.
struct Head {
    spot: Spot,
    anchor: usize,
    tag: Option<Arc<str>>,
}

/// How large a finished node is.
#[derive(Clone, Copy)]
struct Size {
    /// Its nodes, itself included, counting what aliases repeat.
    nodes: u64,
    /// The levels of collections in it, its own included.
    height: usize,
}

impl Size {
    const SCALAR: Self = Self { nodes: 1, height: 0 };
    const EMPTY: Self = Self { nodes: 1, height: 1 };

    fn with(self, child: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(child.nodes),
            height: self.height.max(child.height.saturating_add(1)),
        }
    }
}

impl Head {
    fn new(span: &Span, anchor: usize, tag: Option<&Tag>) -> Self {
        let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()).into());
        Self { spot: spot(&span.start), anchor, tag }
    }
}

impl Tree {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Text };
                let in_braces = self.open.last().is_some_and(|frame| frame.braces);
                if in_braces && style == Style::Plain && text.starts_with(':') {
                    return Err(colon(&self.file, self::spot(&span.start)));
                }
                let value = Value::Scalar(Scalar { text: text.into_owned(), style });
                self.count(1, span)?;
                self.finish(Head::new(span, anchor, tag.as_deref()), value, Size::SCALAR)?;
            }
            Event::SequenceStart(notation, anchor, tag) => {
                let head = Head::new(span, anchor, tag.as_deref());
                self.open(head, notation, Content::Sequence(vec![]), span)?;
            }
            Event::MappingStart(notation, anchor, tag) => {
                let content =
                    Content::Mapping { entries: vec![], key: None, seen: BTreeMap::new() };
                self.open(Head::new(span, anchor, tag.as_deref()), notation, content, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    fn open(
        &mut self,
        head: Head,
        notation: StructureStyle,
        content: Content,
        span: &Span,
    ) -> Result<(), Diagnostic> {
        self.count(1, span)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(&self.file, head.spot));
        }
        let is_mapping = matches!(content, Content::Mapping { .. });
        let braces = is_mapping && notation == StructureStyle::Flow;
        self.open.push(Frame { head, braces, size: Size::EMPTY, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let value = match frame.content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping { entries, .. } => Value::Mapping(entries),
        };
        self.finish(frame.head, value, frame.size)
    }

    /// An alias stands for the node itself; only its place is its own.
    fn alias(&mut self, anchor: usize, span: &Span) -> Result<(), Diagnostic> {
        let spot = spot(&span.start);
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            let message = "this alias names the collection that it is in";
            return Err(error(&self.file, "yaml-alias", message, spot));
        };
        if self.open.len().saturating_add(size.height) > MAX_DEPTH {
            return Err(too_deep(&self.file, spot));
        }
        self.count(size.nodes, span)?;
        self.attach(Node { spot, ..node }, size)
    }

    fn finish(&mut self, head: Head, value: Value, size: Size) -> Result<(), Diagnostic> {
        let node = Node {
            file: Arc::clone(&self.file),
            spot: head.spot,
            tag: head.tag,
            value: Arc::new(value),
        };
        if head.anchor != 0 {
            self.anchors.insert(head.anchor, (node.clone(), size));
        }
        self.attach(node, size)
    }

    /// Hands a finished node to the collection around it.
    fn attach(&mut self, node: Node, size: Size) -> Result<(), Diagnostic> {
        let Some(frame) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        frame.size = frame.size.with(size);
        match &mut frame.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, key, seen } => match key.take() {
                None => *key = Some(new_key(&self.file, node, seen)?),
                Some(Key { text, style, at }) => {
                    let place = place(&self.file, at);
                    entries.push(Entry { key: text, style, place, value: node });
                }
            },
        }
        Ok(())
    }

    fn count(&mut self, nodes: u64, span: &Span) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the file has more than {MAX_NODES} values, aliases followed");
        Err(error(&self.file, "yaml-too-large", message, spot(&span.start)))
    }
}

/// Takes a key; `seen` holds the mapping's keys and their lines.
fn new_key(file: &str, node: Node, seen: &mut BTreeMap<String, u32>) -> Result<Key, Diagnostic> {
    let Some(scalar) = node.scalar() else {
        let message = format!("{} cannot be a key", node.kind());
        return Err(error(file, "yaml-key", message, node.spot));
    };
    let text = scalar.text.clone();
    if let Some(line) = seen.insert(text.clone(), node.spot.line) {
        let message = format!("this key is in the mapping already, on line {line}");
        return Err(error(file, "yaml-duplicate-key", message, node.spot).help("drop one of them"));
    }
    Ok(Key { text, style: scalar.style, at: node.spot })
}

fn spot(marker: &Marker) -> Spot {
    Spot::new(marker.line(), marker.col().saturating_add(1))
}

fn error(file: &str, code: &'static str, message: impl Into<String>, spot: Spot) -> Diagnostic {
    Diagnostic::error(code, message).at(place(file, spot))
}

/// go-yaml, which reads what is made here, takes such a colon for the one behind a key.
fn colon(file: &str, spot: Spot) -> Diagnostic {
    let message = "in braces no text begins with a colon";
    error(file, "yaml-syntax", message, spot).help("put it in quotes: `'::/0'`")
}

fn too_deep(file: &str, spot: Spot) -> Diagnostic {
    error(file, "yaml-too-deep", format!("collections nest deeper than {MAX_DEPTH} levels"), spot)
}

fn scan_error(file: &str, scan: &ScanError) -> Diagnostic {
    let spot = spot(scan.marker());
    match scan.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(file, spot),
        ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation => {
            error(file, "yaml-syntax", "a tab is no indentation in YAML", spot).help("use spaces")
        }
        // The parser's own words; none holds more than one character of the text.
        _ => error(file, "yaml-syntax", format!("this is no YAML: {}", scan.info()), spot),
    }
}
