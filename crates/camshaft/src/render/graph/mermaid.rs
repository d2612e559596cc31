//! Mermaid, which Markdown viewers draw.

use std::fmt::Write as _;

use super::{Graph, Node, Shape};

pub(super) fn render(graph: &Graph) -> String {
    let mut text = format!(
        "---\ntitle: \"{}\"\n---\nflowchart TD\n",
        graph.title.replace(['"', '\\'], "'")
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
        text.push_str("  subgraph finally\n");
        for (place, node) in graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.finally)
        {
            let _ = writeln!(text, "    {}", shape(place, node));
        }
        text.push_str("  end\n");
    }
    for edge in &graph.edges {
        let label = if edge.label.is_empty() {
            String::new()
        } else {
            format!("|\"{}\"|", quoted(&edge.label))
        };
        let _ = writeln!(text, "  t{} -->{label} t{}", edge.from, edge.to);
    }
    text
}

fn shape(place: usize, node: &Node) -> String {
    let lines: Vec<String> = std::iter::once(&node.name)
        .chain(Some(&node.work).filter(|work| !work.is_empty()))
        .chain(&node.notes)
        .map(|line| quoted(line))
        .collect();
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
