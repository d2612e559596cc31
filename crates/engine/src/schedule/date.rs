//! Once, at one instant.

use camshaft_model::{Object, Timestamp};

use super::ScheduleError;
use super::parameters;

#[derive(Debug, Clone)]
pub(super) struct Date {
    at: Timestamp,
}

impl Date {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let zone = parameters::zone(parameters)?;
        let hint = "an instant such as 2027-01-31T08:00:00Z";
        parameters::instant(parameters, "at", &zone)?
            .map(|at| Self { at })
            .ok_or(ScheduleError::Missing {
                parameter: "at",
                hint,
            })
    }

    pub(super) fn after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        Some(self.at).filter(|at| *at > after).into_iter()
    }
}
