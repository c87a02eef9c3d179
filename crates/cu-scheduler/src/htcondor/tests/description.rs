//! The submit description, read by a reader of our own. HTCondor's reads it in the tests on a pool.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::htcondor::description::{check, description, header, path_refusal};
use crate::htcondor::options::check_extra;
use crate::htcondor::options::{HtcondorOptions, Resume, Universe};
use crate::{Resources, SubmissionName};

/// Commands with their values as HTCondor would see them, and the items.
fn read(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let (lines, items) = text.split_once("queue cu_name from (\n").unwrap();
    let command = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        let foreign = value.replace("$(DOLLAR)", "").replace("$(cu_name)", "");
        assert!(!foreign.contains('$'), "HTCondor would paste: {line}");
        (key.to_owned(), value.replace("$(DOLLAR)", "$"))
    };
    let items = items.strip_suffix(")\n").unwrap().lines();
    (
        lines.lines().map(command).collect(),
        items.map(str::to_owned).collect(),
    )
}

fn commands(options: &HtcondorOptions, resources: &Resources) -> BTreeMap<String, String> {
    let name = SubmissionName::new("run", 7, 2).unwrap();
    let header = header(options, "/state", resources, &[]);
    read(&description(&header, &[&name])).0
}

#[test]
fn a_removal_by_the_users_rule_is_not_taken_for_ours() {
    let mut options = options();
    options.periodic_remove = Some("ImageSize > 9".into());
    let set = commands(&options, &Resources::default());
    // Removals whose reason quotes CuStarts are ours.
    assert_eq!(set["periodic_remove"], "CuForgotten || (ImageSize > 9)");
    assert!(set["+CuForgotten"].contains("JobRunCount >= CuStarts"));
}

#[test]
fn a_host_where_nothing_started_is_avoided_for_a_time() {
    let mut options = options();
    let header = |options: &HtcondorOptions, hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        header(options, "/state", &Resources::default(), &hosts)
    };
    let none = header(&options, &[]);
    assert!(!none.contains("QDate"), "{none}");
    // What a node says of itself stays a name.
    let odd = header(&options, &["a\" || true", "", "a\nqueue", "$(HOME)"]);
    assert_eq!(odd, none);
    options.requirements = Some("OpSys == \"LINUX\"".into());
    let text = header(&options, &["n1.cluster", "n2"]);
    let requirements = text
        .lines()
        .find(|line| line.starts_with("requirements = "));
    let requirements = requirements.expect("a line");
    let is = |host: &str| {
        let name = "(TARGET.Machine ?: \"\")";
        format!("{name} == \"{host}\" || split(TARGET.Machine ?: \"\", \".\")[0] == \"{host}\"")
    };
    let both = format!("{} || {}", is("n1.cluster"), is("n2"));
    let expected = format!(" && (OpSys == \"LINUX\") && (!({both}) || time() - QDate > 600)");
    assert!(requirements.ends_with(&expected), "{requirements}");
}

fn options() -> HtcondorOptions {
    HtcondorOptions::new("/state")
}

#[test]
fn resources_are_asked_for_in_the_units_of_htcondor() {
    let mut options = options();
    options.request_disk = Some((1 << 30) + 1);
    options.gpu_memory = Some(20 << 30);
    options.cuda_requirement = Some("7.5".into());
    options.grace = Duration::from_millis(1500);
    let resources = Resources {
        cpus: 4,
        gpus: 2,
        memory_bytes: Some((100 << 20) + 1),
        time_limit: Some(Duration::from_millis(59_001)),
        warning: None,
    };
    let commands = commands(&options, &resources);
    for (key, value) in [
        ("request_cpus", "4"),
        ("request_gpus", "2"),
        ("request_memory", "101"),
        ("request_disk", "1048577"),
        ("allowed_job_duration", "60"),
        ("job_max_vacate_time", "2"),
        (
            "require_gpus",
            "GlobalMemoryMb >= 20480 && Capability >= 7.5",
        ),
    ] {
        assert_eq!(commands[key], value, "{key}");
    }
}

#[test]
fn memory_is_always_asked_for() {
    let commands = commands(&options(), &Resources::default());
    assert_eq!(commands["request_memory"], "1024");
    assert!(!commands.contains_key("allowed_job_duration"));
}

#[test]
fn a_cuda_requirement_has_three_forms() {
    for (text, expected) in [
        ("8", "Capability >= 8"),
        ("< 8.0", "Capability < 8.0"),
        (">=7.0", "Capability >=7.0"),
        ("DeviceName == \"A100\"", "(DeviceName == \"A100\")"),
        (">= DriverVersion", "(>= DriverVersion)"),
    ] {
        let mut options = options();
        options.cuda_requirement = Some(text.into());
        let resources = Resources {
            gpus: 1,
            ..Resources::default()
        };
        assert_eq!(commands(&options, &resources)["require_gpus"], expected);
    }
}

