//! The submit description: one for all submissions that need the same.
//!
//! Its items are names of submissions, which hold no character with a meaning to HTCondor. All
//! other text stands once, in the lines before, where `$` alone has a meaning.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::options::{Environment, HtcondorOptions, Resume, Universe, seconds};
use super::script::SLOT_GIVEN_UP;
use crate::{Resources, SubmissionName};

/// The attribute of a job that holds the name of its first submission.
pub(super) const NAME: &str = "CuAttempt";
/// The attribute that holds its run.
pub(super) const RUN: &str = "CuRun";
/// The attribute that says how many times HTCondor may start it. Without it HTCondor would start a
/// job again after an eviction or a lost shadow, beside a copy that still runs.
pub(super) const STARTS: &str = "CuStarts";

/// What a job that asks for no memory gets, in bytes. HTCondor's own default is 1 MB, and it kills
/// who takes more.
pub(super) const DEFAULT_MEMORY: u64 = 1 << 30;

/// How long HTCondor keeps a job that may not start again, in seconds: if nobody puts it back or
/// frees it by then, nobody will. What is put back later is submitted anew.
const KEPT_SECONDS: u32 = 24 * 3600;

/// Keys that are ours, and what to set instead.
const OURS: [(&str, &str); 23] = [
    ("executable", "the command of the run"),
    ("arguments", "the command of the run"),
    ("queue", "the jobs of the run"),
    ("log", "nothing: the backend reads it"),
    ("log_xml", "nothing: the backend reads the log"),
    ("output", "nothing: it goes to `stdout` of each attempt"),
    ("error", "nothing: it goes to `stderr` of each attempt"),
    ("initialdir", "the working directory of the run"),
    ("universe", "`universe`"),
    ("requirements", "`requirements`"),
    ("rank", "`rank`"),
    ("request_cpus", "the job's CPUs"),
    ("request_gpus", "the job's GPUs"),
    ("request_memory", "the job's memory"),
    ("getenv", "`environment`"),
    ("kill_sig", "the warning signal of the job"),
    ("job_max_vacate_time", "`grace`"),
    ("on_exit_remove", "`resume`"),
    ("on_exit_hold", "`resume`"),
    (
        "periodic_remove",
        "nothing: it frees jobs whose end is known",
    ),
    ("checkpoint_exit_code", "`resume`"),
    ("should_transfer_files", "`transfer`"),
    ("submit_event_notes", "nothing: it names the attempt"),
];

/// Why a line of `extra` can't stand in a description.
pub(super) fn check_extra(line: &str) -> Result<(), String> {
    let Some((key, _)) = line.split_once('=') else {
        return Err(format!("`{line}` is not of the form `key = value`"));
    };
    let key = key.trim();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+".contains(&byte);
    if key.is_empty() || !key.bytes().all(word) {
        return Err(format!("`{key}` is not the name of a submit command"));
    }
    if line.contains(['\n', '\r', '\0']) || line.trim_end().ends_with('\\') {
        return Err(format!("`{key}` has more than one line"));
    }
    let bare = key
        .trim_start_matches('+')
        .trim_start_matches("My.")
        .trim_start_matches("MY.");
    for attribute in [NAME, RUN, STARTS] {
        if bare.eq_ignore_ascii_case(attribute) {
            return Err(format!("`{key}` is how the backend finds its jobs"));
        }
    }
    match OURS.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(key)) {
        Some((_, instead)) => Err(format!("`{key}` is set by the backend; set {instead}")),
        None => Ok(()),
    }
}

/// Why no description can ask for `resources`; nothing if one can.
pub(super) fn refusal(resources: &Resources) -> Option<String> {
    if resources.cpus == 0 {
        return Some("it asks for 0 CPUs, and 1 is the least".into());
    }
    if resources
        .time_limit
        .is_some_and(|limit| limit < Duration::from_secs(1))
    {
        return Some("its time limit is below a second, and HTCondor counts seconds".into());
    }
    None
}

