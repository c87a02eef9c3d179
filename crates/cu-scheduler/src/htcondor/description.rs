//! The submit description: one for all submissions that need the same.
//!
//! Its items are names of submissions, which hold no character with a meaning to HTCondor. All
//! other text stands once, in the lines before, where `$` alone has a meaning.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::attributes::{FORGOTTEN, NAME, RUN, STARTS};
use super::options::{Environment, HtcondorOptions, Resume, Universe, seconds};
use super::script::SLOT_GIVEN_UP;
use crate::{Resources, SubmissionName};

/// What a job that asks for no memory gets, in bytes. HTCondor's own default is 1 MB, and it kills
/// who takes more.
pub(super) const DEFAULT_MEMORY: u64 = 1 << 30;

/// How long HTCondor keeps a job that may not start again, in seconds: if nobody puts it back or
/// frees it by then, nobody will. What is put back later is submitted anew.
const KEPT_SECONDS: u32 = 24 * 3600;

/// Checks that a description can ask for `resources`.
///
/// # Errors
/// Why not, in a sentence.
pub(super) fn check(resources: &Resources) -> Result<(), String> {
    let least = Duration::from_secs(1);
    if resources.time_limit.is_some_and(|limit| limit < least) {
        return Err("the time limit must be at least 1 s: HTCondor counts seconds".into());
    }
    Ok(())
}

/// How long a submission is kept off the hosts that it should avoid, in seconds since it was queued. Afterwards it
/// may have these: no other may meet its requirements.
const AVOIDED_SECONDS: u32 = 600;

/// A checksum (FNV-1a) of a header. Submissions with other needs have another header.
pub(super) fn checksum(header: &str) -> u64 {
    header.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// All but the items: equal for submissions that go into one description.
pub(super) fn header(
    options: &HtcondorOptions,
    state_dir: &str,
    resources: &Resources,
    avoid_hosts: &[String],
) -> String {
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
    let forgotten = format!("{used_up} && {kept}");
    match &options.periodic_remove {
        None => header.set("periodic_remove", forgotten),
        // The reason of a removal quotes the expression. Without our gate in it, it is the user's rule.
        Some(own) => {
            header.set(&format!("+{FORGOTTEN}"), forgotten);
            header.set("periodic_remove", format!("{FORGOTTEN} || ({own})"));
        }
    }
    header.set("requirements", requirements(options, avoid_hosts));
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

fn requirements(options: &HtcondorOptions, avoid_hosts: &[String]) -> String {
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
    // The names come from nodes: what is not one would break the expression.
    let names = avoid_hosts.iter().filter(|host| is_name(host));
    let avoided: Vec<String> = names.map(is).collect();
    if !avoided.is_empty() {
        let (any, waited) = (avoided.join(" || "), "time() - QDate");
        all.push(format!("(!({any}) || {waited} > {AVOIDED_SECONDS})"));
    }
    all.join(" && ")
}

/// Whether a text can be the name of a host.
fn is_name(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !host.is_empty() && host.bytes().all(is_part)
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

/// Why HTCondor can't be given the directory `path`; nothing if it can.
pub(super) fn path_refusal(path: &str, universe: &Universe) -> Option<&'static str> {
    if path.contains(|letter: char| letter.is_control()) {
        return Some("the path contains a control character");
    }
    if path.contains(['"', '\\']) || path.contains("$$") {
        return Some("the path contains a double quote, a backslash or two dollar signs");
    }
    if matches!(universe, Universe::Container { .. }) && path.contains([':', ',']) {
        return Some(
            "the path contains a colon or a comma, which no directory shown in a container may have",
        );
    }
    None
}
