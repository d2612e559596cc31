//! JSON Schemas of what goes in and comes out. The serialised types are the truth; tests compare the
//! properties here with what those types really write.

use camshaft_model::{ConstraintType, ErrorCode, InquiryStatus, Status};
use serde_json::{Map, Value, json};

use crate::page::{DEFAULT_LIMIT, MAX_LIMIT};

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Any JSON value, said by its types: not every reader of OpenAPI takes the empty schema.
fn any() -> Value {
    json!({"type": ["null", "boolean", "number", "string", "array", "object"]})
}

fn nullable(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn or_null(name: &str) -> Value {
    json!({"oneOf": [reference(name), {"type": "null"}]})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

/// An object in which every property is always there.
fn whole(properties: Value) -> Value {
    let required: Vec<String> = properties
        .as_object()
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default();
    json!({"type": "object", "required": required, "properties": properties})
}

/// The same object with a property that is not always there.
fn and_perhaps(mut object: Value, name: &str, property: Value) -> Value {
    object["properties"][name] = property;
    object
}

/// An object in which only some properties must be there, and no others may.
fn asked(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn items(of: &Value) -> Value {
    whole(json!({"items": list(of)}))
}

fn page(of: &str) -> Value {
    whole(json!({"items": list(&reference(of)), "next_cursor": nullable("string")}))
}

fn id(prefix: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")})
}

fn parts() -> Value {
    json!(camshaft_engine::trace::Part::ALL)
}

fn statuses() -> Vec<&'static str> {
    Status::ALL.iter().map(|status| status.as_str()).collect()
}

fn constraint_types() -> Vec<&'static str> {
    ConstraintType::ALL
        .iter()
        .map(|kind| kind.as_str())
        .collect()
}

fn inquiry_statuses() -> Vec<&'static str> {
    InquiryStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect()
}

/// Every named schema.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for group in [
        basics(),
        executions(),
        requests(),
        constraints(),
        events(),
        definitions(),
        node(),
    ] {
        if let Value::Object(group) = group {
            all.extend(group);
        }
    }
    Value::Object(all)
}

fn basics() -> Value {
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "Object": {"type": "object"},
        "Time": {"type": "string", "format": "date-time"},
        "Ref": {"type": "string", "pattern": "^[a-z][a-z0-9_-]*(\\.[a-z0-9_-]+)+$", "maxLength": 200},
        "ExecutionId": id("exec"),
        "EventId": id("evt"),
        "EnforcementId": id("enf"),
        "InquiryId": id("inq"),
        "ExecutionStatus": {"type": "string", "enum": statuses()},
        "Failure": whole(json!({"kind": {"type": "string"}, "message": {"type": "string"}})),
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                "detail": {"type": "string"}, "code": {"type": "string", "enum": codes}, "hint": {"type": "string"},
                "problems": list(&json!({
                    "type": "object", "required": ["message"],
                    "properties": {
                        "file": {"type": "string"}, "line": {"type": "integer"}, "column": {"type": "integer"},
                        "path": {"type": "string"}, "message": {"type": "string"},
                    },
                })),
            },
        },
    })
}

