//! The critical path: from the end of a run back to its request, always to what ended last among
//! what could have led here.

use std::collections::HashSet;

use camshaft_model::definition::workflow::{Entry, Task, Workflow};

use super::Part;
use super::build::{Body, Built, Node};
use super::timing::{Piece, split};

/// The pieces from the request of the run to its end, without a gap.
pub(super) fn critical(built: &Built<'_>) -> Vec<Piece> {
    let mut walk = Walk {
        built,
        back: Vec::new(),
    };
    let root = &built.nodes[built.root];
    walk.cover(root, root.from, root.to);
    walk.back.reverse();
    merged(walk.back)
}

fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut path: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match path.last_mut() {
            Some(last) if (last.part, last.step) == (piece.part, piece.step) => last.to = piece.to,
            _ => path.push(piece),
        }
    }
    path
}

struct Walk<'a> {
    built: &'a Built<'a>,
    /// Newest first.
    back: Vec<Piece>,
}

impl<'a> Walk<'a> {
    /// Adds pieces from `to` back to `from` without a gap.
    fn cover(&mut self, node: &Node<'_>, from: u64, to: u64) {
        match &node.body {
            Body::Pieces(pieces) => self.pieces(pieces, from, to),
            Body::Inside {
                lead,
                children,
                graph,
            } => {
                let begun = lead
                    .last()
                    .map_or(node.from, |piece| piece.to)
                    .clamp(from, to);
                self.inside(children, *graph, begun, to);
                self.pieces(lead, from, begun);
            }
        }
    }

    fn pieces(&mut self, pieces: &[Piece], from: u64, to: u64) {
        let mut at = to;
        for piece in pieces.iter().rev() {
            let (begin, end) = (piece.from.clamp(from, at), piece.to.clamp(from, at));
            if begin == end {
                continue;
            }
            self.gap(Part::Commit, end, at);
            self.back.push(Piece {
                from: begin,
                to: end,
                ..*piece
            });
            at = begin;
        }
        self.gap(Part::Commit, from, at);
    }

    /// Time between two steps.
    fn gap(&mut self, part: Part, from: u64, to: u64) {
        let mut pieces = Vec::new();
        split(part, from, to, &self.built.pauses, |part, from, to| {
            pieces.push(Piece {
                part,
                from,
                to,
                step: None,
            });
        });
        self.back.extend(pieces.into_iter().rev());
    }

    fn inside(&mut self, children: &[usize], graph: Option<&Workflow>, from: u64, to: u64) {
        let mut by_end: Vec<usize> = children.to_vec();
        by_end.sort_by_key(|at| std::cmp::Reverse((self.node(*at).to, self.node(*at).from)));
        let (mut at, mut after): (u64, Option<usize>) = (to, None);
        let mut used = HashSet::new();
        let mut first_candidate = 0;
        while at > from {
            while by_end
                .get(first_candidate)
                .is_some_and(|c| after.is_some() && self.node(*c).to > at)
            {
                first_candidate += 1;
            }
            let next = by_end[first_candidate..].iter().copied().find(|candidate| {
                let node = self.node(*candidate);
                node.from <= at
                    && !used.contains(candidate)
                    && after.is_none_or(|after| self.leads_to(*candidate, after, graph))
            });
            let Some(next) = next else {
                break;
            };
            used.insert(next);
            let node = self.node(next);
            let (begin, end) = (node.from.clamp(from, at), node.to.clamp(from, at));
            let another_lap = after.is_some_and(|after| self.node(after).lap != node.lap);
            self.gap(
                if another_lap {
                    Part::Delay
                } else {
                    Part::Commit
                },
                end,
                at,
            );
            self.cover(node, begin, end);
            (at, after) = (begin, Some(next));
        }
        self.gap(Part::Commit, from, at);
    }

    fn node(&self, at: usize) -> &'a Node<'a> {
        let built: &'a Built<'a> = self.built;
        &built.nodes[at]
    }

    /// Whether the end of one node may have been what another one waited for.
    fn leads_to(&self, earlier: usize, later: usize, graph: Option<&Workflow>) -> bool {
        let (earlier, later) = (self.node(earlier), self.node(later));
        let (Some(graph), Some(from), Some(to)) = (graph, earlier.task, later.task) else {
            return true;
        };
        let (Some(source), Some(target)) = (graph.tasks.get(from), graph.tasks.get(to)) else {
            return true;
        };
        if earlier.lap != later.lap {
            return earlier.lap < later.lap && starts_a_lap(graph, to, target);
        }
        match &target.entry {
            // A task does not run beside itself: a later visit waits for the end of the one before it.
            _ if from == to => true,
            _ if target.finally && !source.finally => true,
            Entry::Needs(needs) => needs.iter().any(|need| need.task == from),
            Entry::Transitions(_) => source.next.iter().any(|next| next.to.contains(&to)),
        }
    }
}

/// Whether a task starts with the lap, for want of anything that it waits for.
fn starts_a_lap(graph: &Workflow, at: usize, task: &Task) -> bool {
    match &task.entry {
        Entry::Needs(needs) => needs.is_empty(),
        Entry::Transitions(_) => {
            let mut all = graph.tasks.iter().flat_map(|task| &task.next);
            !all.any(|next| next.to.contains(&at))
        }
    }
}
