//! YAML (and so JSON) to a tree in which every node knows its line and column.
//!
//! Text comes from strangers: size, depth, number of nodes and length of all text are bounded while
//! the tree is built, so that aliases of aliases end in a message and not in all memory. The tree is
//! built from the parser's events and not by a loader, because a loader expands aliases before
//! anybody can count and keeps only one of two equal keys.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Number, Value};

use super::problem::Position;

/// The most bytes that a document may have.
pub const MAX_BYTES: usize = 1024 * 1024;
/// How deep lists and mappings may be nested.
pub const MAX_DEPTH: usize = 64;
/// The most nodes that a document may have, aliases counted as what they stand for.
pub const MAX_NODES: usize = 100_000;
/// The most bytes of text that a document may have, aliases counted as what they stand for.
pub const MAX_TEXT_BYTES: usize = 4 * MAX_BYTES;

/// One node of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text. No two entries have the same key.
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, as text.
    pub key: String,
    /// Where the key begins.
    pub key_position: Position,
    /// The value.
    pub value: Node,
}

/// Why a text is not a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct DocumentError {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub message: String,
}

impl DocumentError {
    fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
        }
    }
}

impl Node {
    /// The node as plain JSON.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_value()))
                    .collect(),
            ),
        }
    }

    /// What the node is, for messages: `number 5`, `a list`.
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Number(number) => format!("number {number}"),
            Content::Text(text) => format!("'{}'", shorten(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        }
    }

    fn size(&self) -> Size {
        let own = Size {
            nodes: 1,
            text: 0,
            depth: 1,
        };
        match &self.content {
            Content::Text(text) => Size {
                text: text.len(),
                ..own
            },
            Content::List(items) => items
                .iter()
                .fold(own, |sum, item| sum.holding(item.size(), 0)),
            Content::Mapping(entries) => entries.iter().fold(own, |sum, entry| {
                sum.holding(entry.value.size(), entry.key.len())
            }),
            Content::Null | Content::Bool(_) | Content::Number(_) => own,
        }
    }
}

/// The beginning of a text on one line, for messages.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    text: usize,
    depth: usize,
}

impl Size {
    fn holding(self, inner: Self, key_len: usize) -> Self {
        Self {
            nodes: self.nodes + inner.nodes,
            text: self.text + inner.text + key_len,
            depth: self.depth.max(inner.depth + 1),
        }
    }
}

/// Reads one document.
///
/// # Errors
/// Everything that is wrong with the text: one error if it is not YAML or breaks a limit, otherwise
/// one for each key that is there twice.
pub fn parse(bytes: &[u8]) -> Result<Node, Vec<DocumentError>> {
    let text = decode_text(bytes).map_err(|error| vec![error])?;
    let mut builder = Builder::default();
    match builder.read(text) {
        Err(error) => Err(vec![error]),
        Ok(_) if !builder.duplicates.is_empty() => Err(builder.duplicates),
        Ok(root) => Ok(root),
    }
}

