//! What the broker in the process says of itself.

use super::broker::{free_port, publish, subscribe_and_leave};
use crate::harness::Site;

#[test]
fn what_the_broker_in_the_process_drops_is_counted() {
    let (site, port) = (Site::new(), free_port());
    let engine = site.up_with(&[&format!("--broker=127.0.0.1:{port}")], &[]);
    let metric = || {
        let page = site.http("GET", "/metrics", &[], b"").text();
        let mut lines = page.lines();
        let line = lines
            .find_map(|line| line.strip_prefix("camshaft_broker_messages_dropped_total "))
            .map(str::to_owned);
        line.unwrap_or_else(|| panic!("no such metric in:\n{page}"))
    };
    assert_eq!(metric(), "0");
    subscribe_and_leave(port, "away", "big");
    let file = site.path().join("big");
    std::fs::write(&file, vec![b'x'; 1_000_000]).expect("written");
    let file = file.to_str().expect("a path");
    // Of these 33 fit into the 32 MiB that may wait for a client.
    publish(
        port,
        &["-q", "1", "-t", "big", "--repeat", "40", "-f", file],
    );
    assert_eq!(metric(), "7");
    assert_eq!(engine.stop().0, 0);
}
