//! DOT, which Graphviz draws.

use std::fmt::Write as _;

use super::{Graph, Node, Shape};

pub(super) fn render(graph: &Graph) -> String {
    let title = quoted(&graph.title);
    let mut text = format!(
        "digraph workflow {{\n  label={title}; labelloc=t; rankdir=TB;\n  node [shape=box, style=rounded];\n"
    );
    for (place, node) in graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| !node.finally)
    {
        let _ = writeln!(text, "  {}", shape(place, node));
    }
    if graph.nodes.iter().any(|node| node.finally) {
        text.push_str("  subgraph cluster_finally {\n    label=finally; style=dashed;\n");
        for (place, node) in graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.finally)
        {
            let _ = writeln!(text, "    {}", shape(place, node));
        }
        text.push_str("  }\n");
    }
    for edge in &graph.edges {
        let label = if edge.label.is_empty() {
            String::new()
        } else {
            format!(" [label={}]", quoted(&edge.label))
        };
        let _ = writeln!(text, "  t{} -> t{}{label};", edge.from, edge.to);
    }
    text.push_str("}\n");
    text
}

fn shape(place: usize, node: &Node) -> String {
    let lines: Vec<&str> = std::iter::once(&node.name)
        .chain(Some(&node.work).filter(|work| !work.is_empty()))
        .chain(&node.notes)
        .map(String::as_str)
        .collect();
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
