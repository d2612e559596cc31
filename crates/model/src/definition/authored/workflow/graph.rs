//! One graph from what tasks say of each other, in either form, and whether it can run.

use std::collections::{BTreeMap, HashMap};

use super::task::{Draft, DraftNext, Named};
use super::texts::{Place, Texts};
use super::{AwaitedTrigger, Call};
use crate::Status;
use crate::definition::decode::{Cursor, Located};
use crate::definition::document::shorten;
use crate::definition::problem::did_you_mean;
use crate::definition::workflow::{Entry, Join, Need, Next, Task};

/// The graph, and what of it the load has to look up.
#[derive(Default)]
pub(super) struct Linked {
    pub tasks: Vec<Task>,
    pub calls: Vec<Call>,
    pub awaited: Vec<AwaitedTrigger>,
    pub warnings: Vec<Located<String>>,
}

/// The tasks of a file while they are put together.
struct Graph<'a> {
    drafts: Vec<Draft<'a>>,
    places: HashMap<String, usize>,
    /// Whether it is written as transitions.
    transitions: bool,
}

pub(super) fn link(root: &Cursor<'_>, drafts: Vec<Draft<'_>>, texts: &Texts<'_>) -> Linked {
    let mut graph = Graph {
        places: drafts
            .iter()
            .enumerate()
            .map(|(place, draft)| (draft.task.name.clone(), place))
            .collect(),
        transitions: drafts
            .iter()
            .any(|draft| draft.next.is_some() && !draft.task.finally),
        drafts,
    };
    let mut linked = Linked::default();
    let mut uses = vec![Vec::new(); graph.drafts.len()];
    for text in &texts.found {
        for path in &text.paths {
            let [tasks, name, rest @ ..] = path.as_slice() else {
                continue;
            };
            let (Some(user), Some(used)) = (text.task, graph.places.get(name)) else {
                continue;
            };
            if tasks == "tasks" {
                uses[user].push(Use {
                    of: *used,
                    place: text.place,
                    part: rest.first().cloned(),
                    cursor: &text.cursor,
                });
            }
        }
    }
    for (place, uses) in uses.iter().enumerate() {
        graph.check_keys(place);
        let entry = graph.entry(place, uses, &mut linked.warnings);
        let next = graph.next(place);
        let task = &mut graph.drafts[place].task;
        task.entry = entry;
        task.next = next;
    }
    if graph.transitions {
        graph.check_transitions(root);
    } else {
        graph.check_needs(root);
    }
    for draft in graph.drafts {
        linked.tasks.push(draft.task);
        linked.calls.extend(draft.call);
        linked.awaited.extend(draft.awaited);
    }
    linked
}

/// A use of another task's outcome in a text.
#[derive(Clone)]
struct Use<'a> {
    of: usize,
    place: Place,
    part: Option<String>,
    cursor: &'a Cursor<'a>,
}

