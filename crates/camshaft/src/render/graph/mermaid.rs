//! Mermaid, which Markdown viewers draw.

use super::source::{Language, label};
use super::{Edge, Node, Shape};

pub(super) const MERMAID: Language = Language {
    head,
    node,
    frame: (&["subgraph finally"], "end"),
    edge,
    tail: "",
};

fn head(title: &str) -> String {
    let title = title.replace(['"', '\\'], "'");
    format!("---\ntitle: \"{title}\"\n---\nflowchart TD\n")
}

fn edge(edge: &Edge) -> String {
    let label = if edge.label.is_empty() {
        String::new()
    } else {
        format!("|\"{}\"|", quoted(&edge.label))
    };
    format!("t{} -->{label} t{}", edge.from, edge.to)
}

fn node(place: usize, node: &Node) -> String {
    let lines: Vec<String> = label(node).map(quoted).collect();
    let label = lines.join("<br/>");
    match node.shape {
        Shape::Action => format!("t{place}[\"{label}\"]"),
        Shape::Wait => format!("t{place}{{{{\"{label}\"}}}}"),
        Shape::Nothing => format!("t{place}(\"{label}\")"),
    }
}

/// Nothing of an expression may be read as Mermaid or as HTML.
fn quoted(text: &str) -> String {
    text.chars().fold(String::new(), |mut quoted, c| {
        match c {
            '"' => quoted.push_str("#quot;"),
            '#' => quoted.push_str("#35;"),
            '<' => quoted.push_str("#lt;"),
            '>' => quoted.push_str("#gt;"),
            '&' => quoted.push_str("#amp;"),
            c => quoted.push(c),
        }
        quoted
    })
}
