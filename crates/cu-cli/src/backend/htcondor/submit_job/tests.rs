//! What the ads of submit descriptions become.

use super::*;
use crate::config::{File, Source};

/// The ad that condor_submit makes of a job whose description says nothing.
const DEFAULTS: [(&str, &str); 9] = [
    ("ClusterId", "1"),
    ("Cmd", "\"/bin/true\""),
    ("Iwd", "\"/home/ada\""),
    ("JobPrio", "0"),
    ("JobUniverse", "5"),
    ("OnExitRemove", "true"),
    ("Rank", "0.0"),
    ("RequestCpus", "1"),
    ("RequestMemory", "ifthenelse(a, b, c)"),
];

fn ad(more: &[(&'static str, &'static str)]) -> JobAd {
    DEFAULTS.iter().chain(more).copied().collect()
}

fn jobs(lines: &str, ads: &[&[(&'static str, &'static str)]]) -> Result<SubmitJobs> {
    let expanded = Expanded {
        jobs: ads.iter().map(|more| ad(more)).collect(),
        defaults: ad(&[]),
        warnings: Vec::new(),
    };
    let text = Text {
        name: "a.sub",
        lines,
        cluster: 1_796_094_368,
    };
    SubmitJobs::new(&expanded, &text)
}

fn file(jobs: &SubmitJobs, number: usize) -> File {
    let keys = jobs.overrides.iter().chain(&jobs.each_job[number]);
    let parsed = Source::command_line(keys.cloned().collect()).parse();
    parsed.expect("they are keys").file
}

#[test]
fn attributes_become_keys_or_stay_as_they_are() {
    let jobs = jobs(
        "",
        &[&[
            ("Cmd", "\"/home/ada/train.sh\""),
            ("Arguments", "\"'a b' {job}\""),
            ("Environment", "\"A=1 B='x y'\""),
            ("Out", "\"out.1796094368\""),
            ("Err", "\"/dev/null\""),
            ("In", "\"in.dat\""),
            ("RequestCpus", "2"),
            ("RequestMemory", "2048"),
            ("RequestDisk", "10240"),
            ("RequestLicences", "3"),
            ("AllowedJobDuration", "3600"),
            ("JobMaxVacateTime", "31"),
            ("KillSig", "\"SIGUSR1\""),
            ("SuccessCheckpointExitCode", "85"),
            ("JobMaxRetries", "2"),
            ("OnExitRemove", RETRIES),
            ("PeriodicRemove", "JobStatus == 5"),
            ("PeriodicHold", "false"),
            ("Rank", "Memory"),
            ("JobPrio", "4"),
            ("Project", "\"costs $5\""),
            ("JobBatchName", "\"my batch\""),
            (REQUIREMENTS, "Memory > 100"),
            (GETENV, "\"\""),
        ]],
    )
    .expect("jobs");
    let file = file(&jobs, 0);
    assert_eq!(jobs.name.as_deref(), Some("my batch"));
    let command = ["/home/ada/train.sh", "a b", "{{job}"].map(str::to_owned);
    assert_eq!(file.command.as_deref(), Some(&command[..]));
    let variables: Vec<_> = file
        .environment
        .0
        .iter()
        .map(|(a, b)| (&**a, &**b))
        .collect();
    let expected = [
        ("A", "1"),
        ("B", "x y"),
        ("CU_STDOUT_COPY", "/home/ada/out.1796094368"),
    ];
    assert_eq!(variables, expected);
    assert_eq!(file.stdin.as_deref(), Some("/home/ada/in.dat"));
    let resources = file.scheduler_resources();
    assert_eq!((resources.cpus, resources.memory_bytes), (2, Some(2 << 30)));
    assert_eq!(resources.time_limit.map(|it| it.as_secs()), Some(3600));
    assert_eq!(file.stop_policy().grace.as_secs(), 13);
    assert_eq!(file.stop_policy().signal.name(), "USR1");
    assert!(file.exit_rules().asks_to_resume(85));
    assert_eq!(file.policy().failure_retries, 2);
    let htcondor = &file.backend.htcondor;
    assert_eq!(htcondor.request_disk.map(|it| it.0), Some(10 << 20));
    assert_eq!(htcondor.requirements.as_deref(), Some("Memory > 100"));
    assert_eq!(htcondor.rank.as_deref(), Some("Memory"));
    assert_eq!(htcondor.periodic_remove.as_deref(), Some("JobStatus == 5"));
    let extra = [
        "+JobPrio = 4",
        "+Project = \"costs $(DOLLAR)5\"",
        "request_Licences = 3",
    ];
    assert_eq!(
        htcondor.extra.as_deref(),
        Some(&extra.map(str::to_owned)[..])
    );
    assert!(
        jobs.notes
            .iter()
            .any(|note| note.starts_with("$(Cluster) is 1796094368"))
    );
}

#[test]
fn without_a_word_cu_asks_for_what_condor_submit_would() {
    let jobs = jobs("", &[&[]]).expect("jobs");
    let extra = file(&jobs, 0).backend.htcondor.extra;
    let expected = ["+RequestMemory = ifthenelse(a, b, c)".to_owned()];
    assert_eq!(extra.as_deref(), Some(&expected[..]));
    assert_eq!(jobs.notes, [""; 0]);
}

#[test]
fn jobs_may_differ_in_what_each_has_for_itself() {
    let jobs = jobs(
        "",
        &[
            &[("Args", "\"0\""), ("RequestMemory", "100")],
            &[
                ("Args", "\"1\""),
                ("RequestMemory", "200"),
                ("Iwd", "\"/tmp\""),
            ],
        ],
    )
    .expect("jobs");
    let second = file(&jobs, 1);
    assert_eq!(
        second.command,
        Some(vec!["/bin/true".to_owned(), "1".to_owned()])
    );
    assert_eq!(second.working_directory.as_deref(), Some("/tmp"));
    assert_eq!(second.resources.memory.map(|it| it.0), Some(200 << 20));
}

#[test]
fn a_refusal_names_file_line_and_key() {
    let lines = "executable = x\n\nHold = True\n+Seed = $(Process)\n";
    for (ads, expected) in [
        (
            &[&[("HoldReasonCode", "15")][..]][..],
            "a.sub:3: `Hold = True`: a chain can't begin on hold",
        ),
        (
            &[&[("Seed", "0")], &[("Seed", "1")]],
            "a.sub:4: `+Seed = $(Process)`: it is another value for job 1",
        ),
        (
            &[&[("JobUniverse", "7")]],
            "a.sub: `universe`: a chain runs in",
        ),
        (
            &[&[("OnExitRemove", "ExitCode == 0")]],
            "a.sub: `on_exit_remove`: cu decides",
        ),
        (
            &[&[("KillSig", "\"SIGKILL\"")]],
            "a.sub: `kill_sig`: cu asks",
        ),
        (
            &[&[("TransferInput", "\"a,b/c\"")]],
            "would not find b/c where it starts",
        ),
        (
            &[&[("Arguments", "\"'a\"")]],
            "a.sub: `arguments`: a single quote",
        ),
        (&[], "a.sub: it queues no job"),
    ] {
        let error = jobs(lines, ads).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
