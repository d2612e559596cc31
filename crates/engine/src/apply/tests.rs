//! Decisions without a database: commands go in, units come out.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::{
    Action, Catalog, EntryPoint, Pack, PackOrigin, ParameterSchema, Rule, Trigger, TriggerKind,
    workflow,
};
use camshaft_model::port::dispatch::{AttemptEnd, Capacity, Report};
use camshaft_model::port::sensor::IntakeError;
use camshaft_model::port::store::Change;
use camshaft_model::{
    AttemptKey, EnforcementOutcome, Event, EventDraft, EventId, EventSource, ExecutionId, Object,
    Origin, Output, Status, StepEventType, Timestamp,
};
use camshaft_testkit::SeededEntropy;
use serde_json::{Value, json};

use super::ingest::Ingested;
use crate::decision::{Decision, Effect, Unit};
use crate::handle::{ExecutionRequest, Requested};
use crate::state::{Context, Settings, State};
use crate::token::TokenSigner;

pub(crate) struct Bench {
    pub(crate) state: State,
    pub(super) entropy: SeededEntropy,
    pub(super) now: Timestamp,
    /// The events that the database has.
    pub(super) events: HashMap<EventId, Event>,
}

pub(crate) fn action(name: &str) -> Action {
    let reference = format!("t.{name}").parse().unwrap();
    Action {
        origin: Some(origin()),
        ..Action::new(reference, "shell", EntryPoint::Script("true".into()))
    }
}

pub(super) fn origin() -> PackOrigin {
    PackOrigin {
        pack: "t".into(),
        hash: "h".into(),
        dir: PathBuf::new(),
        python: None,
    }
}

fn trigger(name: &str) -> Trigger {
    Trigger {
        reference: name.parse().unwrap(),
        description: String::new(),
        kind: TriggerKind::Posted,
        parameters: ParameterSchema::default(),
        payload_schema: None,
    }
}

pub(super) fn rule(name: &str, on: &str, overlap: &str) -> Rule {
    Rule {
        reference: format!("t.{name}").parse().unwrap(),
        description: String::new(),
        enabled: true,
        trigger: on.parse().unwrap(),
        trigger_parameters: Object::from_iter([("overlap".to_owned(), overlap.into())]),
        criteria: Vec::new(),
        when: None,
        action: "t.work".parse().unwrap(),
        action_parameters: Object::new(),
        priority: 0,
        origin: Some(origin()),
    }
}

fn pack(name: &str, actions: Vec<Action>, triggers: Vec<Trigger>, rules: Vec<Rule>) -> Arc<Pack> {
    Arc::new(Pack {
        origin: PackOrigin {
            pack: name.into(),
            ..origin()
        },
        version: "1".into(),
        description: String::new(),
        actions: actions
            .into_iter()
            .map(|a| (a.reference.clone(), Arc::new(a)))
            .collect(),
        triggers: triggers
            .into_iter()
            .map(|t| (t.reference.clone(), Arc::new(t)))
            .collect(),
        rules: rules
            .into_iter()
            .map(|r| (r.reference.clone(), Arc::new(r)))
            .collect(),
        runtimes: BTreeMap::new(),
    })
}

impl Bench {
    pub(crate) fn new(slots: u32, actions: Vec<Action>, rules: Vec<Rule>) -> Self {
        let settings = Settings {
            max_depth: 4,
            run_memory_bytes: 20_000,
            cancel_grace: Duration::from_secs(1),
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
            signer: TokenSigner::new(&[1; 32]),
            project: "default".to_owned(),
        };
        let mut state = State::new(settings, "w");
        let core = pack("core", vec![], vec![trigger("core.execution")], vec![]);
        let t = pack(
            "t",
            actions,
            vec![trigger("t.poked"), trigger("t.other")],
            rules,
        );
        state.catalog = Arc::new(Catalog {
            packs: [("core".into(), core), ("t".into(), t)].into(),
        });
        state.reindex();
        state.epoch = 7;
        state.capacity = Capacity {
            worker: "w".into(),
            slots,
            runtimes: vec!["shell".into()],
            resources: [("gpu".to_owned(), 1)].into(),
        };
        Self {
            state,
            entropy: SeededEntropy::new(1),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            events: HashMap::new(),
        }
    }

