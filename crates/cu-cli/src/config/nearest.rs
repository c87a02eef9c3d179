//! The key that a person probably meant.

/// What schedulers call these keys.
const WORDS: [(&[&str], &str); 6] = [
    (
        &["walltime", "wall_time", "time", "runtime", "max_time_limit"],
        "resources.time_limit",
    ),
    (
        &["mem", "ram", "request_memory", "memory_limit"],
        "resources.memory",
    ),
    (
        &[
            "ncpus",
            "cpus_per_task",
            "request_cpus",
            "cores",
            "threads",
            "procs",
        ],
        "resources.cpus",
    ),
    (
        &["gres", "ngpus", "request_gpus", "gpus_per_node"],
        "resources.gpus",
    ),
    (&["queue"], "backend.slurm.partition"),
    (
        &["chdir", "initialdir", "cwd", "workdir"],
        "working_directory",
    ),
];

/// The one of `known` that `key` was probably meant to be: the same name in another table, a word of a
/// scheduler, or a similar name, a sibling first.
pub fn nearest(key: &str, known: &[String]) -> Option<String> {
    let parent_and_name = |path: &str| match path.rsplit_once('.') {
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => (String::new(), path.to_owned()),
    };
    let (parent, name) = parent_and_name(key);
    let allowed = (name.chars().count() / 3).max(1);
    let word = WORDS.iter().find(|(words, _)| words.contains(&&*name));
    let word = word.filter(|(_, meant)| known.iter().any(|key| key == meant));
    let nearest = known
        .iter()
        .filter_map(|candidate| {
            let (other_parent, other_name) = parent_and_name(candidate);
            let distance = strsim::damerau_levenshtein(&name, &other_name);
            let is_sibling = other_parent == parent;
            // The user's own names come before ours.
            let is_own = other_parent == "settings";
            (distance <= allowed).then_some((distance, !is_sibling, !is_own, candidate))
        })
        .min();
    match (nearest, word) {
        (Some((0, .., same)), _) => Some(same.clone()),
        (_, Some((_, meant))) => Some((*meant).to_owned()),
        (similar, None) => similar.map(|(.., candidate)| candidate.clone()),
    }
}
