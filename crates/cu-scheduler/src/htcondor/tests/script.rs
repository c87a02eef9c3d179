//! The scripts, run by a shell as HTCondor would run them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use cu_system::files;
use proptest::prelude::*;

use crate::htcondor::script::{self, write_script};
use crate::htcondor::ticket::{Ticket, Tickets};
use crate::{Resources, Signal, Submission, SubmissionName, Warning};

/// How long anything may take.
const BOUND: Duration = Duration::from_secs(60);

/// A state directory with an awkward name, and one cluster job in it.
struct Machine {
    directory: tempfile::TempDir,
    tickets: Tickets,
    scratch: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state $(x) 'y'");
        fs::create_dir(&state).unwrap();
        let start = script::start(state.to_str().unwrap());
        let path = state.join("start");
        files::write_whole(&path, start.as_bytes(), files::PRIVATE_PROGRAM).unwrap();
        let scratch = directory.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        Self {
            tickets: Tickets::new(&state),
            directory,
            scratch,
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state $(x) 'y'")
    }

    /// Writes the ticket `number`, for a command that leaves a line and ends so.
    fn ticket(&self, number: u32, script: &str) {
        let submission = submission(self.directory.path(), number, script);
        let ticket = Ticket {
            script: write_script(&submission, &[]).unwrap(),
            name: submission.name,
            starts: number,
            events: 0,
            in_slot: false,
            header_checksum: 0,
        };
        self.tickets.write(&name(), number, &ticket).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = shell(self.state().join("start"));
        command.env_clear().arg(name().to_string()).args(arguments);
        command.env("_CONDOR_SCRATCH_DIR", &self.scratch);
        command
    }

    fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.command(arguments).status().unwrap().code()
    }

    fn output(&self, number: u32) -> String {
        let path = self
            .directory
            .path()
            .join(format!("attempt-{number}/stdout"));
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// A shell that runs `script`. Run by itself it could be found open for writing by a process that
/// another test is about to start.
fn shell(script: impl AsRef<OsStr>) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg(script);
    shell
}

fn name() -> SubmissionName {
    SubmissionName::new("run", 7, 0).unwrap()
}

fn submission(directory: &Path, attempt: u32, script: &str) -> Submission {
    let own = directory.join(format!("attempt-{attempt}"));
    fs::create_dir_all(&own).unwrap();
    Submission {
        name: SubmissionName::new("run", 7, attempt).unwrap(),
        command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        environment: BTreeMap::new(),
        working_directory: directory.into(),
        directory: own,
        resources: Resources::default(),
        previous: None,
        avoid_hosts: Vec::new(),
    }
}

/// Waits for a condition that no event announces.
fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < BOUND, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

#[test]
fn the_newest_ticket_is_what_runs() {
    let machine = Machine::new();
    machine.ticket(1, "echo first; exit 3");
    assert_eq!(machine.code(&[]), Some(3));
    machine.ticket(2, "echo second; exit 4");
    assert_eq!(machine.code(&[]), Some(4));
    assert_eq!(machine.output(1), "first\n");
    assert_eq!(machine.output(2), "second\n");
}

#[test]
fn without_a_ticket_nothing_runs_and_it_is_said_why() {
    let machine = Machine::new();
    fs::create_dir_all(machine.state().join("jobs/run/7/0")).unwrap();
    assert_eq!(machine.code(&[]), Some(127));
    let failure = machine.tickets.failure(&name()).unwrap();
    assert!(failure.contains("there is no ticket"), "{failure}");
}

/// The process that submits may run in a job itself, and hands its environment on.
#[test]
fn the_deadline_of_another_job_is_none() {
    let machine = Machine::new();
    machine.ticket(1, "echo ${CU_DEADLINE:-none} ${CU_KILL_WAIT:-none}");
    let mut command = machine.command(&[]);
    command.envs([("CU_DEADLINE", "1"), ("CU_KILL_WAIT", "1")]);
    assert!(command.status().unwrap().success());
    assert_eq!(machine.output(1), "none none\n");
}

