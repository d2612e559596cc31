use std::time::Duration;

use serde_json::json;

use super::tests::{MANIFEST, load, problems};
use crate::Status;
use crate::definition::workflow::{
    Cycles, Entry, Join, LoopMode, Need, OnItemFailure, OnTimeout, Task, Work,
};
use crate::definition::{EntryPoint, Workflow};

fn workflow(text: &str) -> Workflow {
    let loaded = load(&[
        MANIFEST,
        ("triggers/t.yaml", "ref: demo.t\n"),
        ("workflows/w.yaml", &format!("ref: demo.w\n{text}")),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    let action = &loaded.pack.actions["demo.w"];
    assert_eq!(action.runtime, "workflow");
    assert_eq!(action.origin.as_ref().unwrap().pack, "demo");
    let EntryPoint::Workflow(workflow) = &action.entry_point else {
        panic!("{action:?}");
    };
    Workflow::clone(workflow)
}

fn mistakes(text: &str) -> String {
    problems(&[
        MANIFEST,
        ("triggers/t.yaml", "ref: demo.t\n"),
        ("workflows/w.yaml", &format!("ref: demo.w\n{text}")),
    ])
    .replace("workflows/w.yaml:", "")
}

/// Name of the other task, what meets the need, whether it is implied.
fn needs(workflow: &Workflow, task: &Task) -> Vec<String> {
    let Entry::Needs(needs) = &task.entry else {
        panic!("{task:?}");
    };
    needs
        .iter()
        .map(|need| {
            let on: Vec<&str> = need.on.iter().map(|status| status.as_str()).collect();
            format!(
                "{} {}{}",
                workflow.tasks[need.task].name,
                on.join("|"),
                if need.implied { " implied" } else { "" }
            )
        })
        .collect()
}

#[test]
fn every_key_of_a_run_arrives() {
    let loaded = load(&[
        MANIFEST,
        (
            "workflows/w.yaml",
            "ref: demo.w\ndescription: what\nparameters: { n: { type: integer, required: true } }\nvars: { total: 0, left: '{{ params.n }}' }\n\
             tasks: { a: }\nloop: { mode: until, condition: vars.left == 0, max_cycles: 7, delay: 5s }\noutput: { total: '{{ vars.total }}' }\n\
             timeout: 1h\nretry: { max_attempts: 2 }\nidempotent: false\noutput_schema: { type: object }\n",
        ),
        (
            "rules/r.yaml",
            "ref: demo.r\ntrigger: core.interval\naction: { ref: demo.w, parameters: { n: 1 } }\n",
        ),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    let action = &loaded.pack.actions["demo.w"];
    assert_eq!(action.description, "what");
    assert_eq!(action.timeout, Some(Duration::from_secs(3_600)));
    assert_eq!((action.retry.max_attempts, action.idempotent), (2, false));
    assert_eq!(action.output_schema, Some(json!({ "type": "object" })));
    assert_eq!(action.parameters.schema["required"], json!(["n"]));
    let workflow = action.workflow().unwrap();
    assert_eq!(workflow.vars["left"], "{{ params.n }}");
    assert_eq!(
        workflow.output,
        Some(json!({ "total": "{{ vars.total }}" }))
    );
    assert_eq!(
        workflow.cycles,
        Cycles {
            mode: LoopMode::Until("vars.left == 0".to_owned()),
            max: 7,
            delay: Duration::from_secs(5),
        }
    );
    assert_eq!(workflow.tasks[0].work, Work::Nothing);
}

#[test]
fn every_key_of_a_task_arrives() {
    let workflow = workflow(
        "tasks:\n  a:\n    action: core.echo\n    with: { message: '{{ item }}' }\n    items: [1, 2]\n    concurrency: 3\n    on_item_failure: continue\n    \
         retry: { max_attempts: 4 }\n    timeout: 9s\n    when: true\n    publish: { x: '{{ result.y }}' }\n    cache: { key: k, ttl: 1d }\n  \
         b:\n    inquiry: { prompt: 'Go?', schema: { type: object }, roles: [operator], timeout: 4h, on_timeout: skip }\n  \
         c:\n    wait_for: { trigger: demo.t, criteria: { trigger.a: { type: eq, pattern: '{{ vars.x }}' } }, when: trigger.b, timeout: 1m }\n  \
         d: { finally: true, action: core.echo }\n",
    );
    let [a, b, c, d] = &workflow.tasks[..] else {
        panic!("{workflow:?}");
    };
    let items = a.items.as_ref().unwrap();
    assert_eq!(
        (&items.over, items.concurrency, items.on_failure),
        (&json!([1, 2]), 3, OnItemFailure::Continue)
    );
    assert_eq!(a.retry.as_ref().unwrap().max_attempts, 4);
    assert_eq!(a.timeout, Some(Duration::from_secs(9)));
    assert_eq!(a.when.as_deref(), Some("true"));
    assert_eq!(a.publish["x"], "{{ result.y }}");
    assert_eq!(a.cache.as_ref().unwrap().key, "k");
    let Work::Inquiry(question) = &b.work else {
        panic!("{b:?}")
    };
    assert_eq!(
        (
            question.prompt.as_str(),
            &question.roles[..],
            question.on_timeout
        ),
        ("Go?", &["operator".to_owned()][..], OnTimeout::Skip)
    );
    assert_eq!(b.timeout, Some(Duration::from_secs(4 * 3_600)));
    let Work::WaitFor(awaited) = &c.work else {
        panic!("{c:?}")
    };
    assert_eq!(awaited.trigger.as_str(), "demo.t");
    assert_eq!(awaited.criteria[0].pattern, "{{ vars.x }}");
    assert_eq!(awaited.when.as_deref(), Some("trigger.b"));
    assert_eq!(c.timeout, Some(Duration::from_secs(60)));
    assert!(d.finally && !a.finally);
}

#[test]
fn needs_are_what_is_said_and_what_follows_from_use() {
    let workflow = workflow(
        "tasks:\n  a:\n  b: { needs: [a] }\n  c: { needs: { a: [failed, skipped], b: ended } }\n  \
         d: { action: core.echo, with: { message: [{ deep: '{{ tasks.a.result }}' }] } }\n  \
         e: { needs: [a], when: tasks.a.result }\n  f: { needs: { a: ended }, when: tasks.a.result }\n  \
         g: { finally: true, when: tasks.a.result }\n  h: { finally: true, when: tasks.g.result }\n",
    );
    let list = |name: &str| needs(&workflow, workflow.task(name).unwrap().1);
    assert_eq!(list("a"), [""; 0]);
    assert_eq!(list("b"), ["a completed|skipped"]);
    assert_eq!(
        list("c"),
        [
            "a failed|timed_out|abandoned|skipped",
            "b completed|failed|timed_out|cancelled|abandoned|skipped"
        ]
    );
    assert_eq!(list("d"), ["a completed implied"]);
    assert_eq!(list("e"), ["a completed"]);
    assert_eq!(
        list("f"),
        ["a completed|failed|timed_out|cancelled|abandoned|skipped"]
    );
    // What runs in the end sees every task, and waits for others that run then.
    assert_eq!(list("g"), [""; 0]);
    assert_eq!(list("h"), ["g completed implied"]);
    let mut sorted = Need::ENDED.to_vec();
    sorted.sort_by_key(|status| status.code());
    let Entry::Needs(ended) = &workflow.tasks[5].entry else {
        panic!()
    };
    assert_eq!(ended[0].on, sorted);
    assert!(ended[0].on.contains(&Status::Cancelled));
}

#[test]
fn transitions_lead_to_tasks_by_place() {
    let workflow = workflow(
        "vars: { n: 0 }\ntasks:\n  a:\n    next: [{ when: failed, publish: { n: '{{ status }}' }, do: b }, { do: [b, c] }]\n  \
         b: { next: [{ do: c }] }\n  c: { join: all, when: tasks.a.result }\n  d: { finally: true }\n",
    );
    let entry = |name: &str| workflow.task(name).unwrap().1.entry.clone();
    assert_eq!(entry("a"), Entry::Transitions(Join::Each));
    assert_eq!(entry("c"), Entry::Transitions(Join::All));
    assert_eq!(entry("d"), Entry::Needs(Vec::new()));
    let next = &workflow.tasks[0].next;
    assert_eq!(
        (next[0].when.as_deref(), &next[0].to[..]),
        (Some("failed"), &[1][..])
    );
    assert_eq!(next[0].publish["n"], "{{ status }}");
    assert_eq!((&next[1].when, &next[1].to[..]), (&None, &[1, 2][..]));
}

#[test]
fn a_page_of_mistakes_in_one_workflow() {
    let page = mistakes(
        "runtime: workflow\nvars: { 1x: 0, y: '{{ vars.z }}' }\nparameters: { n: { type: string } }\ntasks:\n  \
         a: { action: core.ehco, wit: {}, concurrency: 2 }\n  \
         b: { needs: [c, b, x, a, a], when: tasks.a.reslt == 1 and bare and n and run.cycel }\n  \
         c: { needs: { b: complete }, inquiry: { prompt: hi, timeout: 1h, on_timeout: fial }, retry: { max_attempts: 2 }, timeout: 3s, join: all }\n  \
         d: { items: 5, wait_for: { trigger: core.intervall, on_timeout: skip } }\n  \
         -e: { action: core.echo, with: { message: '{{ params.m ~ vars.q ~ item ~ tasks.z.result }}', mesage: 1 }, publish: { p: '{{ tasks.-e }}' } }\n  \
         f: { finally: true, next: [{ do: a }] }\n  g: { needs: [f], cache: { key: '{{ tasks.a.errors }}' } }\n\
         loop: { mode: fixed, condition: true }\noutput: { x: '{{ result.x }}' }\ntiemout: 1h\n",
    );
    insta::assert_snapshot!(page);
}

#[test]
fn tasks_that_wait_for_each_other_are_named() {
    let text = mistakes(
        "tasks:\n  a: { needs: [c] }\n  b: { when: tasks.a.result.x }\n  c: { needs: [b] }\n  d: { needs: [a] }\n  e: { needs: { f: ended } }\n  f: { needs: [e] }\n",
    );
    insta::assert_snapshot!(text, @r"
    3:6: tasks.a: tasks that wait for each other never start: a needs c, c needs b, b needs a
    7:6: tasks.e: tasks that wait for each other never start: e needs f, f needs e
    ");
}

#[test]
fn joins_that_cannot_be_met_and_tasks_that_are_never_reached_are_refused() {
    let text = mistakes(
        "tasks:\n  a: { next: [{ do: [b, j, k] }], join: all }\n  b: { needs: [a], next: [{ do: j }] }\n  j: { join: 3 }\n  k: { join: all, next: [{ do: l }] }\n  \
         l: { next: [{ do: k }] }\n  m: { next: [{ do: n }] }\n  n: { next: [{ do: m }] }\n  o: { finally: true }\n  p: { next: [{ do: o }, {}] }\n",
    );
    insta::assert_snapshot!(text, @r"
    3:41: tasks.a.join: no transition leads to this task, so there is nothing to gather
    4:15: tasks.b.needs: a task of this workflow has next, so all of them are ordered by next; write a transition in place of needs
    5:14: tasks.j.join: this waits for 3 tasks, and transitions lead to it from 2 only: a, b
    6:14: tasks.k.join: this join is never met: it waits for l, which comes only after it
    8:6: tasks.m: 'm' is never reached: no transitions lead to it from a task that starts with the run
    9:6: tasks.n: 'n' is never reached: no transitions lead to it from a task that starts with the run
    11:21: tasks.p.next[0].do: 'o' runs once everything else has settled; no transition leads to it
    11:26: tasks.p.next[1]: this leads nowhere; write do: and the name of a task
    ");
    let text = mistakes("tasks:\n  a: { next: [{ do: b }] }\n  b: { next: [{ do: a }] }\n");
    insta::assert_snapshot!(text, @r"
    1:1: the workflow has no start: every task has a transition that leads to it; let a task that nothing leads to be the first
    ");
    let text = mistakes("tasks: {}\n");
    insta::assert_snapshot!(text, @r"
    2:8: tasks: a workflow needs at least one task
    ");
    let text = mistakes("tasks: { a: { finally: true } }\n");
    insta::assert_snapshot!(text, @r"
    1:1: every task of the workflow has finally, which leaves nothing to run before them
    ");
}
