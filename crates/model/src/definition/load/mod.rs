//! From the files of packs to [`Pack`]s: all of them or none, with every mistake reported.
//!
//! Two passes. [`draft`] reads the files of each pack on its own. [`link`] looks up what rules and workflows name,
//! among all the drafts and the packs that are current; so packs that name each other load together.
//! Nothing here touches a disk: what is in the files is a parameter, and so are the checks that need
//! the engine's expression language, operators and schedules.

mod draft;
mod link;
mod workflow;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::problem::{Problem, Problems};
use super::{Catalog, Criterion, Pack, Trigger};
use crate::Object;

/// The files of a pack by their path in its folder.
pub type PackFiles = BTreeMap<PathBuf, Vec<u8>>;

/// One pack as it was found.
#[derive(Debug, Clone, Default)]
pub struct PackSource {
    /// How its folder is named in problems; may be empty.
    pub label: String,
    /// Its files.
    pub files: PackFiles,
    /// The folder from which its actions will run; empty for the pack in the binary.
    pub dir: PathBuf,
    /// The hash of its files.
    pub hash: String,
}

/// One thing that is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterProblem {
    /// The parameter's name; empty for all of them together.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// What an expression or a template uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Every path by its parts: `tasks.fetch.result` is `["tasks", "fetch", "result"]`.
    pub paths: Vec<Vec<String>>,
    /// What the text is.
    pub form: Form,
}

/// What a text is, as far as can be told without its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Form {
    /// A text without markup, which stands for itself.
    #[default]
    Plain,
    /// The value of one path.
    Name(Vec<String>),
    /// The value of an expression.
    Value,
    /// A text in which values are rendered.
    Text,
}

/// Checks that need more than the vocabulary. The engine's answers are given in `crates/camshaft`.
pub trait Checks {
    /// Whether path, operator and pattern go together; gives the operator its canonical name.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn criterion(&self, criterion: Criterion) -> Result<Criterion, String>;

    /// The names that an expression uses.
    ///
    /// # Errors
    /// It is none: what is wrong, in a sentence.
    fn expression(&self, text: &str) -> Result<Names, String>;

    /// The names that a template uses.
    ///
    /// # Errors
    /// It is none: what is wrong, in a sentence.
    fn template(&self, text: &str) -> Result<Names, String>;

    /// Whether a value is a JSON Schema.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn schema(&self, schema: &Value) -> Result<(), String>;

    /// Whether a value satisfies a JSON Schema.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String>;

    /// Checks what a rule asks of a trigger and fills in defaults.
    ///
    /// # Errors
    /// Everything that is wrong.
    fn trigger_parameters(
        &self,
        trigger: &Trigger,
        parameters: Object,
    ) -> Result<Object, Vec<ParameterProblem>>;
}

/// A pack that has been loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The pack.
    pub pack: Pack,
    /// What is allowed and probably not meant, such as a runtime that nobody defines.
    pub warnings: Vec<Problem>,
}

/// Loads one pack beside those that are current. A current version of the same pack is left aside.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_pack(
    files: &PackFiles,
    dir: PathBuf,
    hash: String,
    world: &Catalog,
    checks: &dyn Checks,
) -> Result<Loaded, Problems> {
    let source = PackSource {
        label: String::new(),
        files: files.clone(),
        dir,
        hash,
    };
    let loaded = load_packs(std::slice::from_ref(&source), world, checks)?;
    loaded
        .into_iter()
        .next()
        .ok_or_else(|| Problems::of_file("pack.yaml", "nothing was loaded"))
}

/// Loads one pack that was current once, for the runs that are pinned to it. What its workflows name of
/// other packs may be gone or different since: a task finds out when it starts.
///
/// # Errors
/// Everything else that is wrong with it.
pub fn load_pinned_pack(
    source: &PackSource,
    world: &Catalog,
    checks: &dyn Checks,
) -> Result<Loaded, Problems> {
    let loaded = load(std::slice::from_ref(source), world, checks, Purpose::Pinned)?;
    loaded
        .into_iter()
        .next()
        .ok_or_else(|| Problems::of_file("pack.yaml", "nothing was loaded"))
}

/// What packs are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To become current.
    Current,
    /// For runs that go on with what they started with.
    Pinned,
}

/// Loads several packs together, in their order: all of them or none.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn load_packs(
    sources: &[PackSource],
    world: &Catalog,
    checks: &dyn Checks,
) -> Result<Vec<Loaded>, Problems> {
    load(sources, world, checks, Purpose::Current)
}

fn load(
    sources: &[PackSource],
    world: &Catalog,
    checks: &dyn Checks,
    purpose: Purpose,
) -> Result<Vec<Loaded>, Problems> {
    let mut drafts: Vec<draft::Draft> = sources
        .iter()
        .map(|source| draft::draft(source, checks))
        .collect();
    let mut problems: Vec<Problem> = drafts
        .iter_mut()
        .flat_map(|draft| std::mem::take(&mut draft.problems))
        .collect();
    draft::same_pack_twice(&drafts, &mut problems);
    let loaded = link::link(drafts, world, checks, purpose, &mut problems);
    Problems::check(problems)?;
    Ok(loaded)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod workflow_tests;
