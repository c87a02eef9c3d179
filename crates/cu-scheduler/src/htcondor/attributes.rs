//! The attributes of a job that are ours.

/// The name of its first submission.
pub(super) const NAME: &str = "CuAttempt";
/// The run of its submissions.
pub(super) const RUN: &str = "CuRun";
/// How many times HTCondor may start it. Without it HTCondor would start a job again after an eviction
/// or a lost shadow, beside a copy that still runs.
pub(super) const STARTS: &str = "CuStarts";

/// Whether nobody will put it back or free it any more, where the user has a rule for removals, too.
pub(super) const FORGOTTEN: &str = "CuForgotten";

/// All of them.
pub(super) const ALL: [&str; 4] = [NAME, RUN, STARTS, FORGOTTEN];
