//! The attributes of a job that are ours.

/// The name of its first submission.
pub(super) const NAME: &str = "CuAttempt";
/// The run of its submissions.
pub(super) const RUN: &str = "CuRun";
/// How many times HTCondor may start it. Without it HTCondor would start a job again after an eviction
/// or a lost shadow, beside a copy that still runs.
pub(super) const STARTS: &str = "CuStarts";

/// All of them.
pub(super) const ALL: [&str; 3] = [NAME, RUN, STARTS];
