//! Definitions that have been checked: what the engine, the worker and the API work with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Workflow;
use super::workflow::Work;
use crate::{Object, Ref, Status};

/// What is shown in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Which version of which pack a definition belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackOrigin {
    /// The pack's ref.
    pub pack: String,
    /// The hash of the pack's files.
    pub hash: std::sync::Arc<str>,
    /// The folder with the pack's files. Empty for the core pack, which has none.
    pub dir: PathBuf,
    /// The pack's Python environment, if it has requirements.
    pub python: Option<PythonEnvironment>,
}

/// A Python environment that a pack asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PythonEnvironment {
    /// The requirements file, relative to the pack's folder.
    pub requirements: String,
}

/// The parameters that an action or a trigger takes: a JSON Schema object, made from the authored
/// properties with their `required: true` and `secret: true` taken out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ParameterSchema {
    /// A JSON Schema of type object, with `properties`, `required` and `additionalProperties: false`.
    pub schema: Value,
    /// Defaults by name.
    pub defaults: Object,
    /// Names of parameters whose values are never shown.
    pub secret: Vec<String>,
}

/// How parameters reach a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterDelivery {
    /// One JSON object on standard input.
    #[default]
    Stdin,
    /// `PARAM_NAME` in the environment; values that are not strings as JSON.
    Env,
    /// `--name value`; values that are not strings as JSON.
    Args,
    /// A file with one JSON object, named by `CAMSHAFT_PARAMETERS`.
    File,
}

/// What standard output is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// The text, without its last line end, is the result.
    #[default]
    Text,
    /// The last JSON value is the result.
    Json,
    /// Each line is a JSON value; the list of them is the result.
    Jsonl,
}

/// What a runtime is given to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryPoint {
    /// A file, relative to the pack's folder (`actions/greet.py`), or absolute for an ad-hoc file.
    File(PathBuf),
    /// The text of a script.
    Script(String),
    /// The name of a native function.
    Native(String),
    /// A graph of tasks (`workflow`).
    Workflow(Arc<Workflow>),
    /// Nothing: the parameters say it all (`http`).
    None,
}

/// How the delay between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Always the same.
    #[default]
    Constant,
    /// delay, 2 x delay, 3 x delay, ...
    Linear,
    /// delay, 2 x delay, 4 x delay, ...
    Exponential,
}

/// Whether and when an attempt that did not complete is followed by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How many tries there are, the first one included; at least 1.
    pub max_attempts: u32,
    /// The delay before the second try.
    pub delay: Duration,
    /// How it grows.
    pub backoff: Backoff,
    /// What it does not grow beyond.
    pub max_delay: Duration,
    /// Whether each delay is taken at random between half of it and the whole.
    pub jitter: bool,
    /// After which ends there is another try: of `Failed`, `TimedOut`, `Abandoned`.
    pub on: Vec<Status>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            delay: Duration::from_secs(1),
            backoff: Backoff::Constant,
            max_delay: Duration::from_secs(3_600),
            jitter: false,
            on: vec![Status::Failed, Status::TimedOut, Status::Abandoned],
        }
    }
}

/// Something that can run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    /// Its identity.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// What it is for.
    pub description: String,
    /// Where it was defined; `None` for ad-hoc files and native actions of an embedding program.
    pub origin: Option<PackOrigin>,
    /// The runtime, by name. It is never guessed.
    pub runtime: String,
    /// The definition of the runtime, where a pack defines it.
    pub runtime_definition: Option<Arc<Runtime>>,
    /// What the runtime is given.
    pub entry_point: EntryPoint,
    /// What it takes.
    pub parameters: ParameterSchema,
    /// How parameters reach it.
    pub parameter_delivery: ParameterDelivery,
    /// What its standard output is taken for.
    pub output: OutputMode,
    /// JSON Schema that the result must satisfy.
    pub output_schema: Option<Value>,
    /// Stop it after so long.
    pub timeout: Option<Duration>,
    /// Stop it when it has written nothing for so long.
    pub stall_timeout: Option<Duration>,
    /// Whether and when it is tried again.
    pub retry: RetryPolicy,
    /// Whether it may be started again after an attempt of which it is not known how far it came.
    pub idempotent: bool,
    /// Named capacities of workers that an attempt holds.
    pub resources: BTreeMap<String, u32>,
    /// Variables for the environment of its process.
    pub environment: BTreeMap<String, String>,
}

impl Action {
    /// The graph of tasks, if it is a workflow.
    pub fn workflow(&self) -> Option<&Arc<Workflow>> {
        match &self.entry_point {
            EntryPoint::Workflow(workflow) => Some(workflow),
            _ => None,
        }
    }

    /// An action with nothing but what it must have: it belongs to no pack, takes any object on
    /// standard input, returns its text, has no deadline, is tried once, and may be started again
    /// after an interruption.
    pub fn new(reference: Ref, runtime: impl Into<String>, entry_point: EntryPoint) -> Self {
        Self {
            reference,
            description: String::new(),
            origin: None,
            runtime: runtime.into(),
            runtime_definition: None,
            entry_point,
            parameters: ParameterSchema {
                schema: serde_json::json!({ "type": "object" }),
                ..ParameterSchema::default()
            },
            parameter_delivery: ParameterDelivery::default(),
            output: OutputMode::default(),
            output_schema: None,
            timeout: None,
            stall_timeout: None,
            retry: RetryPolicy::default(),
            idempotent: true,
            resources: BTreeMap::new(),
            environment: BTreeMap::new(),
        }
    }