#[test]
fn the_deadline_is_in_the_job_ad() {
    let machine = Machine::new();
    machine.ticket(1, "echo deadline ${CU_DEADLINE:-none}, $CU_SUBMISSION");
    machine.code(&[]);
    let ad = machine.directory.path().join("ad");
    fs::write(
        &ad,
        "AllowedJobDuration = 60\nCmd = \"x\"\nJobCurrentStartDate = 1000\n",
    )
    .unwrap();
    machine
        .command(&[])
        .env("_CONDOR_JOB_AD", &ad)
        .status()
        .unwrap();
    fs::write(&ad, "JobCurrentStartDate = 1000\n").unwrap();
    machine
        .command(&[])
        .env("_CONDOR_JOB_AD", &ad)
        .status()
        .unwrap();
    let lines = ["none", "1060", "none"].map(|it| format!("deadline {it}, run/7/1\n"));
    assert_eq!(machine.output(1), lines.concat());
}

/// From SIGTERM to SIGKILL HTCondor leaves the least of what job and machine say.
#[test]
fn how_long_it_is_to_sigkill_is_in_the_ads() {
    let machine = Machine::new();
    machine.ticket(1, "echo ${CU_KILL_WAIT:-none}");
    let [job, slot] = ["job", "slot"].map(|name| machine.directory.path().join(name));
    let cases = [
        ("", "", "none"),
        ("JobMaxVacateTime = 65", "", "65"),
        (
            "JobMaxVacateTime = 65",
            "MachineMaxVacateTime = 10 * 60",
            "65",
        ),
        ("JobMaxVacateTime = 65", "MachineMaxVacateTime = 10", "10"),
        (
            "JobMaxVacateTime = 65",
            "MachineMaxVacateTime = 5 * 6",
            "30",
        ),
        ("JobMaxVacateTime = 65", "MachineMaxVacateTime = * 6", "65"),
        ("JobMaxVacateTime = 65", "MachineMaxVacateTime = 5 6", "65"),
        ("JobMaxVacateTime = 65", "MachineMaxVacateTime = f(5)", "65"),
        ("JobMaxVacateTime = 65\nKillSigTimeout = 3", "", "3"),
    ];
    for (of_job, of_slot, _) in cases {
        fs::write(&job, format!("Cmd = \"x\"\n{of_job}\nIwd = \"/\"\n")).unwrap();
        fs::write(&slot, format!("{of_slot}\nName = \"x\"\n")).unwrap();
        let mut command = machine.command(&[]);
        command.env("_CONDOR_JOB_AD", &job);
        command.env("_CONDOR_MACHINE_AD", &slot);
        assert!(command.status().unwrap().success());
    }
    let told = machine.output(1);
    let expected = cases.map(|(.., expected)| expected);
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_granted_slot_goes_on_with_the_next_ticket() {
    let machine = Machine::new();
    machine.ticket(1, "echo first; exit 3");
    assert_eq!(machine.code(&["60"]), Some(3));
    assert!(
        !machine.tickets.is_waiting(&name()),
        "nothing waits in a new slot"
    );
    let again = machine.command(&["60"]).spawn().unwrap();
    until("it waits", || machine.tickets.is_waiting(&name()));
    machine.ticket(2, "echo second; exit 4");
    assert!(machine.tickets.grant(&name()).unwrap());
    assert_eq!(end(again), Some(4));
    assert_eq!(machine.output(1), "first\n");
    assert_eq!(machine.output(2), "second\n");
}

#[test]
fn a_slot_that_nobody_grants_is_given_up() {
    let machine = Machine::new();
    machine.ticket(1, "echo first; exit 3");
    machine.code(&["1"]);
    assert_eq!(machine.code(&["1"]), Some(254));
    assert!(!machine.tickets.grant(&name()).unwrap(), "too late");
    assert_eq!(machine.output(1), "first\n");
}

#[test]
fn the_slot_is_given_up_after_the_last_restart() {
    let machine = Machine::new();
    machine.ticket(1, "exit 3");
    assert_eq!(machine.code(&["60", "1"]), Some(3));
    let again = machine.command(&["60", "1"]).spawn().unwrap();
    until("it waits", || machine.tickets.is_waiting(&name()));
    machine.ticket(2, "exit 3");
    machine.tickets.grant(&name()).unwrap();
    assert_eq!(end(again), Some(3));
    assert_eq!(machine.code(&["60", "1"]), Some(254));
    assert!(!machine.tickets.is_waiting(&name()));
    // In another slot it counts anew.
    fs::remove_file(machine.scratch.join(".ticket")).unwrap();
    machine.ticket(3, "exit 5");
    assert_eq!(machine.code(&["60", "1"]), Some(5));
}

#[test]
fn the_slot_is_given_up_after_half_of_the_time() {
    let machine = Machine::new();
    machine.ticket(1, "exit 3");
    let ad = machine.directory.path().join("ad");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let code = |began: u64| {
        let text = format!("AllowedJobDuration = 1000\nJobCurrentStartDate = {began}\n");
        fs::write(&ad, text).unwrap();
        let mut command = machine.command(&["1"]);
        let status = command.env("_CONDOR_JOB_AD", &ad).status();
        status.unwrap().code()
    };
    assert_eq!(
        code(now - 900),
        Some(3),
        "the first in its slot begins in any case"
    );
    assert_eq!(code(now - 900), Some(254));
    let given_up = machine.state().join("jobs/run/7/0/given-up");
    assert!(!given_up.exists(), "it did not wait");
    assert_eq!(code(now - 100), Some(254));
    assert!(given_up.exists(), "it waited");
}

#[test]
fn a_warning_reaches_the_command_itself() {
    let directory = tempfile::tempdir().unwrap();
    let warned = "trap 'exit 5' USR1; while [ -d . ]; do sleep 0.05; done";
    let mut submission = submission(directory.path(), 1, warned);
    submission.resources.warning = Some(Warning {
        signal: Signal::Usr1,
        before_limit: Duration::from_secs(60),
    });
    let script = write_script(&submission, &[]).unwrap();
    let mut command = shell(script);
    // It is due before the start, so it comes soon after it.
    let status = command.env("CU_DEADLINE", "1000").status().unwrap();
    assert_eq!(status.code(), Some(5));
}

#[test]
fn a_wrapper_stands_before_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let submission = submission(directory.path(), 1, "echo \"$WRAPPED\"");
    let wrapper = ["/usr/bin/env", "WRAPPED=it's here"].map(String::from);
    let script = write_script(&submission, &wrapper).unwrap();
    assert!(shell(script).status().unwrap().success());
    let output = fs::read_to_string(directory.path().join("attempt-1/stdout")).unwrap();
    assert_eq!(output, "it's here\n");
}