fn executions() -> Value {
    json!({
        "Adhoc": asked(&["path", "working_dir"], &json!({
            "path": {"type": "string"}, "args": list(&json!({"type": "string"})), "working_dir": {"type": "string"},
            "runtime": {"type": "string"}, "timeout_ms": {"type": "integer", "minimum": 0},
        })),
        "Execution": and_perhaps(whole(json!({
            "id": reference("ExecutionId"), "root": reference("ExecutionId"), "parent": or_null("ExecutionId"),
            "action": reference("Ref"), "pack_hash": nullable("string"), "adhoc": or_null("Adhoc"),
            "parameters": reference("Object"), "priority": {"type": "integer"}, "requested_at": reference("Time"),
            "origin": {"type": "object", "required": ["kind"]}, "idempotency_key": nullable("string"),
            "depth": {"type": "integer"}, "trace_parent": nullable("string"),
            "status": reference("ExecutionStatus"), "attempt": {"type": "integer"}, "epoch": {"type": "integer"},
            "not_before": or_null("Time"), "blocked_by": nullable("object"), "worker": nullable("string"),
            "lease_expires_at": or_null("Time"), "scheduled_at": or_null("Time"), "started_at": or_null("Time"),
            "ended_at": or_null("Time"), "result": any(), "error": or_null("Failure"),
            "exit_code": nullable("integer"), "signal": nullable("integer"),
        })), "task", reference("TaskRef")),
        "ExecutionPage": page("Execution"),
        "Output": whole(json!({
            "bytes": {"type": "integer"}, "stored": {"type": "integer"},
            "truncated": {"type": "boolean"}, "redacted": {"type": "boolean"},
        })),
        "Attempt": whole(json!({
            "execution": reference("ExecutionId"), "attempt": {"type": "integer"}, "epoch": {"type": "integer"},
            "status": reference("ExecutionStatus"), "worker": nullable("string"), "started_at": or_null("Time"),
            "ended_at": reference("Time"), "error": or_null("Failure"), "exit_code": nullable("integer"),
            "signal": nullable("integer"), "stdout": reference("Output"), "stderr": reference("Output"),
            "output_lost": nullable("string"),
        })),
        "AttemptList": items(&reference("Attempt")),
        "ExecutionExplanation": whole(json!({
            "execution": reference("ExecutionId"), "action": reference("Ref"), "status": reference("ExecutionStatus"),
            "blocked_by": nullable("object"), "summary": {"type": "string"},
            "blockers": list(&whole(json!({
                "text": {"type": "string"}, "holders": list(&reference("ExecutionId")),
                "holder_count": {"type": "integer"}, "until": or_null("Time"),
            }))),
            "ahead": {"type": "integer"}, "history": list(&json!({"type": "string"})),
        })),
        "TaskRef": and_perhaps(whole(json!({
            "lap": {"type": "integer"}, "name": {"type": "string"}, "visit": {"type": "integer"},
        })), "item", json!({"type": "integer"})),
        "RunRecord": whole(json!({
            "execution": reference("ExecutionId"), "lap": {"type": "integer"}, "cycle": {"type": "integer"},
            "vars": reference("Object"), "paused": {"type": "boolean"}, "arrivals": reference("Object"),
            "ending": or_null("Ending"), "next_lap_at": or_null("Time"),
        })),
        "Ending": whole(json!({"status": reference("ExecutionStatus"), "error": reference("Failure")})),
        "TaskRecord": whole(json!({
            "run": reference("ExecutionId"), "lap": {"type": "integer"}, "name": {"type": "string"},
            "visit": {"type": "integer"}, "status": reference("ExecutionStatus"), "execution": or_null("ExecutionId"),
            "items": nullable("integer"), "item_counts": nullable("object"), "blocked_by": nullable("object"), "reason": nullable("string"),
            "error": or_null("Failure"), "result": any(), "taken_from": nullable("object"), "awaited": any(),
            "until": or_null("Time"), "started_at": reference("Time"), "ended_at": or_null("Time"),
        })),
        "Inquiry": whole(json!({
            "id": reference("InquiryId"), "run": reference("ExecutionId"), "root": reference("ExecutionId"),
            "task": reference("TaskRef"), "prompt": {"type": "string"}, "schema": nullable("object"),
            "roles": list(&json!({"type": "string"})), "created_at": reference("Time"), "expires_at": or_null("Time"),
            "status": {"type": "string", "enum": inquiry_statuses()}, "answer": any(),
            "answered_by": nullable("string"), "closed_at": or_null("Time"),
        })),
        "InquiryPage": page("Inquiry"),
        "Graph": whole(json!({
            "ref": reference("Ref"),
            "loop": whole(json!({"mode": {"type": "string", "enum": ["once", "fixed", "until"]}, "max_cycles": {"type": "integer"}})),
            "tasks": list(&whole(json!({
                "name": {"type": "string"}, "kind": {"type": "string", "enum": ["action", "workflow", "inquiry", "wait_for", "nothing"]},
                "action": or_null("Ref"),
                "needs": list(&whole(json!({"task": {"type": "string"}, "on": list(&reference("ExecutionStatus")), "implied": {"type": "boolean"}}))),
                "join": {"oneOf": [{"type": "string", "enum": ["all"]}, {"type": "integer"}, {"type": "null"}]},
                "next": list(&whole(json!({"to": list(&json!({"type": "string"})), "when": nullable("string")}))),
                "when": nullable("string"),
                "items": nullable("object"), "finally": {"type": "boolean"},
            }))),
        })),
        "Run": whole(json!({
            "run": reference("RunRecord"), "tasks": list(&reference("TaskRecord")), "inquiries": list(&reference("Inquiry")),
            "workflow": or_null("Graph"),
        })),
        "TracePhase": whole(json!({
            "part": {"type": "string", "enum": parts()}, "offset_us": {"type": "integer"}, "duration_us": {"type": "integer"},
        })),
        "TraceStep": whole(json!({
            "kind": {"type": "string", "enum": ["attempt", "task", "items", "run"]}, "step": {"type": "string"},
            "lap": {"type": "integer"}, "execution": or_null("ExecutionId"), "action": or_null("Ref"),
            "attempt": nullable("integer"), "status": reference("ExecutionStatus"), "blocked_by": nullable("object"),
            "offset_us": {"type": "integer"}, "duration_us": {"type": "integer"}, "phases": list(&reference("TracePhase")),
            "reason": nullable("string"), "critical": {"type": "boolean"},
        })),
        "Anomaly": whole(json!({
            "kind": {"type": "string", "enum": [
                "low_output", "long_queue_wait", "long_running", "retried", "duplicate_attempt", "interrupted_attempt", "skipped",
            ]},
            "step": {"type": "string"}, "execution": or_null("ExecutionId"), "attempt": nullable("integer"),
            "message": {"type": "string"}, "offset_us": {"type": "integer"},
        })),
        "Trace": whole(json!({
            "execution": reference("ExecutionId"), "action": reference("Ref"), "status": reference("ExecutionStatus"),
            "blocked_by": nullable("object"), "requested_at": reference("Time"), "ended_at": or_null("Time"),
            "duration_us": {"type": "integer"},
            "steps": list(&reference("TraceStep")), "anomalies": list(&reference("Anomaly")),
            "critical_path": list(&whole(json!({
                "step": nullable("string"), "attempt": nullable("integer"),
                "part": {"type": "string", "enum": parts()}, "offset_us": {"type": "integer"}, "duration_us": {"type": "integer"},
            }))),
            "parts_us": reference("Object"), "left_out": {"type": "integer"},
        })),
        "StepEvent": whole(json!({
            "id": {"type": "integer"}, "execution_id": reference("ExecutionId"), "item_id": or_null("ExecutionId"),
            "event_type": {"type": "string"}, "step": nullable("string"),
            "step_scope": {"type": ["string", "null"], "enum": ["task", "item", null]},
            "payload": reference("Object"), "created_at": reference("Time"),
        })),
        "StepEventPage": page("StepEvent"),
    })
}

