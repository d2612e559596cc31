//! Sensors with real files and real children.

use super::*;
use std::fs;
use std::path::Path;

use async_trait::async_trait;
use camshaft_model::EventId;
use camshaft_model::port::sensor::Accepted;
use camshaft_testkit::ManualClock;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const WAIT: Duration = Duration::from_secs(30);

/// Passes events on; each is first answered with "unavailable", as by an engine that is busy.
struct Busy {
    sender: UnboundedSender<EventDraft>,
    refused: Mutex<Option<EventDraft>>,
}

#[async_trait]
impl Intake for Busy {
    async fn emit(&self, draft: EventDraft) -> Result<Accepted, IntakeError> {
        let mut refused = self.refused.lock();
        if refused.as_ref() != Some(&draft) {
            *refused = Some(draft);
            return Err(IntakeError::Unavailable("a test".into()));
        }
        *refused = None;
        let _ = self.sender.send(draft);
        Ok(Accepted {
            event: EventId::from_bytes([0; 16]),
            duplicate: false,
            executions: Vec::new(),
        })
    }

    async fn emit_with_state(&self, draft: EventDraft, _: Value) -> Result<Accepted, IntakeError> {
        self.emit(draft).await
    }
}

fn host() -> (Arc<Sensors>, UnboundedReceiver<EventDraft>) {
    let (sender, events) = unbounded_channel();
    let intake = Arc::new(Busy {
        sender,
        refused: Mutex::default(),
    });
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z"));
    let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    (
        Sensors::new(
            intake,
            clock,
            tokio::runtime::Handle::current(),
            environment,
        ),
        events,
    )
}

fn spec(kind: TriggerKind, parameters: Value) -> SensorSpec {
    SensorSpec {
        key: "k1".into(),
        trigger: "core.any".parse().unwrap(),
        kind,
        parameters: parameters.as_object().unwrap().clone(),
    }
}

fn files(path: &Path) -> SensorSpec {
    spec(
        TriggerKind::File,
        json!({"path": path, "glob": "*.csv", "settle": "20ms"}),
    )
}

async fn next(events: &mut UnboundedReceiver<EventDraft>) -> EventDraft {
    tokio::time::timeout(WAIT, events.recv())
        .await
        .expect("an event in time")
        .unwrap()
}

/// Waits until the only sensor has a problem of which this is true.
async fn problem(host: &Sensors, wanted: impl Fn(Option<&str>) -> bool) {
    let seen = async {
        while !wanted(host.health()[0].problem.as_deref()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, seen)
        .await
        .expect("the health in time");
}

#[tokio::test]
async fn files_are_told_when_they_appear_change_and_vanish() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.csv");
    fs::write(&file, "old").unwrap();
    fs::write(dir.path().join("b.txt"), "other").unwrap();
    let (host, mut events) = host();
    host.reconcile(&[files(dir.path())]);
    let first = next(&mut events).await;
    assert_eq!(
        (
            &first.payload["event"],
            &first.payload["name"],
            &first.payload["size"]
        ),
        (&json!("created"), &json!("a.csv"), &json!(3))
    );
    assert_eq!(
        (first.sensor.as_deref(), first.source.kind.as_str()),
        (Some("k1"), "file")
    );
    fs::write(&file, "longer").unwrap();
    let second = next(&mut events).await;
    assert_eq!(
        (&second.payload["event"], &second.payload["size"]),
        (&json!("modified"), &json!(6))
    );
    assert_ne!(first.dedup_key, second.dedup_key);
    fs::remove_file(&file).unwrap();
    assert_eq!(next(&mut events).await.payload["event"], "deleted");
    host.shutdown().await;
    assert!(host.health().is_empty() && events.try_recv().is_err());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_problem_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("later");
    let (host, mut events) = host();
    host.reconcile(&[files(&folder)]);
    problem(&host, |p| {
        p.is_some_and(|p| p.ends_with("later does not exist"))
    })
    .await;
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.csv"), "").unwrap();
    assert_eq!(next(&mut events).await.payload["event"], "created");
    assert_eq!(host.health()[0].problem, None);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(next(&mut events).await.payload["event"], "deleted");
    problem(&host, |p| p.is_some()).await;
    host.shutdown().await;
}

#[tokio::test]
async fn each_json_line_of_a_child_is_an_event_and_others_are_a_problem() {
    let (host, mut events) = host();
    let script = r#"echo '{"n": 1}'; echo; echo '{"n": 2}'; echo nonsense; exec sleep 100"#;
    host.reconcile(&[spec(TriggerKind::Process, json!({"command": script}))]);
    for n in 1..=2 {
        let event = next(&mut events).await;
        assert_eq!((event.payload, event.dedup_key), (json!({"n": n}), None));
    }
    problem(&host, |p| p.is_some_and(|p| p.contains("\"nonsense\""))).await;
    host.shutdown().await;
}

#[tokio::test]
async fn a_child_ends_with_its_sensor_and_one_that_ends_is_started_again() {
    let (host, mut events) = host();
    let once = |word: &str| {
        spec(
            TriggerKind::Process,
            json!({"command": ["sh", "-c", "echo {\\\"pid\\\": $$}; exec sleep \"$0\"", word]}),
        )
    };
    host.reconcile(&[once("100")]);
    let pid = next(&mut events).await.payload["pid"].as_u64().unwrap();
    let alive = || Path::new(&format!("/proc/{pid}")).exists();
    host.reconcile(&[once("100")]);
    assert!(alive(), "nothing changed");
    host.reconcile(&[once("0")]);
    let second = next(&mut events).await.payload["pid"].as_u64().unwrap();
    assert!(
        !alive(),
        "the changed sensor starts after the old child is gone"
    );
    problem(&host, |p| {
        p.is_some_and(|p| p.contains("exit status: 0; it is started again in 1s"))
    })
    .await;
    assert_ne!(next(&mut events).await.payload["pid"], second);
    host.reconcile(&[]);
    assert!(host.health().is_empty());
}

#[tokio::test]
async fn mistakes_show_in_the_health() {
    let (host, _events) = host();
    host.reconcile(&[spec(TriggerKind::Process, json!({"command": ["sh", 1]}))]);
    problem(&host, |p| p.is_some_and(|p| p.contains("'command'"))).await;
    host.reconcile(&[spec(
        TriggerKind::File,
        json!({"path": "/tmp", "glob": "["}),
    )]);
    problem(&host, |p| p.is_some_and(|p| p.contains("'glob'"))).await;
    host.reconcile(&[spec(
        TriggerKind::Process,
        json!({"command": ["no-such-program"]}),
    )]);
    problem(&host, |p| {
        p.is_some_and(|p| p.contains("cannot be started"))
    })
    .await;
    host.shutdown().await;
}
