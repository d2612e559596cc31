//! What SQLite says, split by what the caller does about it.

use camshaft_model::port::store::StoreError;
use rusqlite::{Error, ErrorCode};

use super::artifact::ArtifactError;

/// The error about a large value, if it is one.
fn of_artifact(error: &Error) -> Option<&ArtifactError> {
    match error {
        Error::FromSqlConversionFailure(_, _, inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// `Unavailable` where the same call may work later, `Broken` where it will not.
pub(super) fn from_sql(error: &Error) -> StoreError {
    match of_artifact(error) {
        Some(e @ ArtifactError::Unreadable { .. }) => {
            return StoreError::Unavailable(e.to_string());
        }
        Some(e) => return StoreError::Broken(e.to_string()),
        None => {}
    }
    let passing = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OperationInterrupted
        )
    );
    if passing {
        StoreError::Unavailable(error.to_string())
    } else {
        StoreError::Broken(error.to_string())
    }
}

/// Whether the error is about the transaction alone (a row that may not exist twice, a value that is
/// too large) and says nothing about the database.
pub(super) fn is_callers_fault(error: &Error) -> bool {
    matches!(error, Error::ToSqlConversionFailure(_))
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig)
        )
}
