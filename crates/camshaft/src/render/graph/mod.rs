//! The graph of a workflow, drawn: for a terminal, as Mermaid and as DOT.
//!
//! Both forms of a workflow become one list of nodes and edges here, in words for people; the three
//! drawings only differ in how they put these down.

mod dot;
mod mermaid;
mod source;
mod text;

use camshaft_model::Status;
use camshaft_model::definition::Workflow;
use camshaft_model::definition::workflow::{Entry, Join, LoopMode, Need, Task, Work};
use clap::ValueEnum;
use serde_json::Value;

use super::{escape, plain};

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Drawing {
    /// For a terminal: one line a task, top down.
    #[default]
    Text,
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Draws a workflow.
pub fn draw(reference: &str, workflow: &Workflow, drawing: Drawing) -> String {
    let graph = Graph::new(reference, workflow);
    match drawing {
        Drawing::Text => text::render(&graph),
        Drawing::Mermaid => mermaid::MERMAID.render(&graph),
        Drawing::Dot => dot::DOT.render(&graph),
    }
}

/// What is drawn.
struct Graph {
    title: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

struct Node {
    name: String,
    /// What it does; empty for nothing.
    work: String,
    /// What else decides about it.
    notes: Vec<String>,
    shape: Shape,
    finally: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Action,
    Wait,
    Nothing,
}

struct Edge {
    from: usize,
    to: usize,
    /// The outcome or the condition; empty for the usual one.
    label: String,
}

impl Graph {
    fn new(reference: &str, workflow: &Workflow) -> Self {
        let mut edges = Vec::new();
        for (place, task) in workflow.tasks.iter().enumerate() {
            if let Entry::Needs(needs) = &task.entry {
                edges.extend(needs.iter().map(|need| Edge {
                    from: need.task,
                    to: place,
                    label: outcome(&need.on),
                }));
            }
            for next in &task.next {
                let label = next.when.as_deref().map(one_line).unwrap_or_default();
                edges.extend(next.to.iter().map(|to| Edge {
                    from: place,
                    to: *to,
                    label: label.clone(),
                }));
            }
        }
        Self {
            title: title(reference, workflow),
            nodes: workflow.tasks.iter().map(node).collect(),
            edges,
        }
    }
}

fn title(reference: &str, workflow: &Workflow) -> String {
    let cycles = &workflow.cycles;
    match &cycles.mode {
        LoopMode::Once => reference.to_owned(),
        LoopMode::Fixed => format!("{reference} (runs {} times)", cycles.max),
        LoopMode::Until(condition) => format!(
            "{reference} (runs until {}, at most {} times)",
            one_line(condition),
            cycles.max
        ),
    }
}

fn node(task: &Task) -> Node {
    let (work, shape) = match &task.work {
        Work::Action { reference, .. } => (reference.to_string(), Shape::Action),
        Work::Inquiry(_) => ("asks a person".to_owned(), Shape::Wait),
        Work::WaitFor(awaited) => (format!("waits for {}", awaited.trigger), Shape::Wait),
        Work::Nothing => (String::new(), Shape::Nothing),
    };
    let mut notes = Vec::new();
    match task.entry {
        Entry::Transitions(Join::All) => notes.push("gathers all".to_owned()),
        Entry::Transitions(Join::Count(count)) => notes.push(format!("gathers {count}")),
        Entry::Transitions(Join::Each) | Entry::Needs(_) => {}
    }
    if let Some(items) = &task.items {
        let over = match &items.over {
            Value::Array(list) => format!("each of {} items", list.len()),
            template => format!("each of {}", one_line(&plain(template))),
        };
        notes.push(format!("{over}, {} at a time", items.concurrency));
    }
    if let Some(when) = &task.when {
        notes.push(format!("when {}", one_line(when)));
    }
    if task.cache.is_some() {
        notes.push("kept in the cache".to_owned());
    }
    Node {
        name: task.name.clone(),
        work,
        notes,
        shape,
        finally: task.finally,
    }
}

/// The ends that meet a need in as few words as there are; nothing for the usual ones.
fn outcome(on: &[Status]) -> String {
    let is = |known: &[Status]| known.len() == on.len() && known.iter().all(|s| on.contains(s));
    if is(Need::DEFAULT) {
        return String::new();
    }
    if is(Need::ENDED) {
        return "ended".to_owned();
    }
    if Need::FAILED.iter().all(|status| on.contains(status)) {
        let rest = on.iter().filter(|status| !Need::FAILED.contains(status));
        return std::iter::once("failed")
            .chain(rest.map(|status| status.as_str()))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    let words: Vec<&str> = on.iter().map(|status| status.as_str()).collect();
    words.join(" or ")
}

/// An expression on one line that is not too long, without the braces round it.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 60;
    let trimmed = text.trim();
    let inner = trimmed
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .filter(|inner| !inner.contains("{{"))
        .unwrap_or(trimmed);
    let words: Vec<&str> = inner.split_whitespace().collect();
    let line = words.join(" ");
    let mut short: String = line.chars().take(LONGEST).collect();
    if line.chars().count() > LONGEST {
        short.push('…');
    }
    escape::line(&short).into_owned()
}

#[cfg(test)]
mod tests;
