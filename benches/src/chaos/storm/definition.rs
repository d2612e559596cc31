//! What is run: actions that write down each start and each end, rules, and workflows of them.

use crate::Trouble;
use crate::engine::Site;

/// The actions that write to a file of their own name.
pub(super) const MARKING: [&str; 4] = ["once", "again", "flaky", "last"];
/// How many items the fan-out of a run has.
pub(super) const ITEMS: usize = 6;
/// The workflows, and the tasks without which a run of them did not complete.
pub(super) const WORKFLOWS: [(&str, &[&str]); 2] = [
    (
        "storm.tree",
        &["spread", "flaky", "branch", "risky", "last"],
    ),
    ("storm.leaf", &["first", "second"]),
];

/// A fan-out, a task that fails at first, a child run, a task that is not run again, and one at the end
/// of whatever happens. A kill during `risky` fails the run; one during anything else must not.
const TREE: &str = "\
ref: storm.tree
parameters: { pause: { type: string, default: '0' } }
tasks:
  spread: { action: storm.again, items: '{{ range(6) | list }}', concurrency: 3, with: { pause: '{{ params.pause }}' } }
  flaky: { action: storm.flaky }
  branch: { needs: [spread], action: storm.leaf }
  risky: { needs: [flaky], action: storm.once, with: { pause: '{{ params.pause }}' } }
  last: { finally: true, action: storm.last }
";

const LEAF: &str = "\
ref: storm.leaf
tasks:
  first: { action: storm.again }
  second: { needs: [first], action: storm.again }
";

/// Writes everything where an engine finds it.
pub(super) fn write(site: &Site) -> Result<(), Trouble> {
    let folder = site.path().display().to_string();
    site.pack_file("storm/pack.yaml", "ref: storm\nversion: 1.0.0\n")?;
    site.pack_file("storm/triggers/poked.yaml", "ref: storm.poked\n")?;
    for (name, idempotent) in [("once", false), ("again", true)] {
        let action = marking(&folder, name, idempotent, "", "");
        site.pack_file(&format!("storm/actions/{name}.yaml"), &action)?;
        let rule = format!(
            "ref: storm.on_{name}\ntrigger: {{ ref: storm.poked }}\ncriteria:\n  trigger.kind: {{ type: equals, pattern: {name} }}\n\
             action: {{ ref: storm.{name}, parameters: {{ pause: \"{{{{ trigger.pause }}}}\", escape: \"{{{{ trigger.escape }}}}\" }} }}\n"
        );
        site.pack_file(&format!("storm/rules/{name}.yaml"), &rule)?;
    }
    let fails_at_first = "\x20 [ \"$CAMSHAFT_ATTEMPT\" -gt 1 ] || exit 1\n";
    let retry = "retry: { max_attempts: 3, delay: 20ms }\n";
    let flaky = marking(&folder, "flaky", true, retry, fails_at_first);
    site.pack_file("storm/actions/flaky.yaml", &flaky)?;
    let last = marking(&folder, "last", true, "", "");
    site.pack_file("storm/actions/last.yaml", &last)?;
    site.pack_file("storm/workflows/tree.yaml", TREE)?;
    site.pack_file("storm/workflows/leaf.yaml", LEAF)?;
    site.pack_file(
        "storm/rules/tick.yaml",
        "ref: storm.tick\ntrigger: { ref: core.interval, parameters: { every: 50ms, catchup: all } }\naction: { ref: storm.once }\n",
    )?;
    let gather = format!(
        "ref: storm.gather\nruntime: shell\nparameter_delivery: env\nparameters:\n  all: {{ type: integer, required: true }}\ntimeout: 20s\n\
         script: |\n\
         \x20 mkdir -p '{folder}/gathered'\n\
         \x20 : > \"{folder}/gathered/$CAMSHAFT_EXECUTION_ID\"\n\
         \x20 while [ \"$(ls '{folder}/gathered' | wc -l)\" -lt \"$PARAM_ALL\" ]; do sleep 0.1; done\n"
    );
    site.pack_file("storm/actions/gather.yaml", &gather)
}

/// An action that writes one line when it starts, and one when it is through: each is one write to a
/// file opened for appending.
fn marking(folder: &str, name: &str, idempotent: bool, more: &str, then: &str) -> String {
    format!(
        "ref: storm.{name}\nruntime: shell\nidempotent: {idempotent}\nparameter_delivery: env\n{more}\
         parameters:\n  pause: {{ type: string, default: \"0\" }}\n  escape: {{ type: boolean, default: false }}\n\
         script: |\n\
         \x20 echo \"S $CAMSHAFT_EXECUTION_ID $CAMSHAFT_ATTEMPT\" >> '{folder}/{name}'\n\
         {then}\
         \x20 [ \"$PARAM_ESCAPE\" = false ] || setsid -f sleep 100 > /dev/null 2>&1\n\
         \x20 [ \"$PARAM_PAUSE\" = 0 ] || sleep \"$PARAM_PAUSE\"\n\
         \x20 echo \"E $CAMSHAFT_EXECUTION_ID $CAMSHAFT_ATTEMPT\" >> '{folder}/{name}'\n"
    )
}
