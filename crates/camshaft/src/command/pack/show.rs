//! `camshaft pack show`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Style, instant_at, plain, text_at};

/// Show one pack and what is in it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft pack show demo")]
pub struct Show {
    /// The pack
    #[arg(value_name = "PACK", value_parser = pack_name)]
    pack: String,
}

/// A pack's name goes into a path: it may only be one.
pub(super) fn pack_name(text: &str) -> Result<String, &'static str> {
    if camshaft_model::reference::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a pack's name has lower-case letters, digits, '_' and '-'")
    }
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let pack = context
            .client
            .read(&format!("/packs/{}", self.pack))
            .await?;
        context.show(&pack, render)
    }
}

fn render(pack: &Value, style: Style) -> String {
    let or = |first: &str, second: &str| match text_at(pack, first).as_str() {
        "-" => text_at(pack, second),
        text => text.to_owned(),
    };
    let mut rows = vec![
        ("pack", or("/pack", "/origin/pack")),
        ("version", text_at(pack, "/version")),
        ("hash", or("/hash", "/origin/hash")),
        ("applied", instant_at(pack, "/applied_at")),
        ("description", text_at(pack, "/description")),
    ];
    for (key, name) in [
        ("action", "actions"),
        ("trigger", "triggers"),
        ("rule", "rules"),
        ("runtime", "runtimes"),
    ] {
        match pack.get(name) {
            Some(Value::Object(items)) => {
                rows.extend(items.keys().map(|reference| (key, reference.clone())))
            }
            Some(Value::Array(items)) => rows.extend(
                items
                    .iter()
                    .map(|item| (key, item.get("ref").map_or_else(|| plain(item), plain))),
            ),
            _ => {}
        }
    }
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_lists_its_definitions() {
        let pack = serde_json::json!({"pack": "demo", "version": "1.2.0", "hash": "abc", "applied_at": "2026-11-21T01:28:29Z",
            "description": "x", "actions": {"demo.greet": {}}, "rules": [{"ref": "demo.every"}], "triggers": ["demo.order"]});
        insta::assert_snapshot!(render(&pack, Style::default()), @r"
        pack         demo
        version      1.2.0
        hash         abc
        applied      2026-11-21T01:28:29.000Z
        description  x
        action       demo.greet
        trigger      demo.order
        rule         demo.every
        ");
    }

    #[test]
    fn a_name_cannot_leave_its_path() {
        assert!(
            pack_name("../x").is_err() && pack_name("a?b").is_err() && pack_name("demo-1").is_ok()
        );
    }
}
