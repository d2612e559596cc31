//! The whole way: a timer fires, a rule matches, an execution runs as a process, and every step is
//! there to be seen.

use serde_json::Value;

use crate::harness::{Site, shown};

fn ticking(site: &Site) {
    site.shell_action(
        "tick",
        "echo \"tick $PARAM_COUNT\"",
        "parameter_delivery: env\nparameters:\n  count: { type: integer, required: true }",
    );
    site.pack_file(
        "t/rules/often.yaml",
        "ref: t.often\n\
         trigger: { ref: core.interval, parameters: { every: 200ms } }\n\
         criteria:\n  trigger.count: { type: greaterthan, pattern: 1 }\n\
         when: trigger.count % 2 == 0\n\
         action: { ref: t.tick, parameters: { count: \"{{ trigger.count }}\" } }\n",
    );
}

#[test]
fn from_timer_to_completion() {
    let site = Site::new();
    ticking(&site);
    let mut engine = site.up();
    let line = engine.wait_for("completed");
    assert!(line.contains("t.tick"), "{line}");

    let executions = site.json(["execution", "list", "--status", "completed"]);
    let id = executions["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let execution = site.json(["execution", "show", &id]);
    let count = execution["parameters"]["count"]
        .as_i64()
        .expect("an integer: templates keep types");
    assert_eq!(count % 2, 0);
    assert_eq!(execution["result"], Value::String(format!("tick {count}")));
    assert_eq!(execution["attempt"], 1);
    assert_eq!(site.ok(["logs", &id]), format!("tick {count}\n"));

    let events = site.json(["events", &id]);
    let types: Vec<&str> = events["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| e["event_type"].as_str().expect("a type"))
        .collect();
    assert_eq!(types, ["step_started", "step_spawned", "step_finished"]);

    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    let check = site.run(["doctor", "--check"]);
    assert!(check.status.success(), "{}", shown(&check));
}
