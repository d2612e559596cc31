//! Pages of lists. A cursor is the id of the last row of the page before, so a page never shifts when
//! rows are added. One row more than asked for is read, to know whether there is another page.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use camshaft_model::port::store::PageRequest;
use serde::Serialize;
use serde_json::Value;

use crate::body::parse_text;
use crate::problem::Problem;

/// The most rows of a page.
pub(crate) const MAX_LIMIT: u32 = 1_000;
/// The rows of a page when nothing is asked for.
pub(crate) const DEFAULT_LIMIT: u32 = 50;

/// A page of a list, or the whole of a short one.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

/// A list that comes whole.
#[derive(Debug, Serialize)]
pub(crate) struct Items<T> {
    items: Vec<T>,
}

/// A list that comes whole.
pub(crate) fn all<T>(items: Vec<T>) -> Json<Items<T>> {
    Json(Items { items })
}

/// How many rows a page has.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(limit) => Err(Problem::invalid(format!(
            "limit must be from 1 to {MAX_LIMIT}, not {limit}"
        ))),
    }
}

/// What to ask the store for: one row more than the page has.
pub(crate) fn request<C: FromStr<Err: Display>>(
    cursor: Option<&str>,
    limit: u32,
) -> Result<PageRequest<C>, Problem> {
    let after = cursor
        .filter(|cursor| !cursor.is_empty())
        .map(parse_text)
        .transpose()?;
    Ok(PageRequest {
        after,
        limit: limit + 1,
    })
}

/// The page, out of what the store answered.
pub(crate) fn page<T>(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(cursor);
    Page {
        items: rows,
        next_cursor,
    }
}

/// The values of a list parameter such as `status=failed,timed_out`.
pub(crate) fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Any of ours as a JSON value. What we serialise has text keys only, so this does not fail.
pub(crate) fn json_of<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::EventId;

    #[test]
    fn the_last_page_has_no_cursor() {
        let cut = |rows: Vec<u32>| page(rows, 2, u32::to_string);
        assert_eq!(
            (cut(vec![]).next_cursor, cut(vec![9, 8]).next_cursor),
            (None, None)
        );
        let full = cut(vec![9, 8, 7]);
        assert_eq!(
            (full.items, full.next_cursor.as_deref()),
            (vec![9, 8], Some("8"))
        );
    }

    #[test]
    fn limits_are_bounded_and_cursors_checked() {
        assert_eq!(limit(None).unwrap(), DEFAULT_LIMIT);
        assert!(
            limit(Some(0)).is_err() && limit(Some(1_001)).is_err() && limit(Some(1_000)).is_ok()
        );
        assert!(request::<EventId>(Some("exec_1"), 5).is_err());
        assert_eq!(
            request::<i64>(Some("7"), 5).unwrap(),
            PageRequest {
                after: Some(7),
                limit: 6
            }
        );
        assert_eq!(request::<i64>(None, 5).unwrap().after, None);
    }

    #[test]
    fn lists_are_separated_by_commas() {
        assert_eq!(list(Some("a, b,,")).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(list(None).count(), 0);
    }
}
