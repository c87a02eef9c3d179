//! The scripts that run on the machine: what HTCondor starts, and what it runs for one attempt.
//!
//! HTCondor's own quoting never sees a word of a command. Its job is [`start`], the same for all;
//! it runs what the newest *ticket* of the cluster job names, which is the [`attempt_script`],
//! quoted for the shell alone.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use cu_system::files;
use cu_system::shell::{is_name, quote};

use crate::{Submission, cluster};

/// The exit code with which a job gives up a slot that it had kept for its next attempt.
pub(super) const SLOT_GIVEN_UP: u8 = 254;

/// The script that HTCondor starts, with a submission's name as its argument: `start RUN/JOB/ATTEMPT`, and for
/// [`Resume::Checkpoint`](super::Resume::Checkpoint) also how long to wait in seconds, and how many
/// times it goes on in one slot.
pub(super) fn start(state_dir: &str) -> String {
    let state = quote(state_dir);
    format!(
        r#"#!/bin/sh
# What HTCondor starts: `start NAME [WAIT [RESTARTS]]`. It runs the script that the newest ticket of
# the cluster job NAME names; jobs/NAME/1 is the first. A ticket's first line is the script's path.
PATH=${{PATH:-/usr/local/bin:/usr/bin:/bin}}
export PATH
tickets={state}/jobs/$1
fail() {{
    echo "$(date) on $(hostname): $1" >>"$tickets/failures"
    exit 127
}}

# Those of a job that this one was submitted from, which handed its environment on, are none of ours.
unset CU_DEADLINE CU_KILL_WAIT

# The deadline is that of the slot: HTCondor counts from the first start in it. From SIGTERM to
# SIGKILL it leaves as much as the job asks for and the machine allows, which may be a product.
now=$(date +%s) began=0 limit=0 leave=
for ad in "${{_CONDOR_JOB_AD:-}}" "${{_CONDOR_MACHINE_AD:-}}"; do
    [ -r "$ad" ] || continue
    while read -r name equals value; do
        case $value in '' | *[!0-9\ *]*) continue ;; esac
        case $name in
        JobCurrentStartDate) began=$value ;;
        AllowedJobDuration) limit=$value ;;
        JobMaxVacateTime | KillSigTimeout | MachineMaxVacateTime)
            value=$( (set -f; echo $(($value))) 2>/dev/null) || continue
            [ "${{leave:-$value}}" -lt "$value" ] || leave=$value
            ;;
        esac
    done <"$ad"
done
if [ "$began" -gt 0 ] && [ "$limit" -gt 0 ]; then
    CU_DEADLINE=$((began + limit))
    export CU_DEADLINE
fi
if [ -n "$leave" ]; then
    CU_KILL_WAIT=$leave
    export CU_KILL_WAIT
fi

newest=0
while [ -e "$tickets/$((newest + 1))" ]; do newest=$((newest + 1)); done
[ "$newest" -gt 0 ] || fail "there is no ticket in $tickets"

# With WAIT, HTCondor starts this again in the same slot. What ran here before stands in the slot's
# scratch directory. The next attempt is waited for; whoever renames the file `waiting` decides. Where
# restarts or more than half of the time are used up, the next attempt is better off elsewhere.
if [ -n "${{2:-}}" ]; then
    memory=$_CONDOR_SCRATCH_DIR/.ticket
    restarts=0
    if read -r ran restarts 2>/dev/null <"$memory"; then
        [ "$restarts" != "${{3:-none}}" ] || exit {SLOT_GIVEN_UP}
        [ "$((2 * (now - began)))" -le "$limit" ] || [ "$limit" = 0 ] || exit {SLOT_GIVEN_UP}
        restarts=$((restarts + 1))
        if [ "$ran" = "$newest" ]; then
            : >"$tickets/waiting"
            until=$((now + $2))
            while [ -e "$tickets/waiting" ]; do
                sleep 0.1
                if [ "$(date +%s)" -ge "$until" ]; then
                    mv "$tickets/waiting" "$tickets/given-up" 2>/dev/null && exit {SLOT_GIVEN_UP}
                fi
            done
            newest=$((newest + 1))
            [ -e "$tickets/$newest" ] || fail "the slot was granted without ticket $newest"
        fi
    else
        rm -f "$tickets/waiting"
    fi
    echo "$newest $restarts" >"$memory" || fail "$memory can't be written"
fi

IFS= read -r script <"$tickets/$newest" || fail "$tickets/$newest can't be read"
exec /bin/sh "$script"
"#
    )
}

/// The script of one attempt. Its output goes to `stdout` and `stderr` in the submission's
/// directory, what goes wrong before the command too.
pub(super) fn attempt_script(
    submission: &Submission,
    directory: &str,
    wrapper: &[String],
) -> String {
    let mut script = format!(
        "#!/bin/sh\n# Attempt {}, as HTCondor runs it.\nexec >>{} 2>>{} </dev/null || exit 126\n",
        submission.name,
        quote(&format!("{directory}/stdout")),
        quote(&format!("{directory}/stderr")),
    );
    let mut line = |text: String| {
        script.push_str(&text);
        script.push('\n');
    };
    let working_directory = submission.working_directory.to_string_lossy();
    line(format!("cd {} || exit 126", quote(&working_directory)));
    line(format!("export CU_SUBMISSION={}", submission.name));
    for (name, value) in &submission.environment {
        line(format!("export {name}={}", quote(value)));
    }
    if let Some(warning) = submission.resources.warning {
        // HTCondor has no warning. The watcher is not a child of the command, holds none of its
        // files, and is killed with the job. One second lets the command install its handler.
        line(format!(
            "if [ -n \"${{CU_DEADLINE:-}}\" ]; then\n    \
             left=$((CU_DEADLINE - {} - $(date +%s)))\n    \
             [ \"$left\" -ge 1 ] || left=1\n    \
             ((sleep \"$left\"; kill -{} $$) >/dev/null 2>&1 &)\nfi",
            warning.before_limit.as_millis().div_ceil(1000),
            warning.signal.name(),
        ));
    }
    let mut command = String::from("exec");
    for argument in wrapper.iter().chain(&submission.command) {
        // Writing to a string can't fail.
        let _ = write!(command, " {}", quote(argument));
    }
    line(command);
    script
}

/// Writes the script of one attempt into the directory of its submission, and returns its path.
pub(super) fn write_script(submission: &Submission, wrapper: &[String]) -> io::Result<String> {
    // `check` saw that it is text.
    let directory = submission.directory.to_string_lossy();
    let path = format!("{directory}/run.sh");
    let text = attempt_script(submission, &directory, wrapper);
    files::write_whole(Path::new(&path), text.as_bytes(), files::PRIVATE_PROGRAM)?;
    Ok(path)
}

/// Checks that `submission` can be written as a script.
///
/// # Errors
/// Why not, in a sentence.
pub(super) fn check(submission: &Submission) -> Result<(), String> {
    cluster::check(submission)?;
    let names = &mut submission.environment.keys();
    if let Some(name) = names.find(|name| !is_name(name)) {
        return Err(format!("a shell can't set a variable called `{name}`"));
    }
    for directory in [&submission.working_directory, &submission.directory] {
        match directory.to_str() {
            Some(text) if !text.contains(['\n', '\0']) => {}
            Some(text) => return Err(format!("the path {text:?} contains a line break")),
            None => return Err(format!("the path {} is not UTF-8", directory.display())),
        }
    }
    Ok(())
}
