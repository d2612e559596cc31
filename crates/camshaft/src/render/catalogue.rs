//! The catalogue of messages: what the console says, by id, from `locales/en/`.
//!
//! A message has places in braces, perhaps with a format after a colon, which whoever fills the place
//! keeps to. What is put there stays as it is: braces and brackets in it mean nothing, and control
//! characters are escaped.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::escape;

const ENGLISH: &str = include_str!("../../../../locales/en/console.json");

fn messages() -> &'static HashMap<String, String> {
    static MESSAGES: OnceLock<HashMap<String, String>> = OnceLock::new();
    // A test reads the file, so it is valid.
    MESSAGES.get_or_init(|| serde_json::from_str(ENGLISH).unwrap_or_default())
}

/// The text of a message, with its places filled. A message that is not there is its id.
pub fn text(id: &str, values: &[(&str, &str)]) -> String {
    let mut rest = messages().get(id).map_or(id, String::as_str);
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((place, after)) = after.split_once('}') else {
            break;
        };
        let name = place.split_once(':').map_or(place, |(name, _)| name);
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => text.push_str(&escape::line(value)),
            None => text.push_str(&format!("{{{place}}}")),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_others_know_by_heart() {
        assert_eq!(
            text("engine.connector.connected", &[]),
            "📡 Engine connected to external connector."
        );
        assert_eq!(
            text("engine.connector.disconnected", &[]),
            "🔌 Engine disconnected from external connector."
        );
        let retrying = [
            ("task_name", "fetch"),
            ("attempt", "1"),
            ("max_attempts", "3"),
            ("delay", "0.50"),
            ("error", "[x] broke {attempt}"),
        ];
        assert_eq!(
            text("task.retrying", &retrying),
            "⚠️ Task 'fetch' failed, retrying (attempt 1/3). Delaying for 0.50s. Error: [x] broke {attempt}"
        );
    }

    #[test]
    fn what_is_filled_in_cannot_steer_the_terminal() {
        let values = [("reason", "gone\u{1b}[2J"), ("delay", "1s")];
        assert!(!text("engine.connector.reconnecting", &values).contains('\u{1b}'));
        assert_eq!(text("no.such.message", &[]), "no.such.message");
    }

    #[test]
    fn every_message_is_one_line() {
        assert!(messages().len() >= 5);
        assert!(messages().values().all(|text| !text.contains('\n')));
    }
}
