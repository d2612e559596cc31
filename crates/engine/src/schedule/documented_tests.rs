//! The examples of `docs/timers.md` are what the program computes.

use camshaft_model::Timestamp;
use camshaft_model::definition::TriggerKind;

use super::Schedule;
use super::calendar_tests::object;

const PAGE: &str = include_str!("../../../../docs/timers.md");

#[test]
fn the_documented_instants_are_the_computed_ones() {
    let mut examples = 0;
    for row in PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `core."))
    {
        let cells: Vec<&str> = row.split(" | ").collect();
        let Some((timer, _)) = cells[0].split_once('`') else {
            continue;
        };
        let Some((kind, parameters)) = timer.split_once(' ') else {
            continue;
        };
        let kind = match kind {
            "interval" => TriggerKind::Interval,
            "cron" => TriggerKind::Cron,
            "date" => TriggerKind::Date,
            _ => TriggerKind::Rrule,
        };
        let parameters = object(serde_json::from_str(parameters).unwrap());
        let schedule = Schedule::parse(kind, &parameters).unwrap();
        let after: Timestamp = cells[1].trim().parse().unwrap();
        let documented: Vec<&str> = cells[2].trim_end_matches('|').trim().split(", ").collect();
        let computed: Vec<String> = schedule
            .after(after)
            .take(documented.len())
            .map(|instant| instant.to_string().replace(".000000Z", "Z"))
            .collect();
        assert_eq!(computed, documented, "{row}");
        examples += 1;
    }
    assert_eq!(examples, 13, "each row with parameters is an example");
}