#[test]
fn each_way_of_resuming_says_what_is_kept() {
    let of = |resume| {
        let mut options = options();
        options.resume = resume;
        let commands = commands(&options, &Resources::default());
        let get = |key: &str| commands.get(key).cloned();
        (
            get("on_exit_remove"),
            get("checkpoint_exit_code"),
            get("arguments"),
        )
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of(Resume::Submit), (None, None, text("$(cu_name)")));
    let requeue = of(Resume::Requeue);
    assert_eq!(requeue, (text("ExitCode =!= 3"), None, text("$(cu_name)")));
    let checkpoint = of(Resume::Checkpoint {
        max_restarts: Some(5),
        wait: Duration::from_secs(60),
    });
    let kept = "ExitCode =!= 3 && ExitCode =!= 254";
    assert_eq!(checkpoint, (text(kept), text("3"), text("$(cu_name) 60 5")));
}

#[test]
fn extra_lines_cannot_override_our_own() {
    for line in [
        "requirements = true",
        "Log = /elsewhere",
        "queue 5",
        "+CuStarts = 9",
        "MY.custarts = 9",
        "a key = 1",
        "= 1",
        "nothing",
        "a = 1\\",
        "a = 1\nqueue",
    ] {
        assert!(check_extra(line).is_err(), "{line}");
    }
    for line in [
        "+WantFlocking = true",
        "MY.Project = \"x\"",
        "nice_user=true",
        "a =",
    ] {
        assert_eq!(check_extra(line), Ok(()), "{line}");
    }
}

#[test]
fn a_time_limit_below_a_second_is_refused() {
    let short = Resources {
        time_limit: Some(Duration::from_millis(500)),
        ..Resources::default()
    };
    assert!(check(&short).is_err());
    assert_eq!(check(&Resources::default()), Ok(()));
}

#[test]
fn a_job_starts_in_the_state_or_initial_directory() {
    let mut options = options();
    let started_in = |options: &_| commands(options, &Resources::default())["initialdir"].clone();
    assert_eq!(started_in(&options), "/state");
    options.initial_dir = Some("/runs/$1".into());
    assert_eq!(started_in(&options), "/runs/$1");
}

#[test]
fn a_path_unfit_for_containers_is_refused_only_there() {
    let image = "/image".to_owned();
    let container = Universe::Container { image };
    for path in ["/runs/12:30", "/runs/a,b"] {
        assert_eq!(path_refusal(path, &Universe::Vanilla), None);
        assert!(path_refusal(path, &container).is_some(), "{path}");
    }
    assert_eq!(path_refusal("/runs/a b;c=d", &container), None);
}

proptest! {
    /// Whatever a person writes stands where it belongs, and nowhere else.
    #[test]
    fn free_text_stays_in_its_place(
        label in "\\PC*",
        control in "[\\n\\r\\t\"$\\\\ ]{0,6}",
        directory in "[^\\pC\"\\\\]{1,20}",
        image in "[^\\pC\\s]{1,20}",
        jobs in proptest::collection::vec((any::<u32>(), any::<u32>()), 1..6),
    ) {
        let mut options = options();
        options.label = format!("{label}{control}{label}");
        options.universe = Universe::Container { image: image.clone() };
        let header = header(&options, &format!("/{directory}"), &Resources::default(), &[]);
        let name = |(job, attempt): &(u32, u32)| SubmissionName::new("run", *job, *attempt);
        let names: Vec<SubmissionName> = jobs.iter().map(|it| name(it).unwrap()).collect();
        let named: Vec<&SubmissionName> = names.iter().collect();
        let (commands, items) = read(&description(&header, &named));
        prop_assert_eq!(&commands["container_image"], &image);
        prop_assert_eq!(&commands["executable"], &format!("/{directory}/start"));
        prop_assert_eq!(&commands["log"], &format!("/{directory}/events.log"));
        let items_expected: Vec<String> = names.iter().map(SubmissionName::to_string).collect();
        prop_assert_eq!(items, items_expected);
        if !options.label.is_empty() {
            let plain: String = options.label.chars()
                .map(|letter| match letter {
                    '"' => '\'',
                    '\\' => '/',
                    '$' => '_',
                    letter if letter.is_control() => ' ',
                    letter => letter,
                })
                .collect();
            prop_assert_eq!(&commands["+JobBatchName"], &format!("\"{plain}\""));
        }
    }
}
