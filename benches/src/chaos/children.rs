//! R5: children that do what children must not, against time limits and output limits.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::Trouble;
use crate::engine::{Api, Engine, Site};
use crate::machine;
use crate::report::Report;

/// How many bytes of a stream are kept.
const KEPT: u64 = 4 << 20;
const FLOOD: u64 = 1 << 30;
/// The time limit of children that do not end by themselves.
const LIMIT: Duration = Duration::from_secs(1);
/// How much later than its limit an attempt may end.
const LATE: Duration = Duration::from_secs(1);
/// How long a child that ends by itself may take; a flood takes its time on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// The most memory of the engine while all this happens.
const MEMORY: u64 = 192 << 20;

/// One way to misbehave.
struct Case {
    name: &'static str,
    script: &'static str,
    expected: Expected,
}

enum Expected {
    /// Its time limit ends it.
    TimedOut,
    /// It completes within the late time, whatever it left behind.
    AtOnce { stdout: &'static [u8] },
    /// It completes, having written so many bytes, of which so many are kept.
    Wrote { bytes: u64, stored: u64 },
}

const CASES: &[Case] = &[
    Case {
        name: "ignores TERM",
        script: "trap '' TERM INT HUP; while :; do sleep 1; done",
        expected: Expected::TimedOut,
    },
    Case {
        name: "forks away twice, in a session of its own",
        script: "setsid -f setsid -f sleep 1000; sleep 1000",
        expected: Expected::TimedOut,
    },
    Case {
        name: "closes its pipes",
        script: "exec >&- 2>&- <&-; sleep 1000",
        expected: Expected::TimedOut,
    },
    Case {
        name: "floods without end",
        script: "exec cat /dev/zero",
        expected: Expected::TimedOut,
    },
    Case {
        name: "floods both streams, ignores TERM",
        script: "trap '' TERM; cat /dev/zero >&2 & cat /dev/zero; wait",
        expected: Expected::TimedOut,
    },
    Case {
        name: "stops itself",
        script: "kill -STOP $$",
        expected: Expected::TimedOut,
    },
    Case {
        name: "forks without end",
        script: "f() { sleep 0.05; f & f & }; f; sleep 0.5; exec sleep 1000",
        expected: Expected::TimedOut,
    },
    Case {
        name: "leaves a child that holds its pipes",
        script: "sleep 1000 & echo done",
        expected: Expected::AtOnce { stdout: b"done\n" },
    },
    Case {
        name: "prints invalid UTF-8",
        script: "printf 'a\\377\\376\\300\\200\\n\\355\\240\\200b'",
        expected: Expected::AtOnce {
            stdout: b"a\xff\xfe\xc0\x80\n\xed\xa0\x80b",
        },
    },
    Case {
        name: "never reads 1 MB of parameters",
        script: "echo deaf",
        expected: Expected::AtOnce { stdout: b"deaf\n" },
    },
    Case {
        name: "prints no newline",
        script: "head -c 3000000 /dev/zero | tr '\\0' x",
        expected: Expected::Wrote {
            bytes: 3_000_000,
            stored: 3_000_000,
        },
    },
    Case {
        name: "prints one byte more than is kept",
        script: "head -c 4194305 /dev/zero",
        expected: Expected::Wrote {
            bytes: KEPT + 1,
            stored: KEPT,
        },
    },
    Case {
        name: "floods its pipe with 1 GB",
        script: "head -c 1073741824 /dev/zero",
        expected: Expected::Wrote {
            bytes: FLOOD,
            stored: KEPT,
        },
    },
];

pub(crate) async fn run(binary: &Path, report: &mut Report) -> Result<(), Trouble> {
    let site = Site::new(binary)?;
    site.pack_file("bad/pack.yaml", "ref: bad\nversion: 1.0.0\n")?;
    for (number, case) in CASES.iter().enumerate() {
        let timeout = if matches!(case.expected, Expected::TimedOut) {
            LIMIT
        } else {
            PATIENCE
        };
        let action = format!(
            "ref: bad.case{number}\nruntime: shell\nparameter_delivery: stdin\nparameters:\n  ballast: {{ type: string, default: \"\" }}\n\
             timeout: {}s\nscript: |\n  {}\n",
            timeout.as_secs(),
            case.script
        );
        site.pack_file(&format!("bad/actions/case{number}.yaml"), &action)?;
    }
    let before = report.violations();
    let kept = KEPT.to_string();
    let engine = site
        .up(4, &[("CAMSHAFT__WORKER__OUTPUT_LIMIT_BYTES", &kept)])
        .await?;
    for (number, case) in CASES.iter().enumerate() {
        let verdict = attempt(&engine.api, number, case).await?;
        report.row(
            "R5",
            case.name,
            verdict.measured,
            verdict.bound,
            verdict.holds,
        );
    }
    memory(&engine, report)?;
    let left = left_over(&site).await?;
    report.promise("R5", "processes that are left", "all", left);
    engine.stop().await?;
    report.promise("R5", "doctor --check", "the database", site.check().await?);
    if report.violations() > before {
        report.keep(&site.keep());
    }
    Ok(())
}

struct Verdict {
    measured: String,
    bound: String,
    holds: bool,
}

async fn attempt(api: &Api, number: usize, case: &Case) -> Result<Verdict, Trouble> {
    let ballast = "x".repeat(if case.name.contains("parameters") {
        1 << 20
    } else {
        0
    });
    let request =
        json!({"action": format!("bad.case{number}"), "parameters": {"ballast": ballast}});
    let began = Instant::now();
    let accepted = api
        .must(Method::POST, "/executions", Some(&request))
        .await?;
    let id = accepted["id"].as_str().ok_or("an id")?.to_owned();
    let mut ended = accepted;
    while ended["ended_at"].is_null() && began.elapsed() < PATIENCE {
        ended = api
            .must(
                Method::GET,
                &format!("/executions/{id}/wait?timeout=20s"),
                None,
            )
            .await?;
    }
    let took = began.elapsed();
    let status = ended["status"].as_str().unwrap_or_default();
    Ok(match case.expected {
        Expected::TimedOut => Verdict {
            measured: format!("{status} after {:.2} s", took.as_secs_f64()),
            bound: format!("timed_out in {} s", (LIMIT + LATE).as_secs()),
            holds: status == "timed_out" && took >= LIMIT && took <= LIMIT + LATE,
        },
        Expected::AtOnce { stdout } => {
            let log = api.log(&id, "stdout", 0).await?;
            Verdict {
                measured: format!(
                    "{status} after {:.2} s, {} bytes",
                    took.as_secs_f64(),
                    log.len()
                ),
                bound: format!("completed in {} s, {} bytes", LATE.as_secs(), stdout.len()),
                holds: status == "completed" && took <= LATE && log == stdout,
            }
        }
        Expected::Wrote { bytes, stored } => wrote(api, &id, status, bytes, stored).await?,
    })
}

async fn wrote(
    api: &Api,
    id: &str,
    status: &str,
    bytes: u64,
    stored: u64,
) -> Result<Verdict, Trouble> {
    let attempts = api
        .must(Method::GET, &format!("/executions/{id}/attempts"), None)
        .await?;
    let said = &attempts["items"][0]["stdout"];
    let (counted, kept) = (said["bytes"].as_u64(), said["stored"].as_u64());
    let truncated = said["truncated"].as_bool().unwrap_or(false);
    let readable = readable(api, id).await?;
    Ok(Verdict {
        measured: format!("{status}, {} bytes, {readable} kept", counted.unwrap_or(0)),
        bound: format!("completed, {bytes} bytes, {stored} kept"),
        holds: status == "completed"
            && (counted, kept) == (Some(bytes), Some(stored))
            && readable == stored
            && truncated == (stored < bytes),
    })
}

/// How many bytes of standard output can be read again.
async fn readable(api: &Api, id: &str) -> Result<u64, Trouble> {
    let mut offset = 0;
    loop {
        let chunk = api.log(id, "stdout", offset).await?.len() as u64;
        if chunk == 0 {
            return Ok(offset);
        }
        offset += chunk;
    }
}

fn memory(engine: &Engine, report: &mut Report) -> Result<(), Trouble> {
    let peak = machine::peak_memory(engine.pid()?)?;
    let of = |bytes: u64| format!("{} MB", bytes >> 20);
    report.row(
        "R5",
        "peak memory of the engine",
        of(peak),
        of(MEMORY),
        peak <= MEMORY,
    );
    Ok(())
}

/// What a kill has reached may take an instant to be gone.
async fn left_over(site: &Site) -> Result<Vec<String>, Trouble> {
    let began = Instant::now();
    loop {
        let left = machine::of_instance(&site.data_dir())?;
        if left.is_empty() || began.elapsed() > LATE {
            return Ok(left.iter().map(|process| format!("{process:?}")).collect());
        }
        sleep(Duration::from_millis(20)).await;
    }
}
