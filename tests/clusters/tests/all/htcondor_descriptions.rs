//! Submit descriptions of whatever a person may set, read by HTCondor's own parser: each gives the
//! job ad that was meant. The parser of a newer version, in HTCondor's Python modules, makes the same
//! of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cu_cluster_tests::CondorPool;
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume, Universe};
use cu_scheduler::{Examine, Resources, Submission, SubmissionName};
use proptest::prelude::*;
use serde_json::Value;

/// What is set, in a state directory of this name.
#[derive(Clone, Debug)]
struct Set {
    directory: String,
    options: HtcondorOptions,
    resources: Resources,
}

fn set() -> impl Strategy<Value = Set> {
    let resume = prop_oneof![
        Just(Resume::Submit),
        Just(Resume::Requeue),
        (proptest::option::of(1..100_u32), 1..1000_u64).prop_map(|(max_restarts, wait)| {
            Resume::Checkpoint {
                max_restarts,
                wait: Duration::from_secs(wait),
            }
        }),
    ];
    let universe = (0..5_u32).prop_map(|number| {
        let image = |image: &str| image.to_owned();
        match number {
            0 => Universe::Container {
                image: image("/images/a file.sif"),
            },
            1 => Universe::Container {
                image: image("docker://debian:13"),
            },
            2 => Universe::Docker {
                image: image("debian:13"),
            },
            _ => Universe::Vanilla,
        }
    });
    // Blanks at the ends of a path are a path's own, and HTCondor would cut them off.
    let directory = "[^\\pC/\"\\\\ ]([^\\pC/\"\\\\]{0,12}[^\\pC/\"\\\\ ])?";
    let directory = directory.prop_filter("a name that can be told", |name| {
        name != "." && name != ".." && !name.contains("$$")
    });
    let label = "(\\PC|[\"\\\\$()\n\t ]){0,16}";
    let text = "([^\\pC$\\\\]|[\"() ]){0,16}";
    let numbers = (1..64_u32, 0..3_u32, 1..1_u64 << 40, 1..1_000_000_u64);
    (resume, universe, directory, label, text, numbers).prop_map(
        |(resume, mut universe, directory, label, text, (cpus, gpus, memory, seconds))| {
            if directory.contains([':', ',']) {
                // No container is shown such a directory.
                universe = Universe::Vanilla;
            }
            let mut options = HtcondorOptions::default();
            options.resume = resume;
            options.universe = universe;
            options.label = label;
            options.grace = Duration::from_secs(seconds % 3600 + 1);
            options.requirements = Some(string(&text) + " != TARGET.Name");
            options.rank = Some("KFlops + size(".to_owned() + &string(&text) + ")");
            options.hosts = vec!["node-7.example".into()];
            options.exclude_hosts = vec!["node8".into(), "node9".into()];
            options.concurrency_limits = vec!["licence:2".into(), "disk".into()];
            options.gpu_memory = Some(memory);
            options.cuda_requirement = Some("7.5".into());
            options.extra = vec![format!("+CuText = {}", string(&text))];
            let resources = Resources {
                cpus,
                gpus,
                memory_bytes: Some(memory),
                time_limit: Some(Duration::from_secs(seconds)),
                warning: None,
            };
            Set {
                directory,
                options,
                resources,
            }
        },
    )
}

