//! The topics below the prefix, and what a topic says about a constraint.
//!
//! A scope's topic is `<prefix>/constraints/` and the scope with `:` turned into `/`. In names the
//! characters that mean something in a topic are percent-encoded. One retained message to a topic is
//! one for all types of a scope, so each (scope, type) has a topic of its own as well, which ends in
//! `/~<type>`.

use camshaft_model::{ConstraintKey, ConstraintType, ExecutionId, Scope, ScopeError};

/// The prefix of all topics if nobody says otherwise.
pub const DEFAULT_PREFIX: &str = "cascade";

/// The topics below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

/// What a topic of a constraint is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConstraintTopic {
    /// The scope.
    pub scope: Scope,
    /// The type, where the topic is that of one type only.
    pub kind: Option<ConstraintType>,
}

impl ConstraintTopic {
    /// That of a type only.
    pub(super) fn of(key: &ConstraintKey) -> Self {
        Self {
            scope: key.scope.clone(),
            kind: Some(key.kind),
        }
    }

    /// The constraints that it is about.
    pub(super) fn keys(&self) -> Vec<ConstraintKey> {
        let kinds = ConstraintType::ALL.iter().copied();
        let kinds = kinds.filter(|kind| self.kind.is_none_or(|wanted| wanted == *kind));
        kinds
            .map(|kind| ConstraintKey {
                scope: self.scope.clone(),
                kind,
            })
            .collect()
    }

    /// That of all types of a scope.
    pub(super) fn of_scope(scope: &Scope) -> Self {
        Self {
            scope: scope.clone(),
            kind: None,
        }
    }
}

/// Why a topic is not about a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is not below the prefix.
    #[error("it is not a topic of constraints")]
    Elsewhere,
    /// A percent sign does not begin an encoded character.
    #[error("it has a '%' that is not followed by two hexadecimal digits of UTF-8")]
    Encoding,
    /// It names no scope.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// What follows `~` is no type.
    #[error("it ends in '~{0}', which is not a type of constraint")]
    Type(String),
}

impl Topics {
    /// The topics below `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Where every type of a scope is published.
    pub fn constraint(&self, scope: &Scope) -> String {
        format!("{}/constraints/{}", self.prefix, scope_path(scope))
    }

    /// Where one type of a scope is published.
    pub fn constraint_of_type(&self, key: &ConstraintKey) -> String {
        format!("{}/~{}", self.constraint(&key.scope), key.kind)
    }

    /// The filter of every constraint.
    pub fn constraints(&self) -> String {
        format!("{}/constraints/#", self.prefix)
    }

    /// Where the telemetry of a run is published.
    pub fn telemetry(&self, org_id: &str, project_id: &str, run: ExecutionId) -> String {
        format!(
            "{}/telemetry/{}/{}/{run}/events",
            self.prefix,
            encoded(org_id),
            encoded(project_id)
        )
    }

    /// The filter of the telemetry of every run, perhaps of one project only.
    pub fn all_telemetry(&self, project_id: Option<&str>) -> String {
        let project = project_id.map_or_else(|| "+".to_owned(), encoded);
        format!("{}/telemetry/+/{project}/+/events", self.prefix)
    }

    /// Where an engine says whether it is there.
    pub fn status(&self, source: &str) -> String {
        format!("{}/status/{}", self.prefix, encoded(source))
    }

    /// The filter of what every engine says there.
    pub fn all_status(&self) -> String {
        format!("{}/status/+", self.prefix)
    }

    /// What a topic of a constraint is about.
    ///
    /// # Errors
    /// It is about none.
    pub fn read_constraint(&self, topic: &str) -> Result<ConstraintTopic, TopicError> {
        let path = topic
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix("/constraints/"))
            .ok_or(TopicError::Elsewhere)?;
        let (path, kind) = match path.rsplit_once("/~") {
            // Of a kind that needs a name, the first level after it is the name, whatever it begins with.
            Some((path, kind))
                if !kind.contains('/') && (path.contains('/') || path == "global") =>
            {
                let shown = || TopicError::Type(kind.chars().take(64).collect());
                (path, Some(kind.parse().map_err(|_| shown())?))
            }
            _ => (path, None),
        };
        let levels = path.split('/').map(decoded).collect::<Option<Vec<_>>>();
        let scope: Scope = levels.ok_or(TopicError::Encoding)?.join(":").parse()?;
        Ok(ConstraintTopic { scope, kind })
    }
}

/// The scope as levels of a topic.
fn scope_path(scope: &Scope) -> String {
    let mut path = scope.kind().as_str().to_owned();
    if scope.name().is_empty() {
        return path;
    }
    for (position, part) in scope.name().split(':').enumerate() {
        path.push('/');
        // After the name's first part a level that begins with `~` would be read as a type.
        match part.strip_prefix('~').filter(|_| position > 0) {
            Some(rest) => {
                path.push_str("%7E");
                path.push_str(&encoded(rest));
            }
            None => path.push_str(&encoded(part)),
        }
    }
    path
}

fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '%' => text.push_str("%25"),
            '/' => text.push_str("%2F"),
            '+' => text.push_str("%2B"),
            '#' => text.push_str("%23"),
            '\0' => text.push_str("%00"),
            other => text.push(other),
        }
    }
    text
}

fn decoded(level: &str) -> Option<String> {
    if !level.contains('%') {
        return Some(level.to_owned());
    }
    let mut bytes = Vec::with_capacity(level.len());
    let mut rest = level.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Whether a topic fits a filter with `+` and `#`. Wildcards do not reach topics that begin with `$`.
pub fn fits(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether a text is a filter: at most 64 KiB, `+` alone in its level, `#` alone in the last one.
pub fn is_filter(filter: &str) -> bool {
    let well_formed = |(position, level): (usize, &str)| match level {
        "+" => true,
        "#" => position == filter.split('/').count() - 1,
        level => !level.contains(['+', '#']),
    };
    !filter.is_empty()
        && filter.len() <= usize::from(u16::MAX)
        && !filter.contains('\0')
        && filter.split('/').enumerate().all(well_formed)
}

/// Whether something can be published to a topic: no wildcards.
pub fn is_topic(topic: &str) -> bool {
    is_filter(topic) && !topic.contains(['+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(scope: &str) -> String {
        Topics::new("cascade").constraint(&scope.parse().unwrap())
    }

    #[test]
    fn topics_byte_by_byte() {
        assert_eq!(topic("global"), "cascade/constraints/global");
        assert_eq!(topic("task:api_call"), "cascade/constraints/task/api_call");
        assert_eq!(
            topic("action:web.get"),
            "cascade/constraints/action/web.get"
        );
        assert_eq!(
            topic("task:a/b+c#d%e"),
            "cascade/constraints/task/a%2Fb%2Bc%23d%25e"
        );
        assert_eq!(topic("task:api_*"), "cascade/constraints/task/api_*");
        assert_eq!(topic("task:a:b"), "cascade/constraints/task/a/b");
        let topics = Topics::new("site/7");
        let key = ConstraintKey {
            scope: "task:api_call".parse().unwrap(),
            kind: ConstraintType::RateLimit,
        };
        assert_eq!(
            topics.constraint_of_type(&key),
            "site/7/constraints/task/api_call/~rate_limit"
        );
        let run = ExecutionId::new(uuid::Uuid::from_u128(1));
        assert_eq!(
            topics.telemetry("local", "de/fault", run),
            "site/7/telemetry/local/de%2Ffault/exec_00000000000000000000000001/events"
        );
        assert_eq!(topics.status("host-7"), "site/7/status/host-7");
    }

    #[test]
    fn what_is_no_topic_of_a_constraint_is_refused_with_the_reason() {
        let topics = Topics::new("cascade");
        for (topic, reason) in [
            ("cascade/telemetry/x", "not a topic of constraints"),
            ("other/constraints/global", "not a topic of constraints"),
            ("cascade/constraints/tsk/a", "is not a scope"),
            ("cascade/constraints/", "is not a scope"),
            ("cascade/constraints/task", "has no name"),
            ("cascade/constraints/task/a%2", "'%'"),
            ("cascade/constraints/task/a%zz", "'%'"),
            ("cascade/constraints/task/%ff", "'%'"),
            ("cascade/constraints/task/a%+1", "'%'"),
            ("cascade/constraints/task/a/~paus", "~paus"),
            ("cascade/constraints/~pause", "is not a scope"),
        ] {
            let error = topics.read_constraint(topic).unwrap_err().to_string();
            assert!(error.contains(reason), "{topic}: {error}");
        }
    }

    #[test]
    fn filters_and_what_fits_them() {
        for (filter, topic, fit) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("+", "a/b", false),
            ("a/b", "a/b/c", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(fits(filter, topic), fit, "{filter} {topic}");
        }
        for (text, is) in [
            ("a/#", true),
            ("#/a", false),
            ("a#", false),
            ("a+/b", false),
            ("", false),
            ("+/+", true),
            ("a\0", false),
        ] {
            assert_eq!(is_filter(text), is, "{text}");
        }
        assert!(is_topic("a/b") && !is_topic("a/+") && !is_topic("a/#"));
    }

    proptest! {
        #[test]
        fn every_scope_comes_back_from_its_topic(name in "[ -~é]{1,40}", kind in 0usize..4) {
            let topics = Topics::new("p");
            if let Ok(scope) = format!("task:{name}").parse::<Scope>() {
                let kind = ConstraintType::ALL[kind];
                let plain = topics.constraint(&scope);
                prop_assert!(is_topic(&plain));
                prop_assert_eq!(topics.read_constraint(&plain), Ok(ConstraintTopic { scope: scope.clone(), kind: None }));
                let typed = topics.constraint_of_type(&ConstraintKey { scope: scope.clone(), kind });
                prop_assert_eq!(topics.read_constraint(&typed), Ok(ConstraintTopic { scope, kind: Some(kind) }));
            }
        }

        #[test]
        fn any_topic_is_read_or_refused(text in ".{0,60}") {
            let _ = Topics::new("p").read_constraint(&format!("p/constraints/{text}"));
            is_filter(&text);
            fits(&text, "a/b");
        }
    }
}
