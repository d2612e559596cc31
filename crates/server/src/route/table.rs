//! The table of endpoints: the only place where one comes into being, and where it says who may call
//! it. Reads from left to right: method, path, access, query parameters, name, summary, body, answer,
//! handler.

use axum::routing::{MethodRouter, any, delete, get, post, put};

use super::v1::{
    actions, constraints, enforcements, events, executions, hooks, inquiries, logs, node, packs,
    retry, rules, runs, step_events, submit, trace,
};
use super::{Endpoint, system};
use crate::auth::Access::{self, Attempt, Open, Operator, OwnExecution};
use crate::state::Api;

type Query = Option<&'static [&'static str]>;
type Words = (&'static str, &'static str);

/// The endpoint takes no query parameters.
const NONE: Query = Some(&[]);
/// The endpoint takes whatever comes.
const ANY: Query = None;

struct Table(Vec<Endpoint>);

impl Table {
    #[expect(clippy::too_many_arguments, reason = "one argument for each column")]
    fn row(
        mut self,
        method: &'static str,
        path: &'static str,
        access: Access,
        query: Query,
        (id, summary): Words,
        takes: Option<&'static str>,
        answers: (u16, &'static str),
        handler: MethodRouter<Api>,
    ) -> Self {
        self.0.push(Endpoint {
            method,
            path,
            access,
            query,
            id,
            summary,
            takes,
            answers,
            handler,
        });
        self
    }
}

/// Every endpoint.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let table = control(of_people(executions(Table(Vec::new()))));
    watching(rules_and_packs(events_and_hooks(table))).0
}

/// Executions, their event logs and their output.
#[rustfmt::skip]
fn executions(table: Table) -> Table {
    table
        .row("POST", "/api/v1/executions", Operator, Some(&["wait"]), ("submit_execution", "Request an execution"), Some("ExecutionRequest"), (201, "Execution"), post(submit::one))
        .row("POST", "/api/v1/executions/batch", Operator, NONE, ("submit_executions", "Request executions, each for itself"), Some("ExecutionBatch"), (200, "ExecutionBatchResults"), post(submit::batch))
        .row("GET", "/api/v1/executions", Operator, Some(&["status", "action", "rule", "roots", "limit", "cursor"]), ("list_executions", "Executions, newest first"), None, (200, "ExecutionPage"), get(executions::list))
        .row("GET", "/api/v1/executions/{id}", OwnExecution, NONE, ("show_execution", "One execution"), None, (200, "Execution"), get(executions::show))
        .row("GET", "/api/v1/executions/{id}/run", Operator, Some(&["lap"]), ("show_run", "How far a run of a workflow has come, with the tasks of its present lap, or of another"), None, (200, "Run"), get(runs::show))
        .row("GET", "/api/v1/executions/{id}/children", Operator, Some(&["limit", "cursor"]), ("list_children", "The executions that are part of it, oldest first"), None, (200, "ExecutionPage"), get(runs::children))
        .row("GET", "/api/v1/executions/{id}/attempts", OwnExecution, NONE, ("list_attempts", "Its attempts that have ended"), None, (200, "AttemptList"), get(executions::attempts))
        .row("GET", "/api/v1/executions/{id}/why", Operator, NONE, ("why_execution", "Why it is where it is"), None, (200, "ExecutionExplanation"), get(executions::why))
        .row("GET", "/api/v1/executions/{id}/trace", Operator, NONE, ("trace_execution", "Where the time of it and everything below it went"), None, (200, "Trace"), get(trace::show))
        .row("GET", "/api/v1/executions/{id}/wait", Operator, Some(&["timeout"]), ("wait_execution", "The execution once it is terminal, or as it is when the time is over"), None, (200, "Execution"), get(executions::wait))
        .row("POST", "/api/v1/executions/{id}/cancel", Operator, NONE, ("cancel_execution", "Stop it"), None, (200, "Execution"), post(executions::cancel))
        .row("POST", "/api/v1/executions/{id}/pause", Operator, NONE, ("pause_run", "Let no new task of a run start, nor of the runs below it"), None, (200, "Execution"), post(runs::pause))
        .row("POST", "/api/v1/executions/{id}/resume", Operator, NONE, ("resume_run", "Let a paused run go on"), None, (200, "Execution"), post(runs::resume))
        .row("POST", "/api/v1/executions/{id}/retry", Operator, NONE, ("retry_execution", "Request once more what has ended; a run may keep what completed"), Some("RetryRequest"), (201, "Execution"), post(retry::retry))
        .row("POST", "/api/v1/executions/{id}/rerun", Operator, NONE, ("rerun_execution", "Request the same anew"), None, (201, "Execution"), post(retry::rerun))
        .row("GET", "/api/v1/executions/{id}/events", OwnExecution, Some(&["after", "type", "step", "limit"]), ("list_step_events", "The event log of a run, oldest first"), None, (200, "StepEventPage"), get(step_events::list))
        .row("GET", "/api/v1/executions/{id}/events/stream", OwnExecution, Some(&["after", "type", "step"]), ("stream_step_events", "The event log of a run as it grows"), None, (200, "text/event-stream"), get(step_events::stream_one))
        .row("GET", "/api/v1/executions/{id}/logs/{stream}", OwnExecution, Some(&["attempt", "offset", "tail", "limit", "wait"]), ("read_log", "The bytes of one output stream"), None, (200, "application/octet-stream"), get(logs::read))
}

