//! Definitions that the scenarios run, written where an engine finds them.

use std::fs;
use std::io;
use std::path::Path;

fn pack(dir: &Path) -> io::Result<()> {
    for folder in ["actions", "triggers", "rules", "workflows"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    fs::write(dir.join("pack.yaml"), "ref: bench\nversion: 1.0.0\n")?;
    fs::write(dir.join("triggers/happened.yaml"), "ref: bench.happened\n")
}

fn rule(dir: &Path, name: &str, criterion: &str, action: &str) -> io::Result<()> {
    let text = format!("ref: bench.{name}\ntrigger: bench.happened\n{criterion}action: {action}\n");
    fs::write(dir.join(format!("rules/{name}.yaml")), text)
}

fn script(dir: &Path, name: &str, script: &str) -> io::Result<()> {
    let text = format!("ref: bench.{name}\nruntime: shell\nscript: {script}\n");
    fs::write(dir.join(format!("actions/{name}.yaml")), text)
}

/// Shell actions `bench.hi` and `bench.true`; an event of `bench.piled` runs the former, one of
/// `bench.happened` the latter.
pub(crate) fn shell(packs: &Path) -> io::Result<()> {
    let dir = packs.join("bench");
    pack(&dir)?;
    script(&dir, "hi", "echo hi")?;
    script(&dir, "true", "\"true\"")?;
    fs::write(dir.join("triggers/piled.yaml"), "ref: bench.piled\n")?;
    let pile = "ref: bench.pile\ntrigger: bench.piled\naction: bench.hi\n";
    fs::write(dir.join("rules/pile.yaml"), pile)?;
    rule(&dir, "run", "", "bench.true")
}

/// So many rules on `bench.happened`, each for one `number` from 0, that do nothing durable.
pub(crate) fn rules(packs: &Path, rules: usize) -> io::Result<()> {
    let dir = packs.join("bench");
    pack(&dir)?;
    for number in 0..rules {
        let criterion = format!("criteria:\n  trigger.number: {{ type: eq, pattern: {number} }}\n");
        rule(&dir, &format!("rule_{number}"), &criterion, "core.noop")?;
    }
    Ok(())
}

/// A workflow `bench.<name>` of these tasks, beside the shell actions.
pub(crate) fn workflow(packs: &Path, name: &str, tasks: &str) -> io::Result<()> {
    let text = format!("ref: bench.{name}\ntasks:\n{tasks}");
    fs::write(packs.join(format!("bench/workflows/{name}.yaml")), text)
}
