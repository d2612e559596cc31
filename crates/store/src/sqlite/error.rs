//! What SQLite says, split by what the caller does about it.

use camshaft_model::port::store::StoreError;
use rusqlite::{Error, ErrorCode};

/// `Unavailable` where the same call may work later, `Broken` where it will not.
pub(super) fn from_sql(error: &Error) -> StoreError {
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
