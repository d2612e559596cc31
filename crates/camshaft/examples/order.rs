//! An order as a durable workflow: `cargo run --example order -- FOLDER`.
//!
//! Kill it at any instant and start it again with the same folder: it goes on where it was, and says what
//! it has done. Started once more after the end, it gives the receipt that it has.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;
use std::time::Duration;

use camshaft::embed::{Backoff, Builder, Context, Error, RetryPolicy, StepEventType, Workflow};
use camshaft::{field, inputs, text};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) card: String,
    pub(crate) lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) article: String,
    pub(crate) price: u64,
}

#[derive(Serialize, Deserialize)]
struct Reserve {
    order: u64,
    line: Line,
}

#[derive(Serialize, Deserialize)]
struct Charge {
    card: String,
    amounts: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Tell {
    what: String,
    problem: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: String,
    pub(crate) amount: u64,
}

/// Reserves one line of an order; its price is the result.
async fn reserve(context: Context, reserve: Reserve) -> Result<u64, String> {
    context.log(&format!(
        "{} for order {}",
        reserve.line.article, reserve.order
    ));
    Ok(reserve.line.price)
}

/// Charges a card. The idempotency key is the same for every attempt, so that a real one charges once.
async fn charge(context: Context, charge: Charge) -> Result<Receipt, String> {
    if context.attempt == 1 {
        return Err(format!("the bank of {} does not answer", charge.card));
    }
    Ok(Receipt {
        number: context.idempotency_key,
        amount: charge.amounts.iter().sum(),
    })
}

async fn tell(context: Context, tell: Tell) -> Result<(), String> {
    context.log(&format!(
        "{}: {}",
        tell.what,
        tell.problem.as_deref().unwrap_or("it went well")
    ));
    Ok(())
}

/// The workflow: a task starts as soon as what it is given is there.
pub(crate) fn order() -> Result<Workflow<Order, Receipt>, Error> {
    let mut w = Workflow::<Order>::builder("shop.order").timeout(Duration::from_secs(3_600));
    let order = w.parameters();

    let reserved = w
        .task("reserve")
        .each(field!(order.lines))
        .concurrency(4)
        .run(reserve, |line| {
            inputs!(Reserve {
                order: field!(order.id),
                line: line.value
            })
        });

    let receipt = w
        .task("charge")
        .retry(RetryPolicy {
            max_attempts: 5,
            delay: Duration::from_millis(50),
            backoff: Backoff::Exponential,
            ..RetryPolicy::default()
        })
        .timeout(Duration::from_secs(30))
        .run(
            charge,
            inputs!(Charge {
                card: field!(order.card),
                amounts: &reserved
            }),
        );

    let id = field!(order.id);
    w.task("tell").finally().run(
        tell,
        inputs!(Tell {
            what: text!("order ", &id),
            problem: receipt.error()
        }),
    );
    w.build(receipt)
}

/// Starts an engine on a folder, runs one order, and gives the receipt with what happened.
pub(crate) async fn run(folder: PathBuf) -> Result<(Receipt, Vec<String>), Error> {
    let order = order()?;
    let engine = Builder::new(folder).workflow(&order).start().await?;
    let line = |article: &str, price| Line {
        article: article.to_owned(),
        price,
    };
    let seven = Order {
        id: 7,
        card: "4000".to_owned(),
        lines: vec![line("a lamp", 30), line("a {{ bulb }}", 12)],
    };
    // Whoever asks again, also after a crash, gets the same run.
    let run = order.start_once(&engine, "order 7", &seven).await?;
    let mut told = Vec::new();
    let mut events = run.events();
    while let Some(event) = events.next().await? {
        if event.event_type != StepEventType::StepHeartbeat {
            told.push(format!(
                "{} {}",
                event.step.unwrap_or_default(),
                event.event_type
            ));
        }
    }
    let receipt = run.result().await?;
    engine.stop().await;
    Ok((receipt, told))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| "order-data".into(), PathBuf::from);
    let (receipt, told) = run(folder).await?;
    for line in told {
        println!("{line}");
    }
    println!("charged {} as {}", receipt.amount, receipt.number);
    Ok(())
}
