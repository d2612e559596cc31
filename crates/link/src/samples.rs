//! Executions for tests.

use std::sync::Arc;

use camshaft_model::{
    Execution, ExecutionId, ExecutionSpec, ExecutionState, Object, Origin, Timestamp,
};

/// When they were requested.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_795_224_000_000_000);

/// A run that was requested and nothing more.
pub(crate) fn run(id: ExecutionId) -> Execution {
    Execution {
        spec: Arc::new(ExecutionSpec {
            id,
            root: id,
            parent: None,
            task: None,
            action: "demo.fetch".parse().unwrap(),
            pack_hash: None,
            adhoc: None,
            parameters: Arc::new(Object::new()),
            priority: 0,
            requested_at: START,
            origin: Origin::Api,
            idempotency_key: None,
            depth: 0,
            trace_parent: None,
        }),
        state: ExecutionState::requested(None),
    }
}
