//! `cu condor-submit` on a real HTCondor pool: submit files as people write them ask for the same as with
//! condor_submit, and a program that is stopped and resumed leaves what one without a break leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output};

use cu_cluster_tests::{CondorPool, Login, wait};
use serde_json::Value;

/// A user at an access point, and the lines of a submit file that keep to the test's lane.
struct AccessPoint<'a> {
    login: Login<'a, CondorPool>,
    lane: String,
}

impl<'a> Deref for AccessPoint<'a> {
    type Target = Login<'a, CondorPool>;

    fn deref(&self) -> &Self::Target {
        &self.login
    }
}

fn at_login(test: impl FnOnce(&AccessPoint<'_>)) {
    let pool = CondorPool::up();
    let lane = pool.lane();
    log_in(&pool, lane.submit_line(), test);
}

fn log_in(pool: &CondorPool, lane: String, test: impl FnOnce(&AccessPoint<'_>)) {
    let work = pool.work_directory();
    let _user = pool.become_user();
    let login = Login::new(pool, work.path(), &[("GIVEN", "by the shell")]);
    test(&AccessPoint { login, lane });
}

impl AccessPoint<'_> {
    fn condor_submit(&self, here: &str, words: &[&str]) -> Command {
        self.command("condor_submit", here, words)
    }

    /// The ads of the cluster or job, in the order of their ids.
    fn ads(&self, id: &str) -> Vec<BTreeMap<String, String>> {
        let text = self.cluster.ask("condor_q", &["-long", id]);
        let ads = text.split("\n\n").filter(|ad| !ad.trim().is_empty());
        let ad = |ad: &str| {
            let pairs = ad.lines().filter_map(|line| line.split_once(" = "));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        ads.map(ad).collect()
    }
}

/// What is not the same for any two jobs, or is ours as `cu condor-submit --help` says.
#[rustfmt::skip]
const DIFFERS: [&str; 60] = [
    "Args", "Arguments", "AutoClusterAttrs", "AutoClusterId", "ClusterId", "Cmd", "CuAttempt",
    "CuForgotten", "CuRun", "CuStarts",
    "DiskUsage", "DiskUsage_RAW", "EnteredCurrentStatus", "Env", "EnvDelim", "Environment", "Err", "ExecutableSize",
    "ExecutableSize_RAW", "FileSystemDomain", "GlobalJobId", "ImageSize", "ImageSize_RAW", "In", "Iwd",
    "JobBatchName", "JobMaxRetries", "JobMaxVacateTime", "JobSubmitFile", "KillSig", "LastMatchTime",
    "LastRejMatchNegotiator", "LastRejMatchReason", "LastRejMatchTime", "LogNotes", "OnExitHold", "OnExitRemove",
    "Out", "PeriodicRelease", "PeriodicRemove", "ProcId", "QDate", "Requirements", "ScheddBday", "ServerTime",
    "ShouldTransferFiles", "StreamErr", "StreamOut", "SubmitEventNotes", "SuccessCheckpointExitCode",
    "TotalSubmitProcs", "TransferErr", "TransferIn", "TransferInput", "TransferInputSizeMB", "TransferOut", "UserLog",
    "UserLogUseXML", "WantFTOnCheckpoint", "WhenToTransferOutput",
];

/// A file, and words before it.
type Style = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
const STYLES: [Style; 14] = [
    ("executable = work.sh\nqueue", &[]),
    ("Executable=/bin/echo\nArguments = one $(Process) $(Cluster)\noutput = out.$(Cluster).$(Process)\n\
      error=err.$(Process)\nlog = work.log\nqueue 2", &[]),
    ("executable = work.sh\narguments = \"'a b' \"\"quoted\"\" $(x)\"\nenvironment = \"A=1 B='x y'\"\n\
      initialdir = in/$(x)\nqueue x in (p, q)", &[]),
    ("executable = work.sh\nenv = A=1;B=x y\ngetenv = True\nuniverse = vanilla\nqueue", &[]),
    ("executable = work.sh\nrequest_cpus = 2\nrequest_memory = 2 GB\nrequest_disk = 10MB\n\
      requirements = (OpSys == \"LINUX\") && Memory > 100\nrank = Memory\nqueue 1", &[]),
    ("executable = work.sh\nrequest_memory = ifthenelse(MemoryUsage =!= undefined, MemoryUsage, 200)\n\
      request_cpus = 1 + 1\nrequest_gpus = 1\nrequire_gpus = Capability > 5\nqueue", &[]),
    ("executable = work.sh\n+Project = \"physics\"\nMy.Weights = { 1, \"a\\b\", 2.5 }\n+JobFlavour = \"longlunch\"\n\
      priority = 4\nnice_user = true\nqueue", &[]),
    ("executable = work.sh\nconcurrency_limits = licence:2, other\naccounting_group = physics\n\
      accounting_group_user = ada\nnotification = Error\nnotify_user = ada@example.org\nqueue", &[]),
    ("executable = work.sh\nmax_retries = 2\nallowed_job_duration = 3600\njob_max_vacate_time = 31\n\
      kill_sig = SIGUSR1\nstream_output = true\nqueue", &[]),
    ("executable = work.sh\nperiodic_hold = ImageSize > 9000000\nperiodic_hold_reason = \"too big\"\n\
      periodic_remove = JobStatus == 5 && time() > 0\nperiodic_release = JobStatus == 5\n\
      checkpoint_exit_code = 85\nqueue", &[]),
    ("executable = work.sh\nshould_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT\n\
      transfer_input_files = work.sh\nbatch_name = my batch\njob_lease_duration = 1200\nqueue", &[]),
    ("N = 1\nif defined MORE\n  N = 3\nendif\ninclude : more.inc\nexecutable = $(program)\n\
      request_cpus = $(Process) + 1\nqueue 1", &["MORE=1", "-append", "+Appended = $(N)"]),
    ("executable = work.sh\narguments = $(name) $(step) $(ItemIndex)\nrequest_memory = $(memory)\n\
      queue name, step, memory from (\n a 1 100\n b 2 200\n c 3 300\n)", &["-batch-name", "from a list"]),
    ("executable = work.sh\narguments = $Fnx(file)\nqueue file matching files in/*.dat", &[]),
];

#[test]
fn files_in_every_style_ask_htcondor_for_the_same() {
    // Without a negotiator all jobs stay in the queue as they were submitted.
    let pool = CondorPool::own("");
    pool.stop("negotiator");
    log_in(&pool, String::new(), |login| {
        login.write("work.sh", "#!/bin/sh\nexec sleep 60\n", 0o755);
        login.write("more.inc", "program = work.sh\n", 0o644);
        for name in ["in/p/work.sh", "in/q/work.sh", "in/a.dat", "in/b.dat"] {
            login.write(name, "#!/bin/sh\n", 0o755);
        }
        let begun = STYLES.iter().enumerate().map(|(number, (text, words))| {
            let file = format!("style-{number}.sub");
            login.write(&file, &format!("{text}\n"), 0o644);
            let plain = [words, &["-terse", &file][..]].concat();
            let plain = login.condor_submit(".", &plain).spawn();
            let ours = [&["condor-submit"], *words, &[&*file]].concat();
            let ours = login.cu(".", &ours).spawn();
            let [plain, ours] = [plain, ours].map(|it| it.expect("it can be started"));
            (text, plain, ours)
        });
        for (text, plain, ours) in begun.collect::<Vec<_>>() {
            let [plain, ours] =
                [plain, ours].map(|it| it.wait_with_output().expect("it was started"));
            assert_same_jobs(login, text, &plain, &ours);
        }
    });
}

fn assert_same_jobs(login: &AccessPoint<'_>, text: &str, plain: &Output, ours: &Output) {
    let said = String::from_utf8_lossy(&plain.stdout).into_owned();
    let cluster = said.split('.').next().filter(|_| plain.status.success());
    let plain = login.ads(cluster.unwrap_or_else(|| panic!("{text}: {plain:?}")));
    let said = String::from_utf8_lossy(&ours.stdout).into_owned();
    let ids = said
        .lines()
        .filter_map(|line| line.split_once(" submitted to cluster "));
    let mut found: Vec<_> = ids
        .flat_map(|(_, cluster)| login.ads(cluster.trim_end_matches('.')))
        .collect();
    // CuAttempt ends with the numbers of the job and of the attempt.
    found.sort_by_key(|ad| ad["CuAttempt"].clone());
    assert_eq!(found.len(), plain.len(), "{text}: {ours:?}");
    for (plain, found) in plain.iter().zip(&found) {
        let told = |ad: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            let all = ad
                .iter()
                .filter(|(name, _)| !DIFFERS.contains(&name.as_str()));
            all.map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        let (ours, theirs) = (told(found), told(plain));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let differ = names
            .into_iter()
            .filter(|name| ours.get(*name) != theirs.get(*name));
        let differ: Vec<_> = differ
            .map(|name| (name, ours.get(name), theirs.get(name)))
            .collect();
        assert!(differ.is_empty(), "{text}\nours, theirs: {differ:?}");
        let [ours, theirs] = [found, plain].map(|ad| conditions(&ad["Requirements"]));
        let lacking: Vec<_> = theirs.difference(&ours).collect();
        assert!(
            lacking
                .iter()
                .all(|it| it.contains("HasFileTransfer") || it.contains("HasSelfCheckpoint")),
            "{text}: {lacking:?} in {ours:?}"
        );
    }
}

/// The conditions that are joined by `&&`, at the top.
fn conditions(expression: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let (mut depth, mut from) = (0_usize, 0);
    let letters: Vec<char> = expression.chars().collect();
    for at in 0..letters.len() {
        match letters[at] {
            '(' => depth += 1,
            ')' => depth -= 1,
            '&' if depth == 0 && letters.get(at + 1) == Some(&'&') => {
                all.insert(letters[from..at].iter().collect::<String>());
                from = at + 2;
            }
            _ => {}
        }
    }
    all.insert(letters[from..].iter().collect());
    let flat = all.iter().flat_map(|it| {
        let text = it.trim();
        let inner = text.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
        // Only one pair of brackets around all of it.
        match inner.filter(|inner| is_balanced(inner)) {
            Some(inner) => conditions(inner),
            None => [text.to_owned()].into(),
        }
    });
    flat.collect()
}

fn is_balanced(text: &str) -> bool {
    let mut depth = 0_i32;
    let never_below = text.chars().all(|letter| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth >= 0
    });
    never_below && depth == 0
}

/// A program that counts to eight. Asked to stop, it does so after the step, and exits with 3.
const STEPS: &str = r#"#!/bin/bash
trap 'stop=1' USR1
step=$(cat state 2>/dev/null || echo 0)
while [ "$step" -lt 8 ]; do
    sleep 0.3
    step=$((step + 1))
    echo "step $step with $# words: $*"
    echo "odd $step" >&2
    echo $step >state
    [ -z "$stop" ] || exit 3
done
echo "$A, ${GIVEN:-nothing}, ${HOME:-nothing}" >result
"#;

const FILE: &str = r#"
executable = steps.sh
arguments = "'a  b' ""q"" {job} $(dir) 'it''s'"
environment = "A='x y' B=$(Process)"
initialdir = $(dir)
output = out.$(dir)
error = err.$(dir)
log = steps.log
queue dir in (first, second)
"#;

#[test]
fn a_program_in_pieces_leaves_what_one_without_a_break_leaves() {
    at_login(|login| {
        for place in ["whole", "pieces"] {
            login.write(&format!("{place}/steps.sh"), STEPS, 0o755);
            login.write(
                &format!("{place}/steps.sub"),
                &format!("{}\n{FILE}", login.lane),
                0o644,
            );
            for job in ["first", "second"] {
                fs::create_dir_all(login.directory.join(place).join(job)).expect("a directory");
            }
        }
        let plain = login.condor_submit("whole", &["steps.sub"]).output();
        assert!(
            plain.as_ref().is_ok_and(|it| it.status.success()),
            "{plain:?}"
        );
        let words = [
            "condor-submit",
            "stop.after=1s",
            "backend.htcondor.poll=1s",
            "steps.sub",
        ];
        let ours = login.cu("pieces", &words).output().expect("cu starts");
        assert!(ours.status.success(), "{ours:?}");
        let wait = login.cu("pieces", &["wait", "--timeout=3m"]).output();
        let wait = wait.expect("cu starts");
        assert!(wait.status.success(), "{wait:?}");
        for job in ["first", "second"] {
            let at = |place: &str| login.directory.join(place).join(job);
            wait::until("the result of condor_submit", wait::BOUND, || {
                at("whole").join("result").exists().then_some(())
            });
            for file in [
                &format!("out.{job}"),
                &format!("err.{job}"),
                "state",
                "result",
            ] {
                let read = |path: &Path| {
                    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
                };
                // HTCondor may write the last of it after the program has ended.
                wait::until("the same output", wait::BOUND, || {
                    (read(&at("whole").join(file)) == read(&at("pieces").join(file))).then_some(())
                });
            }
        }
        let status = login
            .cu("pieces", &["--json", "status"])
            .output()
            .expect("cu starts");
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert!(status["resumes"].as_u64() >= Some(2), "{status}");
    });
}

#[test]
fn a_file_that_no_chain_can_have_is_refused_with_its_line() {
    at_login(|login| {
        login.write("work.sh", "#!/bin/sh\n", 0o755);
        for (text, expected) in [
            (
                "executable = work.sh\nhold = true\nqueue",
                "x.sub:2: `hold = true`: a chain can't begin on hold",
            ),
            (
                "executable = work.sh\n\nrank = $(Process)\nqueue 2",
                "x.sub:3: `rank = $(Process)`: it is another value for job 1",
            ),
            (
                "executable = work.sh\nuniverse = local\nqueue",
                "x.sub:2: `universe = local`: a chain runs in",
            ),
            (
                "executable = work.sh\non_exit_remove = ExitCode == 0\nqueue",
                "x.sub:2: `on_exit_remove",
            ),
            (
                "executable = work.sh\ntransfer_input_files = /etc/passwd\nqueue",
                "would not find /etc/passwd",
            ),
            (
                "executable = work.sh\nqueue 2 3 4",
                "x.sub: condor_submit does not take it: on Line 2",
            ),
        ] {
            login.write("x.sub", &format!("{text}\n"), 0o644);
            let refused = login
                .cu(".", &["condor-submit", "x.sub"])
                .output()
                .expect("cu starts");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(2), "{text}: {refused:?}");
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(!login.directory.join("results").exists());
    });
}
