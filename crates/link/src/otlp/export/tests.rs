use super::*;

struct Bench {
    exporter: Exporter,
    dropped: Arc<AtomicU64>,
}

fn bench() -> Bench {
    let settings = Settings {
        endpoint: "http://localhost:4318/v1/traces".to_owned(),
        headers: Vec::new(),
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        batch_spans: 2,
        queue_spans: 4,
        resource: Vec::new(),
    };
    let dropped = Arc::<AtomicU64>::default();
    let exporter = Exporter::new(
        settings,
        HeaderMap::new(),
        reqwest::Client::new(),
        dropped.clone(),
    );
    Bench { exporter, dropped }
}

fn spans(names: &[&str]) -> Vec<Span> {
    let span = |name: &&str| Span {
        name: (*name).to_owned(),
        ..Span::default()
    };
    names.iter().map(span).collect()
}

impl Bench {
    fn answered(&mut self, names: &[&str], outcome: Outcome) -> bool {
        let spans = spans(names);
        self.exporter.sent(Sent { spans, outcome })
    }

    fn waiting(&self) -> Vec<&str> {
        let waiting = self.exporter.waiting.iter();
        waiting.map(|span| span.name.as_str()).collect()
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How long it is to the next request.
    fn due_in(&self) -> Duration {
        self.exporter.due().unwrap() - Instant::now()
    }
}

fn taken(rejected: u64) -> Outcome {
    Outcome::Taken {
        rejected,
        message: String::new(),
    }
}

fn later(after: Option<u64>) -> Outcome {
    Outcome::Later("busy".to_owned(), after.map(Duration::from_secs))
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once_and_others_wait_for_company() {
    let mut bench = bench();
    assert_eq!(bench.exporter.due(), None);
    bench.exporter.add(spans(&["a"]));
    assert_eq!(bench.due_in(), Duration::from_secs(5));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(bench.due_in(), Duration::from_secs(3));
    bench.exporter.add(spans(&["b"]));
    assert!(bench.exporter.due().unwrap() <= Instant::now());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_counted_and_what_comes_back_pushes_out_its_own_oldest() {
    let mut bench = bench();
    bench.exporter.add(spans(&["c", "d", "e"]));
    assert!(!bench.answered(&["a", "b"], later(None)));
    assert_eq!(bench.waiting(), ["b", "c", "d", "e"]);
    assert_eq!(bench.dropped(), 1);
    bench.exporter.add(spans(&["f"]));
    assert_eq!((bench.waiting().len(), bench.dropped()), (4, 2));
    assert!(!bench.answered(&["x", "y"], Outcome::Refused("no".to_owned())));
    assert_eq!((bench.waiting().len(), bench.dropped()), (4, 4));
    assert_eq!((bench.exporter.abandon(), bench.dropped()), (4, 8));
}

#[tokio::test(start_paused = true)]
async fn the_pauses_double_and_a_collector_may_name_its_own() {
    let mut bench = bench();
    for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        bench.answered(&["a", "b"], later(None));
        assert_eq!(bench.due_in(), Duration::from_secs_f64(seconds));
        bench.exporter.waiting.clear();
    }
    for (asked, given) in [
        (0, FIRST_PAUSE),
        (120, Duration::from_secs(120)),
        (86_400, LONGEST_ASKED_FOR),
    ] {
        bench.answered(&["a", "b"], later(Some(asked)));
        assert_eq!(bench.due_in(), given, "{asked} s");
        bench.exporter.waiting.clear();
    }
    assert!(bench.answered(&["a"], taken(0)));
    bench.answered(&["a", "b"], later(None));
    assert_eq!(bench.due_in(), FIRST_PAUSE, "it starts over");
}

#[test]
fn a_collector_that_rejects_some_has_not_recovered_and_rejects_no_more_than_it_got() {
    let mut bench = bench();
    assert!(bench.answered(&["a", "b"], taken(1)));
    assert!(bench.exporter.failing);
    assert!(bench.answered(&["a", "b"], taken(u64::MAX)));
    assert!(bench.exporter.failing, "it would be told again each time");
    assert_eq!(bench.dropped(), 3);
    assert!(bench.answered(&["a", "b"], taken(0)));
    assert!(!bench.exporter.failing);
}

#[test]
fn an_address_is_shown_without_what_may_be_secret() {
    for (address, plain) in [
        ("http://host:4318/v1/traces", "http://host:4318/v1/traces"),
        ("https://me:pass@host/v1", "https://host/v1"),
        ("https://me:p@ss/word@host/v1?key=1", "https://host/v1"),
        ("me:pass@host", "host"),
        ("host:4318", "host:4318"),
        ("", ""),
    ] {
        assert_eq!(shown(address), plain);
    }
}