/// What runs ask of people.
#[rustfmt::skip]
fn of_people(table: Table) -> Table {
    table
        .row("GET", "/api/v1/inquiries", Operator, Some(&["status", "run", "limit", "cursor"]), ("list_inquiries", "Inquiries, newest first"), None, (200, "InquiryPage"), get(inquiries::list))
        .row("GET", "/api/v1/inquiries/{id}", Operator, NONE, ("show_inquiry", "One inquiry"), None, (200, "Inquiry"), get(inquiries::show))
        .row("POST", "/api/v1/inquiries/{id}/answer", Operator, NONE, ("answer_inquiry", "Approve or reject"), Some("InquiryAnswer"), (200, "Inquiry"), post(inquiries::answer))
}

/// What holds work back.
#[rustfmt::skip]
fn control(table: Table) -> Table {
    table
        .row("GET", "/api/v1/constraints", Operator, Some(&["scope", "type", "limit", "cursor"]), ("list_constraints", "The constraints in force and what each does, by scope and type"), None, (200, "ConstraintPage"), get(constraints::list))
        .row("POST", "/api/v1/constraints/preview", Operator, NONE, ("preview_constraint", "What a constraint would hold now"), Some("ConstraintTrial"), (200, "ConstraintPreview"), post(constraints::preview))
        .row("DELETE", "/api/v1/constraints/{scope}", Operator, Some(&["all"]), ("clear_scope", "Clear the constraints of every type on exactly this scope"), None, (200, "ConstraintsCleared"), delete(constraints::clear_scope))
        .row("GET", "/api/v1/constraints/{scope}/{type}", Operator, NONE, ("show_constraint", "One constraint and what it does"), None, (200, "ConstraintInForce"), get(constraints::show))
        .row("PUT", "/api/v1/constraints/{scope}/{type}", Operator, NONE, ("set_constraint", "Put a constraint in force; one of the same scope and type is replaced"), Some("ConstraintRequest"), (200, "ConstraintSet"), put(constraints::put))
        .row("DELETE", "/api/v1/constraints/{scope}/{type}", Operator, NONE, ("clear_constraint", "Clear one constraint, if it is in force"), None, (200, "ConstraintsCleared"), delete(constraints::clear))
}

/// Events, and what becomes of them.
#[rustfmt::skip]
fn events_and_hooks(table: Table) -> Table {
    table
        .row("POST", "/api/v1/events", Attempt, NONE, ("post_events", "Record an event, or a list of them"), Some("EventRequest"), (202, "EventAnswer"), post(events::post))
        .row("GET", "/api/v1/events", Operator, Some(&["trigger", "limit", "cursor"]), ("list_events", "Events, newest first"), None, (200, "EventPage"), get(events::list))
        .row("GET", "/api/v1/events/stream", Operator, Some(&["after", "type", "step"]), ("stream_all_step_events", "The event logs of all runs as they grow"), None, (200, "text/event-stream"), get(step_events::stream_all))
        .row("GET", "/api/v1/events/{id}", Operator, NONE, ("show_event", "One event"), None, (200, "Event"), get(events::show))
        .row("GET", "/api/v1/events/{id}/why", Operator, NONE, ("why_event", "Why it led to what it led to"), None, (200, "EventExplanation"), get(events::why))
        .row("GET", "/api/v1/enforcements", Operator, Some(&["event", "rule", "limit", "cursor"]), ("list_enforcements", "Answers of rules to events, newest event first"), None, (200, "EnforcementPage"), get(enforcements::list))
        .row("*", "/api/v1/hooks/{*path}", Open, ANY, ("receive_hook", "A webhook: the request becomes an event"), Some("Anything"), (202, "Accepted"), any(hooks::receive))
}

