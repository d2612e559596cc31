//! Data by handles, fan-outs, conditions, needs.

use camshaft::embed::{Context, Error, Status, Workflow};
use camshaft::{field, inputs};
use serde::{Deserialize, Serialize};

use serde_json::json;

use crate::{engine, in_time, run, same, steps};

#[derive(Serialize, Deserialize)]
struct Two {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize)]
struct One {
    n: i64,
}

#[derive(Serialize, Deserialize)]
struct All {
    of: Vec<i64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Maybe {
    of: Vec<Option<i64>>,
    errors: Vec<Option<String>>,
}

#[derive(Serialize, Deserialize)]
struct Place {
    index: usize,
}

#[derive(Serialize, Deserialize)]
struct Numbers {
    numbers: Vec<i64>,
    limit: i64,
}

async fn add(_: Context, two: Two) -> Result<One, &'static str> {
    two.a
        .checked_add(two.b)
        .map(|n| One { n })
        .ok_or("the sum is too large")
}

async fn twice(_: Context, one: One) -> Result<i64, &'static str> {
    if one.n < 0 {
        return Err("it is negative");
    }
    one.n.checked_mul(2).ok_or("it is too large")
}

async fn sum(_: Context, all: All) -> Result<i64, String> {
    Ok(all.of.iter().sum())
}

