//! Actions that are there already: of the core pack, of packs of files, of the program.

use std::fs;
use std::path::Path;

use camshaft::embed::{Builder, Context, Error, Json, Workflow};
use camshaft::inputs;
use camshaft_model::port::store::{ExecutionFilter, PageRequest};
use serde_json::json;

use crate::{engine, in_time, text_of};

fn pack(folder: &Path) {
    let actions = folder.join("ops/actions");
    fs::create_dir_all(&actions).unwrap();
    fs::write(folder.join("ops/pack.yaml"), "ref: ops\nversion: 1.0.0\n").unwrap();
    let greet = "ref: ops.greet\nruntime: shell\nparameter_delivery: env\nparameters:\n  name: { type: string, required: true }\n\
                 script: echo \"hello $PARAM_NAME\"\n";
    fs::write(actions.join("greet.yaml"), greet).unwrap();
    let rules = folder.join("ops/rules");
    fs::create_dir_all(&rules).unwrap();
    let rule = "ref: ops.on_knock\ntrigger: door.knocked\naction: { ref: use.greet, parameters: { name: '{{ trigger.name }}' } }\n";
    fs::write(rules.join("on_knock.yaml"), rule).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_an_action_of_the_core_pack() {
    let mut w = Workflow::<Json>::builder("use.core");
    let name = w.parameters().get::<String>("name");
    let echo = w
        .task("echo")
        .action::<Json>("core.echo", inputs!({ "message": &name }));
    let each = w.task("each").each(vec![10, 20]).action::<Json, _>(
        "core.echo",
        |item| inputs!({ "message": [item.value, echo.get("message")] }),
    );
    let core = w.build(inputs!({ "echo": &echo, "each": &each })).unwrap();
    let engine = engine(&core).await;
    let end = in_time(core.run(&engine, &json!({ "name": "Ada" })))
        .await
        .unwrap();
    let each = json!([{ "message": [10, "Ada"] }, { "message": [20, "Ada"] }]);
    assert_eq!(end, json!({ "echo": { "message": "Ada" }, "each": each }));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_actions_of_packs_and_of_the_program_and_rules_run_the_workflow() {
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path());
    let mut w = Workflow::<Json>::builder("use.greet");
    let name = w.parameters().get::<String>("name");
    let greet = w
        .task("greet")
        .action::<String>("ops.greet", inputs!({ "name": &name }));
    let loud = w
        .task("loud")
        .action::<String>("voice.loud", inputs!({ "text": &greet }));
    let workflow = w.build(&loud).unwrap();
    let engine = Builder::in_memory()
        .action("voice.loud", |_: Context, given: Json| async move {
            let text = given["text"].as_str().ok_or("no text")?;
            Ok::<_, &str>(text.to_uppercase())
        })
        .trigger("door.knocked")
        .workflow(&workflow)
        .packs(folder.path())
        .start()
        .await
        .unwrap();
    let loud = in_time(workflow.run(&engine, &json!({ "name": "Ada" })))
        .await
        .unwrap();
    assert_eq!(loud, "HELLO ADA");
    engine
        .emit("door.knocked", json!({ "name": "Bob" }))
        .await
        .unwrap();
    // The event is recorded with what rules made of it, and the newest is first.
    let filter = ExecutionFilter {
        action: Some(workflow.reference().clone()),
        ..ExecutionFilter::default()
    };
    let first = PageRequest {
        after: None,
        limit: 1,
    };
    let runs = engine.engine().store().executions(filter, first).await;
    let run = workflow
        .find(&engine, runs.unwrap()[0].spec.id)
        .await
        .unwrap();
    assert_eq!(in_time(run.result()).await.unwrap(), "HELLO BOB");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_call_of_another_pack_is_told_at_the_start_with_its_task() {
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path());
    let mut w = Workflow::<()>::builder("use.wrong");
    w.task("typo")
        .action::<String>("ops.gret", inputs!({ "name": "Ada" }));
    w.task("less").action::<String>("ops.greet", inputs!({}));
    w.task("number")
        .action::<String>("ops.greet", inputs!({ "name": 5 }));
    let wrong = w.build(()).unwrap();
    let started = Builder::in_memory()
        .workflow(&wrong)
        .trigger("door.knocked")
        .packs(folder.path())
        .start()
        .await;
    let Err(Error::Definition { problems, .. }) = &started else {
        panic!("it must be refused: {:?}", started.err());
    };
    let all = problems.join("\n");
    for part in [
        "use.wrong: tasks.typo.action: unknown action 'ops.gret'; did you mean 'ops.greet'?",
        "use.wrong: tasks.less.with: ops.greet needs the parameter 'name'",
        "use.wrong: tasks.number.with.name: ",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    let message = text_of(started);
    assert!(message.contains("tasks.typo"), "{message}");
}
