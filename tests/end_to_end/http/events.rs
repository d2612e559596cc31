//! Events: alone, in lists and as CloudEvents, each recorded once.

use serde_json::{Value, json};

use super::{JSON, items, problem, text};
use crate::harness::{Answer, Site};

fn site() -> Site {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    let schema = "payload_schema: { type: object, properties: { n: { type: integer } } }";
    site.pack_file("t/triggers/go.yaml", &format!("ref: t.go\n{schema}\n"));
    site.pack_file("t/triggers/any.yaml", "ref: t.any\n");
    site.pack_file(
        "t/rules/on_go.yaml",
        "ref: t.on_go\ntrigger: { ref: t.go }\naction: { ref: core.noop }\n",
    );
    site
}

fn post(site: &Site, content_type: &str, body: &Value) -> Answer {
    site.http(
        "POST",
        "/api/v1/events",
        &[("Content-Type", content_type)],
        body.to_string().as_bytes(),
    )
}

/// The recorded event behind an answer.
#[track_caller]
fn recorded(site: &Site, answer: &Answer) -> Value {
    assert_eq!(answer.status, 202, "{}", answer.text());
    site.get(&format!("/api/v1/events/{}", text(&answer.json(), "event")))
}

#[test]
fn one_bad_event_of_a_list_does_not_spoil_the_others() {
    let site = site();
    let _engine = site.up();
    let good = |n: u32| json!({"trigger": "t.go", "payload": {"n": n}, "occurred_at": "2026-01-02T03:04:05.678901Z"});
    let list = json!([good(1), {"trigger": "t.og", "payload": {}}, {"trigger": "t.go", "payload": {"n": "one"}}, good(2)]);
    let answer = post(&site, "application/json", &list);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    let results = answer["results"].as_array().expect("results");
    for (index, wrong) in [(1, "t.og"), (2, "one")] {
        assert_eq!(
            results[index]["problem"]["code"], "invalid_request",
            "{answer}"
        );
        assert!(
            text(&results[index]["problem"], "detail").contains(wrong),
            "{answer}"
        );
    }
    for (index, n) in [(0, 1), (3, 2)] {
        let event = site.get(&format!(
            "/api/v1/events/{}",
            text(&results[index], "event")
        ));
        assert_eq!(
            (&event["payload"], &event["occurred_at"]),
            (&json!({"n": n}), &json!("2026-01-02T03:04:05.678901Z"))
        );
        assert_eq!(
            results[index]["executions"].as_array().map(Vec::len),
            Some(1),
            "its rule was asked"
        );
    }
    assert_eq!(items(&site.get("/api/v1/events")).len(), 2);
    assert_eq!(
        post(&site, "application/json", &json!([])).json(),
        json!({"results": []})
    );
    let many = vec![json!({"trigger": "t.any", "payload": 1}); 10_001];
    assert_eq!(
        problem(&post(&site, "application/json", &json!(many)), 400),
        "invalid_request"
    );
    assert_eq!(
        problem(
            &post(
                &site,
                "application/json",
                &json!({"trigger": "t.og", "payload": {}})
            ),
            400
        ),
        "invalid_request"
    );
}

#[test]
fn a_long_list_is_answered_in_its_order() {
    let site = site();
    let _engine = site.up();
    let event = |n: usize| {
        let trigger = if n % 100 == 99 { "t.og" } else { "t.any" };
        json!({"trigger": trigger, "payload": {"n": n}, "dedup_key": format!("{n}")})
    };
    let list: Vec<Value> = (0..1_000).map(event).collect();
    let answers = [(); 2].map(|()| post(&site, "application/json", &json!(list)).json());
    let [first, again] = answers.each_ref().map(|answer| {
        let results = answer["results"].as_array().expect("results");
        assert_eq!(results.len(), list.len());
        results
    });
    let mut before = String::new();
    for (n, (first, again)) in first.iter().zip(again).enumerate() {
        if n % 100 == 99 {
            assert_eq!(first["problem"]["code"], "invalid_request", "{first}");
            continue;
        }
        let id = text(first, "event").to_owned();
        assert!(id > before, "{n}: ids rise in the order of the list");
        assert_eq!(
            (&first["duplicate"], &again["duplicate"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(first["event"], again["event"], "{n}");
        before = id;
    }
    let last = site.get(&format!("/api/v1/events/{before}"));
    assert_eq!(last["payload"], json!({"n": 998}));
}

#[test]
fn an_event_that_is_sent_again_is_the_same_event() {
    let site = site();
    let _engine = site.up();
    let body = json!({"trigger": "t.go", "payload": {"n": 1}}).to_string();
    let send = || {
        site.http(
            "POST",
            "/api/v1/events",
            &[JSON, ("Idempotency-Key", "delivery-1")],
            body.as_bytes(),
        )
    };
    let first = send().json();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..10).map(|_| scope.spawn(send)).collect();
        sending
            .into_iter()
            .map(|thread| thread.join().expect("an answer").json())
            .collect()
    });
    for answer in &answers {
        assert_eq!(
            (&answer["event"], &answer["duplicate"]),
            (&first["event"], &json!(true)),
            "{answer}"
        );
    }
    assert_eq!(items(&site.get("/api/v1/events")).len(), 1);
    assert_eq!(items(&site.get("/api/v1/executions")).len(), 1);
    let list = json!([{"trigger": "t.go", "payload": {"n": 2}, "dedup_key": "k"}, {"trigger": "t.go", "payload": {"n": 3}, "dedup_key": "k"}]);
    let twice = post(&site, "application/json", &list).json();
    assert_eq!(
        (
            &twice["results"][1]["duplicate"],
            &twice["results"][1]["event"]
        ),
        (&json!(true), &twice["results"][0]["event"]),
        "{twice}"
    );
}

