//! The names that a text uses, and as far as it can be told, what its value is made of.
//!
//! minijinja finds the dotted ones (`tasks.fetch.result`). A name that is no identifier stands in
//! brackets (`tasks['fetch-all'].result`), which minijinja takes for a use of all of `tasks`; so where
//! it reports a bare name, its places in the text are looked at again.

use std::collections::BTreeSet;

use super::environment::ENVIRONMENT;
use super::template::Template;

/// A path as its parts: `tasks.fetch.result` is `["tasks", "fetch", "result"]`.
pub type NamePath = Vec<String>;

impl Template {
    /// Every path that is used, functions of the language aside.
    pub fn names(&self) -> BTreeSet<NamePath> {
        let mut names = BTreeSet::new();
        for path in self.paths() {
            let parts: NamePath = path.split('.').map(str::to_owned).collect();
            if ENVIRONMENT.globals().any(|(name, _)| name == parts[0]) {
                continue;
            }
            match subscripts(self.source(), path) {
                Some(found) if parts.len() == 1 => names.extend(found),
                _ => {
                    names.insert(parts);
                }
            }
        }
        names
    }

    /// The path that the whole text is, if it is nothing else: `{{ tasks.fetch.result }}`.
    pub fn sole_name(&self) -> Option<NamePath> {
        let expression = self.sole_expression()?.trim();
        let mut names = self.names().into_iter();
        let name = names.next().filter(|_| names.next().is_none())?;
        let (first, rest) = name.split_first()?;
        let mut place = expression.strip_prefix(first.as_str())?;
        for part in rest {
            place = attribute(place)
                .or_else(|| literal_subscript(place))
                .filter(|(found, _)| found == part)
                .map(|(_, rest)| rest)?;
        }
        place.trim().is_empty().then_some(name)
    }
}

/// What follows each place of a bare name, if every one of them is followed by a text in brackets.
fn subscripts(source: &str, name: &str) -> Option<Vec<NamePath>> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices(name) {
        let before = source[..at].chars().next_back();
        let rest = &source[at + name.len()..];
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\'' | '"');
        if before.is_some_and(is_part)
            || rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            continue;
        }
        // This place is one of the dotted paths.
        if attribute(rest).is_some() {
            continue;
        }
        let (part, mut rest) = literal_subscript(rest)?;
        let mut path = vec![name.to_owned(), part];
        while let Some((part, tail)) = attribute(rest).or_else(|| literal_subscript(rest)) {
            path.push(part);
            rest = tail;
        }
        found.push(path);
    }
    (!found.is_empty()).then_some(found)
}

/// `.name` at the beginning of a text, and what follows it.
fn attribute(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('.')?;
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    (end > 0).then(|| (rest[..end].to_owned(), &rest[end..]))
}

/// `['name']` at the beginning of a text, and what follows it.
fn literal_subscript(text: &str) -> Option<(String, &str)> {
    let rest = text.trim_start().strip_prefix('[')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, rest) = rest[1..].split_once(quote)?;
    let rest = rest.trim_start().strip_prefix(']')?;
    (!name.contains('\\')).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let template = Template::parse(text).unwrap();
        template.names().iter().map(|path| path.join("/")).collect()
    }

    #[test]
    fn every_path_is_found_with_dots_and_in_brackets() {
        assert_eq!(
            names(
                "{{ tasks.a.result[0].x + vars['b'] }} {% if tasks[\"c-d\"].status %}x{% endif %}"
            ),
            ["tasks/a/result", "tasks/c-d/status", "vars/b"]
        );
        assert_eq!(names("{{ tasks['a'] ['result'].n }}"), ["tasks/a/result/n"]);
        assert_eq!(
            names("{% for x in params.l %}{{ x.y }}{% endfor %}"),
            ["params/l"]
        );
        assert_eq!(names("{{ range(3) }} plain tasks.x"), [""; 0]);
    }

    #[test]
    fn a_name_that_is_computed_is_a_use_of_the_whole() {
        assert_eq!(
            names("{{ tasks[params.which].result }}"),
            ["params/which", "tasks"]
        );
        assert_eq!(
            names("{{ tasks['a'].result ~ tasks[item] }}"),
            ["item", "tasks"]
        );
        assert_eq!(names("{{ 'tasks' ~ vars.x }}"), ["vars/x"]);
    }

    #[test]
    fn a_text_that_is_one_path_is_told_from_one_that_computes() {
        let sole = |text: &str| {
            let name = Template::parse(text).unwrap().sole_name();
            name.map(|path| path.join("/"))
        };
        assert_eq!(
            sole("{{ tasks.a.result }}").as_deref(),
            Some("tasks/a/result")
        );
        assert_eq!(
            sole("{{ tasks['a'].result.b }}").as_deref(),
            Some("tasks/a/result/b")
        );
        assert_eq!(sole("{{ tasks.a.result | length }}"), None);
        assert_eq!(sole("{{ tasks.a.result[0] }}"), None);
        assert_eq!(sole("{{ -vars.a }}"), None);
        assert_eq!(sole("x {{ vars.a }}"), None);
        assert_eq!(sole("x"), None);
    }
}
