//! Lists as tables and single things as key and value. No lines are drawn, so that `awk` and `cut`
//! work on what a person sees; ids are never shortened.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Style, escape, instant_at, text_at};

/// Free text on a terminal is cut after so many characters; piped output never is.
const MAX_CELL_CHARS: usize = 80;

/// One column: its header and how its cell comes from an item.
#[derive(Clone, Copy)]
pub struct Column {
    /// In capitals.
    pub header: &'static str,
    /// The cell's text, not escaped yet.
    pub cell: Cellular,
}

/// Where the text of a cell comes from.
#[derive(Clone, Copy)]
pub enum Cellular {
    /// The value at a JSON pointer.
    At(&'static str),
    /// The instant at a JSON pointer.
    Instant(&'static str),
    /// Something computed.
    With(fn(&Value) -> String),
}

impl Column {
    /// The value at a JSON pointer.
    pub const fn at(header: &'static str, pointer: &'static str) -> Self {
        Self {
            header,
            cell: Cellular::At(pointer),
        }
    }

    /// The instant at a JSON pointer.
    pub const fn instant(header: &'static str, pointer: &'static str) -> Self {
        Self {
            header,
            cell: Cellular::Instant(pointer),
        }
    }

    /// Something computed.
    pub const fn with(header: &'static str, cell: fn(&Value) -> String) -> Self {
        Self {
            header,
            cell: Cellular::With(cell),
        }
    }

    /// The cell of an item, not escaped yet.
    pub fn text(&self, item: &Value) -> String {
        match self.cell {
            Cellular::At(pointer) => text_at(item, pointer),
            Cellular::Instant(pointer) => instant_at(item, pointer),
            Cellular::With(cell) => cell(item),
        }
    }
}

fn cell_text(text: &str, style: Style) -> String {
    let shown = escape::line(text);
    if !style.terminal || shown.chars().count() <= MAX_CELL_CHARS {
        return shown.into_owned();
    }
    shown
        .chars()
        .take(MAX_CELL_CHARS - 1)
        .chain(['…'])
        .collect()
}

fn trimmed(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

/// A list. Without items there is a header only, so that a program sees the same shape.
pub fn list(items: &[Value], columns: &[Column], style: Style) -> String {
    let mut table = empty_table();
    table.set_header(columns.iter().map(|column| heading(column.header, style)));
    for item in items {
        table.add_row(columns.iter().map(|column| {
            let text = cell_text(&column.text(item), style);
            coloured(&text, column.header, style)
        }));
    }
    align(&mut table);
    trimmed(&table)
}

/// Key and value, one pair a line. Values may have several lines.
pub fn pairs(pairs: &[(&str, String)], style: Style) -> String {
    let mut table = empty_table();
    for (key, value) in pairs {
        table.add_row([heading(key, style), Cell::new(escape::lines(value))]);
    }
    align(&mut table);
    trimmed(&table)
}

fn heading(text: &str, style: Style) -> Cell {
    let cell = Cell::new(text);
    if style.colour {
        cell.add_attribute(Attribute::Bold)
    } else {
        cell
    }
}

fn coloured(text: &str, header: &str, style: Style) -> Cell {
    use comfy_table::Color;
    let cell = Cell::new(text);
    if !style.colour || !matches!(header, "STATUS" | "OUTCOME") {
        return cell;
    }
    match text {
        "completed" => cell.fg(Color::Green),
        "failed" | "timed_out" | "abandoned" => cell.fg(Color::Red),
        "running" | "scheduled" => cell.fg(Color::Cyan),
        "cancelled" | "canceling" | "skipped" | "blocked" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[
        Column::at("ID", "/id"),
        Column::at("STATUS", "/status"),
        Column::instant("AT", "/at"),
        Column::at("ERROR", "/error/message"),
    ];

    fn items() -> Vec<Value> {
        vec![
            json!({"id": "exec_1", "status": "completed", "at": "2026-11-21T01:28:29.590000Z"}),
            json!({"id": "exec_22", "status": "failed", "at": null, "error": {"message": format!("[x]\u{1b}[2J{}", "y".repeat(100))}}),
        ]
    }

    #[test]
    fn a_piped_list_is_whole_and_plain() {
        insta::assert_snapshot!(list(&items(), COLUMNS, Style::default()), @r"
        ID       STATUS     AT                        ERROR
        exec_1   completed  2026-11-21T01:28:29.590Z  -
        exec_22  failed     -                         [x]\u{1b}[2Jyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
        ");
    }

    #[test]
    fn a_terminal_gets_shortened_text() {
        let shown = list(
            &items(),
            COLUMNS,
            Style {
                terminal: true,
                ..Style::default()
            },
        );
        assert!(shown.contains("yyy…\n"), "{shown}");
    }

    #[test]
    fn an_empty_list_has_its_header() {
        assert_eq!(
            list(&[], COLUMNS, Style::default()),
            "ID  STATUS  AT  ERROR\n"
        );
    }

    #[test]
    fn pairs_are_aligned() {
        let shown = pairs(
            &[("id", "exec_1".into()), ("description", "a\nb".into())],
            Style::default(),
        );
        insta::assert_snapshot!(shown, @r"
        id           exec_1
        description  a
                     b
        ");
    }
}
