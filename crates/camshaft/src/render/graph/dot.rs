//! DOT, which Graphviz draws.

use super::source::{Language, label};
use super::{Edge, Node, Shape};

pub(super) const DOT: Language = Language {
    head,
    node,
    frame: (
        &[
            "subgraph cluster_finally {",
            "  label=finally; style=dashed;",
        ],
        "}",
    ),
    edge,
    tail: "}\n",
};

fn head(title: &str) -> String {
    let title = quoted(title);
    format!(
        "digraph workflow {{\n  label={title}; labelloc=t; rankdir=TB;\n  node [shape=box, style=rounded];\n"
    )
}

fn edge(edge: &Edge) -> String {
    let label = if edge.label.is_empty() {
        String::new()
    } else {
        format!(" [label={}]", quoted(&edge.label))
    };
    format!("t{} -> t{}{label};", edge.from, edge.to)
}

fn node(place: usize, node: &Node) -> String {
    let lines: Vec<&str> = label(node).collect();
    let label = quoted(&lines.join("\n"));
    match node.shape {
        Shape::Action => format!("t{place} [label={label}];"),
        Shape::Wait => format!("t{place} [label={label}, shape=hexagon, style=solid];"),
        Shape::Nothing => format!("t{place} [label={label}, shape=ellipse, style=solid];"),
    }
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}
