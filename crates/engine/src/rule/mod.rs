//! Rules: criteria, operators, and the index that finds the rules an event may match.
//!
//! When definitions change, each enabled rule is compiled once (`matching.rs`: paths, patterns,
//! expressions) and put into a [`RuleIndex`] (`index.rs`). An event asks the index for candidates and
//! each candidate for its [`Verdict`]. [`trial`] (`explain.rs`) evaluates the same parts without
//! stopping at the first that decides, for people who ask why.

mod awaited;
mod comparison;
mod criteria;
mod explain;
mod index;
mod matching;
mod operators;
mod path;
mod search;
mod trial;
mod value;

pub use awaited::{AwaitedEvent, described};
pub use criteria::check_criterion;
pub use explain::trial;
pub use index::{RuleIndex, sensor_key};
pub use matching::{CompiledRule, Surroundings, Verdict};
pub use operators::{Operator, UnknownOperator};
pub use trial::{CriterionTrial, RuleTrial, WhenTrial};