impl Graph<'_> {
    fn name(&self, place: usize) -> &str {
        &self.drafts[place].task.name
    }

    fn is_finally(&self, place: usize) -> bool {
        self.drafts[place].task.finally
    }

    /// The place of a task that another one names.
    fn find(&self, named: &Named<'_>) -> Option<usize> {
        let found = self.places.get(named.name).copied();
        if found.is_none() {
            let names = self.drafts.iter().map(|draft| draft.task.name.as_str());
            named.cursor.problem(format!(
                "there is no task '{}'{}",
                shorten(named.name),
                did_you_mean(named.name, names)
            ));
        }
        found
    }

    /// Keys that do not go with the form of the workflow.
    fn check_keys(&self, place: usize) {
        let draft = &self.drafts[place];
        if draft.task.finally {
            let keys = [
                ("next", draft.next.as_ref().map(|(cursor, _)| cursor)),
                ("join", draft.join.as_ref().map(|(cursor, _)| cursor)),
            ];
            for (key, cursor) in keys {
                if let Some(cursor) = cursor {
                    cursor.problem(format!(
                        "a task with finally runs once everything else has settled, and has no {key}"
                    ));
                }
            }
        } else if self.transitions {
            if let Some((cursor, _)) = &draft.needs {
                cursor.problem(
                    "a task of this workflow has next, so all of them are ordered by next; write a transition in place of needs",
                );
            }
        } else if let Some((cursor, _)) = &draft.join {
            cursor.problem("a join gathers transitions, and no task of this workflow has next");
        }
    }

    fn entry(&self, place: usize, uses: &[Use<'_>], warnings: &mut Vec<Located<String>>) -> Entry {
        let draft = &self.drafts[place];
        let mut needs: BTreeMap<usize, Need> = BTreeMap::new();
        let mut said = HashMap::new();
        if let Some((_, list)) = &draft.needs
            && (draft.task.finally || !self.transitions)
        {
            for need in list {
                let Some(other) = self.find(&need.name) else {
                    continue;
                };
                if other == place {
                    need.name.cursor.problem("a task cannot need itself");
                    continue;
                }
                if said.insert(other, need.on.is_some()).is_some() {
                    need.name
                        .cursor
                        .problem(format!("'{}' is in needs twice", self.name(other)));
                    continue;
                }
                self.refuse_finally(place, other, &need.name.cursor);
                let on = need.on.clone().unwrap_or_else(|| Need::DEFAULT.to_vec());
                needs.insert(other, need_of(other, on, false));
            }
        }
        for usage in uses {
            self.apply_use(place, usage, &said, &mut needs, warnings);
        }
        if self.transitions && !draft.task.finally {
            return Entry::Transitions(draft.join.as_ref().map_or(Join::Each, |(_, join)| *join));
        }
        Entry::Needs(needs.into_values().collect())
    }

    fn apply_use(
        &self,
        place: usize,
        usage: &Use<'_>,
        said: &HashMap<usize, bool>,
        needs: &mut BTreeMap<usize, Need>,
        warnings: &mut Vec<Located<String>>,
    ) {
        let other = usage.of;
        if self.transitions && !self.is_finally(place) {
            self.refuse_finally(place, other, usage.cursor);
            return;
        }
        if other == place {
            usage.cursor.problem(if usage.place == Place::Publish {
                "write result for the result of the task itself"
            } else {
                "a task cannot use its own outcome before it has run"
            });
            return;
        }
        if self.is_finally(place) && !self.is_finally(other) {
            return;
        }
        self.refuse_finally(place, other, usage.cursor);
        if said.get(&other) != Some(&true) {
            let implied = !said.contains_key(&other);
            needs.insert(other, need_of(other, vec![Status::Completed], implied));
        }
        let certain = needs
            .get(&other)
            .is_some_and(|need| need.on == [Status::Completed]);
        if certain && matches!(usage.part.as_deref(), Some("status" | "error")) {
            let name = self.name(other);
            let message = format!(
                "'{name}' has always completed when this is evaluated; write needs: {{ {name}: ended }} to go on after any end"
            );
            warnings.push(Located::new(message, usage.cursor));
        }
    }

    /// Only tasks that run in the end can wait for one that does.
    fn refuse_finally(&self, place: usize, other: usize, cursor: &Cursor<'_>) {
        if self.is_finally(other) && !self.is_finally(place) {
            cursor.problem(format!(
                "'{}' runs once everything else has settled, so this would wait for ever; only tasks with finally can follow it",
                self.name(other)
            ));
        }
    }

    fn next(&self, place: usize) -> Vec<Next> {
        let draft = &self.drafts[place];
        let Some((_, list)) = draft.next.as_ref().filter(|_| !draft.task.finally) else {
            return Vec::new();
        };
        let to = |next: &DraftNext<'_>| {
            let mut to = Vec::new();
            for named in &next.to {
                let Some(other) = self.find(named) else {
                    continue;
                };
                if self.is_finally(other) {
                    named.cursor.problem(format!(
                        "'{}' runs once everything else has settled; no transition leads to it",
                        named.name
                    ));
                }
                if to.contains(&other) {
                    named
                        .cursor
                        .problem(format!("'{}' is named twice", named.name));
                } else if !self.is_finally(other) {
                    to.push(other);
                }
            }
            to
        };
        list.iter()
            .map(|next| Next {
                when: next.when.clone(),
                publish: next.publish.clone(),
                to: to(next),
            })
            .collect()
    }

    fn check_needs(&self, root: &Cursor<'_>) {
        if !self.drafts.is_empty() && self.drafts.iter().all(|draft| draft.task.finally) {
            root.problem(
                "every task of the workflow has finally, which leaves nothing to run before them",
            );
        }
        let needs: Vec<Vec<usize>> = self
            .drafts
            .iter()
            .map(|draft| match &draft.task.entry {
                Entry::Needs(needs) => needs.iter().map(|need| need.task).collect(),
                Entry::Transitions(_) => Vec::new(),
            })
            .collect();
        let mut free = vec![false; needs.len()];
        while let Some(cycle) = next_cycle(&needs, &mut free) {
            let names: Vec<&str> = cycle.iter().map(|place| self.name(*place)).collect();
            let steps: Vec<String> = names
                .iter()
                .zip(names.iter().cycle().skip(1))
                .map(|(task, needed)| format!("{task} needs {needed}"))
                .collect();
            self.drafts[cycle[0]].cursor.problem(format!(
                "tasks that wait for each other never start: {}",
                steps.join(", ")
            ));
        }
    }

    fn check_transitions(&self, root: &Cursor<'_>) {
        let mut sources: Vec<Vec<usize>> = vec![Vec::new(); self.drafts.len()];
        for (place, draft) in self.drafts.iter().enumerate() {
            for to in draft.task.next.iter().flat_map(|next| &next.to) {
                if !sources[*to].contains(&place) {
                    sources[*to].push(place);
                }
            }
        }
        let starts: Vec<usize> = (0..self.drafts.len())
            .filter(|place| !self.is_finally(*place) && sources[*place].is_empty())
            .collect();
        if starts.is_empty() {
            root.problem(
                "the workflow has no start: every task has a transition that leads to it; let a task that nothing leads to be the first",
            );
            return;
        }
        let reached = self.reachable(&starts, None);
        for (place, draft) in self.drafts.iter().enumerate() {
            if draft.task.finally {
                continue;
            }
            if reached[place] {
                self.check_join(place, &sources[place], &starts);
            } else {
                draft.cursor.problem(format!(
                    "'{}' is never reached: no transitions lead to it from a task that starts with the run",
                    draft.task.name
                ));
            }
        }
    }

    fn check_join(&self, place: usize, sources: &[usize], starts: &[usize]) {
        let Some((cursor, join)) = &self.drafts[place].join else {
            return;
        };
        if sources.is_empty() {
            cursor.problem("no transition leads to this task, so there is nothing to gather");
            return;
        }
        let wanted = match join {
            Join::Each => return,
            Join::All => sources.len(),
            Join::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
        };
        let list = |places: &[usize]| {
            let names: Vec<&str> = places.iter().map(|place| self.name(*place)).collect();
            names.join(", ")
        };
        if wanted > sources.len() {
            cursor.problem(format!(
                "this waits for {wanted} tasks, and transitions lead to it from {} only: {}",
                sources.len(),
                list(sources)
            ));
            return;
        }
        let before = self.reachable(starts, Some(place));
        let (first, after): (Vec<usize>, Vec<usize>) =
            sources.iter().partition(|source| before[**source]);
        if wanted > first.len() {
            cursor.problem(format!(
                "this join is never met: it waits for {}, which comes only after it",
                list(&after)
            ));
        }
    }

    /// Which tasks transitions lead to, if none is taken from the task `without`.
    fn reachable(&self, starts: &[usize], without: Option<usize>) -> Vec<bool> {
        let mut reached = vec![false; self.drafts.len()];
        let mut open: Vec<usize> = starts.to_vec();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut reached[place], true) || Some(place) == without {
                continue;
            }
            open.extend(
                self.drafts[place]
                    .task
                    .next
                    .iter()
                    .flat_map(|next| &next.to),
            );
        }
        reached
    }
}