fn decode_text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; the most is {MAX_BYTES}",
            bytes.len()
        );
        return Err(DocumentError::new(Position::START, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let column = String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count();
        DocumentError::new(position(line + 1, column), "the file is not UTF-8 text")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The parser counts lines from 1 and columns from 0.
fn position(line: usize, column: usize) -> Position {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: bounded(line.max(1)),
        column: bounded(column + 1),
    }
}

fn at(marker: &Marker) -> Position {
    position(marker.line(), marker.col())
}

/// A list or mapping that has begun and not ended.
struct Open {
    position: Position,
    anchor: usize,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        keys: HashMap<String, Position>,
        key: Option<(String, Position)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    text: usize,
    duplicates: Vec<DocumentError>,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<Node, DocumentError> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) =
                event.map_err(|error| DocumentError::new(at(error.marker()), error.info()))?;
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
            }
            if documents > 1 {
                let message = "a second document begins here; put one document in a file";
                return Err(DocumentError::new(at(&span.start), message));
            }
            self.take(event, span)?;
        }
        Ok(self.root.take().unwrap_or(Node {
            position: Position::START,
            content: Content::Null,
        }))
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), DocumentError> {
        let position = at(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // A key is always text, whatever it looks like: `1: x` has the key "1".
                let content = if self.awaits_key() {
                    Content::Text(text.into_owned())
                } else {
                    scalar(&text, style, tag.as_deref(), position)?
                };
                let node = Node { position, content };
                self.count(node.size(), position)?;
                self.finish(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", position)?;
                self.begin(position, anchor, OpenContent::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", position)?;
                let content = OpenContent::Mapping {
                    entries: Vec::new(),
                    keys: HashMap::new(),
                    key: None,
                };
                self.begin(position, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: OpenContent::Mapping { key: None, .. },
                ..
            })
        )
    }

    fn count(&mut self, size: Size, position: Position) -> Result<(), DocumentError> {
        self.nodes += size.nodes;
        self.text += size.text;
        if self.nodes > MAX_NODES {
            return Err(DocumentError::new(
                position,
                format!("there are more than {MAX_NODES} values"),
            ));
        }
        if self.text > MAX_TEXT_BYTES {
            let message = format!("there are more than {MAX_TEXT_BYTES} bytes of text");
            return Err(DocumentError::new(position, message));
        }
        if self.open.len() + size.depth > MAX_DEPTH {
            let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
            return Err(DocumentError::new(position, message));
        }
        Ok(())
    }

    fn begin(
        &mut self,
        position: Position,
        anchor: usize,
        content: OpenContent,
    ) -> Result<(), DocumentError> {
        if self.awaits_key() {
            return Err(DocumentError::new(
                position,
                "a key must be text, not a list or a mapping",
            ));
        }
        self.count(
            Size {
                nodes: 1,
                text: 0,
                depth: 1,
            },
            position,
        )?;
        self.open.push(Open {
            position,
            anchor,
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), DocumentError> {
        let Some(Open {
            position,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let content = match content {
            OpenContent::List(items) => Content::List(items),
            OpenContent::Mapping { entries, .. } => Content::Mapping(entries),
        };
        self.finish(Node { position, content }, anchor)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), DocumentError> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(DocumentError::new(
                position,
                "the alias stands inside of what it stands for",
            ));
        };
        let size = target.size();
        self.count(size, position)?;
        // `count` has bounded what the copy costs. It keeps the positions of the original, where a
        // mistake in it is mended.
        let node = self.anchors.get(&anchor).cloned();
        node.map_or(Ok(()), |node| self.finish(node, 0))
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), DocumentError> {
        if anchor != 0 {
            self.count(node.size(), node.position)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::List(items)) => items.push(node),
            Some(OpenContent::Mapping { entries, keys, key }) => match key.take() {
                None => *key = Some((key_text(&node)?, node.position)),
                Some((name, key_position)) => {
                    if let Some(first) = keys.get(&name) {
                        let message =
                            format!("the key '{}' is already there at {first}", shorten(&name));
                        self.duplicates
                            .push(DocumentError::new(key_position, message));
                    } else {
                        keys.insert(name.clone(), key_position);
                        entries.push(Entry {
                            key: name,
                            key_position,
                            value: node,
                        });
                    }
                }
            },
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String, DocumentError> {
    match &node.content {
        Content::Text(text) if text == "<<" => Err(DocumentError::new(
            node.position,
            "merge keys ('<<') are not supported: write the keys out",
        )),
        Content::Text(text) => Ok(text.clone()),
        Content::Number(number) => Ok(number.to_string()),
        Content::Bool(value) => Ok(value.to_string()),
        Content::Null => Ok("null".to_owned()),
        Content::List(_) | Content::Mapping(_) => Err(DocumentError::new(
            node.position,
            "a key must be text, not a list or a mapping",
        )),
    }
}

fn refuse_tag(tag: Option<&Tag>, expected: &str, position: Position) -> Result<(), DocumentError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(DocumentError::new(
                position,
                format!(
                    "the tag '{}{}' is not supported",
                    shorten(&tag.handle),
                    shorten(&tag.suffix)
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// A scalar by the core schema of YAML 1.2: `yes`, `no` and `on` are text.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    position: Position,
) -> Result<Content, DocumentError> {
    if let Some(tag) = tag {
        refuse_tag(Some(tag), "str", position)?;
        return Ok(Content::Text(text.to_owned()));
    }
    if style != ScalarStyle::Plain {
        return Ok(Content::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Bool(true),
        "false" | "False" | "FALSE" => Content::Bool(false),
        _ => return number(text, position),
    })
}

fn number(text: &str, position: Position) -> Result<Content, DocumentError> {
    let radix = |prefix, radix| {
        text.strip_prefix(prefix).and_then(|digits: &str| {
            // `from_str_radix` takes a sign, which YAML does not have here.
            digits
                .starts_with(|c: char| c.is_digit(radix))
                .then(|| u64::from_str_radix(digits, radix).ok())?
        })
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Ok(Content::Number(number.into()));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits > 0
        && unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if !numeric {
        return Ok(Content::Text(text.to_owned()));
    }
    if digits == unsigned.len() {
        let text = text.strip_prefix('+').unwrap_or(text);
        let integer = text
            .parse::<i64>()
            .map(Number::from)
            .or_else(|_| text.parse::<u64>().map(Number::from));
        return integer.map(Content::Number).map_err(|_| {
            DocumentError::new(
                position,
                format!(
                    "the number {} is too large; put it in quotes",
                    shorten(text)
                ),
            )
        });
    }
    match text.parse::<f64>() {
        // What only looks like a number, such as a date or a version, is text.
        Err(_) => Ok(Content::Text(text.to_owned())),
        Ok(value) => Number::from_f64(value).map(Content::Number).ok_or_else(|| {
            DocumentError::new(
                position,
                format!(
                    "the number {} is too large; put it in quotes",
                    shorten(text)
                ),
            )
        }),
    }
}

#[cfg(test)]
mod tests;
