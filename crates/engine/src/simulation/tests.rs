//! The rim of a simulation, on single actions: mocks, virtual time, crashes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::Status;
use camshaft_model::definition::workflow::{Cycles, LoopMode, Task, Work};
use camshaft_model::definition::{
    Action, Catalog, EntryPoint, Pack, PackOrigin, RetryPolicy, Workflow,
};
use serde_json::json;

use super::{Act, Mock, Mocks, Move, Outcome, PerItem, Scenario, run};
use crate::handle::RetryFrom;

fn scenario(action: Action, mocks: Vec<Mock>) -> Scenario {
    let origin = PackOrigin {
        pack: "t".into(),
        hash: "h".into(),
        dir: PathBuf::new(),
        python: None,
    };
    let reference = action.reference.clone();
    let action = Action {
        origin: Some(origin.clone()),
        ..action
    };
    let pack = Pack {
        origin,
        version: "1".into(),
        description: String::new(),
        actions: [(reference.clone(), Arc::new(action))].into(),
        triggers: BTreeMap::new(),
        rules: BTreeMap::new(),
        runtimes: BTreeMap::new(),
    };
    let catalog = Catalog {
        packs: [("t".to_owned(), Arc::new(pack))].into(),
    };
    let per_item = PerItem {
        default: mocks,
        items: BTreeMap::new(),
    };
    Scenario {
        mocks: Mocks {
            strict: true,
            tasks: [("work".to_owned(), per_item)].into(),
        },
        ..Scenario::new(Arc::new(catalog), reference)
    }
}

fn action() -> Action {
    let entry_point = EntryPoint::Script("true".into());
    Action::new("t.work".parse().unwrap(), "shell", entry_point)
}

fn retried(max_attempts: u32) -> Action {
    Action {
        retry: RetryPolicy {
            max_attempts,
            delay: Duration::from_secs(3_600),
            ..RetryPolicy::default()
        },
        ..action()
    }
}

fn failing(takes_secs: u64) -> Mock {
    Mock {
        status: Status::Failed,
        error: Some("no".into()),
        takes: Duration::from_secs(takes_secs),
        ..Mock::default()
    }
}

fn returning(result: serde_json::Value, takes_secs: u64) -> Mock {
    Mock {
        result,
        takes: Duration::from_secs(takes_secs),
        ..Mock::default()
    }
}

fn ended(outcome: &Outcome) -> (Status, u32, Duration) {
    let last = outcome.last().unwrap();
    let at = last.state.ended_at.expect("an end");
    (last.state.status, last.state.attempt, outcome.offset(at))
}

#[test]
fn an_hour_of_delay_costs_no_time_and_the_last_mock_repeats() {
    let mocks = vec![failing(1), failing(2), returning(json!(7), 3)];
    let outcome = run(&scenario(retried(3), mocks));
    assert_eq!(outcome.complaints, Vec::<String>::new());
    assert_eq!(
        ended(&outcome),
        (Status::Completed, 3, Duration::from_secs(7_206))
    );
    let repeated = run(&scenario(retried(3), vec![failing(1)]));
    assert_eq!(
        ended(&repeated),
        (Status::Failed, 3, Duration::from_secs(7_203))
    );
}

#[test]
fn a_mock_that_takes_longer_than_the_timeout_ends_at_the_timeout() {
    let limited = Action {
        timeout: Some(Duration::from_secs(5)),
        ..action()
    };
    let late = run(&scenario(limited.clone(), vec![returning(json!(1), 6)]));
    assert_eq!(ended(&late), (Status::TimedOut, 1, Duration::from_secs(5)));
    let in_time = run(&scenario(limited, vec![returning(json!(1), 5)]));
    assert_eq!(ended(&in_time).0, Status::Completed);
}

#[test]
fn a_cancel_ends_what_runs_at_its_instant() {
    let mut cancelled = scenario(action(), vec![returning(json!(1), 60)]);
    cancelled.acts.push(Act {
        at: Some(Duration::from_secs(20)),
        what: Move::Cancel,
        refused: None,
    });
    let outcome = run(&cancelled);
    assert_eq!(
        ended(&outcome),
        (Status::Cancelled, 1, Duration::from_secs(20))
    );
}

#[test]
fn a_crash_after_any_commit_changes_neither_the_end_nor_its_instant() {
    let straight = scenario(
        retried(4),
        vec![failing(1), failing(1), returning(json!([0]), 1)],
    );
    let expected = run(&straight);
    assert!(expected.ledger.commits > 3);
    for crash_after in 1..=expected.ledger.commits {
        let crashed = run(&Scenario {
            crash_after: Some(crash_after),
            ..straight.clone()
        });
        assert_eq!(crashed.complaints, Vec::<String>::new());
        let result = |outcome: &Outcome| outcome.last().unwrap().state.result.clone();
        assert_eq!(result(&crashed), result(&expected), "after {crash_after}");
        let (status, _, at) = ended(&crashed);
        assert_eq!((status, at), (Status::Completed, ended(&expected).2));
    }
}

#[test]
fn what_a_crash_cuts_off_and_is_not_idempotent_is_abandoned() {
    let once = Action {
        idempotent: false,
        ..action()
    };
    let outcome = run(&Scenario {
        crash_after: Some(1),
        ..scenario(once, vec![returning(json!(1), 1)])
    });
    assert_eq!(outcome.complaints, Vec::<String>::new());
    assert_eq!(ended(&outcome), (Status::Abandoned, 1, Duration::ZERO));
}

#[test]
fn what_has_no_mock_or_is_refused_is_a_complaint() {
    let mut unmocked = scenario(action(), Vec::new());
    unmocked.acts.push(Act {
        at: None,
        what: Move::Retry(RetryFrom::Start),
        refused: Some("something".into()),
    });
    let outcome = run(&unmocked);
    assert_eq!(outcome.runs.len(), 2);
    insta::assert_snapshot!(outcome.complaints.join("\n"), @r"
    'work' ran and has no mock
    'work' ran and has no mock
    a retry was to be refused (something), and was not
    ");
}

#[test]
fn laps_that_end_at_once_are_many_decisions() {
    const LAPS: u32 = 5_000;
    let workflow = Workflow {
        tasks: vec![Task::new("tick", Work::Nothing)],
        cycles: Cycles {
            mode: LoopMode::Fixed,
            max: LAPS,
            delay: Duration::ZERO,
        },
        ..Workflow::default()
    };
    let looped = Action {
        entry_point: EntryPoint::Workflow(Arc::new(workflow)),
        runtime: "workflow".into(),
        ..action()
    };
    let outcome = run(&scenario(looped, Vec::new()));
    assert_eq!(outcome.complaints, Vec::<String>::new());
    assert_eq!(ended(&outcome).0, Status::Completed);
    let ledger = &outcome.ledger;
    assert_eq!(ledger.tasks.len(), LAPS as usize);
    assert_eq!(ledger.commits, 5);
}