    /// A copy of parameters that may be shown: values of secret ones replaced by [`REDACTED`].
    pub fn masked(&self, parameters: &Object) -> Object {
        let mut shown = parameters.clone();
        for name in &self.parameters.secret {
            if let Some(value) = shown.get_mut(name) {
                *value = Value::String(REDACTED.to_owned());
            }
        }
        shown
    }
}

/// How actions of some kind are run, where a pack defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runtime {
    /// The name that actions use: the ref's last part.
    pub name: String,
    /// Its identity.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// What it is for.
    pub description: String,
    /// The command; the entry point and its arguments follow. The first word is looked up in `PATH`.
    pub command: Vec<String>,
    /// File name extensions by which it recognises an ad-hoc file, without the dot.
    pub extensions: Vec<String>,
}

/// How events of a trigger come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// Every so often.
    Interval,
    /// At the times of a cron expression.
    Cron,
    /// Once.
    Date,
    /// At the times of an RFC 5545 recurrence rule.
    Rrule,
    /// When somebody calls a path over HTTP.
    Webhook,
    /// When files appear or change.
    File,
    /// When a child process prints a line.
    Process,
    /// When a message is published to a topic of an MQTT broker.
    Mqtt,
    /// When an execution ends.
    Execution,
    /// Only when a person or program posts an event: every trigger that a pack defines.
    Posted,
}

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trigger {
    /// Its identity.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// What it is for.
    pub description: String,
    /// How its events come about.
    pub kind: TriggerKind,
    /// What rules may ask of it.
    pub parameters: ParameterSchema,
    /// JSON Schema of the payload, if it is declared.
    pub payload_schema: Option<Value>,
}

/// One condition on the payload of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// The path, such as `trigger.body.count`.
    pub path: String,
    /// The operator's canonical name; see the list of operators in docs/rules.md.
    #[serde(rename = "type")]
    pub operator: String,
    /// What the value is compared with. Null where the operator takes none.
    pub pattern: Value,
}

/// Trigger, criteria, action and parameter mapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Its identity.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// What it is for.
    pub description: String,
    /// Whether its definition enables it (an operator can override this).
    pub enabled: bool,
    /// The kind of event that it answers.
    pub trigger: Ref,
    /// What it asks of the trigger, defaults filled in.
    pub trigger_parameters: Object,
    /// All must hold, in the order of the file.
    pub criteria: Vec<Criterion>,
    /// An expression that must be true as well.
    pub when: Option<String>,
    /// What to run.
    pub action: Ref,
    /// Templates for its parameters.
    pub action_parameters: Object,
    /// Priority of its executions.
    pub priority: i32,
    /// Where it was defined.
    pub origin: Option<PackOrigin>,
}

/// A folder of definitions under one ref prefix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pack {
    /// Which version of which pack, and where its files are.
    pub origin: PackOrigin,
    /// The version that `pack.yaml` says.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Its actions.
    pub actions: BTreeMap<Ref, Arc<Action>>,
    /// Its triggers.
    pub triggers: BTreeMap<Ref, Arc<Trigger>>,
    /// Its rules.
    pub rules: BTreeMap<Ref, Arc<Rule>>,
    /// Its runtimes, by name.
    pub runtimes: BTreeMap<String, Arc<Runtime>>,
}

/// What one definition needs of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use<'a> {
    /// `rule` or `workflow`.
    pub kind: &'static str,
    /// The rule or workflow.
    pub user: &'a Ref,
    /// What it needs it for.
    pub what: UseOf,
    /// The trigger or action that it names.
    pub needs: &'a Ref,
}

/// What a definition is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseOf {
    /// Events of a trigger.
    Trigger,
    /// To run an action.
    Action,
}

/// Every current pack.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Catalog {
    /// By ref.
    pub packs: BTreeMap<String, Arc<Pack>>,
}

impl Catalog {
    fn pack_of(&self, reference: &Ref) -> Option<&Pack> {
        self.packs.get(reference.pack()).map(AsRef::as_ref)
    }

    /// An action by its ref.
    pub fn action(&self, reference: &Ref) -> Option<&Arc<Action>> {
        self.pack_of(reference)?.actions.get(reference)
    }

    /// A trigger by its ref.
    pub fn trigger(&self, reference: &Ref) -> Option<&Arc<Trigger>> {
        self.pack_of(reference)?.triggers.get(reference)
    }

    /// A rule by its ref.
    pub fn rule(&self, reference: &Ref) -> Option<&Arc<Rule>> {
        self.pack_of(reference)?.rules.get(reference)
    }

    /// Everything that rules and workflows name.
    pub fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let of_rules = self.rules().flat_map(|rule| {
            [
                (UseOf::Trigger, &rule.trigger),
                (UseOf::Action, &rule.action),
            ]
            .map(|(what, needs)| Use {
                kind: "rule",
                user: &rule.reference,
                what,
                needs,
            })
        });
        let of_workflows = self
            .packs
            .values()
            .flat_map(|pack| pack.actions.values())
            .filter_map(|action| Some((&action.reference, action.workflow()?)))
            .flat_map(|(user, workflow)| {
                workflow.tasks.iter().filter_map(move |task| {
                    let (what, needs) = match &task.work {
                        Work::Action { reference, .. } => (UseOf::Action, reference),
                        Work::WaitFor(awaited) => (UseOf::Trigger, &awaited.trigger),
                        Work::Inquiry(_) | Work::Nothing => return None,
                    };
                    Some(Use {
                        kind: "workflow",
                        user,
                        what,
                        needs,
                    })
                })
            });
        of_rules.chain(of_workflows)
    }

    /// Every rule.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.packs.values().flat_map(|pack| pack.rules.values())
    }
}