fn requests() -> Value {
    let key =
        json!({"type": "string", "minLength": 1, "maxLength": crate::body::MAX_IDEMPOTENCY_KEY});
    json!({
        "ExecutionRequest": asked(&[], &json!({
            "action": reference("Ref"), "adhoc": reference("Adhoc"), "workflow": {"type": "string", "description": "a file with a workflow, absolute, on the server's machine"}, "parameters": reference("Object"),
            "priority": {"type": "integer", "minimum": -100, "maximum": 100},
            "not_before": reference("Time"), "idempotency_key": key,
        })),
        "ExecutionBatch": asked(&["executions"], &json!({
            "executions": {"type": "array", "maxItems": 1000, "items": reference("ExecutionRequest")},
        })),
        "ExecutionBatchResults": whole(json!({"results": list(&json!({"oneOf": [
            whole(json!({"execution": reference("Execution")})), whole(json!({"problem": reference("Problem")})),
        ]}))})),
        "EventDraft": asked(&["trigger", "payload"], &json!({
            "trigger": reference("Ref"), "payload": any(), "dedup_key": key, "occurred_at": reference("Time"),
        })),
        "EventRequest": {"oneOf": [
            reference("EventDraft"), {"type": "array", "maxItems": 10_000, "items": reference("EventDraft")},
        ]},
        "CloudEvent": {
            "type": "object", "required": ["specversion", "id", "source", "type"],
            "properties": {
                "specversion": {"type": "string", "enum": ["1.0"]}, "id": {"type": "string"}, "source": {"type": "string"},
                "type": {"type": "string"}, "time": reference("Time"), "camshafttrigger": reference("Ref"), "data": any(),
                "data_base64": {"type": "string"}, "datacontenttype": {"type": "string"},
            },
        },
        "RetryRequest": asked(&[], &json!({"from": nullable("string"), "failed_only": {"type": "boolean"}})),
        "InquiryAnswer": asked(&["approve"], &json!({"approve": {"type": "boolean"}, "response": any()})),
        "PackFolder": asked(&["dir"], &json!({"dir": {"type": "string"}})),
        "PackApplication": asked(&["dir"], &json!({"dir": {"type": "string"}, "check_version": {"type": "string"}})),
        "RuleTest": asked(&[], &json!({
            "event_id": reference("EventId"),
            "event": asked(&["payload"], &json!({
                "payload": any(), "trigger": reference("Ref"), "source": reference("EventSource"), "occurred_at": reference("Time"),
            })),
        })),
    })
}

