//! The OpenAPI 3.1 document, made from the table of endpoints and the schemas beside this file.

mod schema;

use serde_json::{Map, Value, json};

use crate::auth::Access;
use crate::route::Endpoint;
use crate::route::table::endpoints;

/// The document as pretty JSON with a line end: what `docs/openapi.json` holds.
pub fn openapi_json() -> String {
    format!("{:#}\n", document())
}

fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let path = paths
            .entry(endpoint.path.replace("{*", "{"))
            .or_insert_with(|| json!({}));
        let methods: &[&str] = match endpoint.method {
            "*" => &["get", "post", "put", "patch", "delete"],
            "GET" => &["get"],
            "PUT" => &["put"],
            "DELETE" => &["delete"],
            _ => &["post"],
        };
        for method in methods {
            let mut operation = operation(&endpoint);
            if methods.len() > 1 {
                operation["operationId"] = json!(format!("{}_{method}", endpoint.id));
            }
            path[*method] = operation;
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Camshaft",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Something happens, a rule matches it, an action runs, and every step is recorded.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:7410"}],
        "paths": paths,
        "components": {
            "schemas": schema::schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let (status, answer) = endpoint.answers;
    let mut success = json!({"description": "As asked"});
    if !answer.is_empty() {
        success["content"] = content(answer);
    }
    let problem = json!({
        "description": "A problem document with a stable code",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let mut operation = json!({
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "parameters": parameters(endpoint),
        "responses": {status.to_string(): &success, "default": problem},
        "security": if endpoint.access == Access::Open { json!([]) } else { json!([{"token": []}]) },
    });
    // Whatever makes something takes an idempotency key.
    if status == 201 {
        success["description"] = "The same was asked before with this idempotency key".into();
        operation["responses"]["200"] = success;
    }
    if let Some(body) = endpoint.takes {
        operation["requestBody"] = json!({"required": !matches!(body, "Anything" | "RetryRequest" | "ConstraintRequest"), "content": request_content(body)});
    }
    operation
}

fn reference(schema: &str) -> Value {
    json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}})
}

/// What comes is a media type by itself, or JSON of a schema.
fn content(answer: &str) -> Value {
    if answer.contains('/') {
        json!({answer: {}})
    } else {
        json!({"application/json": reference(answer)})
    }
}

fn request_content(body: &str) -> Value {
    match body {
        "Anything" => json!({"*/*": {}}),
        "EventRequest" => json!({
            "application/json": reference(body),
            "application/cloudevents+json": reference("CloudEvent"),
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/CloudEvent"}}},
        }),
        _ => json!({"application/json": reference(body)}),
    }
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let in_path = endpoint
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            let name = name.trim_start_matches('*');
            json!({"name": name, "in": "path", "required": true, "schema": schema::path_parameter(endpoint.path, name)})
        })
        .collect();
    for name in endpoint.query.unwrap_or_default() {
        let required = endpoint.id == "clear_scope";
        parameters.push(json!({"name": name, "in": "query", "required": required, "schema": schema::query_parameter(endpoint.path, name)}));
    }
    if endpoint.answers.1 == "text/event-stream" {
        parameters.push(json!({"name": "Last-Event-ID", "in": "header", "required": false, "schema": {"type": "integer"}}));
    }
    if matches!(
        endpoint.takes,
        Some("ExecutionRequest" | "ExecutionBatch" | "EventRequest" | "RetryRequest")
    ) || endpoint.id == "rerun_execution"
    {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": crate::body::MAX_IDEMPOTENCY_KEY});
        parameters.push(
            json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": schema}),
        );
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_is_openapi() {
        for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
            let parsed: Result<utoipa::openapi::Schema, _> = serde_json::from_value(schema.clone());
            assert!(parsed.is_ok(), "{name}: {schema:#}");
        }
        let parsed: utoipa::openapi::OpenApi = serde_json::from_str(&openapi_json()).unwrap();
        assert!(parsed.paths.paths.len() > 30);
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(
                    object
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there_and_every_one_that_is_there_is_named() {
        let document = document();
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        let there = document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys();
        let there: BTreeSet<String> = there
            .map(|name| format!("#/components/schemas/{name}"))
            .collect();
        assert_eq!(named, there);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let ids: Vec<_> = endpoints().iter().map(|endpoint| endpoint.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