const fn need_of(task: usize, on: Vec<Status>, implied: bool) -> Need {
    Need { task, on, implied }
}

/// A cycle among tasks that are not `free`; those that it leads through are free from then on.
fn next_cycle(needs: &[Vec<usize>], free: &mut [bool]) -> Option<Vec<usize>> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    let mut waiting: Vec<usize> = vec![0; needs.len()];
    for (place, list) in needs.iter().enumerate().filter(|(place, _)| !free[*place]) {
        for need in list.iter().filter(|need| !free[**need]) {
            users[*need].push(place);
            waiting[place] += 1;
        }
    }
    let mut ready: Vec<usize> = (0..needs.len())
        .filter(|place| !free[*place] && waiting[*place] == 0)
        .collect();
    while let Some(place) = ready.pop() {
        free[place] = true;
        for user in &users[place] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.push(*user);
            }
        }
    }
    // Whoever is left needs somebody who is left, so that walk comes back to where it has been.
    let mut at = (0..needs.len()).find(|place| !free[*place])?;
    let mut walk = Vec::new();
    let start = loop {
        if let Some(start) = walk.iter().position(|place| *place == at) {
            break start;
        }
        walk.push(at);
        at = needs[at].iter().copied().find(|need| !free[*need])?;
    };
    let mut cycle = walk.split_off(start);
    for place in &cycle {
        free[*place] = true;
    }
    let first = cycle
        .iter()
        .enumerate()
        .min_by_key(|(_, place)| **place)
        .map_or(0, |(index, _)| index);
    cycle.rotate_left(first);
    Some(cycle)
}
