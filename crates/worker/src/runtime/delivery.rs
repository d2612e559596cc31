//! How parameters reach a process. Four ways, each the same for every runtime:
//!
//! - `stdin`: one JSON object.
//! - `env`: `PARAM_<NAME>` for each, the name in upper case with `_` for what is no letter or digit.
//! - `args`: `--name value` for each, in the order of the definition; `true` gives `--name true`.
//! - `file`: one JSON object in a file that only the owner may read, named by `CAMSHAFT_PARAMETERS`
//!   and removed when the attempt ends.
//!
//! In `env` and `args` a string is given as it is and everything else as JSON.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use camshaft_model::definition::ParameterDelivery;
use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind};
use serde_json::Value;

use super::{Site, failure};
use crate::process::Launch;

/// The longest single argument or variable that Linux passes to a program, its end included.
const MAX_STRING_BYTES: usize = 128 * 1024;

const FILE_PREFIX: &str = "parameters-";

/// A file with parameters; removed when this is dropped.
#[derive(Debug)]
pub struct ParameterFile(PathBuf);

impl ParameterFile {
    fn write(job: &Job, site: &Site) -> io::Result<Self> {
        let folder = folder(&site.data_dir);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let name = format!(
            "{FILE_PREFIX}{}-{}-{}.json",
            job.key.execution, job.key.attempt, job.key.epoch
        );
        let file = Self(folder.join(name));
        let mut out: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.0)?;
        out.write_all(&serde_json::to_vec(&*job.parameters)?)?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ParameterFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a file with parameters could not be removed");
        }
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("tmp")
}

/// Removes files with parameters that an earlier life of this worker left behind.
///
/// # Errors
/// The folder is there and cannot be read.
pub(crate) fn sweep(data_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder(data_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Puts the parameters into the launch.
pub(super) fn deliver(
    job: &Job,
    site: &Site,
    launch: &mut Launch,
) -> Result<Option<ParameterFile>, Failure> {
    // A file without a definition takes its arguments and nothing else.
    let adhoc = job.action.origin.is_none() && job.action.reference.pack() == "adhoc";
    if adhoc && job.parameters.is_empty() {
        return Ok(None);
    }
    match job.action.parameter_delivery {
        ParameterDelivery::Stdin => {
            launch.stdin = serde_json::to_vec(&*job.parameters).map_err(|error| {
                failure(
                    FailureKind::Parameters,
                    format!("the parameters cannot be written as JSON: {error}"),
                )
            })?;
            launch.stdin.push(b'\n');
        }
        ParameterDelivery::Env => {
            for (name, value) in job.parameters.iter() {
                let variable = variable_name(name);
                let text = as_text(name, value, variable.len() + 1)?;
                launch.env.push((variable.into(), text.into_owned().into()));
            }
        }
        ParameterDelivery::Args => {
            for (name, value) in job.parameters.iter() {
                let text = as_text(name, value, 0)?;
                launch.args.push(format!("--{name}").into());
                launch.args.push(text.into_owned().into());
            }
        }
        ParameterDelivery::File => {
            let file = ParameterFile::write(job, site).map_err(|error| {
                failure(
                    FailureKind::Parameters,
                    format!("the file with the parameters cannot be written: {error}"),
                )
            })?;
            launch
                .env
                .push(("CAMSHAFT_PARAMETERS".into(), file.path().into()));
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn variable_name(name: &str) -> String {
    let letters = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    "PARAM_".chars().chain(letters).collect()
}

/// A value as an argument or variable, checked against what the kernel passes on.
fn as_text<'v>(name: &str, value: &'v Value, besides: usize) -> Result<Cow<'v, str>, Failure> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(other.to_string()),
    };
    let refuse = |why: String| {
        Err(failure(
            FailureKind::Parameters,
            format!("parameter '{name}' {why}"),
        ))
    };
    if text.contains('\0') {
        return refuse("contains a zero byte, which no argument or variable can carry: use parameter_delivery stdin or file".into());
    }
    if text.len() + besides >= MAX_STRING_BYTES {
        let bytes = text.len();
        return refuse(format!(
            "has {bytes} bytes, too many for an argument or variable: use parameter_delivery stdin or file"
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_given_as_they_are_and_the_rest_as_json() {
        let text = |value: &Value| as_text("p", value, 0).unwrap().into_owned();
        assert_eq!(text(&json!("$(rm -rf /) \"x\"")), "$(rm -rf /) \"x\"");
        assert_eq!(text(&json!(true)), "true");
        assert_eq!(text(&json!([1, "a"])), r#"[1,"a"]"#);
        assert_eq!(text(&Value::Null), "null");
    }

    #[test]
    fn what_the_kernel_would_not_pass_is_refused_with_the_way_out() {
        let zero = as_text("p", &json!("a\0b"), 0).unwrap_err();
        let long = as_text("p", &json!("x".repeat(MAX_STRING_BYTES)), 0).unwrap_err();
        for failure in [zero, long] {
            assert_eq!(failure.kind, FailureKind::Parameters);
            assert!(
                failure.message.contains("stdin or file"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn names_of_variables_are_upper_case() {
        assert_eq!(variable_name("max-size.mb"), "PARAM_MAX_SIZE_MB");
    }
}
