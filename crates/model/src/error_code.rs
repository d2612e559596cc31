//! Stable codes of the errors that people and programs see. Each has a page `docs/errors/<code>.md`
//! with its cause and its fix, and an exit code for the command line.

use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $text:literal, $http:literal, $exit:literal, $title:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $(#[doc = $title] $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is written everywhere.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// The exit code of the command line that goes with it.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The code behind a text.
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    InvalidRequest = "invalid_request", 400, 2, "The request is not well-formed";
    Unauthorized = "unauthorized", 401, 4, "The token is missing or wrong";
    Forbidden = "forbidden", 403, 4, "The token does not allow this";
    NotFound = "not_found", 404, 5, "There is no such thing";
    MethodNotAllowed = "method_not_allowed", 405, 2, "The method is not allowed here";
    Conflict = "conflict", 409, 6, "The state of the thing does not allow this";
    IdempotencyKeyReused = "idempotency_key_reused", 409, 6, "The key was used for another request";
    RunEnded = "run_ended", 409, 6, "The run has ended";
    InquiryClosed = "inquiry_closed", 409, 6, "The inquiry is not open any more";
    TooManyConstraints = "too_many_constraints", 409, 6, "There are as many constraints as there may be";
    TooLarge = "too_large", 413, 2, "The body is too large";
    InvalidDefinition = "invalid_definition", 422, 2, "A definition is not valid";
    InvalidParameters = "invalid_parameters", 422, 2, "The parameters do not fit the action";
    InvalidConstraint = "invalid_constraint", 422, 2, "The constraint is not valid";
    InvalidResponse = "invalid_response", 422, 2, "The response does not fit the inquiry";
    InvalidConfiguration = "invalid_configuration", 422, 2, "The configuration is not valid";
    AlreadyRunning = "already_running", 409, 6, "The data directory is in use by another process";
    FunctionMissing = "function_missing", 409, 6, "Unfinished work calls functions that are not there";
    Unreachable = "unreachable", 503, 3, "The engine cannot be reached";
    Unavailable = "unavailable", 503, 3, "The engine cannot do this now";
    ExecutionFailed = "execution_failed", 200, 1, "The execution did not complete";
    CheckFailed = "check_failed", 200, 1, "A check found something";
    Internal = "internal", 500, 70, "Camshaft itself failed";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
