//! What a drawing consists of that another program draws: the nodes, those of the end of a run in a
//! frame, and the edges.

use super::{Edge, Graph, Node};

/// How a language writes it. A node is called by its place, because its name may be anything.
pub(super) struct Language {
    /// What comes before everything.
    pub(super) head: fn(title: &str) -> String,
    /// One node.
    pub(super) node: fn(place: usize, node: &Node) -> String,
    /// The lines that begin the frame, and the one that ends it.
    pub(super) frame: (&'static [&'static str], &'static str),
    /// One edge.
    pub(super) edge: fn(edge: &Edge) -> String,
    /// What comes after everything.
    pub(super) tail: &'static str,
}

impl Language {
    pub(super) fn render(&self, graph: &Graph) -> String {
        let nodes = |finally: bool| {
            let all = graph.nodes.iter().enumerate();
            all.filter(move |(_, node)| node.finally == finally)
                .map(|(place, node)| (self.node)(place, node))
        };
        let mut lines: Vec<String> = nodes(false).map(|node| format!("  {node}\n")).collect();
        let (begin, end) = self.frame;
        if graph.nodes.iter().any(|node| node.finally) {
            lines.extend(begin.iter().map(|line| format!("  {line}\n")));
            lines.extend(nodes(true).map(|node| format!("    {node}\n")));
            lines.push(format!("  {end}\n"));
        }
        let edges = graph.edges.iter();
        lines.extend(edges.map(|edge| format!("  {}\n", (self.edge)(edge))));
        format!(
            "{}{}{}",
            (self.head)(&graph.title),
            lines.concat(),
            self.tail
        )
    }
}

/// What is written in a node: its name, what it does, what else decides about it.
pub(super) fn label(node: &Node) -> impl Iterator<Item = &str> {
    std::iter::once(&node.name)
        .chain(Some(&node.work).filter(|work| !work.is_empty()))
        .chain(&node.notes)
        .map(String::as_str)
}
