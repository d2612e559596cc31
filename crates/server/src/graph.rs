//! The graph of a workflow as the API shows it: enough to draw the tasks that have not started. What
//! tasks are asked to do (parameters, prompts, criteria) is in the definition and not here.

use camshaft_model::definition::workflow::{Entry, Join, LoopMode, Task, Work};
use camshaft_model::definition::{Action, Catalog, Workflow};
use serde_json::{Value, json};

/// The graph of a workflow; `None` if the action is none.
pub(crate) fn shown(action: &Action, catalog: &Catalog) -> Option<Value> {
    let workflow = action.workflow()?;
    let mode = match workflow.cycles.mode {
        LoopMode::Once => "once",
        LoopMode::Fixed => "fixed",
        LoopMode::Until(_) => "until",
    };
    Some(json!({
        "ref": action.reference,
        "loop": {"mode": mode, "max_cycles": workflow.cycles.max},
        "tasks": workflow.tasks.iter().map(|one| task(workflow, one, catalog)).collect::<Vec<_>>(),
    }))
}

fn task(workflow: &Workflow, task: &Task, catalog: &Catalog) -> Value {
    let name = |place: usize| workflow.tasks.get(place).map(|task| task.name.as_str());
    let (kind, action) = match &task.work {
        Work::Action { reference, .. } => {
            let is_run = catalog
                .action(reference)
                .is_some_and(|action| action.workflow().is_some());
            (if is_run { "workflow" } else { "action" }, Some(reference))
        }
        Work::Inquiry(_) => ("inquiry", None),
        Work::WaitFor(_) => ("wait_for", None),
        Work::Nothing => ("nothing", None),
    };
    let needs: Vec<Value> = match &task.entry {
        Entry::Needs(needs) => needs
            .iter()
            .map(|need| json!({"task": name(need.task), "on": need.on, "implied": need.implied}))
            .collect(),
        Entry::Transitions(_) => Vec::new(),
    };
    let join = match &task.entry {
        Entry::Needs(_) | Entry::Transitions(Join::Each) => Value::Null,
        Entry::Transitions(Join::All) => json!("all"),
        Entry::Transitions(Join::Count(count)) => json!(count),
    };
    let next = task.next.iter().map(|next| {
        let to: Vec<_> = next.to.iter().copied().filter_map(name).collect();
        json!({"to": to, "when": next.when})
    });
    json!({
        "name": task.name,
        "kind": kind,
        "action": action,
        "needs": needs,
        "join": join,
        "next": next.collect::<Vec<_>>(),
        "when": task.when,
        "items": task.items.as_ref().map(|items| json!({
            "concurrency": items.concurrency,
            "on_failure": items.on_failure,
        })),
        "finally": task.finally,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use camshaft_model::Status;
    use camshaft_model::definition::EntryPoint;
    use camshaft_model::definition::workflow::{Items, Need, Next, OnItemFailure};

    use super::*;

    fn task(name: &str, work: Work, entry: Entry) -> Task {
        Task {
            name: name.to_owned(),
            work,
            entry,
            when: None,
            items: None,
            retry: None,
            timeout: None,
            publish: Default::default(),
            cache: None,
            finally: false,
            next: Vec::new(),
        }
    }

    fn shown_of(tasks: Vec<Task>) -> Value {
        let workflow = Workflow {
            tasks,
            ..Workflow::default()
        };
        let action = Action::new(
            "demo.flow".parse().unwrap(),
            "workflow",
            EntryPoint::Workflow(Arc::new(workflow)),
        );
        shown(&action, &Catalog::default()).unwrap()
    }

    #[test]
    fn needs_name_the_tasks_and_the_ends_that_meet_them() {
        let action = Work::Action {
            reference: "demo.load".parse().unwrap(),
            with: Default::default(),
        };
        let load = Task {
            when: Some("vars.total > 0".to_owned()),
            items: Some(Items {
                over: Value::Null,
                concurrency: 4,
                on_failure: OnItemFailure::Continue,
            }),
            finally: true,
            ..task(
                "load",
                action,
                Entry::Needs(vec![Need {
                    task: 0,
                    on: vec![Status::Completed],
                    implied: true,
                }]),
            )
        };
        let first = task("first", Work::Nothing, Entry::Needs(Vec::new()));
        let shown = shown_of(vec![first, load]);
        assert_eq!(shown["loop"], json!({"mode": "once", "max_cycles": 1}));
        assert_eq!(
            shown["tasks"][1],
            json!({
                "name": "load", "kind": "action", "action": "demo.load", "join": null, "next": [],
                "needs": [{"task": "first", "on": ["completed"], "implied": true}],
                "when": "vars.total > 0", "items": {"concurrency": 4, "on_failure": "continue"}, "finally": true,
            })
        );
    }

    #[test]
    fn transitions_name_where_they_lead() {
        let first = Task {
            next: vec![Next {
                when: Some("failed".to_owned()),
                publish: Default::default(),
                to: vec![1],
            }],
            ..task("first", Work::Nothing, Entry::Transitions(Join::Each))
        };
        let last = task("last", Work::Nothing, Entry::Transitions(Join::Count(2)));
        let tasks = &shown_of(vec![first, last])["tasks"];
        assert_eq!(
            tasks[0]["next"],
            json!([{"to": ["last"], "when": "failed"}])
        );
        assert_eq!(
            (&tasks[0]["join"], &tasks[1]["join"]),
            (&json!(null), &json!(2))
        );
    }
}
