//! What a constraint is about: everything, or what goes by a name.
//!
//! In text a scope is `global` or `kind:name`. The name may be a pattern: `*` stands for any run of
//! characters, `?` for one, `[..]` for one of several. An unknown kind is refused, so that no scope
//! silently matches nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes that the name of a scope may have.
pub const MAX_SCOPE_NAME_BYTES: usize = 256;

macro_rules! kinds {
    ($($variant:ident = $text:literal, $doc:literal;)*) => {
        /// By what a scope chooses.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ScopeKind { $(#[doc = $doc] $variant,)* }

        impl ScopeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text before the colon.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    Global = "global", "Everything.";
    Project = "project", "The project that the engine works for.";
    Pack = "pack", "What a rule, a workflow or an action of a pack starts.";
    Rule = "rule", "What a rule requested, with all that follows inside the run.";
    Action = "action", "An action; of a workflow, all that its runs start.";
    Workflow = "workflow", "All that the runs of a workflow start, child runs included.";
    Task = "task", "A task of that name, its items and what it starts; outside a workflow the last part of the action's ref.";
    Runtime = "runtime", "What runs on a runtime.";
    Worker = "worker", "What runs on a worker.";
    Pod = "pod", "What runs for a pod.";
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    kind: ScopeKind,
    name: Arc<str>,
}

/// Why a text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// What stands before the colon is no kind.
    #[error(
        "'{0}' is not a scope: write global, or one of project, pack, rule, action, workflow, task, runtime, worker and pod with a name, such as task:api_call"
    )]
    Kind(String),
    /// There is nothing after the colon.
    #[error("the scope '{0}' has no name: write {0}:<name>")]
    NoName(&'static str),
    /// `global` has something after a colon.
    #[error("the scope 'global' has no name: write global alone")]
    Global,
    /// The name is too long or has a character that does not print.
    #[error(
        "the name of the scope '{0}' is longer than {MAX_SCOPE_NAME_BYTES} bytes or has a control character"
    )]
    Name(String),
    /// The name is a pattern that cannot be read.
    #[error("the name in the scope '{0}' is not a pattern: {1}")]
    Pattern(String, String),
}

impl Scope {
    /// Everything.
    pub fn global() -> Self {
        Self {
            kind: ScopeKind::Global,
            name: "".into(),
        }
    }

    /// A scope of a kind and a name, both as they are.
    ///
    /// # Errors
    /// The name is missing where the kind needs one, too long, or no pattern.
    pub fn new(kind: ScopeKind, name: &str) -> Result<Self, ScopeError> {
        let scope = Self {
            kind,
            name: name.into(),
        };
        if (kind == ScopeKind::Global) && !name.is_empty() {
            return Err(ScopeError::Global);
        }
        if (kind != ScopeKind::Global) && name.is_empty() {
            return Err(ScopeError::NoName(kind.as_str()));
        }
        let shown = || scope.to_string().chars().take(80).collect::<String>();
        if name.len() > MAX_SCOPE_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(ScopeError::Name(shown()));
        }
        if let Err(error) = glob(name) {
            return Err(ScopeError::Pattern(shown(), error.kind().to_string()));
        }
        Ok(scope)
    }

    /// By what it chooses.
    pub const fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// The name after the colon; empty for `global`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What finds out whether a name is in the scope.
    pub fn matcher(&self) -> ScopeMatcher {
        ScopeMatcher {
            kind: self.kind,
            name: self.name.clone(),
            glob: self
                .name
                .contains(['*', '?', '['])
                .then(|| glob(&self.name).ok())
                .flatten(),
        }
    }
}

fn glob(name: &str) -> Result<GlobMatcher, globset::Error> {
    // Braces mean nothing here, so they stand for themselves.
    let pattern = name.replace('{', "[{]").replace('}', "[}]");
    GlobBuilder::new(&pattern)
        .literal_separator(false)
        .backslash_escape(false)
        .build()
        .map(|glob| glob.compile_matcher())
}

/// A scope that was made ready to be asked many times.
#[derive(Debug, Clone)]
pub struct ScopeMatcher {
    kind: ScopeKind,
    name: Arc<str>,
    glob: Option<GlobMatcher>,
}

impl ScopeMatcher {
    /// By what it chooses.
    pub const fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// Whether the scope chooses by a pattern, not by a name as it stands.
    pub const fn is_pattern(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether a name is the scope's, or fits its pattern.
    pub fn is_match(&self, name: &str) -> bool {
        *self.name == *name || self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ScopeKind::Global => f.write_str("global"),
            kind => write!(f, "{}:{}", kind.as_str(), self.name),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let kind = ScopeKind::from_text(kind)
            .ok_or_else(|| ScopeError::Kind(text.chars().take(80).collect()))?;
        if kind == ScopeKind::Global && text.contains(':') {
            return Err(ScopeError::Global);
        }
        Self::new(kind, name)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(scope: &str, name: &str) -> bool {
        scope.parse::<Scope>().unwrap().matcher().is_match(name)
    }

    #[test]
    fn names_and_patterns() {
        assert!(fits("task:api_call", "api_call"));
        assert!(!fits("task:api_call", "api_calls"));
        assert!(fits("task:api_*", "api_call"));
        assert!(fits("task:*", "a/b"));
        assert!(fits("task:part[0-9]", "part7"));
        assert!(!fits("task:part[!0-9]", "part7"));
        assert!(fits("task:a?c", "abc"));
        assert!(fits("task:{a,b}", "{a,b}"));
        assert!(!fits("task:{a,b}", "a"));
        assert!(fits("task:part[7]", "part[7]"), "a name is always itself");
        assert!(fits("global", ""));
    }

    #[test]
    fn what_is_not_a_scope_is_refused_with_what_to_write() {
        for text in [
            "",
            "globl",
            "task",
            "task:",
            "global:x",
            "tsk:a",
            "task:[a",
            "task:a\nb",
            ":a",
        ] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains("scope"), "{text}: {error}");
        }
        assert!(
            format!("task:{}", "x".repeat(257))
                .parse::<Scope>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string(), text);
                scope.matcher().is_match("x");
            }
        }
    }
}