/// All but the items: equal for submissions that go into one description.
pub(super) fn header(options: &HtcondorOptions, state_dir: &str, resources: &Resources) -> String {
    let mut header = Lines::default();
    header.set("universe", universe(&options.universe));
    match &options.universe {
        Universe::Vanilla => {}
        Universe::Container { image } => {
            header.set("container_image", escaped(image));
            // A file is read where it lies, as all others are.
            header.set("transfer_container", "False");
        }
        Universe::Docker { image } => header.set("docker_image", escaped(image)),
    }
    header.set("executable", escaped(&format!("{state_dir}/start")));
    header.set("arguments", arguments(&options.resume));
    let initial_dir = options.initial_dir.as_deref().and_then(Path::to_str);
    header.set("initialdir", escaped(initial_dir.unwrap_or(state_dir)));
    header.set("log", escaped(&format!("{state_dir}/events.log")));
    header.set("log_xml", "False");
    header.set("output", "/dev/null");
    header.set("error", "/dev/null");
    header.set("should_transfer_files", "NO");
    header.set("notification", "Never");
    header.set(
        "getenv",
        match options.environment {
            Environment::Inherit => "True",
            Environment::Clean => "False",
        },
    );
    resources_lines(&mut header, options, resources);
    header.set("job_max_vacate_time", seconds(options.grace).to_string());
    match options.resume {
        Resume::Submit => {}
        Resume::Requeue => {
            let code = options.resume_exit_code;
            header.set("on_exit_remove", format!("ExitCode =!= {code}"));
        }
        Resume::Checkpoint { .. } => {
            let code = options.resume_exit_code;
            header.set("checkpoint_exit_code", code.to_string());
            let kept = format!("ExitCode =!= {code} && ExitCode =!= {SLOT_GIVEN_UP}");
            header.set("on_exit_remove", kept);
        }
    }
    let used_up = format!("JobStatus == 1 && JobRunCount >= {STARTS}");
    let kept = format!("time() - EnteredCurrentStatus > {KEPT_SECONDS}");
    header.set("periodic_remove", format!("{used_up} && {kept}"));
    header.set("requirements", requirements(options));
    let words = [
        ("rank", &options.rank),
        ("accounting_group", &options.accounting_group),
        ("accounting_group_user", &options.accounting_group_user),
    ];
    for (key, value) in words {
        if let Some(value) = value {
            header.set(key, value);
        }
    }
    if !options.concurrency_limits.is_empty() {
        header.set("concurrency_limits", options.concurrency_limits.join(","));
    }
    if !options.label.is_empty() {
        header.set("+JobBatchName", string(&options.label));
    }
    header.set(&format!("+{STARTS}"), "1");
    header.set(&format!("+{NAME}"), "\"$(cu_name)\"");
    header.set("submit_event_notes", "$(cu_name)");
    for line in &options.extra {
        header.0.push_str(line.trim());
        header.0.push('\n');
    }
    header.0
}

/// A whole description: `header` for the submissions `names`, all of one run.
pub(super) fn description(header: &str, names: &[&SubmissionName]) -> String {
    let mut text = header.to_owned();
    if let Some(first) = names.first() {
        // Writing to a string can't fail.
        let _ = writeln!(text, "+{RUN} = \"{}\"", first.run());
    }
    text.push_str("queue cu_name from (\n");
    for name in names {
        let _ = writeln!(text, "{name}");
    }
    text.push_str(")\n");
    text
}

fn universe(universe: &Universe) -> &'static str {
    match universe {
        Universe::Vanilla => "vanilla",
        Universe::Container { .. } => "container",
        Universe::Docker { .. } => "docker",
    }
}

fn arguments(resume: &Resume) -> String {
    match resume {
        Resume::Checkpoint { max_restarts, wait } => {
            let restarts = max_restarts.map_or(String::new(), |most| format!(" {most}"));
            format!("$(cu_name) {}{restarts}", seconds(*wait))
        }
        Resume::Submit | Resume::Requeue => "$(cu_name)".into(),
    }
}

