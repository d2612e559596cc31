//! The output of a run of a workflow: that of all its steps, each line after the name of its step.
//!
//! The event log says which attempts there are. Following, each attempt is read from its first byte
//! as soon as the log says that it started, so nothing is missed however late its reader comes.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{Execution, ExecutionId, StepEvent, StepEventType};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use super::{Follower, Until};
use crate::command::Context;
use crate::command::context::Query;
use crate::command::watch::names::Names;
use crate::command::watch::stream::Lines;
use crate::exit::CliError;

/// So many attempts are read at a time; others wait, and lose nothing by it.
const MAX_READERS: usize = 32;
/// So many lines of the event log are read at once.
const PAGE: u32 = 500;

/// What following looks for: the starts of attempts, and the end of the run.
const FOLLOWED: [StepEventType; 4] = [
    StepEventType::StepStarted,
    StepEventType::TaskCompleted,
    StepEventType::TaskFailed,
    StepEventType::TaskCancelled,
];

/// One attempt, with the name before its lines.
struct Source {
    execution: ExecutionId,
    attempt: u32,
    name: String,
}

/// What is to be shown of a run.
pub(super) struct Steps<'a> {
    pub(super) context: &'a Context,
    pub(super) run: Execution,
    pub(super) streams: &'a [OutputStream],
}

impl Steps<'_> {
    /// Prints what there is, in the order in which the attempts started.
    pub(super) async fn print(&self) -> Result<(), CliError> {
        let mut names = Names::new(self.context, self.run.spec.id);
        let mut after: i64 = 0;
        loop {
            let path = format!("/executions/{}/events", self.run.spec.root);
            let query = Query::default()
                .with("after", Some(after))
                .with("limit", Some(PAGE))
                .with("type", Some(StepEventType::StepStarted.as_str()));
            let page: Value = self
                .context
                .client
                .get(&path, &query.0, Duration::ZERO)
                .await?;
            let lines = crate::command::context::items(&page);
            for line in lines {
                after = line.get("id").and_then(Value::as_i64).unwrap_or(after);
                let Ok(event) = serde_json::from_value::<StepEvent>(line.clone()) else {
                    continue;
                };
                if let Some(source) = source(&mut names, &event).await? {
                    self.read(source, Until::Now).await?;
                }
            }
            if lines.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Prints what comes, until the run has ended and everything was printed.
    pub(super) async fn follow(&self) -> Result<(), CliError> {
        let id = self.run.spec.id;
        let types = FOLLOWED.map(|kind| kind.as_str().to_owned()).join(",");
        // The log of a part names only that part; what is below it is found in the log of the run.
        let mut lines = Lines::new(self.context, Some(self.run.spec.root))
            .query(vec![("type", types)])
            .after(Some(0));
        let mut names = Names::new(self.context, id);
        let mut readers = FuturesUnordered::new();
        let mut waiting = VecDeque::new();
        let mut over = false;
        while !(over && readers.is_empty() && waiting.is_empty()) {
            while readers.len() < MAX_READERS
                && let Some(source) = waiting.pop_front()
            {
                readers.push(self.read(source, Until::AttemptEnds));
            }
            let mut found = None;
            {
                let mut next = pin!(async {
                    match lines.event().await? {
                        Some(event) if ends(&mut names, &event).await? => Ok(None),
                        Some(event) => Ok(Some(source(&mut names, &event).await?)),
                        None => Ok::<_, CliError>(None),
                    }
                });
                while found.is_none() {
                    tokio::select! {
                        event = &mut next, if !over => found = Some(event?),
                        Some(read) = readers.next(), if !readers.is_empty() => {
                            read?;
                            if over || !waiting.is_empty() {
                                break;
                            }
                        }
                        else => break,
                    }
                }
            }
            match found {
                Some(None) => over = true,
                Some(Some(source)) => waiting.extend(source),
                None => {}
            }
        }
        Ok(())
    }

    async fn read(&self, source: Source, until: Until) -> Result<(), CliError> {
        let read = |stream: &OutputStream| {
            Follower::new(self.context, source.execution, *stream, until)
                .attempt(Some(source.attempt))
                .prefixed(&source.name)
                .run()
        };
        if until == Until::Now {
            for stream in self.streams {
                read(stream).await?;
            }
            return Ok(());
        }
        futures::future::try_join_all(self.streams.iter().map(read))
            .await
            .map(drop)
    }
}

/// Whether a line tells that the run which is followed has ended.
async fn ends(names: &mut Names<'_>, event: &StepEvent) -> Result<bool, CliError> {
    if event.event_type == StepEventType::StepStarted {
        return Ok(false);
    }
    let about = names.about(event).await?;
    Ok(about.is_some_and(|about| about.itself && about.name.is_empty()))
}

/// The attempt that a line tells the start of, if it is one of an action of this run.
async fn source(names: &mut Names<'_>, event: &StepEvent) -> Result<Option<Source>, CliError> {
    if event.event_type != StepEventType::StepStarted {
        return Ok(None);
    }
    let number = event.payload.get("attempt").and_then(Value::as_u64);
    let Some(attempt) = number
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n > 0)
    else {
        return Ok(None);
    };
    let about = names.about(event).await?;
    Ok(about
        .filter(|about| about.itself && !about.name.is_empty())
        .map(|about| Source {
            execution: about.execution,
            attempt,
            name: match attempt {
                1 => about.name,
                attempt => format!("{} (attempt {attempt})", about.name),
            },
        }))
}
