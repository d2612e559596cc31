//! The log of the engine, on standard error.

use tracing_subscriber::filter::EnvFilter;

use crate::config::{self, LogFormat, LogLevel};
use crate::render::Style;

/// Has the log written as the configuration says.
pub(super) fn start(config: &config::Log) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(config.level)))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A program that embeds the engine may have installed its own.
    let _ = match config.format {
        LogFormat::Text => log.with_ansi(Style::detect().error_colour).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// What is written at a level. The console shows steps in its own way; in the log they are for those who
/// ask for more than `info`, as are the words of the libraries that speak HTTP.
fn filter(level: LogLevel) -> String {
    let (steps, libraries) = match level {
        LogLevel::Trace => (LogLevel::Trace, LogLevel::Debug),
        LogLevel::Debug => (LogLevel::Debug, LogLevel::Warn),
        LogLevel::Info | LogLevel::Warn => (LogLevel::Warn, LogLevel::Warn),
        LogLevel::Error => (LogLevel::Error, LogLevel::Error),
    };
    let (level, steps, libraries) = (level.as_str(), steps.as_str(), libraries.as_str());
    format!("{level},camshaft::step={steps},hyper={libraries},h2={libraries}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_less_severe_than_the_level() {
        assert_eq!(
            filter(LogLevel::Error),
            "error,camshaft::step=error,hyper=error,h2=error"
        );
        assert_eq!(
            filter(LogLevel::Info),
            "info,camshaft::step=warn,hyper=warn,h2=warn"
        );
        assert_eq!(
            filter(LogLevel::Debug),
            "debug,camshaft::step=debug,hyper=warn,h2=warn"
        );
    }
}
