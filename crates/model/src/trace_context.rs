//! W3C trace context: the names by which an execution and its attempts are known in a trace.
//!
//! The names follow from ids, so nothing has to be remembered: the trace is that which came with the
//! request or else is named by the run, the span of an execution is named by the execution, and that of
//! an attempt by the execution and the attempt. What a child process is told in `TRACEPARENT` and what
//! is exported are made here, both, and so agree.

use std::fmt;

use crate::{ExecutionId, ExecutionSpec};

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` if it is not a valid one, which is as good as none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (part.len() == digits && part.bytes().all(lower)).then_some(part)
        };
        let version = u8::from_str_radix(hex(2)?, 16).ok()?;
        let trace = u128::from_str_radix(hex(32)?, 16).ok()?;
        let span = u64::from_str_radix(hex(16)?, 16).ok()?;
        let flags = u8::from_str_radix(hex(2)?, 16).ok()?;
        // A later version may have more parts, this one has not.
        let known = version != 0xff && (version > 0 || parts.next().is_none());
        (known && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// What came with the request for an execution, or for the run that it is a part of.
    pub fn given(spec: &ExecutionSpec) -> Option<Self> {
        spec.trace_parent.as_deref().and_then(Self::parse)
    }

    /// The span of an execution.
    pub fn of_execution(spec: &ExecutionSpec) -> Self {
        Self::of_attempt(spec, 0)
    }

    /// The span of one attempt at an execution, from 1: what its processes get as their parent.
    pub fn of_attempt(spec: &ExecutionSpec, attempt: u32) -> Self {
        let given = Self::given(spec);
        Self {
            trace: given.map_or_else(|| spec.root.uuid().as_u128(), |given| given.trace),
            span: low(spec.id) ^ u64::from(attempt).rotate_left(32),
            sampled: given.is_none_or(|given| given.sampled),
        }
    }

    /// The span of the execution that this one is a part of, or the one that came with the request.
    pub fn parent(spec: &ExecutionSpec) -> Option<Self> {
        match spec.parent {
            Some(parent) => Some(Self {
                span: low(parent),
                ..Self::of_execution(spec)
            }),
            None => Self::given(spec),
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub const fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// The 16 bytes that name the trace.
    pub const fn trace_id(self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// The 8 bytes that name the span.
    pub const fn span_id(self) -> [u8; 8] {
        self.span.to_be_bytes()
    }

    /// Whether spans of the trace are to be exported: whoever began it decides.
    pub const fn is_sampled(self) -> bool {
        self.sampled
    }
}

/// The random half of an id of version 7; never 0, because it holds the variant.
fn low(id: ExecutionId) -> u64 {
    id.uuid().as_u128() as u64
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_standard_calls_invalid_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(good).unwrap().to_string(), good);
        assert!(
            !TraceContext::parse(&good.replace("-01", "-00"))
                .unwrap()
                .is_sampled()
        );
        assert!(TraceContext::parse(&format!("{}-more", good.replacen("00", "01", 1))).is_some());
        for bad in [
            "",
            "00-1-2-3",
            &format!("{good}-more"),
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_does_not(text: String) {
            let _ = TraceContext::parse(&text);
        }
    }
}
