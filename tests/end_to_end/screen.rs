//! What differs from run to run is taken out of snapshots of screens.

/// Replaces ids, times, durations, hashes and columns' padding by their names.
pub(crate) fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        // The name of a folder of logs may look like anything, also like a time.
        (r"/logs/[0-9a-z]{2}/", "/logs/"),
        (r"\b(exec|evt|enf|inq)_[0-9a-z]{26}\b", "[$1]"),
        (r"\(in [0-9dhms.]+\)", "(in [left])"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
        (r"\b\d\d:\d\d:\d\d\b(\.\d+)?", "[time]"),
        (r"\b\d+(\.\d+)?(ms|s)\b", "[span]"),
        (r"\b[0-9a-f]{12,64}\b", "[hash]"),
        (r"\b(pid|pid_start_time)=\d+", "$1=[number]"),
        (r"_ms=\d+", "_ms=[number]"),
        (r"/[^ ]*/(data|packs)/", "[$1]/"),
        (r" {2,}", "  "),
        (r" +\n", "\n"),
    ]
}
