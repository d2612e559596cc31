//! The library facade: an engine inside another program, and durable workflows of its functions.
//!
//! Async functions become tasks and actions with typed parameters and results. They run under everything
//! that other actions run under: recorded, retried, limited, explained, and taken up again after a crash.
//! The guide is `docs/embedding.md`.
//!
//! A workflow is put together once, before anything runs: each task is given values, or handles of
//! values that other tasks will have, and so the order follows. What is built is the definition that a
//! person would write in YAML, checked by the same loader; user code is never replayed.
//!
//! ```
//! use camshaft::embed::{Builder, Context, Workflow};
//! use camshaft::{field, inputs};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { id: u64, prices: Vec<u64> }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Price { net: u64, rate: u64 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Bill { order: u64, gross: Vec<u64> }
//!
//! async fn with_tax(_: Context, price: Price) -> Result<u64, String> {
//!     let tax = price.net.checked_mul(price.rate).ok_or("no such tax")? / 100;
//!     price.net.checked_add(tax).ok_or_else(|| "no such price".to_owned())
//! }
//!
//! async fn total(_: Context, bill: Bill) -> Result<u64, String> {
//!     Ok(bill.gross.iter().sum())
//! }
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), camshaft::embed::Error> {
//! let mut w = Workflow::<Order>::builder("shop.bill");
//! let order = w.parameters();
//! let gross = w
//!     .task("tax")
//!     .each(field!(order.prices))
//!     .run(with_tax, |price| inputs!(Price { net: price.value, rate: 19 }));
//! let total = w
//!     .task("total")
//!     .run(total, inputs!(Bill { order: field!(order.id), gross: &gross }));
//! let bill = w.build(total)?;
//!
//! let engine = Builder::in_memory().workflow(&bill).start().await?;
//! let total = bill.run(&engine, &Order { id: 7, prices: vec![100, 200] }).await?;
//! assert_eq!(total, 357);
//! engine.stop().await;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod builder;
mod condition;
mod definition;
mod engine;
mod error;
mod follow;
mod run;
mod shape;
mod task;
mod value;
mod wait;
mod workflow;

use camshaft_model::Ref;

pub use builder::Builder;
pub use camshaft_model::definition::{Backoff, RetryPolicy};
pub use camshaft_model::notice::{Notice, Subscriber};
pub use camshaft_model::{
    ErrorCode, Execution, ExecutionId, Failure, Status, StepEvent, StepEventType,
};
pub use camshaft_worker::NativeContext as Context;
pub use condition::Condition;
pub use engine::{Embedded, request};
pub use error::Error;
pub use run::{Asked, Events, Run};
pub use serde_json::Value as Json;
pub use task::{Continue, Each, Item, Need, OnItemFailure, Outcome, Stop, Task, TaskBuilder};
pub use value::{AnyInput, Given, Handle, Input, Inputs, Slot, Text};
pub use wait::{Answer, Awaited, Question, Received};
pub use workflow::{Workflow, WorkflowBuilder};

/// A ref that a program may give to something of its own.
fn own_reference(reference: &str) -> Result<Ref, String> {
    let name: Ref = reference
        .parse()
        .map_err(|error: camshaft_model::reference::RefError| error.to_string())?;
    if name.pack() == "core" {
        return Err(format!("'{name}': the pack 'core' belongs to Camshaft"));
    }
    Ok(name)
}