#[test]
fn cloud_events_come_structured_in_batches_and_in_headers() {
    let site = site();
    let _engine = site.up();
    let cloud = |id: &str, kind: &str| json!({"specversion": "1.0", "id": id, "source": "/plant/1", "type": kind, "time": "2026-01-02T03:04:05Z", "data": {"n": 1}});

    let first = post(
        &site,
        "application/cloudevents+json; charset=utf-8",
        &cloud("1", "t.go"),
    );
    let event = recorded(&site, &first);
    assert_eq!(
        (&event["trigger"], &event["payload"]),
        (&json!("t.go"), &json!({"n": 1})),
        "{event}"
    );
    assert_eq!(
        (&event["source"]["name"], &event["occurred_at"]),
        (&json!("/plant/1"), &json!("2026-01-02T03:04:05.000000Z")),
        "{event}"
    );
    let again = post(&site, "application/cloudevents+json", &cloud("1", "t.go")).json();
    assert_eq!(
        (&again["event"], &again["duplicate"]),
        (&first.json()["event"], &json!(true)),
        "source and id are its identity"
    );

    let mut foreign = cloud("2", "com.example.measured");
    foreign["camshafttrigger"] = json!("t.go");
    assert_eq!(
        recorded(
            &site,
            &post(&site, "application/cloudevents+json", &foreign)
        )["trigger"],
        "t.go"
    );

    let batch = json!([
        cloud("1", "t.go"),
        cloud("3", "t.go"),
        cloud("4", "t.absent")
    ]);
    let answer = post(&site, "application/cloudevents-batch+json", &batch);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let results = &answer.json()["results"];
    assert_eq!(
        (&results[0]["duplicate"], &results[1]["duplicate"]),
        (&json!(true), &json!(false)),
        "{results}"
    );
    assert_eq!(
        results[2]["problem"]["code"], "invalid_request",
        "{results}"
    );

    let binary = |id: &str, content_type: &str, body: &[u8]| {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/plant/%C3%BC"),
            ("ce-type", "t.any"),
            ("Content-Type", content_type),
        ];
        site.http("POST", "/api/v1/events", &headers, body)
    };
    let event = recorded(&site, &binary("1", "application/json", br#"{"n": 2}"#));
    assert_eq!(
        (&event["payload"], &event["source"]["name"]),
        (&json!({"n": 2}), &json!("/plant/\u{fc}")),
        "{event}"
    );
    assert_eq!(
        binary("1", "application/json", br#"{"n": 2}"#).json()["duplicate"],
        true
    );
    assert_eq!(
        recorded(&site, &binary("2", "text/plain", b"hot"))["payload"],
        "hot"
    );
    assert_eq!(
        recorded(&site, &binary("3", "application/octet-stream", b"\xff\x00"))["payload"],
        "/wA="
    );
    assert_eq!(
        problem(&binary("4", "application/json", b"{"), 400),
        "invalid_request"
    );

    for (field, value) in [
        ("specversion", json!("0.3")),
        ("id", json!("")),
        ("id", json!(7)),
        ("source", Value::Null),
        ("type", json!("no trigger")),
        ("time", json!("noon")),
    ] {
        let mut wrong = cloud("5", "t.go");
        wrong[field] = value;
        assert_eq!(
            problem(&post(&site, "application/cloudevents+json", &wrong), 400),
            "invalid_request",
            "{wrong}"
        );
    }
}

#[test]
fn a_payload_comes_back_as_it_was_sent() {
    let site = site();
    let _engine = site.up();
    let deep = |levels: usize| -> Value {
        serde_json::from_str(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)))
            .expect("JSON")
    };
    for payload in [
        Value::Null,
        json!(0),
        json!(-1.5e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}\u{fffd}\u{130}\u{10ffff}"),
        json!({"": {"": []}}),
        json!([{"z": 1, "a": [null, true]}]),
        deep(90),
    ] {
        let answer = post(
            &site,
            "application/json",
            &json!({"trigger": "t.any", "payload": payload}),
        );
        assert_eq!(recorded(&site, &answer)["payload"], payload);
    }
    for time in [
        "0001-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-30T00:00:00.000001Z",
    ] {
        let answer = post(
            &site,
            "application/json",
            &json!({"trigger": "t.any", "payload": 1, "occurred_at": time}),
        );
        assert_eq!(recorded(&site, &answer)["occurred_at"], time);
    }
}