fn constraints() -> Value {
    let text = json!({"type": "string"});
    let constraint = json!({
        "id": text, "scope": reference("Scope"), "type": reference("ConstraintType"), "params": reference("Object"),
        "terms": text, "expires_at": or_null("Time"), "remaining_secs": nullable("number"),
        "reason": nullable("string"), "owner": nullable("string"), "via": {"type": "string", "enum": ["api", "mqtt"]},
        "set_at": reference("Time"),
    });
    let mut in_force = constraint.clone();
    in_force["use"] = whole(json!({
        "leases": {"type": "integer"}, "holders": list(&reference("ExecutionId")), "waiting": {"type": "integer"},
        "room": nullable("integer"), "next_at": or_null("Time"),
    }));
    json!({
        "Scope": {"type": "string", "description": "global, or a kind and a name or pattern such as task:api_*", "maxLength": 300},
        "ConstraintType": {"type": "string", "enum": constraint_types()},
        "Constraint": whole(constraint),
        "ConstraintInForce": whole(in_force),
        "ConstraintPage": page("ConstraintInForce"),
        "ConstraintRequest": asked(&[], &json!({
            "params": reference("Object"),
            "ttl": {"type": ["string", "number", "null"], "description": "A duration such as 5m, or seconds", "examples": ["5m", 300]},
            "expires_at": {"type": ["string", "number", "null"], "description": "An instant, or the seconds since 1970"},
            "id": nullable("string"), "reason": nullable("string"),
            "owner": {"type": ["string", "null"], "description": "Counts with the token of the data directory only; any other token is its own name"},
        })),
        "ConstraintTrial": asked(&["scope", "type"], &json!({
            "scope": reference("Scope"), "type": reference("ConstraintType"), "params": reference("Object"),
        })),
        "ConstraintPreview": whole(json!({
            "running": {"type": "integer"}, "waiting": {"type": "integer"}, "held": {"type": "integer"}, "by_action": reference("Object"),
        })),
        "ConstraintSet": whole(json!({"constraint": reference("Constraint"), "preview": reference("ConstraintPreview")})),
        "ConstraintsCleared": whole(json!({"cleared": list(&whole(json!({
            "scope": reference("Scope"), "type": reference("ConstraintType"),
        })))})),
    })
}

fn events() -> Value {
    json!({
        "EventSource": {
            "type": "object", "required": ["kind"],
            "properties": {"kind": {"type": "string"}, "name": {"type": "string"}},
        },
        "Event": {
            "type": "object", "required": ["id", "received_at", "trigger", "payload", "source", "depth"],
            "properties": {
                "id": reference("EventId"), "received_at": reference("Time"), "trigger": reference("Ref"), "payload": any(),
                "source": reference("EventSource"), "dedup_key": {"type": "string"}, "occurred_at": reference("Time"),
                "sensor": {"type": "string"}, "depth": {"type": "integer"}, "trace_parent": {"type": "string"},
            },
        },
        "EventPage": page("Event"),
        "Accepted": whole(json!({
            "event": reference("EventId"), "duplicate": {"type": "boolean"}, "executions": list(&reference("ExecutionId")),
        })),
        "EventAnswer": {"oneOf": [reference("Accepted"), whole(json!({"results": list(&json!({"oneOf": [
            reference("Accepted"), whole(json!({"problem": reference("Problem")})),
        ]}))}))]},
        "Enforcement": {
            "type": "object", "required": ["id", "rule", "event", "created_at", "outcome"],
            "properties": {
                "id": reference("EnforcementId"), "rule": reference("Ref"), "event": reference("EventId"),
                "created_at": reference("Time"), "outcome": {"type": "string", "enum": ["requested", "failed", "skipped"]},
                "execution": reference("ExecutionId"), "reason": {"type": "string"},
            },
        },
        "EnforcementPage": page("Enforcement"),
        "RuleTrial": whole(json!({
            "rule": reference("Ref"), "enabled": {"type": "boolean"}, "applies": {"type": "boolean"},
            "matched": {"type": "boolean"}, "verdict": {"type": "string"},
            "criteria": list(&whole(json!({
                "path": {"type": "string"}, "operator": {"type": "string"}, "pattern": any(), "value": any(),
                "holds": nullable("boolean"), "problem": nullable("string"),
            }))),
            "when": nullable("object"), "parameters": nullable("object"), "enforcement": or_null("Enforcement"),
        })),
        "EventExplanation": whole(json!({
            "event": reference("Event"), "summary": {"type": "string"}, "rules": list(&reference("RuleTrial")),
        })),
    })
}

