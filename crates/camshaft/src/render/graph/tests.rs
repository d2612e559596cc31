use std::path::{Path, PathBuf};

use camshaft_model::definition::{Catalog, PackFiles, load_pack};

use super::*;
use crate::pack::{EngineChecks, core_pack};

fn workflow(tasks: &str) -> Workflow {
    let core = core_pack().unwrap();
    let world = Catalog {
        packs: [("core".to_owned(), core)].into(),
    };
    let files = PackFiles::from([
        (
            PathBuf::from("pack.yaml"),
            b"ref: demo\nversion: '1'\n".to_vec(),
        ),
        (
            PathBuf::from("workflows/w.yaml"),
            format!("ref: demo.w\n{tasks}").into_bytes(),
        ),
    ]);
    let loaded = load_pack(
        &files,
        Path::new("demo").to_owned(),
        String::new(),
        &world,
        &EngineChecks,
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    Workflow::clone(loaded.pack.actions["demo.w"].workflow().unwrap())
}

fn all(tasks: &str) -> String {
    let workflow = workflow(tasks);
    [Drawing::Text, Drawing::Mermaid, Drawing::Dot]
        .map(|drawing| draw("demo.w", &workflow, drawing))
        .join("\n----\n")
}

const ETL: &str = "parameters: { urls: { type: array } }\nvars: { total: 0 }\ntasks:\n  \
    fetch: { action: core.http, items: '{{ params.urls }}', concurrency: 8, with: { url: '{{ item }}' } }\n  \
    merge: { action: core.echo, with: { message: '{{ tasks.fetch.result }}' }, cache: { key: k, ttl: 1d } }\n  \
    repair: { needs: { fetch: failed }, action: core.noop }\n  \
    approve: { needs: [merge], when: 'vars.total > 100 and \"<b>\" != \"x\"', inquiry: { prompt: Go? } }\n  \
    arrive: { wait_for: { trigger: core.execution } }\n  \
    load: { needs: { approve: [completed, skipped], arrive: ended, repair: [skipped, failed] }, action: core.noop }\n  \
    gather: { needs: { load: completed } }\n  \
    tell: { finally: true, action: core.noop }\n  \
    clean: { finally: true, needs: [tell], action: core.noop }\n\
    loop: { mode: until, condition: vars.total == 0, max_cycles: 10 }\n";

const POLL: &str = "vars: { n: 0 }\ntasks:\n  \
    ask: { action: core.noop, next: [{ when: 'succeeded and vars.n < 3', publish: { n: '{{ vars.n + 1 }}' }, do: wait }, { when: failed, do: [stop, left] }, { do: right }] }\n  \
    wait: { action: core.noop, next: [{ do: ask_again }] }\n  \
    ask_again: { action: core.noop, next: [{ when: succeeded, do: wait }, { do: ask_again }] }\n  \
    left: { action: core.noop, next: [{ do: both }] }\n  \
    right: { action: core.noop, next: [{ do: both }] }\n  \
    both: { join: all, action: core.noop }\n  stop: { action: core.noop }\n";

#[test]
fn a_graph_of_needs_is_drawn_three_ways() {
    insta::assert_snapshot!(all(ETL));
}

#[test]
fn a_graph_of_transitions_with_a_cycle_is_drawn_three_ways() {
    insta::assert_snapshot!(all(POLL));
}

#[test]
fn thirty_tasks_can_still_be_read() {
    // Four branches of six tasks, each of which needs the one before it and now and then a neighbour.
    let mut tasks = String::from("tasks:\n  start:\n");
    for step in 0..7 {
        for branch in 0..4 {
            let mut needs = match step {
                0 => vec!["start".to_owned()],
                _ => vec![format!("b{branch}_{}", step - 1)],
            };
            if step % 3 == 2 && branch > 0 {
                needs.push(format!("b{}_{}", branch - 1, step - 1));
            }
            tasks.push_str(&format!(
                "  b{branch}_{step}: {{ needs: [{}], action: core.noop }}\n",
                needs.join(", ")
            ));
        }
    }
    tasks.push_str("  end: { needs: [b0_6, b1_6, b2_6, b3_6] }\n");
    insta::assert_snapshot!(draw("demo.w", &workflow(&tasks), Drawing::Text));
}

#[test]
fn every_task_and_edge_is_in_every_drawing() {
    for text in [ETL, POLL] {
        let workflow = workflow(text);
        let graph = Graph::new("demo.w", &workflow);
        let drawn = draw("demo.w", &workflow, Drawing::Text);
        // The line of a task: its rails, then its name.
        let line = |name: &str| {
            let is_it = |line: &&str| {
                let rest =
                    line.trim_start_matches(['●', '│', '├', '─', '╰', '╯', '┴', '┼', '┤', ' ']);
                line.contains('●') && rest.split_whitespace().next() == Some(name)
            };
            drawn
                .lines()
                .find(is_it)
                .unwrap_or_else(|| panic!("{name}\n{drawn}"))
        };
        for node in &graph.nodes {
            assert!(line(&node.name).contains(&node.work), "{drawn}");
        }
        for edge in &graph.edges {
            let (from, to) = (&graph.nodes[edge.from].name, &graph.nodes[edge.to].name);
            let told =
                line(to).contains(from.as_str()) || line(from).contains(&format!("back to {to}"));
            assert!(told, "{from} -> {to}\n{drawn}");
        }
        for drawing in [Drawing::Mermaid, Drawing::Dot] {
            let drawn = draw("demo.w", &workflow, drawing);
            let arrows = drawn.matches("-->").count() + drawn.matches(" -> ").count();
            assert_eq!(arrows, graph.edges.len(), "{drawn}");
        }
    }
}