    pub(super) fn apply<R>(&mut self, command: impl FnOnce(&mut State, &Context<'_>) -> R) -> R {
        self.now = self.now + Duration::from_millis(1);
        self.at_once(command)
    }

    /// The same, without time passing.
    pub(super) fn at_once<R>(&mut self, command: impl FnOnce(&mut State, &Context<'_>) -> R) -> R {
        command(
            &mut self.state,
            &Context {
                now: self.now,
                entropy: &self.entropy,
            },
        )
    }

    pub(super) fn request(&mut self, name: &str) -> (Decision, ExecutionId) {
        self.request_at(name, 0)
    }

    pub(super) fn request_at(&mut self, name: &str, priority: i32) -> (Decision, ExecutionId) {
        self.request_with(name, priority, None)
    }

    pub(super) fn request_with(
        &mut self,
        name: &str,
        priority: i32,
        not_before: Option<Timestamp>,
    ) -> (Decision, ExecutionId) {
        let request = ExecutionRequest {
            what: Requested::Action(format!("t.{name}").parse().unwrap()),
            parameters: Object::new(),
            priority,
            not_before,
            idempotency_key: None,
            origin: Origin::Api,
            trace_parent: None,
        };
        self.apply(|state, context| state.request(request, BTreeMap::new(), context))
            .unwrap()
    }

    fn poke(&mut self) -> (Decision, Vec<ExecutionId>) {
        let ingested = self.emit(poked(None)).unwrap();
        (ingested.decision, ingested.executions)
    }

    pub(super) fn emit(&mut self, draft: EventDraft) -> Result<Ingested, IntakeError> {
        self.apply(|state, context| state.ingest(draft, None, context))
    }

    pub(super) fn end(&mut self, id: ExecutionId, status: Status) -> Decision {
        let key = self.state.live[&id].key();
        self.end_as(key, status)
    }

    fn end_as(&mut self, key: AttemptKey, status: Status) -> Decision {
        self.end_with(key, status, Value::Null)
    }

    pub(super) fn end_with(&mut self, key: AttemptKey, status: Status, result: Value) -> Decision {
        let now = self.now;
        let report = Report {
            key,
            events: Vec::new(),
            end: Some(Box::new(AttemptEnd {
                status,
                result: Some(result),
                error: None,
                exit_code: Some(0),
                signal: None,
                started_at: Some(now),
                ended_at: now,
                stdout: Output::default(),
                stderr: Output::default(),
                output_lost: None,
            })),
        };
        self.apply(|state, context| state.report(report, context))
    }

    pub(super) fn status(&self, id: ExecutionId) -> Option<Status> {
        self.state.live.get(&id).map(|live| live.state.status)
    }
}

pub(crate) fn poked(dedup_key: Option<&str>) -> EventDraft {
    EventDraft {
        trigger: "t.poked".parse().unwrap(),
        payload: json!({}),
        source: EventSource {
            kind: "api".into(),
            name: None,
        },
        dedup_key: dedup_key.map(str::to_owned),
        occurred_at: None,
        sensor: None,
        depth: 0,
        trace_parent: None,
    }
}

pub(super) fn started(decision: &Decision) -> Vec<ExecutionId> {
    let effects = decision.units.iter().flat_map(|unit| &unit.effects);
    effects
        .filter_map(|effect| match effect {
            Effect::Start(job) => Some(job.key.execution),
            _ => None,
        })
        .collect()
}

pub(super) fn outcomes(decision: &Decision) -> Vec<EnforcementOutcome> {
    let changes = decision.units.iter().flat_map(|unit| &unit.changes);
    changes
        .filter_map(|change| match change {
            Change::InsertEnforcement(enforcement) => Some(enforcement.outcome.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn slots_are_the_leases_that_live_and_the_next_in_order_takes_a_free_one() {
    let mut bench = Bench::new(1, vec![action("work")], vec![]);
    let (first, a) = bench.request("work");
    assert_eq!(started(&first), [a]);
    let (second, b) = bench.request("work");
    let (third, c) = bench.request_at("work", 5);
    assert!(started(&second).is_empty() && started(&third).is_empty());
    assert_eq!(
        started(&bench.end(a, Status::Completed)),
        [c],
        "priority goes first"
    );
    assert_eq!(started(&bench.end(c, Status::Failed)), [b]);
    assert!(started(&bench.end(b, Status::Completed)).is_empty());
    assert!(bench.state.leases.is_empty() && bench.state.live.is_empty());
}

#[test]
fn a_missing_runtime_or_resource_blocks_its_own_class_only() {
    let mut cobol = action("old");
    cobol.runtime = "cobol".into();
    let mut gpu = action("gpu");
    gpu.resources.insert("gpu".into(), 1);
    let mut bench = Bench::new(9, vec![action("work"), cobol, gpu], vec![]);
    let (_, old) = bench.request("old");
    let (first, a) = bench.request("gpu");
    let (second, b) = bench.request("gpu");
    let (third, c) = bench.request("work");
    assert_eq!(
        (started(&first), started(&second), started(&third)),
        (vec![a], vec![], vec![c])
    );
    let why = |id| {
        bench
            .state
            .blocked_by(&bench.state.live[&id], bench.now)
            .unwrap()
            .to_string()
    };
    assert_eq!(why(old), "Runtime 'cobol' not found (available: shell)");
    assert_eq!(
        why(b),
        "Not enough of the resource 'gpu' is free (1 needed, 1 in all)"
    );
}

#[test]
fn a_retry_is_a_row_with_a_time_and_holds_no_slot() {
    let mut flaky = action("flaky");
    flaky.retry.max_attempts = 2;
    flaky.retry.delay = Duration::from_secs(10);
    let mut bench = Bench::new(1, vec![flaky, action("work")], vec![]);
    let (_, a) = bench.request("flaky");
    let ended = bench.end(a, Status::Failed);
    assert!(
        ended.units[0]
            .steps
            .iter()
            .any(|step| step.event_type == StepEventType::StepRetrying)
    );
    assert_eq!(bench.status(a), Some(Status::Requested));
    let (other, b) = bench.request("work");
    assert_eq!(
        started(&other),
        [b],
        "the slot is free while the delay runs"
    );
    bench.end(b, Status::Completed);
    assert!(started(&bench.apply(|state, context| state.due(context))).is_empty());
    bench.now = bench.now + Duration::from_secs(10);
    assert_eq!(
        started(&bench.apply(|state, context| state.due(context))),
        [a]
    );
    assert_eq!(bench.state.live[&a].state.attempt, 2);
    bench.end(a, Status::Failed);
    assert_eq!(bench.status(a), None, "max_attempts counts the first try");
}

#[test]
fn a_late_result_is_refused_and_recorded() {
    let mut flaky = action("flaky");
    flaky.retry.max_attempts = 3;
    flaky.retry.delay = Duration::ZERO;
    let mut bench = Bench::new(1, vec![flaky], vec![]);
    let (_, a) = bench.request("flaky");
    let lost = bench.state.live[&a].key();
    bench.end(a, Status::Failed);
    assert_eq!(bench.state.live[&a].state.attempt, 2);
    let late = bench.end_as(lost, Status::Completed);
    assert!(late.units[0].moved().is_empty());
    assert_eq!(
        late.units[0].steps[0].event_type,
        StepEventType::ResultRefused
    );
    assert_eq!(bench.status(a), Some(Status::Running));
}

#[test]
fn cancelling_what_waits_ends_it_and_what_runs_ends_with_its_process() {
    let mut bench = Bench::new(1, vec![action("work")], vec![]);
    let (_, a) = bench.request("work");
    let (_, b) = bench.request("work");
    bench.apply(|state, context| state.cancel(b, context));
    assert_eq!(bench.status(b), None);
    let stopping = bench.apply(|state, context| state.cancel(a, context));
    assert!(matches!(
        stopping.units[0].effects[..],
        [Effect::Cancel(..)]
    ));
    assert_eq!(bench.status(a), Some(Status::Canceling));
    let again = bench.apply(|state, context| state.cancel(a, context));
    assert!(again.units.is_empty(), "asking again changes nothing");
    let ended = bench.end(a, Status::Completed);
    assert_eq!(ended.units[0].ended[0].state.status, Status::Cancelled);
}

#[test]
fn overlap_is_allowed_skipped_queued_or_cancels_the_previous() {
    for (policy, at_once, in_all) in [
        ("allow", 2, 2),
        ("skip", 1, 1),
        ("queue", 1, 2),
        ("cancel_previous", 1, 2),
    ] {
        let mut bench = Bench::new(9, vec![action("work")], vec![rule("r", "t.poked", policy)]);
        let (_, first) = bench.poke();
        let (second, executions) = bench.poke();
        assert_eq!(bench.state.leases.len(), at_once, "{policy}");
        assert_eq!(first.len() + executions.len(), in_all, "{policy}");
        match policy {
            "skip" => assert!(matches!(
                outcomes(&second)[..],
                [EnforcementOutcome::Skipped { .. }]
            )),
            "queue" => assert_eq!(started(&bench.end(first[0], Status::Failed)), executions),
            "cancel_previous" => {
                assert_eq!(bench.status(first[0]), Some(Status::Canceling));
                assert_eq!(started(&bench.end(first[0], Status::Cancelled)), executions);
            }
            _ => {}
        }
    }
}

#[test]
fn an_end_and_what_it_leads_to_are_one_unit_and_a_rule_that_feeds_itself_stops() {
    let mut bench = Bench::new(
        1,
        vec![action("work")],
        vec![rule("again", "core.execution", "allow")],
    );
    let (_, mut running) = bench.request("work");
    for depth in 1..=4 {
        let decision = bench.end(running, Status::Completed);
        let unit = &decision.units[0];
        assert!(!unit.ended.is_empty() && unit.events.len() == 1);
        let outcome = outcomes(&decision).remove(0);
        if depth < 4 {
            let EnforcementOutcome::Requested { execution } = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(started(&decision), [execution]);
            running = execution;
        } else {
            let EnforcementOutcome::Failed { reason } = outcome else {
                panic!("{outcome:?}")
            };
            assert!(reason.contains("engine.max_depth"), "{reason}");
        }
    }
}

#[test]
fn what_was_cut_off_is_tried_again_only_if_it_may_be() {
    let mut once = action("once");
    once.idempotent = false;
    let mut bench = Bench::new(2, vec![action("work"), once], vec![]);
    let (_, a) = bench.request("work");
    let (_, b) = bench.request("once");
    bench.state.epoch = 8;
    for id in [a, b] {
        bench.apply(|state, context| state.interrupted(id, Default::default(), context));
    }
    assert_eq!(bench.status(a), Some(Status::Requested));
    assert_eq!(bench.status(b), None, "it ended abandoned");
    assert_eq!(
        started(&bench.apply(|state, context| state.due(context))),
        [a]
    );
    assert_eq!(bench.state.live[&a].key().epoch, 8);
}

#[test]
fn what_was_never_recorded_is_forgotten_with_all_that_it_held() {
    let mut bench = Bench::new(1, vec![action("work")], vec![]);
    let (_, a) = bench.request("work");
    let (_, b) = bench.request("work");
    let mut refused = Unit::default();
    refused.fresh.push(a);
    let undone = bench.apply(|state, context| state.take_back(refused, context));
    assert_eq!(started(&undone), [b]);
    assert_eq!(bench.state.leases.len(), 1);
}

pub(super) fn task(name: &str, needs: &[usize], with: Value) -> workflow::Task {
    let needs = needs.iter().map(|task| workflow::Need {
        task: *task,
        on: vec![Status::Completed],
        implied: false,
    });
    let work = workflow::Work::Action {
        reference: "t.work".parse().unwrap(),
        with: with.as_object().cloned().unwrap(),
    };
    workflow::Task {
        entry: workflow::Entry::Needs(needs.collect()),
        ..workflow::Task::new(name, work)
    }
}

fn run_of(tasks: Vec<workflow::Task>) -> Action {
    let graph = workflow::Workflow {
        tasks,
        output: Some(json!("{{ tasks.b.result }}")),
        ..workflow::Workflow::default()
    };
    let entry_point = EntryPoint::Workflow(Arc::new(graph));
    Action {
        origin: Some(origin()),
        ..Action::new("t.flow".parse().unwrap(), "workflow", entry_point)
    }
}

#[test]
fn the_end_of_a_task_and_the_start_of_the_next_are_one_unit() {
    let tasks = vec![
        task("a", &[], json!({})),
        task("b", &[0], json!({"x": "{{ tasks.a.result }}"})),
    ];
    let mut bench = Bench::new(1, vec![action("work"), run_of(tasks)], vec![]);
    let (first, run) = bench.request("flow");
    assert_eq!(first.units.len(), 1, "{first:#?}");
    let [a] = started(&first)[..] else {
        panic!("{first:#?}")
    };
    assert_eq!(bench.status(run), Some(Status::Waiting));
    assert!(!bench.state.leases.contains(&run));
    let second = bench.end(a, Status::Completed);
    let [b] = started(&second)[..] else {
        panic!("{second:#?}")
    };
    assert_eq!((second.units.len(), second.units[0].moved().len()), (1, 1));
    assert_eq!(bench.state.live[&b].spec.parameters["x"], Value::Null);
    let third = bench.end(b, Status::Completed);
    let ended: Vec<_> = third.units[0].ended.iter().map(|e| e.spec.id).collect();
    assert_eq!(ended, [b, run]);
    assert!(bench.state.live.is_empty() && bench.state.runs.is_empty());
}

#[test]
fn cancelling_a_run_reaches_what_runs_and_what_waits() {
    let tasks = vec![task("a", &[], json!({})), task("b", &[], json!({}))];
    let mut bench = Bench::new(1, vec![action("work"), run_of(tasks)], vec![]);
    let (first, run) = bench.request("flow");
    let [a] = started(&first)[..] else {
        panic!("{first:#?}")
    };
    let cancelled = bench.apply(|state, context| state.cancel(run, context));
    assert_eq!(cancelled.units.len(), 1, "all or nothing is stored");
    assert_eq!(bench.status(run), Some(Status::Canceling));
    assert_eq!(bench.state.live.len(), 2, "the one that waited is gone");
    let last = bench.end(a, Status::Cancelled);
    assert_eq!(last.units[0].ended[1].state.status, Status::Cancelled);
    assert!(bench.state.live.is_empty() && bench.state.runs.is_empty());
}

#[test]
fn rules_hear_of_each_end_that_is_stored_with_others() {
    let tasks = vec![task("a", &[], json!({})), task("b", &[0], json!({}))];
    let on_end = rule("after", "core.execution", "allow");
    let mut bench = Bench::new(4, vec![action("work"), run_of(tasks)], vec![on_end]);
    let (first, run) = bench.request("flow");
    let second = bench.end(started(&first)[0], Status::Completed);
    let b = *started(&second)
        .iter()
        .find(|id| bench.state.live[*id].spec.parent == Some(run))
        .unwrap();
    let last = bench.end(b, Status::Completed);
    let about: Vec<_> = last.units[0]
        .events
        .iter()
        .map(|event| event.draft.dedup_key.clone().unwrap())
        .collect();
    assert_eq!(about, [b.to_string(), run.to_string()]);
}

#[test]
fn an_attempt_that_was_cut_off_is_no_try() {
    let twice = Action {
        retry: camshaft_model::definition::RetryPolicy {
            max_attempts: 2,
            delay: Duration::ZERO,
            ..Default::default()
        },
        ..action("work")
    };
    let mut bench = Bench::new(1, vec![twice], vec![]);
    let (_, id) = bench.request("work");
    let nothing = (Output::default(), Output::default());
    bench.apply(|state, context| state.interrupted(id, nothing, context));
    bench.apply(|state, context| state.due(context));
    bench.end(id, Status::Failed);
    assert_eq!(bench.state.live[&id].state.attempt, 3, "the second try");
    bench.end(id, Status::Failed);
    assert!(bench.state.live.is_empty());
}