fn definitions() -> Value {
    let summary = json!({
        "pack": {"type": "string"}, "version": {"type": "string"}, "hash": {"type": "string"},
        "applied_at": or_null("Time"), "description": {"type": "string"}, "counts": reference("Object"),
    });
    let mut pack = summary.clone();
    for part in ["origin", "actions", "triggers", "runtimes", "rules"] {
        pack[part] = reference("Object");
    }
    let named =
        json!({"type": "object", "required": ["ref"], "properties": {"ref": reference("Ref")}});
    let rule = json!({
        "type": "object", "required": ["ref", "enabled", "enabled_by_definition", "trigger", "action"],
        "properties": {
            "ref": reference("Ref"), "enabled": {"type": "boolean"}, "enabled_by_definition": {"type": "boolean"},
            "trigger": reference("Ref"), "action": reference("Ref"),
        },
    });
    json!({
        "PackList": items(&whole(summary)),
        "Pack": whole(pack),
        "PackApplied": whole(json!({"plan": reference("Object"), "applied": {"type": "boolean"}})),
        "Definition": named,
        "DefinitionList": items(&reference("Definition")),
        "Rule": rule,
        "RuleList": items(&reference("Rule")),
    })
}

fn node() -> Value {
    let text = json!({"type": "string"});
    json!({
        "Status": whole(json!({"status": {"type": "string", "enum": ["ok"]}})),
        "Readiness": whole(json!({
            "ready": {"type": "boolean"},
            "components": list(&whole(json!({"component": text, "problem": nullable("string")}))),
        })),
        "SensorList": items(&whole(json!({"key": text, "trigger": reference("Ref"), "problem": nullable("string")}))),
        "Violations": whole(json!({"violations": list(&whole(json!({"invariant": text, "detail": text})))})),
        "Info": whole(json!({
            "version": text, "pid": {"type": "integer"}, "data_dir": text, "started_at": reference("Time"),
            "worker": whole(json!({"id": text, "slots": {"type": "integer"}, "runtimes": list(&text)})),
            "sinks": list(&reference("Sink")),
        })),
        "Sink": whole(json!({
            "name": text, "panics": {"type": "integer"}, "dropped": {"type": "integer"}, "refused": {"type": "integer"},
            "connection": {"oneOf": [{"type": "null"}, whole(json!({
                "to": text, "up": {"type": "boolean"}, "since": reference("Time"), "problem": nullable("string"),
            }))]},
        })),
    })
}

/// The schema of a variable part of a path.
pub(super) fn path_parameter(path: &str, name: &str) -> Value {
    match name {
        "id" if path.contains("/executions/") => reference("ExecutionId"),
        "id" if path.contains("/inquiries/") => reference("InquiryId"),
        "id" => reference("EventId"),
        "ref" if !path.contains("/packs/") => reference("Ref"),
        "stream" => json!({"type": "string", "enum": ["stdout", "stderr"]}),
        "scope" => reference("Scope"),
        "type" => reference("ConstraintType"),
        _ => json!({"type": "string"}),
    }
}

/// The schema of a query parameter.
pub(super) fn query_parameter(path: &str, name: &str) -> Value {
    match name {
        "limit" if path.contains("/logs/") => {
            json!({"type": "integer", "minimum": 1, "maximum": crate::logs::MAX_BYTES, "default": crate::logs::DEFAULT_BYTES})
        }
        "limit" => {
            json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT})
        }
        "roots" => {
            json!({"type": "boolean", "description": "Only runs: no parts of other executions"})
        }
        "after" => json!({"type": "integer"}),
        "attempt" => json!({"type": "integer", "minimum": 1}),
        "lap" => {
            json!({"type": "integer", "minimum": 1, "description": "The present one if none is given"})
        }
        "offset" | "tail" => json!({"type": "integer", "minimum": 0}),
        "action" | "rule" | "trigger" => reference("Ref"),
        "event" => reference("EventId"),
        "run" => reference("ExecutionId"),
        "scope" => reference("Scope"),
        "type" if path.contains("/constraints") => reference("ConstraintType"),
        "all" => json!({"type": "string", "enum": ["", "true"], "description": "Must be given"}),
        "status" if path.contains("/inquiries") => {
            json!({"type": "string", "description": format!("Of {}, separated by commas", inquiry_statuses().join(", "))})
        }
        "status" => {
            json!({"type": "string", "description": format!("Of {}, separated by commas; or blocked: held by a constraint, or by the wait for those of a broker", statuses().join(", "))})
        }
        "type" => {
            json!({"type": "string", "description": "Types of step events, separated by commas"})
        }
        "wait" | "timeout" => {
            json!({"type": "string", "description": "A duration such as 30s; at most 10m", "examples": ["30s"]})
        }
        _ => json!({"type": "string"}),
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
