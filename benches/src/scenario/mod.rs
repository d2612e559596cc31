//! The scenarios, one file for each bar.

mod p1;
mod p10;
mod p2;
mod p3;
mod p4;
mod p5;
mod p6;
mod p7;
mod p8;
mod p9;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use crate::Failure;
use crate::report::Sample;

/// What every scenario is given.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where databases are made.
    pub(crate) dir: PathBuf,
    /// The camshaft binary.
    pub(crate) binary: PathBuf,
    /// Whether the million executions are wanted.
    pub(crate) million: bool,
}

/// The numbers of one round.
type Measured<'a> = Pin<Box<dyn Future<Output = Result<Vec<Sample>, Failure>> + 'a>>;

/// One bar and how it is measured.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Its id, such as `P1`.
    pub(crate) id: &'static str,
    /// What happens in it.
    pub(crate) title: &'static str,
    /// Measures one round.
    pub(crate) measure: for<'a> fn(&'a Bench) -> Measured<'a>,
}

/// All of them.
pub(crate) static SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "P1",
        title: "2,000 shell actions over HTTP, 16 slots",
        measure: |bench| Box::pin(p1::measure(bench)),
    },
    Scenario {
        id: "P2",
        title: "50,000 native executions, 256 in flight",
        measure: |bench| Box::pin(p2::measure(bench)),
    },
    Scenario {
        id: "P3",
        title: "an event on an idle engine",
        measure: |bench| Box::pin(p3::measure(bench)),
    },
    Scenario {
        id: "P4",
        title: "workflows of 1,000 tasks beside and 100 after one another",
        measure: |bench| Box::pin(p4::measure(bench)),
    },
    Scenario {
        id: "P5",
        title: "100,000 executions that a constraint holds",
        measure: |bench| Box::pin(p5::measure(bench)),
    },
    Scenario {
        id: "P6",
        title: "memory and start",
        measure: |bench| Box::pin(p6::measure(bench)),
    },
    Scenario {
        id: "P7",
        title: "20,000 events on 1,000 rules",
        measure: |bench| Box::pin(p7::measure(bench)),
    },
    Scenario {
        id: "P8",
        title: "bytes of 5,000 executions",
        measure: |bench| Box::pin(p8::measure(bench)),
    },
    Scenario {
        id: "P9",
        title: "a fan-out of 10,000 items, 16 at a time",
        measure: |bench| Box::pin(p9::measure(bench)),
    },
    Scenario {
        id: "P10",
        title: "a pause by MQTT while work runs",
        measure: |bench| Box::pin(p10::measure(bench)),
    },
];