#[test]
fn a_failure_before_the_command_is_in_its_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let mut submission = submission(directory.path(), 1, "echo never");
    submission.working_directory = directory.path().join("missing");
    let script = write_script(&submission, &[]).unwrap();
    assert_eq!(shell(script).status().unwrap().code(), Some(126));
    let said = fs::read_to_string(directory.path().join("attempt-1/stderr")).unwrap();
    assert!(said.contains("missing"), "{said}");
}

#[test]
fn text_that_a_shell_cannot_pass_on_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let good = submission(directory.path(), 1, "true");
    assert_eq!(script::check(&good), Ok(()));
    let refused = |change: fn(&mut Submission)| {
        let mut bad = good.clone();
        change(&mut bad);
        script::check(&bad).is_err()
    };
    assert!(refused(|it| it.command.clear()));
    assert!(refused(|it| it.command[0] = "relative".into()));
    assert!(refused(|it| it.command.push("\0".into())));
    assert!(refused(|it| it.working_directory = "relative".into()));
    assert!(refused(|it| it.directory = "/a\nb".into()));
    for name in ["", "1A", "A-B", "A B", "ä"] {
        let mut bad = good.clone();
        bad.environment.insert(name.into(), String::new());
        assert!(script::check(&bad).is_err(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn arguments_and_variables_arrive_as_they_are(
        arguments in proptest::collection::vec("[^\\x00]{0,12}", 0..5),
        value in "[^\\x00]{0,20}",
        awkward in "[-'\"$`\\\\\\n !*]{0,8}",
    ) {
        let directory = tempfile::tempdir().unwrap();
        let print = "printf '%s\\0' \"$@\" \"$CU_TEST\"";
        let mut submission = submission(directory.path(), 1, print);
        submission.command.push("zero".into());
        submission.command.extend(arguments.iter().cloned());
        submission.command.push(awkward.clone());
        submission.environment.insert("CU_TEST".into(), value.clone());
        let script = write_script(&submission, &[]).unwrap();
        prop_assert!(shell(script).status().unwrap().success());
        let output = fs::read(directory.path().join("attempt-1/stdout")).unwrap();
        let expected: Vec<&str> = arguments.iter().map(String::as_str)
            .chain([awkward.as_str(), value.as_str()]).collect();
        let expected: String = expected.iter().map(|it| format!("{it}\0")).collect();
        prop_assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}