/// Definitions.
#[rustfmt::skip]
fn rules_and_packs(table: Table) -> Table {
    table
        .row("GET", "/api/v1/packs", Operator, NONE, ("list_packs", "The current packs"), None, (200, "PackList"), get(packs::list))
        .row("POST", "/api/v1/packs/plan", Operator, NONE, ("plan_pack", "What applying a folder would change"), Some("PackFolder"), (200, "Object"), post(packs::plan))
        .row("POST", "/api/v1/packs/apply", Operator, NONE, ("apply_pack", "Make a folder's pack current"), Some("PackApplication"), (200, "PackApplied"), post(packs::apply))
        .row("GET", "/api/v1/packs/{ref}", Operator, NONE, ("show_pack", "A pack with its definitions"), None, (200, "Pack"), get(packs::show))
        .row("DELETE", "/api/v1/packs/{ref}", Operator, NONE, ("remove_pack", "Remove a pack"), None, (204, ""), delete(packs::remove))
        .row("GET", "/api/v1/actions", Operator, NONE, ("list_actions", "What can run"), None, (200, "DefinitionList"), get(actions::list))
        .row("GET", "/api/v1/actions/{ref}", Operator, NONE, ("show_action", "One action"), None, (200, "Definition"), get(actions::show))
        .row("GET", "/api/v1/triggers", Operator, NONE, ("list_triggers", "What can happen"), None, (200, "DefinitionList"), get(actions::triggers))
        .row("GET", "/api/v1/rules", Operator, NONE, ("list_rules", "The rules, with whether each is enabled"), None, (200, "RuleList"), get(rules::list))
        .row("GET", "/api/v1/rules/{ref}", Operator, NONE, ("show_rule", "One rule"), None, (200, "Rule"), get(rules::show))
        .row("POST", "/api/v1/rules/{ref}/enable", Operator, NONE, ("enable_rule", "Enable it whatever its definition says"), None, (200, "Rule"), post(rules::enable))
        .row("POST", "/api/v1/rules/{ref}/disable", Operator, NONE, ("disable_rule", "Disable it whatever its definition says"), None, (200, "Rule"), post(rules::disable))
        .row("POST", "/api/v1/rules/{ref}/reset", Operator, NONE, ("reset_rule", "Go back to what its definition says"), None, (200, "Rule"), post(rules::reset))
        .row("POST", "/api/v1/rules/{ref}/test", Operator, NONE, ("test_rule", "What it would do with an event"), Some("RuleTest"), (200, "RuleTrial"), post(rules::test))
}

/// The engine itself.
#[rustfmt::skip]
fn watching(table: Table) -> Table {
    table
        .row("GET", "/healthz", Open, NONE, ("health", "The process answers"), None, (200, "Status"), get(system::healthz))
        .row("GET", "/readyz", Open, NONE, ("ready", "Every part works, or which does not and why"), None, (200, "Readiness"), get(system::readyz))
        .row("GET", "/metrics", Open, NONE, ("metrics", "Counts, in the text format of Prometheus"), None, (200, "text/plain"), get(system::metrics))
        .row("GET", "/api/v1/sensors", Operator, NONE, ("list_sensors", "How each sensor is"), None, (200, "SensorList"), get(node::sensors))
        .row("GET", "/api/v1/check", Operator, NONE, ("check_database", "Broken promises that the database shows"), None, (200, "Violations"), get(node::check))
        .row("GET", "/api/v1/info", Operator, NONE, ("show_info", "What is running here"), None, (200, "Info"), get(node::info))
        .row("GET", "/api/v1/openapi.json", Operator, NONE, ("show_openapi", "This document"), None, (200, "Object"), get(node::openapi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;

    fn with(access: Access) -> Vec<&'static str> {
        endpoints()
            .iter()
            .filter(|endpoint| endpoint.access == access)
            .map(|endpoint| endpoint.id)
            .collect()
    }

    #[test]
    fn no_two_endpoints_are_in_each_others_way() {
        let table = endpoints().into_iter();
        let _: Router<Api> = table.fold(Router::new(), |router, endpoint| {
            router.route(endpoint.path, endpoint.handler)
        });
    }

    #[test]
    fn what_is_open_and_what_an_attempt_may_do_is_this_and_nothing_else() {
        assert_eq!(with(Open), ["receive_hook", "health", "ready", "metrics"]);
        assert_eq!(with(Attempt), ["post_events"]);
        let own = [
            "show_execution",
            "list_attempts",
            "list_step_events",
            "stream_step_events",
            "read_log",
        ];
        assert_eq!(with(OwnExecution), own);
    }
}
