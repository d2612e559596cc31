//! What holds of the trace of any run, even of rows that contradict each other.

use proptest::prelude::*;

use super::*;

/// A run of any shape: tasks with any instants, in any order, with runs below it, items, attempts,
/// pauses, and rows that contradict each other.
fn any_run() -> impl Strategy<Value = (Material, i64)> {
    let child = (
        0..4u32,
        1..3u32,
        prop::option::of(0..3u32),
        0..3u128,
        [0..200i64, 0..200, 0..200],
        0..3u32,
        any::<bool>(),
    );
    let events = prop::collection::vec((1..12u128, 0..5u8, 0..200i64, 0..4u32), 0..20);
    let needs = prop::collection::vec(prop::collection::vec(0..4usize, 0..3), 4);
    (
        prop::collection::vec(child, 0..10),
        events,
        needs,
        any::<bool>(),
        0..300i64,
        any::<bool>(),
    )
        .prop_map(|(children, events, needs, known, now, ended)| {
            let mut material = Material::default();
            let mut run = execution(RUN, None, [0, 3, now]);
            if !ended {
                run.state.status = Status::Waiting;
                run.state.ended_at = None;
            }
            material.executions.push(run);
            for (index, (name, lap, item, parent, times, attempts, finished)) in
                children.into_iter().enumerate()
            {
                let number = index as u128 + 2;
                let place = TaskRef {
                    lap,
                    item,
                    ..task_ref(&format!("t{name}"))
                };
                let mut child = execution(number, Some(place.clone()), times);
                let spec = Arc::make_mut(&mut child.spec);
                // A part of the run, or of an execution before it.
                spec.parent = Some(id(1 + parent.min(number - 2)));
                child.state.attempt = attempts;
                if !finished {
                    child.state.ended_at = None;
                    child.state.status = Status::Requested;
                }
                let mut row = record(
                    TaskRef {
                        item: None,
                        ..place
                    },
                    None,
                    [times[0], times[2]],
                );
                (row.run, row.execution) =
                    (spec.parent.unwrap(), item.is_none().then(|| id(number)));
                row.items = item.map(|_| 3);
                material.tasks.push(row);
                material.executions.push(child);
            }
            for (about, kind, millis, count) in events {
                let kind = match kind {
                    0 => StepEventType::StepStarted,
                    1 => StepEventType::StepSpawned,
                    2 => StepEventType::StepRetrying,
                    3 => StepEventType::TaskPaused,
                    _ => StepEventType::StepHeartbeat,
                };
                let payload =
                    json!({"attempt": count, "delay_ms": millis, "output_state": "low_output"});
                material.events.push(event(about, kind, millis, payload));
                if count > 0 {
                    let kind = FailureKind::Exit;
                    material
                        .attempts
                        .push(attempt(about, count, [millis / 2, millis], kind));
                }
            }
            if known {
                let tasks = needs
                    .iter()
                    .enumerate()
                    .map(|(n, needs)| task(&format!("t{n}"), needs));
                let workflow = Workflow {
                    tasks: tasks.collect(),
                    ..Workflow::default()
                };
                material.workflows.insert(id(RUN), Arc::new(workflow));
            }
            (material, now)
        })
}

proptest! {
    #[test]
    fn every_instant_of_a_run_belongs_to_one_part((material, now) in any_run()) {
        let trace = trace(&material, id(RUN), at(now)).unwrap();
        let duration = u64::try_from(now).unwrap() * 1_000;
        prop_assert_eq!(trace.duration_us, duration);
        prop_assert_eq!(trace.parts_us.values().sum::<u64>(), duration);
        let mut reached = 0;
        for piece in &trace.critical_path {
            prop_assert_eq!(piece.phase.offset_us, reached);
            prop_assert!(piece.phase.duration_us > 0);
            reached += piece.phase.duration_us;
        }
        prop_assert_eq!(reached, duration);
        for step in &trace.steps {
            let spent: u64 = step.phases.iter().map(|phase| phase.duration_us).sum();
            prop_assert!(step.phases.is_empty() || spent == step.duration_us, "{:?}", step);
        }
    }
}
