//! What every store must do, whatever database is behind it. A backend runs all of it with
//! [`store_contract!`](crate::store_contract!), which makes one test of each case.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a case fails by panicking"
)]

mod constraint;
mod guard;
mod held_event;
mod maker;
mod page;
mod promise;
mod run;
mod whole;

use std::sync::Arc;

use camshaft_model::port::store::{Change, Outcome, PageRequest, Store, StoreError, Transaction};
use tokio::sync::oneshot;

pub use constraint::*;
pub use guard::*;
pub use held_event::*;
pub use maker::Maker;
pub use page::*;
pub use promise::*;
pub use run::*;
pub use whole::*;

/// A place for one database.
pub trait Home: Send + Sync {
    /// Opens the database: an empty one the first time, the same one every other time. The store
    /// that was open before has been dropped.
    fn open(&self) -> Arc<dyn Store>;
}

/// Makes one test of every case: `store_contract!(|| MyHome::new())`.
#[macro_export]
macro_rules! store_contract {
    ($home:expr) => {
        $crate::store_contract!(@cases $home;
            what_is_stored_is_read_back_whole, attempts_are_recorded_once, sensors_packs_and_overrides_are_kept,
            constraints_are_replaced_by_key_and_keep_the_instant_of_their_rate,
            what_holds_an_execution_is_recorded_while_it_waits,
            held_events_are_kept_with_the_rules_that_have_not_answered, events_are_read_by_their_ids_up_to_a_size,
            step_events_of_a_transaction_have_no_gaps, what_was_acknowledged_survives_a_restart,
            epochs_rise_also_over_restarts, callbacks_are_called_once_and_in_order,
            a_repeated_event_is_refused, a_repeated_idempotency_key_is_refused, a_move_from_elsewhere_is_refused,
            a_refused_transaction_stores_nothing, one_of_many_movers_wins, one_of_many_equal_events_is_stored,
            a_transaction_that_cannot_be_stored_fails_alone,
            executions_are_listed_newest_first, events_are_listed_newest_first, enforcements_are_listed_newest_first,
            step_events_are_listed_oldest_first, unfinished_executions_are_found,
            runs_are_read_back_whole_and_replaced, tasks_keep_the_order_of_their_starts, laps_are_read_apart,
            results_are_read_alone_or_left_out, lists_of_items_are_kept,
            children_are_read_back_whole_and_listed_oldest_first, ten_thousand_children_are_paged, items_are_counted_by_task_and_status,
            roots_are_listed_without_children, inquiries_are_read_back_whole_and_listed_newest_first,
            inquiries_of_the_runs_below_are_listed_with_those_of_a_run,
            cached_results_expire_and_the_oldest_go_first, a_version_of_a_pack_is_kept_without_being_current,
            a_completion_is_stored_whole_or_not_at_all,
            a_lawful_history_keeps_every_promise, every_broken_promise_is_found,
        );
    };
    (@cases $home:expr; $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let home = ($home)();
                $crate::store_contract::$case(&home).await;
            }
        )*
    };
}

/// Stores changes and waits for what became of them.
///
/// # Errors
/// What the store says.
pub async fn commit(store: &dyn Store, changes: Vec<Change>) -> Result<Outcome, StoreError> {
    submit(store, changes).await.unwrap()
}

fn submit(
    store: &dyn Store,
    changes: Vec<Change>,
) -> oneshot::Receiver<Result<Outcome, StoreError>> {
    let (answer, answered) = oneshot::channel();
    store.submit(
        Transaction { changes },
        Box::new(|outcome| drop(answer.send(outcome))),
    );
    answered
}

/// Stores changes that must apply; the number of their first step event.
async fn apply(store: &dyn Store, changes: Vec<Change>) -> i64 {
    match commit(store, changes).await {
        Ok(Outcome::Applied { first_step_event }) => first_step_event,
        other => panic!("not applied: {other:?}"),
    }
}

fn first<C>(limit: u32) -> PageRequest<C> {
    PageRequest { after: None, limit }
}
