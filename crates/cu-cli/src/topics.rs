//! `cu help TOPIC`: what belongs to no single command.

use crate::error::ExitCode;

/// A topic: its name, what it is about, and its text.
type Topic = (&'static str, &'static str, fn() -> String);

const TOPICS: [Topic; 4] = [
    ("exit-codes", "how cu ends", ExitCode::help),
    (
        "environment",
        "the variables that cu reads and sets",
        environment,
    ),
    ("files", "the files of a run", files),
    ("words", "run, job, attempt and the other words", words),
];

/// The text about `topic`, if there is such a topic.
pub fn text(topic: &str) -> Option<String> {
    let found = TOPICS.iter().find(|(name, ..)| *name == topic);
    found.map(|(_, _, text)| text())
}

/// The topics, each with what it is about.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOPICS.into_iter().map(|(name, about, _)| (name, about))
}

/// The topics, for `cu --help`.
pub fn list() -> String {
    let mut text = String::from("Help on topics:");
    for (name, about, _) in TOPICS {
        text.push_str(&format!("\n  cu help {name:<13}{about}"));
    }
    text
}

fn environment() -> String {
    "\
What cu reads:
  CU_RESULTS_DIR     the directory that holds the runs, unless --results-dir is given
  CU_PROFILE         as --profile: the keys of the table [profiles.NAME] are used
  CU_TRUST_PARENTS   as `cu run --trust-parents`
  XDG_CONFIG_HOME    where the user's defaults are: cluster-utils/config.toml [default: ~/.config]
  XDG_CONFIG_DIRS    where the site's defaults are, likewise [default: /etc/xdg]
  NO_COLOR           no colours, unless --color always is given
  TERM               `dumb`, or nothing: plain lines instead of a display

Each option has a variable: CU_, the command, and the option, in capitals and with _ for -:
  CU_RUN_STOP_AFTER=50min      cu run --stop-after 50min
  CU_LOGS_FOLLOW=1             cu logs --follow; 0, no, off, false and nothing leave a flag out
  CU_CONFIG_SHOW_ORIGIN=1      cu config show --origin
Options of every command have none of the command: CU_JSON, CU_COLOR, CU_QUIET, CU_VERBOSE. An
option that is typed counts more than a variable, also than that of an option which it excludes. An
option that may be repeated has one value there. None of them has the name of a variable below,
so a `cu` in a job takes no option from what that job finds. `cu exec`, `cu job` and the options of
sbatch have no variables.

What a job's program finds:
  CU_JOB_ID          the job's number
  CU_ATTEMPT         the attempt's number, from 0
  CU_RUN_DIR         the run directory
  CU_OUTPUT_DIR      the job's output directory, the same for all its attempts
  CU_SETTINGS        the path of settings.json, the job's settings
  CU_STOP_FILE       this file exists as soon as the program should save and exit
  CU_DEADLINE        when the attempt reaches its time limit, if known, in seconds since 1970
  CU_KILL_WAIT       the seconds between the scheduler's SIGTERM and its SIGKILL, if they are known
  CU_SOCKET          where the libraries and `cu job` reach the supervisor"
        .to_owned()
}

fn files() -> String {
    "\
A run directory is RESULTS_DIR/NAME:
  run.toml                        the config, with all overrides
  environment.json                digests of the variables that `cu run` had
  git.json  clone/                the commit that the programs come from; its clone, with `[git]`
  main.log                        what the main process did
  all_data.csv                    settings and metrics of the completed jobs, written when the run
                                  ends; `cu jobs --csv` prints all jobs at any time
  environment.sh  metadata.json  cluster_run.log
                                  with `cu grid-search` and `cu hp-optimization` alone: see
                                  docs/cluster_utils.md
  working_directories/JOB/        a job's output directory: what its program saves
    settings.json  param_choice.csv  metrics.csv
    checkpoints/                  if the program saves with one of the libraries
  attempts/JOB/ATTEMPT/           stdout, stderr, exit.json, signals.json, the submission file
  run.sqlite  lock  secret  server.json  backend/
                                  what the main process needs; leave these alone

A run that has ended can be copied anywhere, and read there with `cu status DIRECTORY`. `cu export`
packs what others need of it; `cu rm` removes it."
        .to_owned()
}

fn words() -> String {
    "\
Words:
  run                a set of jobs with one run directory
  job                one piece of work: fixed settings, one output directory
  attempt            one submission of a job to the scheduler, numbered from 0
  resume             the attempt after one that saved and exited: it goes on from there
  main process       `cu run` or `cu resume`: it submits, watches and submits again
  supervisor         `cu exec`: the parent of a job's program on the machine where it runs
  checkpoint         what an attempt saves for the next one
  budget             how often a job may end in some way without progress before it fails

waiting, queued, running, completed, failed and cancelled are the states of a job. Waiting: not
submitted, at first, between attempts, or paused. Queued: the scheduler has it. Cancelled: a person
ended it."
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_fits_100_columns() {
        for (name, ..) in TOPICS {
            let text = text(name).expect(name);
            assert!(
                text.lines().all(|line| line.chars().count() <= 100),
                "{text}"
            );
            assert!(list().contains(name));
        }
        assert_eq!(text("nothing"), None);
    }
}
