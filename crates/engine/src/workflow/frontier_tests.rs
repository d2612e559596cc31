//! One sentence of what is promised of workflows to one test.

use std::collections::BTreeMap;
use std::sync::Arc;

use camshaft_model::definition::workflow::{Entry, Join, Need, Next, Task, Work, Workflow};
use camshaft_model::{Object, Status};

use super::frontier::{Cause, Frontier, Lap, MAX_VISITS, Step};
use super::graph::Graph;

use Status::{Abandoned, Cancelled, Completed, Failed, Skipped, TimedOut};

/// A task without entry, to be filled in.
pub(super) fn task(name: &str) -> Task {
    Task::new(name, Work::Nothing)
}

/// A lap of a workflow that is written in words.
struct Run {
    workflow: Arc<Workflow>,
    frontier: Frontier,
}

/// The name of another task, and the ends that meet the need of it.
type On<'a> = (&'a str, &'a [Status]);

/// Tasks in the form of needs: name, and for each need the other task and the ends that meet it.
fn needs(tasks: &[(&str, &[On<'_>])]) -> Workflow {
    let place = |name: &str| tasks.iter().position(|task| task.0 == name).unwrap();
    let tasks = tasks.iter().map(|(name, needs)| Task {
        entry: Entry::Needs(
            needs
                .iter()
                .map(|(other, on)| Need {
                    task: place(other),
                    on: on.to_vec(),
                    implied: false,
                })
                .collect(),
        ),
        ..task(name)
    });
    Workflow {
        tasks: tasks.collect(),
        ..Workflow::default()
    }
}

/// Tasks in the form of transitions: name, join, targets.
fn leads(tasks: &[(&str, Join, &[&str])]) -> Workflow {
    let place = |name: &&str| tasks.iter().position(|task| task.0 == *name).unwrap();
    let tasks = tasks.iter().map(|(name, join, targets)| Task {
        entry: Entry::Transitions(*join),
        next: targets
            .iter()
            .map(|target| Next {
                when: None,
                publish: Object::new(),
                to: vec![place(target)],
            })
            .collect(),
        ..task(name)
    });
    Workflow {
        tasks: tasks.collect(),
        ..Workflow::default()
    }
}

/// The workflow with some of its tasks moved to its end.
fn with_finally(mut workflow: Workflow, names: &[&str]) -> Workflow {
    for task in &mut workflow.tasks {
        task.finally |= names.contains(&task.name.as_str());
    }
    workflow
}

impl Run {
    fn new(workflow: Workflow) -> Self {
        let workflow = Arc::new(workflow);
        let graph = Arc::new(Graph::new(&workflow));
        Self {
            frontier: Frontier::new(graph, Arc::clone(&workflow)),
            workflow,
        }
    }

    fn place(&self, name: &str) -> usize {
        self.workflow.task(name).unwrap().0
    }

    /// `a` starts, `a#2` starts again, `-a: reason` is skipped.
    fn say(&self, steps: Vec<Step>) -> Vec<String> {
        let name = |task: usize| &self.workflow.tasks[task].name;
        let say = |step| match step {
            Step::Start { task, visit: 1 } => name(task).clone(),
            Step::Start { task, visit } => format!("{}#{visit}", name(task)),
            Step::Skip { task, reason } => format!("-{}: {reason}", name(task)),
        };
        steps.into_iter().map(say).collect()
    }

    fn begin(&mut self) -> Vec<String> {
        let steps = self.frontier.begin();
        self.say(steps)
    }

    fn settle(&mut self, name: &str, status: Status, taken: &[&str]) -> Vec<String> {
        let taken: Vec<usize> = taken.iter().map(|name| self.place(name)).collect();
        let steps = self.frontier.settle(self.place(name), status, &taken);
        self.say(steps)
    }

    fn ends(&mut self, name: &str, status: Status) -> Vec<String> {
        self.settle(name, status, &[])
    }

    fn stop(&mut self) -> Vec<String> {
        let steps = self.frontier.stop();
        self.say(steps)
    }

    fn release(&mut self) -> Vec<String> {
        let steps = self.frontier.release();
        self.say(steps)
    }

    /// What the lap has come to: `-` if it goes on.
    fn over(&self) -> String {
        match self.frontier.over() {
            None => "-".to_owned(),
            Some(Lap::Completed) => "completed".to_owned(),
            Some(Lap::Failed(cause)) => cause.describe(&self.workflow),
        }
    }

    fn arrivals(&self) -> BTreeMap<usize, Vec<usize>> {
        self.frontier.arrivals()
    }
}

const NONE: [&str; 0] = [];
const ONLY: &[Status] = &[Completed];

#[test]
fn a_task_starts_as_soon_as_all_its_needs_are_met() {
    let mut run = Run::new(needs(&[
        ("a", &[]),
        ("b", &[]),
        ("c", &[("a", ONLY), ("b", Need::DEFAULT)]),
    ]));
    assert_eq!(run.begin(), ["a", "b"]);
    assert_eq!(run.ends("a", Completed), NONE);
    assert_eq!(run.ends("b", Completed), ["c"]);
    assert_eq!(run.over(), "-");
    assert_eq!(run.ends("c", Completed), NONE);
    assert_eq!(run.over(), "completed");
}

#[test]
fn a_skipped_task_meets_a_need_that_says_no_more_and_not_a_strict_one() {
    let mut run = Run::new(needs(&[
        ("approve", &[]),
        ("load", &[("approve", ONLY)]),
        ("tell", &[("approve", Need::DEFAULT)]),
        ("after", &[("load", ONLY)]),
    ]));
    assert_eq!(run.begin(), ["approve"]);
    assert_eq!(
        run.ends("approve", Skipped),
        [
            "-load: 'load' needs 'approve' to have completed, and it was skipped",
            "tell",
            "-after: 'after' needs 'load' to have completed, and it was skipped",
        ]
    );
}

#[test]
fn a_reason_says_in_words_what_was_needed() {
    for (on, status, said) in [
        (Need::FAILED, Completed, "failed, and it completed"),
        (
            Need::DEFAULT,
            Failed,
            "completed or been skipped, and it failed",
        ),
        (
            &[Cancelled, Abandoned],
            Skipped,
            "been cancelled or been abandoned, and it was skipped",
        ),
    ] {
        // Somebody else waits for every end, so that none is a failure of the run.
        let mut run = Run::new(needs(&[
            ("a", &[]),
            ("b", &[("a", on)]),
            ("c", &[("a", Need::ENDED)]),
        ]));
        run.begin();
        let steps = run.ends("a", status);
        assert_eq!(steps[0], format!("-b: 'b' needs 'a' to have {said}"));
    }
}

#[test]
fn a_failure_that_somebody_waits_for_is_no_failure_of_the_run() {
    for status in [Failed, TimedOut, Abandoned] {
        let mut run = Run::new(needs(&[("a", &[]), ("repair", &[("a", Need::FAILED)])]));
        run.begin();
        assert_eq!(run.ends("a", status), ["repair"]);
        run.ends("repair", Completed);
        assert_eq!(run.over(), "completed");
    }
}

#[test]
fn a_finally_task_that_waits_for_a_failure_does_not_handle_it() {
    let workflow = needs(&[("a", &[]), ("tidy", &[("a", Need::ENDED)])]);
    let mut run = Run::new(with_finally(workflow, &["tidy"]));
    run.begin();
    assert_eq!(run.ends("a", Failed), ["tidy"]);
    run.ends("tidy", Completed);
    assert_eq!(run.over(), "task 'a' failed");
}

#[test]
fn after_an_unhandled_failure_nothing_starts_and_what_runs_goes_on() {
    for (status, said) in [(Failed, "failed"), (Cancelled, "was cancelled")] {
        let workflow = needs(&[
            ("load", &[]),
            ("other", &[]),
            ("next", &[("other", ONLY)]),
            ("tidy", &[]),
        ]);
        let mut run = Run::new(with_finally(workflow, &["tidy"]));
        assert_eq!(run.begin(), ["load", "other"]);
        let skipped = format!("-next: the run had failed: task 'load' {said}");
        assert_eq!(run.ends("load", status), [skipped]);
        assert_eq!(run.over(), "-");
        assert_eq!(run.ends("other", Completed), ["tidy"]);
        assert_eq!(run.ends("tidy", Completed), NONE);
        assert_eq!(run.over(), format!("task 'load' {said}"));
    }
}

#[test]
fn finally_tasks_run_once_everything_else_has_settled_and_may_need_one_another() {
    let workflow = needs(&[
        ("last", &[("first", Need::ENDED)]),
        ("first", &[]),
        ("strict", &[("first", ONLY)]),
        ("work", &[]),
    ]);
    let mut run = Run::new(with_finally(workflow, &["first", "last", "strict"]));
    assert_eq!(run.begin(), ["work"]);
    assert_eq!(run.ends("work", Completed), ["first"]);
    assert_eq!(
        run.ends("first", Failed),
        [
            "last",
            "-strict: 'strict' needs 'first' to have completed, and it failed"
        ]
    );
    run.ends("last", Completed);
    assert_eq!(run.over(), "task 'first' failed");
}

#[test]
fn a_finally_task_sees_tasks_that_it_uses_whatever_became_of_them() {
    let mut workflow = needs(&[
        ("work", &[]),
        ("tidy", &[("work", ONLY)]),
        ("undo", &[("work", Need::FAILED)]),
    ]);
    if let Entry::Needs(needs) = &mut workflow.tasks[1].entry {
        needs[0].implied = true;
    }
    let mut run = Run::new(with_finally(workflow, &["tidy", "undo"]));
    run.begin();
    assert_eq!(run.ends("work", Failed), ["tidy", "undo"]);
}

#[test]
fn a_task_cannot_wait_for_a_finally_task() {
    let workflow = needs(&[("a", &[("tidy", ONLY)]), ("tidy", &[])]);
    let mut run = Run::new(with_finally(workflow, &["tidy"]));
    assert_eq!(
        run.begin(),
        [
            "-a: 'a' needs 'tidy', which runs only once everything else has settled",
            "tidy"
        ]
    );
}

#[test]
fn tasks_that_need_one_another_fail_the_run_instead_of_completing_it() {
    let mut run = Run::new(needs(&[("a", &[("b", ONLY)]), ("b", &[("a", ONLY)])]));
    assert_eq!(
        run.begin(),
        [
            "-a: it still waited for 'b' when nothing ran any more",
            "-b: it still waited for 'a' when nothing ran any more",
        ]
    );
    assert_eq!(
        run.over(),
        "task 'a' still waited for 'b' when nothing ran any more"
    );
}

#[test]
fn a_stopped_run_skips_what_is_to_come_and_runs_its_finally_tasks() {
    let workflow = needs(&[
        ("a", &[]),
        ("b", &[("a", ONLY)]),
        ("tidy", &[]),
        ("more", &[("tidy", Need::ENDED)]),
    ]);
    let mut run = Run::new(with_finally(workflow, &["tidy", "more"]));
    run.begin();
    assert_eq!(run.stop(), ["-b: the run was stopped"]);
    assert_eq!(run.stop(), NONE);
    assert_eq!(run.ends("a", Cancelled), ["tidy"]);
    assert_eq!(
        run.stop(),
        ["-more: the run was stopped once more while its finally tasks were running"]
    );
    run.ends("tidy", Completed);
    assert_eq!(run.frontier.over(), Some(Lap::Failed(Cause::Outside)));
}

#[test]
fn a_first_stop_while_finally_tasks_run_lets_all_of_them_run() {
    let workflow = needs(&[("tidy", &[]), ("more", &[("tidy", Need::ENDED)])]);
    let mut run = Run::new(with_finally(workflow, &["tidy", "more"]));
    assert_eq!(run.begin(), ["tidy"]);
    assert_eq!(run.stop(), NONE);
    assert_eq!(run.ends("tidy", Completed), ["more"]);
}

#[test]
fn what_becomes_ready_while_the_run_is_held_starts_when_it_is_let_go() {
    let mut run = Run::new(needs(&[
        ("a", &[]),
        ("b", &[("a", ONLY)]),
        ("c", &[("a", Need::FAILED)]),
    ]));
    run.begin();
    run.frontier.hold();
    assert_eq!(
        run.ends("a", Completed),
        ["-c: 'c' needs 'a' to have failed, and it completed"]
    );
    assert_eq!(run.over(), "-");
    assert_eq!(run.release(), ["b"]);
    run.ends("b", Completed);
    assert_eq!(run.over(), "completed");
}

#[test]
fn a_held_run_that_is_stopped_runs_its_finally_tasks_at_once() {
    let mut run = Run::new(with_finally(needs(&[("a", &[]), ("tidy", &[])]), &["tidy"]));
    run.frontier.hold();
    assert_eq!(run.begin(), NONE);
    assert_eq!(run.stop(), ["-a: the run was stopped", "tidy"]);
}

#[test]
fn an_end_of_a_task_that_does_not_run_changes_nothing() {
    let mut run = Run::new(needs(&[("a", &[]), ("b", &[("a", ONLY)])]));
    run.begin();
    assert_eq!(run.ends("b", Failed), NONE);
    run.ends("a", Completed);
    assert_eq!(run.ends("a", Failed), NONE);
    assert_eq!(run.frontier.settle(99, Failed, &[99]), []);
    assert_eq!(run.over(), "-");
}

#[test]
fn a_run_without_tasks_is_over_at_once() {
    let mut run = Run::new(needs(&[]));
    assert_eq!(run.begin(), NONE);
    assert_eq!(run.over(), "completed");
}

#[test]
fn each_transition_starts_its_target_again() {
    let mut run = Run::new(leads(&[
        ("a", Join::Each, &["c"]),
        ("b", Join::Each, &["c"]),
        ("c", Join::Each, &["b"]),
        ("never", Join::Each, &[]),
        ("leads", Join::Each, &["never"]),
    ]));
    // `b` is led to by `c`, so that it does not start with the run.
    assert_eq!(run.begin(), ["a", "leads"]);
    assert_eq!(run.settle("a", Completed, &["c"]), ["c"]);
    assert_eq!(run.settle("c", Completed, &["b"]), ["b"]);
    assert_eq!(run.settle("b", Completed, &["c", "c"]), ["c#2"]);
    run.ends("c", Completed);
    assert_eq!(run.over(), "-");
    assert_eq!(run.ends("leads", Completed), ["-never: not reached"]);
    assert_eq!(run.over(), "completed");
}

#[test]
fn a_failure_is_handled_by_a_transition_that_was_taken() {
    let workflow = || leads(&[("a", Join::Each, &["b"]), ("b", Join::Each, &[])]);
    let mut run = Run::new(workflow());
    run.begin();
    assert_eq!(run.settle("a", TimedOut, &["b"]), ["b"]);
    run.ends("b", Completed);
    assert_eq!(run.over(), "completed");

    let mut run = Run::new(workflow());
    run.begin();
    assert_eq!(
        run.ends("a", TimedOut),
        ["-b: the run had failed: task 'a' timed out"]
    );
    assert_eq!(run.over(), "task 'a' timed out");

    let mut run = Run::new(workflow());
    run.begin();
    let published_only = run.frontier.settle_handled(0, Failed, &[], true);
    assert_eq!(run.say(published_only), ["-b: not reached"]);
    assert_eq!(run.over(), "completed");
}

fn fan_in(join: Join) -> Run {
    let mut run = Run::new(leads(&[
        ("a", Join::Each, &["j"]),
        ("b", Join::Each, &["j"]),
        ("c", Join::Each, &["j"]),
        ("j", join, &[]),
    ]));
    assert_eq!(run.begin(), ["a", "b", "c"]);
    run
}

#[test]
fn a_join_of_all_starts_with_the_last_and_a_join_of_some_ignores_who_comes_late() {
    let mut run = fan_in(Join::All);
    assert_eq!(run.settle("c", Completed, &["j"]), NONE);
    assert_eq!(run.settle("a", Completed, &["j"]), NONE);
    assert_eq!(run.settle("b", Completed, &["j"]), ["j"]);

    for (count, started) in [(1, ["j", "", ""]), (2, ["", "j", ""])] {
        let mut run = fan_in(Join::Count(count));
        for (source, started) in ["b", "c", "a"].iter().zip(started) {
            assert_eq!(run.settle(source, Completed, &["j"]).concat(), started);
        }
        run.ends("j", Completed);
        assert_eq!(run.over(), "completed");
    }
}

#[test]
fn a_join_that_cannot_be_met_fails_the_run_in_whichever_order_its_branches_end() {
    for order in [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["b", "c", "a"],
        ["b", "a", "c"],
    ] {
        let mut run = fan_in(Join::All);
        let mut steps = Vec::new();
        for task in order {
            let taken: &[&str] = if task == "b" { &[] } else { &["j"] };
            steps = run.settle(task, Completed, taken);
        }
        assert_eq!(
            steps,
            ["-j: it still waited for 'b' when nothing ran any more"]
        );
        assert_eq!(
            run.over(),
            "task 'j' still waited for 'b' when nothing ran any more"
        );
    }
}

#[test]
fn a_workflow_in_which_nothing_can_start_is_no_success() {
    let mut run = Run::new(leads(&[
        ("a", Join::Each, &["b"]),
        ("b", Join::Each, &["a"]),
    ]));
    assert_eq!(run.begin(), ["-a: not reached", "-b: not reached"]);
    assert_eq!(
        run.over(),
        "task 'a' still waited for 'b' when nothing ran any more"
    );
}

#[test]
fn a_task_that_starts_too_often_fails_the_run() {
    let mut run = Run::new(leads(&[
        ("go", Join::Each, &["a"]),
        ("a", Join::Each, &["a"]),
    ]));
    run.begin();
    run.settle("go", Completed, &["a"]);
    for visit in 2..=MAX_VISITS {
        assert_eq!(run.settle("a", Completed, &["a"]), [format!("a#{visit}")]);
    }
    assert_eq!(run.settle("a", Completed, &["a"]), NONE);
    assert_eq!(run.over(), "task 'a' was to start for the 1001th time");
}

#[test]
fn arrivals_are_those_that_no_start_has_used() {
    let mut run = fan_in(Join::All);
    run.settle("c", Completed, &["j"]);
    run.settle("a", Completed, &["j"]);
    assert_eq!(run.arrivals(), BTreeMap::from([(3, vec![0, 2])]));
    run.frontier.hold();
    run.settle("b", Completed, &["j"]);
    assert_eq!(run.arrivals(), BTreeMap::from([(3, vec![0, 1, 2])]));
    assert_eq!(run.release(), ["j"]);
    assert_eq!(run.arrivals(), BTreeMap::new());
}

/// How many tasks and edges a call looks at.
fn cost(run: &mut Run, call: impl FnOnce(&mut Run)) -> usize {
    let looked_at = |run: &Run| {
        run.frontier
            .looked_at
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = looked_at(run);
    call(run);
    looked_at(run) - before
}

#[test]
fn an_end_costs_as_much_as_it_has_edges_however_many_tasks_there_are() {
    const PAIRS: usize = 5_000;
    let mut workflow = Workflow::default();
    for pair in 0..PAIRS {
        let need = Need {
            task: 2 * pair,
            on: ONLY.to_vec(),
            implied: false,
        };
        workflow.tasks.push(task(&format!("a{pair}")));
        workflow.tasks.push(Task {
            entry: Entry::Needs(vec![need]),
            ..task(&format!("b{pair}"))
        });
    }
    let mut run = Run::new(workflow);
    let begun = cost(&mut run, |run| assert_eq!(run.begin().len(), PAIRS));
    assert!(begun <= 4 * PAIRS, "{begun}");
    for pair in 0..PAIRS {
        let end =
            |run: &mut Run| assert_eq!(run.frontier.settle(2 * pair, Completed, &[]).len(), 1);
        assert!(cost(&mut run, end) <= 2);
    }
}

#[test]
fn an_arrival_at_a_join_of_thousands_costs_as_much_as_one_at_a_join_of_two() {
    const SOURCES: usize = 5_000;
    let mut workflow = Workflow::default();
    for source in 0..SOURCES {
        workflow.tasks.push(Task {
            entry: Entry::Transitions(Join::Each),
            next: vec![Next {
                when: None,
                publish: Object::new(),
                to: vec![SOURCES],
            }],
            ..task(&format!("a{source}"))
        });
    }
    workflow.tasks.push(Task {
        entry: Entry::Transitions(Join::All),
        ..task("j")
    });
    let mut run = Run::new(workflow);
    run.begin();
    for source in 0..SOURCES {
        let end = |run: &mut Run| {
            let steps = run.frontier.settle(source, Completed, &[SOURCES]);
            assert_eq!(steps.len(), usize::from(source + 1 == SOURCES));
        };
        assert!(cost(&mut run, end) <= 2);
    }
}

#[test]
fn a_task_that_can_never_start_does_not_start_for_its_other_needs() {
    let workflow = needs(&[
        ("a", &[("tidy", ONLY)]),
        ("b", &[("a", Need::DEFAULT), ("tidy", ONLY)]),
        ("tidy", &[]),
    ]);
    let mut run = Run::new(with_finally(workflow, &["tidy"]));
    let steps = run.begin();
    assert!(
        steps.iter().any(|step| step.starts_with("-b: ")),
        "{steps:?}"
    );
    assert!(!steps.contains(&"b".to_owned()), "{steps:?}");
}

#[test]
fn a_join_of_more_tasks_than_lead_to_it_keeps_its_arrivals_and_fails() {
    let mut run = fan_in(Join::Count(4));
    for source in ["a", "b"] {
        run.settle(source, Completed, &["j"]);
    }
    assert_eq!(run.arrivals(), BTreeMap::from([(3, vec![0, 1])]));
    run.settle("c", Completed, &["j"]);
    assert_eq!(
        run.frontier.over(),
        Some(Lap::Failed(Cause::Join {
            task: 3,
            missing: Vec::new()
        }))
    );
}
