//! The pack in the binary: triggers that sensors feed, and a few actions.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use camshaft_model::definition::{Catalog, Pack, PackFiles, Problems, load_pack};

use super::{EngineChecks, hash_of};

macro_rules! embedded {
    ($($path:literal,)*) => {
        const FILES: &[(&str, &str)] = &[
            $(($path, include_str!(concat!("../../../../packs/core/", $path))),)*
        ];
    };
}

embedded! {
    "pack.yaml",
    "actions/echo.yaml",
    "actions/http.yaml",
    "actions/mqtt_publish.yaml",
    "actions/noop.yaml",
    "triggers/cron.yaml",
    "triggers/date.yaml",
    "triggers/execution.yaml",
    "triggers/file.yaml",
    "triggers/interval.yaml",
    "triggers/mqtt.yaml",
    "triggers/process.yaml",
    "triggers/rrule.yaml",
    "triggers/webhook.yaml",
}

/// The core pack of this version.
///
/// # Errors
/// Its definitions have mistakes, which a test rules out.
pub fn core_pack() -> Result<Arc<Pack>, Problems> {
    let files: PackFiles = FILES
        .iter()
        .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
        .collect();
    let hash = hash_of(&files, &BTreeSet::new());
    Ok(Arc::new(
        load_pack(
            &files,
            PathBuf::new(),
            hash,
            &Catalog::default(),
            &EngineChecks,
        )?
        .pack,
    ))
}
