//! Which runtimes there are. The runtime of an action is what its definition names; only a file
//! without a definition is resolved by asking the runtimes, in a fixed order.

use std::path::Path;
use std::sync::Arc;

use camshaft_model::definition::{self, Action};
use camshaft_model::{Failure, FailureKind};

use crate::runtime::{Local, Node, PackDefined, Python, Runtime, Shell, failure};

/// The runtimes that are part of the product and are no processes.
const TASK_RUNTIMES: [&str; 2] = ["http", "native"];

/// The process runtimes of this machine.
pub struct Registry {
    runtimes: Vec<Arc<dyn Runtime>>,
}

impl Registry {
    /// Looks for the programs of the built-in runtimes in the folders of `search_path`.
    pub fn find(search_path: &str) -> Self {
        // The order in which ad-hoc files are offered: what a file says itself goes first.
        let runtimes: Vec<Arc<dyn Runtime>> = vec![
            Arc::new(Local),
            Arc::new(Python::find(search_path)),
            Arc::new(Node::find(search_path)),
            Arc::new(Shell),
        ];
        Self { runtimes }
    }

    /// The names of all runtimes that this machine has, sorted.
    pub fn available(&self) -> Vec<String> {
        let processes = self
            .runtimes
            .iter()
            .filter(|r| r.available())
            .map(|r| r.name());
        let mut names: Vec<String> = processes.chain(TASK_RUNTIMES).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// The process runtime that an action names.
    ///
    /// # Errors
    /// A failure of kind `Runtime`: this worker has none of that name.
    pub fn runtime_of(&self, action: &Action) -> Result<Arc<dyn Runtime>, Failure> {
        if let Some(defined) = &action.runtime_definition {
            return Ok(Arc::new(PackDefined(Arc::clone(defined))));
        }
        let named = self.runtimes.iter().find(|r| r.name() == action.runtime);
        named.cloned().ok_or_else(|| {
            let message = format!(
                "Runtime '{}' not found (available: {})",
                action.runtime,
                self.available().join(", ")
            );
            failure(FailureKind::Runtime, message)
        })
    }

    /// The runtime for a file without a definition. In this order: `local` for an executable file
    /// with a `#!` line or in the machine's own format; `python` for `.py`; `node` for `.js`, `.mjs`,
    /// `.cjs`; `shell` for `.sh`; then the runtimes that packs define, by their extensions.
    ///
    /// # Errors
    /// No runtime claims the file, or the one that does is not there: a sentence that says what to do.
    pub fn resolve_adhoc(
        &self,
        file: &Path,
        defined: &[Arc<definition::Runtime>],
    ) -> Result<String, String> {
        let shown = file.display();
        if !file.is_file() {
            let what = if file.exists() {
                "is not a file"
            } else {
                "does not exist"
            };
            return Err(format!("{shown} {what}"));
        }
        if let Some(runtime) = self.runtimes.iter().find(|r| r.claims(file)) {
            return if runtime.available() {
                Ok(runtime.name().to_owned())
            } else {
                let (name, there) = (runtime.name(), self.available().join(", "));
                Err(format!(
                    "{shown} needs the runtime '{name}', which this machine does not have (available: {there})"
                ))
            };
        }
        let claims = |r: &&Arc<definition::Runtime>| PackDefined(Arc::clone(r)).claims(file);
        defined.iter().find(claims).map(|r| r.name.clone()).ok_or_else(|| {
            format!(
                "it is not clear how to run {shown}: begin it with a #! line and run chmod +x {shown}, \
                 give it the extension of a runtime (.py, .js, .mjs, .cjs, .sh), or name one with --runtime"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

    fn resolve(name: &str, content: &str, mode: u32) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let lua = definition::Runtime {
            name: "lua".into(),
            reference: "demo.lua".parse().unwrap(),
            description: String::new(),
            command: vec!["lua".into()],
            extensions: vec!["lua".into()],
        };
        Registry::find(PATH).resolve_adhoc(&file, &[Arc::new(lua)])
    }

    #[test]
    fn a_file_is_resolved_in_the_documented_order() {
        assert_eq!(
            resolve("a.py", "#!/bin/sh\n", 0o755).as_deref(),
            Ok("local")
        );
        assert_eq!(
            resolve("a.py", "#!/bin/sh\n", 0o644).as_deref(),
            Ok("python")
        );
        assert_eq!(resolve("a.py", "print()", 0o755).as_deref(), Ok("python"));
        assert_eq!(resolve("a.MJS", "", 0o644).as_deref(), Ok("node"));
        assert_eq!(resolve("a.sh", "", 0o644).as_deref(), Ok("shell"));
        assert_eq!(resolve("a.lua", "", 0o644).as_deref(), Ok("lua"));
    }

    #[test]
    fn what_nobody_claims_is_refused_with_a_way_out() {
        let error = resolve("a.xyz", "", 0o644).unwrap_err();
        assert!(
            error.contains("chmod +x") && error.contains("--runtime"),
            "{error}"
        );
        let error = Registry::find(PATH)
            .resolve_adhoc(Path::new("/nowhere/x.py"), &[])
            .unwrap_err();
        assert_eq!(error, "/nowhere/x.py does not exist");
    }

    #[test]
    fn runtimes_without_their_program_are_not_offered() {
        assert_eq!(
            Registry::find("").available(),
            ["http", "local", "native", "shell"]
        );
    }
}
