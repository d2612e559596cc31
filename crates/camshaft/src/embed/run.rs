//! Runs of a program's workflows: starting, awaiting, following and stopping them.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use camshaft_engine::Engine;
use camshaft_engine::handle::{ExecutionRequest, InquiryAnswer};
use camshaft_model::port::store::{InquiryFilter, PageRequest, StepEventFilter, StoreError};
use camshaft_model::{
    ErrorCode, Execution, ExecutionId, ExecutionSpec, Inquiry, InquiryStatus, Object, Status,
    StepEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::engine::{Embedded, request};
use super::error::Error;
use super::follow::Followers;
use super::workflow::Workflow;

/// So many lines or questions are read at once.
const PAGE: u32 = 500;

impl<P: Serialize, R: DeserializeOwned> Workflow<P, R> {
    /// Starts a run and waits for its result.
    ///
    /// # Errors
    /// The engine was not started with this workflow or cannot take the run, or the run did not complete.
    pub async fn run(&self, engine: &Embedded, parameters: &P) -> Result<R, Error> {
        self.start(engine, parameters).await?.result().await
    }

    /// Starts a run. It is durable once this returns, and goes on whatever becomes of the [`Run`].
    ///
    /// # Errors
    /// The engine was not started with this workflow or cannot take the run.
    pub async fn start(&self, engine: &Embedded, parameters: &P) -> Result<Run<R>, Error> {
        self.request(engine, parameters, None).await
    }

    /// Starts the run of a key, or finds the one that was started before: also if that was before a crash.
    /// At most one run ever has a key.
    ///
    /// # Errors
    /// As [`Workflow::start`], or the key was used with other parameters or for another workflow.
    pub async fn start_once(
        &self,
        engine: &Embedded,
        key: &str,
        parameters: &P,
    ) -> Result<Run<R>, Error> {
        self.request(engine, parameters, Some(key.to_owned())).await
    }

    /// A run of this workflow by its id, such as one of an earlier life of the program.
    ///
    /// # Errors
    /// There is no such run, or it is one of another workflow.
    pub async fn find(&self, engine: &Embedded, id: ExecutionId) -> Result<Run<R>, Error> {
        let stored = engine.engine().store().execution(id).await;
        let found = stored.map_err(|error| unavailable(&error))?;
        match found {
            Some(execution) if execution.spec.action == *self.reference() => {
                Ok(Run::new(engine, &execution.spec))
            }
            _ => Err(refused(
                ErrorCode::NotFound,
                format!("there is no run {id} of {}", self.reference()),
            )),
        }
    }

    async fn request(
        &self,
        engine: &Embedded,
        parameters: &P,
        idempotency_key: Option<String>,
    ) -> Result<Run<R>, Error> {
        let invalid = |reason: String| {
            let message = format!("parameters of {}: {reason}", self.reference());
            refused(ErrorCode::InvalidParameters, message)
        };
        let parameters = match serde_json::to_value(parameters) {
            Ok(Value::Object(parameters)) => parameters,
            Ok(Value::Null) => Object::new(),
            Ok(_) => return Err(invalid("they are no object".to_owned())),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let request = ExecutionRequest {
            idempotency_key,
            ..request(self.reference().clone(), parameters)
        };
        let accepted = engine.engine().request(request).await?;
        Ok(Run::new(engine, &accepted.execution.spec))
    }
}

/// A run of a workflow whose result is an `R`. Dropping it does not stop the run.
pub struct Run<R> {
    id: ExecutionId,
    /// The run that it is a part of, if another workflow runs it; itself otherwise.
    root: ExecutionId,
    engine: Engine,
    followers: Arc<Followers>,
    of: PhantomData<fn() -> R>,
}

impl<R> Run<R> {
    fn new(engine: &Embedded, spec: &ExecutionSpec) -> Self {
        Self {
            id: spec.id,
            root: spec.root,
            engine: engine.engine().clone(),
            followers: engine.followers().clone(),
            of: PhantomData,
        }
    }

    /// Its id, by which the command line and [`Workflow::find`] find it.
    pub const fn id(&self) -> ExecutionId {
        self.id
    }

    /// Waits until it has ended, however that was.
    ///
    /// # Errors
    /// The engine stops before that; a later one goes on with the run.
    pub async fn ended(&self) -> Result<Arc<Execution>, Error> {
        Ok(self.engine.wait(self.id).await?)
    }

    /// Lets no new task start until it is resumed.
    ///
    /// # Errors
    /// It has ended.
    pub async fn pause(&self) -> Result<(), Error> {
        self.engine.pause(self.id).await?;
        Ok(())
    }

    /// Lets it go on after a pause.
    ///
    /// # Errors
    /// It has ended.
    pub async fn resume(&self) -> Result<(), Error> {
        self.engine.resume(self.id).await?;
        Ok(())
    }

    /// Stops what runs of it and lets nothing more start, `finally` tasks aside. Asking again changes
    /// nothing. [`Run::ended`] tells when it is over.
    ///
    /// # Errors
    /// It has ended otherwise.
    pub async fn cancel(&self) -> Result<(), Error> {
        self.engine.cancel(self.id).await?;
        Ok(())
    }

    /// Its event log, from the first line on, as it is written. Of a run that another workflow runs these
    /// are the lines about itself: what the executions below it do is in the log of that other run.
    pub fn events(&self) -> Events {
        Events {
            id: self.id,
            filter: StepEventFilter {
                root: Some(self.root),
                item: (self.root != self.id).then_some(self.id),
                ..StepEventFilter::default()
            },
            engine: self.engine.clone(),
            news: self.followers.follow(self.root),
            read: VecDeque::new(),
            last: None,
            is_over: false,
        }
    }

    /// Waits until a task asks its question.
    ///
    /// # Errors
    /// The run has ended.
    pub async fn asked(&self, task: &str) -> Result<Asked, Error> {
        let mut news = self.followers.follow(self.root);
        loop {
            news.mark_unchanged();
            // The state is read first: a run that has not ended by then may still ask.
            let ended = ended(&self.engine, self.id).await?;
            if let Some(inquiry) = self.open_question(task).await? {
                let engine = self.engine.clone();
                return Ok(Asked { inquiry, engine });
            }
            if let Some(execution) = ended {
                return Err(not_completed(&execution));
            }
            changed(&mut news).await?;
        }
    }

    async fn open_question(&self, task: &str) -> Result<Option<Inquiry>, Error> {
        let filter = InquiryFilter {
            statuses: vec![InquiryStatus::Open],
            run: Some(self.id),
            below: false,
        };
        let mut after = None;
        loop {
            let page = PageRequest { after, limit: PAGE };
            let open = self.engine.store().inquiries(filter.clone(), page).await;
            let open = open.map_err(|error| unavailable(&error))?;
            after = open.last().map(|inquiry| inquiry.id);
            let is_last = open.len() < PAGE as usize;
            let found = open.into_iter().find(|open| open.task.name == task);
            if found.is_some() || is_last {
                return Ok(found);
            }
        }
    }
}

impl<R: DeserializeOwned> Run<R> {
    /// Waits until it has ended, and gives its result.
    ///
    /// # Errors
    /// It did not complete ([`Error::Ended`]), its result is not of this type, or the engine stops.
    pub async fn result(&self) -> Result<R, Error> {
        let execution = self.ended().await?;
        if execution.state.status != Status::Completed {
            return Err(not_completed(&execution));
        }
        let result = execution.state.result.as_deref().unwrap_or(&Value::Null);
        R::deserialize(result).map_err(|error| Error::Result {
            id: self.id,
            reason: error.to_string(),
        })
    }
}

/// A question that a run waits on.
pub struct Asked {
    inquiry: Inquiry,
    engine: Engine,
}

impl Asked {
    /// The question as it is recorded.
    pub const fn inquiry(&self) -> &Inquiry {
        &self.inquiry
    }

    /// Says yes. The same answer given again changes nothing.
    ///
    /// # Errors
    /// The response does not fit the schema, or somebody answered otherwise.
    pub async fn approve(self, by: &str, response: impl Serialize) -> Result<(), Error> {
        let response = serde_json::to_value(response).map_err(|error| {
            refused(ErrorCode::InvalidResponse, format!("the response: {error}"))
        })?;
        self.answer(true, by, response).await
    }

    /// Says no: the task fails.
    ///
    /// # Errors
    /// Somebody answered otherwise.
    pub async fn reject(self, by: &str) -> Result<(), Error> {
        self.answer(false, by, Value::Null).await
    }

    async fn answer(self, approve: bool, by: &str, response: Value) -> Result<(), Error> {
        let answer = InquiryAnswer {
            approve,
            response,
            by: by.to_owned(),
            // The program itself has every role.
            roles: None,
        };
        self.engine.answer(self.inquiry.id, answer).await?;
        Ok(())
    }
}

/// The event log of a run, line by line.
pub struct Events {
    id: ExecutionId,
    filter: StepEventFilter,
    engine: Engine,
    news: watch::Receiver<()>,
    read: VecDeque<StepEvent>,
    last: Option<i64>,
    is_over: bool,
}

impl Events {
    /// The next line, once it is there; `None` once the run has ended and all lines were given.
    ///
    /// # Errors
    /// The database does not answer, or the engine stops.
    pub async fn next(&mut self) -> Result<Option<StepEvent>, Error> {
        loop {
            if let Some(line) = self.read.pop_front() {
                self.last = Some(line.id);
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            self.news.mark_unchanged();
            // The state is read first: the last line was stored with the end.
            let ended = ended(&self.engine, self.id).await?.is_some();
            let page = PageRequest {
                after: self.last,
                limit: PAGE,
            };
            let lines = self
                .engine
                .store()
                .step_events(self.filter.clone(), page)
                .await;
            self.read = lines.map_err(|error| unavailable(&error))?.into();
            self.is_over = ended && self.read.len() < PAGE as usize;
            if self.read.is_empty() && !self.is_over {
                changed(&mut self.news).await?;
            }
        }
    }
}

async fn changed(news: &mut watch::Receiver<()>) -> Result<(), Error> {
    let stopped = |_| refused(ErrorCode::Unavailable, "the engine has stopped".to_owned());
    news.changed().await.map_err(stopped)
}

/// The execution, if it has ended.
async fn ended(engine: &Engine, id: ExecutionId) -> Result<Option<Execution>, Error> {
    let stored = engine.store().execution(id).await;
    let stored = stored.map_err(|error| unavailable(&error))?;
    Ok(stored.filter(|execution| execution.state.status.is_terminal()))
}

fn not_completed(execution: &Execution) -> Error {
    Error::Ended {
        id: execution.spec.id,
        status: execution.state.status,
        failure: execution.state.error.clone(),
    }
}

fn unavailable(error: &StoreError) -> Error {
    refused(ErrorCode::Unavailable, error.to_string())
}

pub(super) fn refused(code: ErrorCode, message: String) -> Error {
    Error::Refused {
        code,
        message,
        problems: Vec::new(),
        hint: None,
    }
}