/// A ClassAd string. What a person writes as an expression is theirs to quote; `$` and `\` mean
/// something to HTCondor.
fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// The first ad of a dry run: `Name=value` lines up to one with a dot.
fn ad(pool: &CondorPool, text: &str, directory: &Path) -> Result<BTreeMap<String, String>, String> {
    let file = directory.join("description.sub");
    std::fs::write(&file, text).expect("the directory is the user's");
    let mut submit: Command = pool.command("condor_submit");
    let submit = submit.args(["-dry-run", "-"]).arg(&file);
    let output = submit
        .current_dir(directory)
        .output()
        .expect("the wrapper is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() || !said.is_empty() {
        return Err(said);
    }
    let stdout = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    let lines = stdout.lines().take_while(|line| *line != ".");
    Ok(lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[test]
fn each_is_parsed_into_the_ad_that_was_meant() {
    let condor = CondorPool::up();
    let work = condor.work_directory();
    let _user = condor.become_user();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a thread's resources left");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // Descriptions, each with its ad.
    let parsed: RefCell<Vec<(String, BTreeMap<String, String>)>> = RefCell::default();
    let ran = runner.run(
        &set(),
        |Set {
             directory,
             mut options,
             resources,
         }| {
            options.state_dir = work.path().join(&directory);
            options.commands = Some(condor.commands());
            let submission = Submission {
                name: SubmissionName::new("run", 7, 2).expect("a name"),
                command: vec!["/bin/true".into()],
                environment: BTreeMap::new(),
                working_directory: work.path().into(),
                directory: work.path().into(),
                resources: resources.clone(),
                previous: None,
                avoid_hosts: Vec::new(),
            };
            let previews = runtime.block_on(async {
                let pool = Htcondor::open(options.clone())
                    .await
                    .expect("the directory will do");
                pool.preview(std::slice::from_ref(&submission)).await
            });
            prop_assert_eq!(previews.len(), 1);
            let preview = &previews[0];
            let verdict = preview.verdict.as_deref().unwrap_or_default();
            let said = "HTCondor's parser takes it, as 1 job.\nA machine must meet: ((JobRunCount";
            prop_assert!(verdict.starts_with(said), "{preview:?}");
            let ad = ad(&condor, &preview.text, work.path());
            let ad = ad.map_err(|said| TestCaseError::fail(format!("{said}\n{}", preview.text)))?;
            let get = |name: &str| ad.get(name).map_or("", String::as_str).to_owned();
            let path = |name: &str| format!("\"{}/{directory}{name}\"", work.path().display());
            prop_assert_eq!(get("Cmd"), path("/start"));
            prop_assert_eq!(get("UserLog"), path("/events.log"));
            prop_assert_eq!(get("Iwd"), path(""));
            prop_assert_eq!(get("CuAttempt"), "\"run/7/2\"");
            prop_assert_eq!(get("CuStarts"), "1");
            prop_assert_eq!(get("RequestCpus"), resources.cpus.to_string());
            let mib = resources.memory_bytes.unwrap_or(0).div_ceil(1 << 20);
            prop_assert_eq!(get("RequestMemory"), mib.to_string());
            let seconds = resources.time_limit.unwrap_or_default().as_secs();
            prop_assert_eq!(get("AllowedJobDuration"), seconds.to_string());
            prop_assert_eq!(get("JobMaxVacateTime"), options.grace.as_secs().to_string());
            let harmless = |letter: char| match letter {
                '"' => '\'',
                '\\' => '/',
                '$' => '_',
                letter if letter.is_control() => ' ',
                letter => letter,
            };
            let label: String = options.label.chars().map(harmless).collect();
            let label = if label.is_empty() {
                label
            } else {
                format!("\"{label}\"")
            };
            prop_assert_eq!(get("JobBatchName"), label);
            let text = options.extra[0].split_once("= ").expect("key = value").1;
            prop_assert_eq!(get("CuText"), text);
            let requirements = get("Requirements");
            for part in [
                "JobRunCount",
                "CuStarts",
                "node-7.example",
                "node9",
                "TARGET.Name",
            ] {
                prop_assert!(requirements.contains(part), "{requirements}");
            }
            if resources.gpus > 0 {
                let require = format!("GlobalMemoryMb >= {mib} && Capability >= 7.5");
                prop_assert_eq!(get("RequireGPUs"), require);
            }
            let (image, needs) = match &options.universe {
                Universe::Vanilla => (("ContainerImage", ""), "TARGET.OpSys"),
                Universe::Container { image } => (("ContainerImage", &**image), "HasContainer"),
                Universe::Docker { image } => (("DockerImage", &**image), "HasDocker"),
            };
            let told = get(image.0);
            prop_assert_eq!(told.trim_matches('"'), image.1);
            prop_assert!(requirements.contains(needs), "{requirements}");
            let remove = match options.resume {
                Resume::Submit => "",
                Resume::Requeue => "ExitCode =!= 3",
                Resume::Checkpoint { .. } => "ExitCode =!= 3 && ExitCode =!= 254",
            };
            prop_assert_eq!(get("OnExitRemove"), remove);
            parsed.borrow_mut().push((preview.text.clone(), ad));
            Ok(())
        },
    );
    ran.unwrap_or_else(|error| panic!("{error}"));
    let parsed = parsed.into_inner();
    let texts: Vec<&str> = parsed.iter().map(|(text, _)| text.as_str()).collect();
    for ((text, ad), newer) in parsed
        .iter()
        .zip(read_by_a_newer(&condor, work.path(), &texts))
    {
        let item = serde_json::json!([{"cu_name": "run/7/2"}]);
        assert_eq!(newer["items"], item, "{text}");
        for (command, attribute) in SAME {
            let command = newer["commands"][command].as_str().unwrap_or_default();
            let attribute = ad.get(attribute).map_or("", String::as_str);
            assert_eq!(
                command,
                attribute.trim_matches('"'),
                "{attribute} of {text}"
            );
        }
        let label = newer["commands"]["MY.JobBatchName"].as_str();
        assert_eq!(label, ad.get("JobBatchName").map(String::as_str), "{text}");
    }
}

/// Submit commands that become attributes as they are, but for the quotes around text.
const SAME: [(&str, &str); 13] = [
    ("executable", "Cmd"),
    ("initialdir", "Iwd"),
    ("log", "UserLog"),
    ("container_image", "ContainerImage"),
    ("docker_image", "DockerImage"),
    ("request_cpus", "RequestCpus"),
    ("request_memory", "RequestMemory"),
    ("request_gpus", "RequestGPUs"),
    ("require_gpus", "RequireGPUs"),
    ("allowed_job_duration", "AllowedJobDuration"),
    ("job_max_vacate_time", "JobMaxVacateTime"),
    ("on_exit_remove", "OnExitRemove"),
    ("checkpoint_exit_code", "SuccessCheckpointExitCode"),
];

/// What a newer version makes of each description.
fn read_by_a_newer(pool: &CondorPool, work: &Path, texts: &[&str]) -> Vec<Value> {
    let program = include_str!("htcondor/read_descriptions.py");
    let list = serde_json::json!(texts).to_string();
    let said = pool.newer_python(work, program, list.as_bytes());
    let read: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    assert_eq!(read.len(), texts.len());
    read
}