fn resources_lines(header: &mut Lines, options: &HtcondorOptions, resources: &Resources) {
    header.set("request_cpus", resources.cpus.to_string());
    let memory = resources.memory_bytes.unwrap_or(DEFAULT_MEMORY);
    let memory = memory.div_ceil(1 << 20).max(1);
    header.set("request_memory", memory.to_string());
    if let Some(bytes) = options.request_disk {
        // HTCondor counts disk space in KiB.
        header.set("request_disk", bytes.div_ceil(1024).to_string());
    }
    if resources.gpus > 0 {
        header.set("request_gpus", resources.gpus.to_string());
        let memory = options.gpu_memory.map(|bytes| bytes.div_ceil(1 << 20));
        let memory = memory.map(|mib| format!("GlobalMemoryMb >= {mib}"));
        let capability = options.cuda_requirement.as_deref().map(capability);
        let both: Vec<String> = memory.into_iter().chain(capability).collect();
        if !both.is_empty() {
            header.set("require_gpus", both.join(" && "));
        }
    }
    if let Some(limit) = resources.time_limit.or(options.allowed_job_duration) {
        header.set("allowed_job_duration", seconds(limit).to_string());
    }
}

/// A requirement on a GPU in its three forms: a least capability, an operator and a capability, or
/// an expression.
fn capability(text: &str) -> String {
    let text = text.trim();
    let is_number = |text: &str| text.trim().parse().is_ok_and(f64::is_finite);
    if is_number(text) {
        return format!("Capability >= {text}");
    }
    let operator = text.trim_start_matches(['<', '>', '=', '!']);
    if operator.len() < text.len() && is_number(operator) {
        return format!("Capability {text}");
    }
    format!("({text})")
}

fn requirements(options: &HtcondorOptions) -> String {
    let mut all = vec![format!("(JobRunCount ?: 0) < {STARTS}")];
    all.extend(options.requirements.as_ref().map(|own| format!("({own})")));
    // A machine's short name is the first part of its full one. `==` and `!=` ignore case.
    let is = |host: &String| {
        let name = "TARGET.Machine ?: \"\"";
        format!("({name}) == \"{host}\" || split({name}, \".\")[0] == \"{host}\"")
    };
    if !options.hosts.is_empty() {
        let any: Vec<String> = options.hosts.iter().map(is).collect();
        all.push(format!("({})", any.join(" || ")));
    }
    let none = options.exclude_hosts.iter();
    all.extend(none.map(|host| format!("!({})", is(host))));
    all.join(" && ")
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn set(&mut self, key: &str, value: impl AsRef<str>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{key} = {}", value.as_ref());
    }
}

/// `text` so that HTCondor pastes nothing into it. `$$` would still be read by HTCondor.
fn escaped(text: &str) -> String {
    text.replace('$', "$(DOLLAR)")
}

/// `text` as a string of the ClassAd language, for people to read. What HTCondor would read itself
/// is written with something alike: escapes are not understood everywhere, and two dollar signs
/// can't be escaped at all.
fn string(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '"' => '\'',
        '\\' => '/',
        '$' => '_',
        letter if letter.is_control() => ' ',
        letter => letter,
    };
    let text: String = text.chars().map(harmless).collect();
    format!("\"{text}\"")
}

/// Why HTCondor can't be given the folder `path`; nothing if it can.
pub(super) fn path_refusal(path: &str, universe: &Universe) -> Option<&'static str> {
    if path.contains(|letter: char| letter.is_control()) {
        return Some("the path holds a control character");
    }
    if path.contains(['"', '\\']) || path.contains("$$") {
        return Some("the path holds a double quote, a backslash or two dollar signs");
    }
    if matches!(universe, Universe::Container { .. }) && path.contains([':', ',']) {
        return Some("the path holds a colon or a comma, which no folder shown in a container can");
    }
    None
}