async fn maybe(_: Context, maybe: Maybe) -> Result<Maybe, String> {
    Ok(maybe)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_gets_fields_of_parameters_and_of_results_by_their_handles() {
    let mut w = Workflow::<Two>::builder("math.chain");
    let two = w.parameters();
    let first = w.task("first").run(
        add,
        inputs!(Two {
            a: field!(two.a),
            b: 1
        }),
    );
    let second = w.task("second").run(
        add,
        inputs!(Two {
            a: field!(first.n),
            b: field!(two.b)
        }),
    );
    let chain = w.build(field!(second.n)).unwrap();
    assert_eq!(run(&chain, &Two { a: 4, b: 10 }).await.unwrap(), 15);
    let failed = run(&chain, &Two { a: i64::MAX, b: 10 }).await.unwrap_err();
    let Error::Ended {
        status, failure, ..
    } = &failed
    else {
        panic!("{failed}");
    };
    assert_eq!(*status, Status::Failed);
    let message = &failure.as_ref().unwrap().message;
    assert!(
        message.contains("first") && message.contains("too large"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_a_fan_out_are_a_list_in_the_order_of_the_items() {
    let mut w = Workflow::<Numbers>::builder("math.fan");
    let numbers = w.parameters();
    let doubled = w
        .task("double")
        .each(field!(numbers.numbers))
        .concurrency(3)
        .run(twice, |item| inputs!(One { n: item.value }));
    let sums = w.task("add_limit").each(&doubled).run(add, |item| {
        inputs!(Two {
            a: item.value,
            b: field!(numbers.limit)
        })
    });
    let places = w
        .task("places")
        .each(&sums)
        .run(same::<Place>, |item| inputs!(Place { index: item.index }));
    let last = places.at(2);
    let third = sums.at(2);
    let total = w.task("sum").run(
        sum,
        inputs!(All {
            of: [field!(third.n), doubled.at(0)]
        }),
    );
    let fan =
        w.build(inputs!({ "total": &total, "last": field!(last.index), "count": doubled.count() }));
    let fan = fan.unwrap();
    let end = run(
        &fan,
        &Numbers {
            numbers: vec![1, 2, 3],
            limit: 100,
        },
    )
    .await;
    assert_eq!(
        end.unwrap(),
        json!({ "total": 6 + 100 + 2, "last": 2, "count": 3 })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_may_be_a_list_of_the_program_and_handles_among_values() {
    let mut w = Workflow::<One>::builder("math.list");
    let one = w.parameters();
    let of_values = w
        .task("values")
        .each(vec![1, 2, 3])
        .run(twice, |item| inputs!(One { n: item.value }));
    let of_both = w
        .task("handles")
        .each([field!(one.n), of_values.at(2)])
        .run(twice, |item| inputs!(One { n: item.value }));
    w.task("none")
        .each(Vec::<i64>::new())
        .run(twice, |item| inputs!(One { n: item.value }));
    let total = w.task("sum").run(sum, inputs!(All { of: &of_both }));
    let count = w.expression::<i64>("tasks.none.result | length");
    let both = w.task("both").run(
        add,
        inputs!(Two {
            a: &total,
            b: count
        }),
    );
    let list = w.build(field!(both.n)).unwrap();
    assert_eq!(run(&list, &One { n: 10 }).await.unwrap(), 20 + 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_item_stops_the_task_or_leaves_the_results_of_the_others() {
    let mut w = Workflow::<Numbers>::builder("math.goes_on");
    let numbers = w.parameters();
    let doubled = w
        .task("double")
        .each(field!(numbers.numbers))
        .continue_on_failure()
        .run(twice, |item| inputs!(One { n: item.value }));
    let end = inputs!(Maybe {
        of: &doubled,
        errors: doubled.item_errors()
    });
    let goes_on = w.build(end).unwrap();
    let numbers = Numbers {
        numbers: vec![1, -1, 3],
        limit: 0,
    };
    let end = run(&goes_on, &numbers).await.unwrap();
    assert_eq!(end.of, [Some(2), None, Some(6)]);
    assert!(
        end.errors[1].as_ref().unwrap().contains("negative"),
        "{end:?}"
    );
    assert_eq!((&end.errors[0], &end.errors[2]), (&None, &None));

    let mut w = Workflow::<Numbers>::builder("math.stops");
    let numbers_of = w.parameters();
    let doubled = w
        .task("double")
        .each(field!(numbers_of.numbers))
        .concurrency(1)
        .run(twice, |item| inputs!(One { n: item.value }));
    let stops = w.build(doubled).unwrap();
    let engine = engine(&stops).await;
    let running = stops.start(&engine, &numbers).await.unwrap();
    let failed = in_time(running.result()).await.unwrap_err();
    assert!(failed.to_string().contains("double"), "{failed}");
    let begun = steps(&running).await;
    let begun = begun
        .iter()
        .filter(|step| step.starts_with("double step_started"))
        .count();
    assert_eq!(begun, 2, "no new ones start after a failure");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_is_false_skips_the_task_and_who_needs_its_result() {
    let mut w = Workflow::<Two>::builder("math.when");
    let two = w.parameters();
    let large = field!(two.a).more_than(10).and(!field!(two.b).is(0));
    let guarded = w
        .task("guarded")
        .when(large)
        .run(twice, inputs!(One { n: field!(two.a) }));
    let dependent = w.task("dependent").run(twice, inputs!(One { n: &guarded }));
    let otherwise = w
        .task("otherwise")
        .after(guarded.skipped())
        .run(twice, inputs!(One { n: 50 }));
    let end = w.task("end").run(
        maybe,
        inputs!(Maybe {
            of: [dependent.optional(), otherwise.optional()],
            errors: [guarded.error()]
        }),
    );
    let when = w.build(end).unwrap();
    let run = async |a, b| run(&when, &Two { a, b }).await.unwrap().of;
    assert_eq!(run(11, 1).await, [Some(44), None]);
    assert_eq!(run(11, 0).await, [None, Some(100)]);
    assert_eq!(run(10, 1).await, [None, Some(100)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_another_task_expects_does_not_end_the_run() {
    let mut w = Workflow::<One>::builder("math.repair");
    let one = w.parameters();
    let risky = w
        .task("risky")
        .run(twice, inputs!(One { n: field!(one.n) }));
    let repair = w
        .task("repair")
        .after(risky.failed())
        .run(twice, inputs!(One { n: 1 }));
    let joined = w
        .task("join")
        .after(risky.ended())
        .after(repair.ended())
        .gather();
    let end = w.task("end").after(&joined).run(
        maybe,
        inputs!(Maybe {
            of: [risky.optional(), repair.optional()],
            errors: [risky.error()]
        }),
    );
    let repaired = w.build(end).unwrap();
    let good = run(&repaired, &One { n: 4 }).await.unwrap();
    assert_eq!((good.of, good.errors), (vec![Some(8), None], vec![None]));
    let bad = run(&repaired, &One { n: -4 }).await.unwrap();
    assert_eq!(bad.of, [None, Some(2)]);
    assert!(bad.errors[0].as_ref().unwrap().contains("negative"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finally_task_runs_however_the_run_ends() {
    let mut w = Workflow::<One>::builder("math.finally");
    let one = w.parameters();
    let work = w.task("work").run(twice, inputs!(One { n: field!(one.n) }));
    w.task("clean_up").finally().run(
        maybe,
        inputs!(Maybe {
            of: [work.optional()],
            errors: [work.error()]
        }),
    );
    let workflow = w.build(work).unwrap();
    let engine = engine(&workflow).await;
    for (n, status) in [(1, Status::Completed), (-1, Status::Failed)] {
        let running = workflow.start(&engine, &One { n }).await.unwrap();
        assert_eq!(in_time(running.ended()).await.unwrap().state.status, status);
        let steps = steps(&running).await;
        let last = steps.iter().rfind(|step| step.contains("step_finished"));
        assert_eq!(
            last.map(String::as_str),
            Some("clean_up step_finished"),
            "{steps:?}"
        );
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_of_the_program_is_a_task_of_another_one_and_brings_its_functions() {
    let mut w = Workflow::<One>::builder("inner.double");
    let one = w.parameters();
    let twice = w
        .task("twice")
        .run(twice, inputs!(One { n: field!(one.n) }));
    let inner = w.build(twice).unwrap();

    let mut w = Workflow::<Numbers>::builder("outer.doubles");
    let numbers = w.parameters();
    let first = w.task("first").workflow(
        &inner,
        inputs!(One {
            n: field!(numbers.limit)
        }),
    );
    let each = w
        .task("each")
        .each(field!(numbers.numbers))
        .workflow(&inner, |item| inputs!(One { n: item.value }));
    let all = w.task("sum").run(sum, inputs!(All { of: &each }));
    let both = w.task("both").run(add, inputs!(Two { a: &first, b: &all }));
    let outer = w.build(field!(both.n)).unwrap();
    let numbers = Numbers {
        numbers: vec![1, 2, 3],
        limit: 10,
    };
    assert_eq!(run(&outer, &numbers).await.unwrap(), 20 + 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_without_parameters_or_result_takes_and_gives_nothing() {
    let mut w = Workflow::<()>::builder("small.nothing");
    let nothing = |_: Context, (): ()| async { Ok::<_, String>(3) };
    let three = w.task("three").run(nothing, ());
    w.task("after").after(&three).gather();
    let small = w.build(()).unwrap();
    run(&small, &()).await.unwrap();
}
