//! For a terminal. Each task is a line; on its left, rails lead down from the tasks that others come
//! after. What the edges ask for is in words on the right, and so is an edge that leads back up.
//!
//! ```text
//! ● fetch       core.http    each of params.urls, 8 at a time
//! │
//! ├─● merge     demo.merge   after fetch completed
//! │ │
//! ╰─● report    demo.report  after fetch ended, merge
//! ```

use std::fmt::Write as _;

use super::{Graph, Node};

/// The most rails side by side; the words on the right say what is beyond.
const MAX_RAILS: usize = 40;

pub(super) fn render(graph: &Graph) -> String {
    let order = order(graph);
    let mut rank = vec![0; graph.nodes.len()];
    for (row, place) in order.iter().enumerate() {
        rank[*place] = row;
    }
    let mut rails = Rails::new(graph, &rank);
    let rows: Vec<(usize, String, String)> = order
        .iter()
        .map(|place| {
            let above = rails.between();
            (*place, above, rails.row(*place))
        })
        .collect();
    let width = |text: &str| text.chars().count();
    let names = rows
        .iter()
        .map(|(place, _, rail)| width(rail) + 1 + width(&graph.nodes[*place].name))
        .max()
        .unwrap_or(0);
    let works = graph.nodes.iter().map(|node| width(&node.work)).max();
    let mut text = format!("{}\n", graph.title);
    let mut in_the_end = false;
    for (place, above, rail) in rows {
        let node = &graph.nodes[place];
        if node.finally && !in_the_end {
            in_the_end = true;
            text.push_str("\nin the end, however the run ends:\n");
        } else {
            let above = above.trim_end();
            if !above.is_empty() {
                let _ = writeln!(text, "{above}");
            }
        }
        let name = format!("{rail} {}", node.name);
        let line = format!(
            "{name:names$}  {:works$}  {}",
            node.work,
            words(graph, &rank, place, node),
            works = works.unwrap_or(0)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Tasks so that as many edges as can lead down; what runs in the end comes last. Among those that
/// could come next, the one whose sources were drawn last does, which keeps branches together.
fn order(graph: &Graph) -> Vec<usize> {
    let count = graph.nodes.len();
    let mut waiting = vec![0_usize; count];
    for edge in graph.edges.iter().filter(|edge| edge.from != edge.to) {
        waiting[edge.to] += 1;
    }
    let mut order: Vec<usize> = Vec::with_capacity(count);
    let mut drawn = vec![false; count];
    let mut latest: Vec<Option<usize>> = vec![None; count];
    while order.len() < count {
        let open =
            |finally: bool| (0..count).filter(move |place| graph.nodes[*place].finally == finally);
        let rest: Vec<usize> = open(false).filter(|place| !drawn[*place]).collect();
        let rest = if rest.is_empty() {
            open(true).filter(|place| !drawn[*place]).collect()
        } else {
            rest
        };
        let key = |place: &usize| (latest[*place], std::cmp::Reverse(*place));
        let free = rest.iter().copied().filter(|place| waiting[*place] == 0);
        // In a cycle nothing is free: the first that has been reached at all breaks it.
        let reached = rest
            .iter()
            .copied()
            .filter(|place| latest[*place].is_some());
        let Some(place) = free
            .max_by_key(key)
            .or_else(|| reached.min_by_key(|place| latest[*place]))
            .or_else(|| rest.first().copied())
        else {
            break;
        };
        drawn[place] = true;
        for edge in graph.edges.iter().filter(|edge| edge.from == place) {
            waiting[edge.to] = waiting[edge.to].saturating_sub(1);
            latest[edge.to] = Some(order.len());
        }
        order.push(place);
    }
    order
}

/// What an edge into a task asks for, and which edges lead back.
fn words(graph: &Graph, rank: &[usize], place: usize, node: &Node) -> String {
    let into = graph.edges.iter().filter(|edge| edge.to == place);
    let after: Vec<String> = into
        .filter(|edge| rank[edge.from] < rank[place])
        .map(|edge| {
            format!("{} {}", graph.nodes[edge.from].name, edge.label)
                .trim_end()
                .to_owned()
        })
        .collect();
    let mut words = Vec::new();
    if !after.is_empty() {
        words.push(format!("after {}", after.join(", ")));
    }
    words.extend(node.notes.iter().cloned());
    let back = graph
        .edges
        .iter()
        .filter(|edge| edge.from == place && rank[edge.to] <= rank[place]);
    words.extend(back.map(|edge| {
        let to = &graph.nodes[edge.to].name;
        if edge.label.is_empty() {
            format!("↑ back to {to}")
        } else {
            format!("↑ back to {to} if {}", edge.label)
        }
    }));
    words.join(" · ")
}

/// The lines on the left.
struct Rails<'a> {
    graph: &'a Graph,
    rank: &'a [usize],
    /// The task that each rail leads down from.
    columns: Vec<Option<usize>>,
}

impl<'a> Rails<'a> {
    const fn new(graph: &'a Graph, rank: &'a [usize]) -> Self {
        Self {
            graph,
            rank,
            columns: Vec::new(),
        }
    }

    /// Whether a task has an edge to one that comes after a row.
    fn goes_on(&self, place: usize, row: usize) -> bool {
        let mut edges = self.graph.edges.iter();
        edges.any(|edge| {
            edge.from == place && self.rank[edge.to] > row && self.rank[edge.to] > self.rank[place]
        })
    }

    /// The rails alone.
    fn between(&self) -> String {
        let column = |rail: &Option<usize>| if rail.is_some() { "│ " } else { "  " };
        self.columns.iter().map(column).collect()
    }

    /// The rails with a task, and how they are behind it.
    fn row(&mut self, place: usize) -> String {
        let row = self.rank[place];
        let sources: Vec<usize> = (0..self.columns.len())
            .filter(|column| {
                self.columns[*column].is_some_and(|from| {
                    let mut edges = self.graph.edges.iter();
                    edges.any(|edge| edge.from == from && edge.to == place)
                })
            })
            .collect();
        let ends: Vec<usize> = sources
            .iter()
            .copied()
            .filter(|column| self.columns[*column].is_some_and(|from| !self.goes_on(from, row)))
            .collect();
        let own = self.column_for(&sources, &ends);
        if own >= self.columns.len() {
            self.columns.resize(own + 1, None);
        }
        let text = self.line(own, &sources, &ends);
        for column in ends {
            self.columns[column] = None;
        }
        if own < MAX_RAILS {
            self.columns[own] = Some(place).filter(|place| self.goes_on(*place, row));
        }
        while self.columns.last() == Some(&None) {
            self.columns.pop();
        }
        text
    }

    /// In the rail that ends here, else in the first free one to the right of its sources.
    fn column_for(&self, sources: &[usize], ends: &[usize]) -> usize {
        if let Some(column) = ends.first() {
            return *column;
        }
        let from = sources.last().map_or(0, |column| column + 1);
        (from..self.columns.len())
            .find(|column| self.columns[*column].is_none())
            .unwrap_or_else(|| self.columns.len().max(from))
            .min(MAX_RAILS)
    }

    fn line(&self, own: usize, sources: &[usize], ends: &[usize]) -> String {
        let low = sources.first().map_or(own, |column| own.min(*column));
        let high = sources.last().map_or(own, |column| own.max(*column));
        let mut text = String::new();
        for column in 0..self.columns.len().max(own + 1) {
            let rail = self.columns.get(column).is_some_and(Option::is_some);
            let source = sources.contains(&column);
            let end = ends.contains(&column);
            text.push(match (source, end) {
                _ if column == own => '●',
                (true, true) if column == low => '╰',
                (true, true) if column == high => '╯',
                (true, true) => '┴',
                (true, false) if column == low => '├',
                (true, false) if column == high => '┤',
                (true, false) => '┼',
                _ if rail => '│',
                _ if column > low && column < high => '─',
                _ => ' ',
            });
            text.push(if column >= low && column < high {
                '─'
            } else {
                ' '
            });
        }
        text.trim_end().to_owned()
    }
}
