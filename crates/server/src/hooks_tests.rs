use super::*;
use proptest::prelude::*;

fn spec(parameters: Value) -> SensorSpec {
    let Value::Object(parameters) = parameters else {
        panic!("an object")
    };
    SensorSpec {
        key: "core.webhook#1".to_owned(),
        trigger: "core.webhook".parse().unwrap(),
        kind: TriggerKind::Webhook,
        parameters,
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

fn read(uri: &str, pairs: &[(&'static str, &str)], body: &[u8]) -> Result<Delivery, Problem> {
    Delivery::read(
        "POST",
        "deploy",
        &uri.parse().unwrap(),
        &headers(pairs),
        &Bytes::copy_from_slice(body),
    )
}

/// From GitHub's documentation of webhook signatures.
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn a_signature_must_be_of_this_body_with_this_secret() {
    let hook = spec(json!({"path": "/deploy", "secret": "It's a Secret to Everybody"}));
    let signed = headers(&[("x-hub-signature-256", SIGNATURE)]);
    assert!(is_signed(&hook, &signed, b"Hello, World!"));
    assert!(is_signed(
        &hook,
        &headers(&[(
            "x-camshaft-signature",
            &SIGNATURE.to_uppercase().replace("SHA", "sha")
        )]),
        b"Hello, World!"
    ));
    assert!(!is_signed(&hook, &signed, b"Hello, World?"));
    assert!(!is_signed(&hook, &HeaderMap::new(), b"Hello, World!"));
    for wrong in [
        "",
        "sha256=",
        "sha256=zz",
        "sha256=757",
        &SIGNATURE[..70],
        "sha1=757107ea",
    ] {
        assert!(
            !is_signed(
                &hook,
                &headers(&[("x-hub-signature-256", wrong)]),
                b"Hello, World!"
            ),
            "{wrong}"
        );
    }
}

#[test]
fn without_a_secret_everything_is_signed_and_with_an_unusable_one_nothing() {
    assert!(is_signed(&spec(json!({})), &HeaderMap::new(), b""));
    assert!(!is_signed(
        &spec(json!({"secret": ""})),
        &HeaderMap::new(),
        b""
    ));
    assert!(!is_signed(
        &spec(json!({"secret": 5})),
        &HeaderMap::new(),
        b""
    ));
}

#[test]
fn paths_match_with_and_without_slashes_and_other_sensors_do_not() {
    let mut timer = spec(json!({"path": "/deploy"}));
    timer.kind = TriggerKind::Interval;
    let sensors = [
        spec(json!({"path": "/deploy"})),
        spec(json!({"path": "deploy"})),
        spec(json!({"path": "deploy/x"})),
        timer,
    ];
    assert_eq!(listening(&sensors, "deploy").len(), 2);
    assert_eq!(listening(&sensors, "deploy/x").len(), 1);
    assert_eq!(listening(&sensors, "").len(), 0);
}

#[test]
fn methods_and_sizes_have_defaults() {
    assert_eq!(
        methods(&spec(json!({}))),
        BTreeSet::from(["POST".to_owned()])
    );
    assert_eq!(
        methods(&spec(json!({"method": "put"}))),
        BTreeSet::from(["PUT".to_owned()])
    );
    assert_eq!(methods(&spec(json!({"methods": ["get", "POST"]}))).len(), 2);
    assert_eq!(max_bytes(&spec(json!({}))), 1 << 20);
    assert_eq!(max_bytes(&spec(json!({"max_bytes": 10}))), 10);
}

#[test]
fn the_payload_tells_the_request_without_its_credentials() {
    let pairs = [
        ("content-type", "application/json; charset=utf-8"),
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("x-hub-signature-256", SIGNATURE),
        ("x-github-delivery", "d-1"),
        ("x-kind", "push"),
    ];
    let delivery = read(
        "/api/v1/hooks/deploy?a=1&b=2&b=3&b=%C3%A4",
        &pairs,
        br#"{"n": 1}"#,
    )
    .unwrap();
    assert_eq!(
        delivery.payload,
        json!({
            "method": "POST", "path": "/deploy",
            "query": {"a": "1", "b": ["2", "3", "ä"]},
            "headers": {"content-type": "application/json; charset=utf-8", "x-github-delivery": "d-1", "x-kind": "push"},
            "body": {"n": 1},
        })
    );
    let draft = delivery.draft(&spec(json!({})));
    assert_eq!(draft.dedup_key.as_deref(), Some("core.webhook#1 d-1"));
    assert_eq!(draft.sensor.as_deref(), Some("core.webhook#1"));
}

#[test]
fn bodies_are_json_text_or_base64() {
    assert!(read("/", &[("content-type", "application/json")], b"{").is_err());
    assert_eq!(
        decode("application/json", b"").unwrap(),
        (Value::Null, None)
    );
    assert_eq!(decode("text/plain", b"{").unwrap(), (json!("{"), None));
    assert_eq!(
        decode("", &[0xff, 0x00]).unwrap(),
        (json!("/wA="), Some("base64"))
    );
    assert_eq!(
        decode("application/vnd.x+json", b"1").unwrap(),
        (json!(1), None)
    );
}

proptest! {
    #[test]
    fn no_request_panics(query in "[ -~&&[^#\"<>\\\\^`{|}]]{0,40}", header: Vec<u8>, body: Vec<u8>, kind in 0..3usize) {
        let kind = ["application/json", "text/plain", "\u{7f}"][kind];
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-type", kind.as_bytes()), ("x-hub-signature-256", &header), ("webhook-id", &header)] {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(uri) = format!("/x?{query}").parse::<Uri>() {
            let _ = Delivery::read("POST", "x", &uri, &headers, &Bytes::from(body.clone()));
        }
        let hook = spec(json!({"secret": "s"}));
        prop_assert!(!is_signed(&hook, &headers, &body));
    }

    #[test]
    fn hexadecimal_is_read_back(bytes: Vec<u8>) {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(from_hex(&text), Some(bytes));
    }
}
