//! The example program, run as it is.

#[path = "../../crates/camshaft/examples/order.rs"]
#[expect(dead_code, reason = "its `main` is run by hand")]
mod order;

use crate::in_time;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_charges_once_and_finds_its_receipt_again() {
    let folder = tempfile::tempdir().unwrap();
    let (receipt, told) = in_time(order::run(folder.path().to_owned())).await.unwrap();
    assert_eq!(receipt.amount, 42);
    let count = |line: &str| told.iter().filter(|told| *told == line).count();
    assert_eq!(count("reserve step_started"), 2, "{told:?}");
    assert_eq!(count("charge step_retrying"), 1, "{told:?}");
    assert_eq!(count("tell step_finished"), 1, "{told:?}");
    let again = in_time(order::run(folder.path().to_owned())).await.unwrap();
    assert_eq!(again, (receipt, told));
}
