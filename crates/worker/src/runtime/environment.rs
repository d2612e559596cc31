//! The environment of a process: what the configuration gives to all, what tells the process which
//! attempt it is, what its runtime adds, what its action adds. Nothing of the engine's own.

use std::collections::BTreeMap;
use std::ffi::OsString;

use camshaft_model::port::dispatch::Job;

use super::Site;

/// The whole environment of a job's process, sorted by name. Later sources win, and Camshaft's own
/// names cannot be overridden by a definition.
pub(super) fn of(
    job: &Job,
    site: &Site,
    runtime: Vec<(OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
    let texts = |map: &BTreeMap<String, String>| -> Vec<(OsString, OsString)> {
        map.iter().map(|(k, v)| (k.into(), v.into())).collect()
    };
    all.extend(texts(&site.environment));
    all.extend(runtime);
    all.extend(texts(&job.action.environment));
    all.extend([
        (
            "CAMSHAFT_EXECUTION_ID".into(),
            job.key.execution.to_string().into(),
        ),
        ("CAMSHAFT_RUN_ID".into(), job.root.to_string().into()),
        (
            "CAMSHAFT_ATTEMPT".into(),
            job.key.attempt.to_string().into(),
        ),
        ("CAMSHAFT_EPOCH".into(), job.key.epoch.to_string().into()),
        (
            "CAMSHAFT_IDEMPOTENCY_KEY".into(),
            job.idempotency_key.clone().into(),
        ),
        ("CAMSHAFT_API_URL".into(), site.api_url.clone().into()),
        ("CAMSHAFT_TOKEN".into(), job.token.clone().into()),
        ("CAMSHAFT_INSTANCE".into(), site.instance.clone().into()),
        ("TRACEPARENT".into(), job.trace_parent.clone().into()),
    ]);
    all.into_iter().collect()
}
