//! Warnings about chains of attempts that seem not to go on, in words.

/// Attempts ask to be resumed as soon as they have started.
pub(in crate::machine) fn all_brief(attempts: u32) -> String {
    format!(
        "{attempts} attempts in a row asked to be resumed within a few seconds; look in the output of one \
         of them (`cu logs`) whether it loads what the attempt before saved, and goes on from there; \
         unless the run bounds the attempts of a job, this goes on"
    )
}

/// Attempts exit with 0 as soon as they have started, and the job is not done.
pub(in crate::machine) fn all_brief_not_done(attempts: u32) -> String {
    format!(
        "{attempts} attempts in a row exited with code 0 within a few seconds and did not meet \
         the condition for \"done\"; look in the output of one of them (`cu logs`) whether the condition is what a \
         finished job shows; as long as files change, this goes on unless the run bounds the attempts of a \
         job"
    )
}

/// Attempts begin where those before them began, as far as the job shows it.
pub(in crate::machine) fn all_unmoved(attempts: u32) -> String {
    format!(
        "{attempts} attempts in a row left neither a newer checkpoint nor a larger fraction than those \
         before: they may begin at the same state each time; look in the output of one of them \
         (`cu logs`) what it loads; as long as files change, this goes on unless the run bounds the \
         attempts of a job"
    )
}

/// Attempts print the same each time.
pub(in crate::machine) fn all_repeated(attempts: u32) -> String {
    format!(
        "{attempts} attempts in a row printed the same as the one before, and left neither a checkpoint of cu's \
         nor a fraction: they may begin at the same state each time; look in the output of one of them \
         (`cu logs`) what it loads; as long as files change, this goes on unless the run bounds the attempts \
         of a job"
    )
}

/// A command that ended at once completes its job, and its processes were ended; to follow "attempt 3 ".
pub(in crate::machine) fn left_its_work(processes: &str) -> String {
    format!(
        "completed the job, but its command ended at once and left processes running, which cu ended: \
         {processes}; if they do the work, run them in the foreground, or end the script with `wait`, and \
         run the job again"
    )
}
