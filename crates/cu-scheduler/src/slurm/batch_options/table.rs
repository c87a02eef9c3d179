//! The options that sbatch has in any of the versions 20.11 to 26.05, and the variables that stand for them.

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// Only behind `=`, or glued to the letter.
    Perhaps,
    Value,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub long: &'static str,
    pub short: Option<char>,
    pub value: Takes,
}

const fn nothing(long: &'static str, short: Option<char>) -> Known {
    Known {
        long,
        short,
        value: Takes::Nothing,
    }
}

const fn perhaps(long: &'static str, short: Option<char>) -> Known {
    Known {
        long,
        short,
        value: Takes::Perhaps,
    }
}

const fn value(long: &'static str, short: Option<char>) -> Known {
    Known {
        long,
        short,
        value: Takes::Value,
    }
}

/// All of them.
pub const OPTIONS: &[Known] = &[
    value("account", Some('A')),
    value("acctg-freq", None),
    value("array", Some('a')),
    value("batch", None),
    value("bb", None),
    value("bbf", None),
    value("begin", Some('b')),
    value("chdir", Some('D')),
    value("cluster-constraint", None),
    value("clusters", Some('M')),
    value("comment", None),
    nothing("consolidate-segments", None),
    value("constraint", Some('C')),
    value("container", None),
    value("container-id", None),
    value("container-type", None),
    nothing("contiguous", None),
    value("core-spec", Some('S')),
    value("cores-per-socket", None),
    value("cpu-freq", None),
    value("cpus-per-gpu", None),
    value("cpus-per-task", Some('c')),
    value("deadline", None),
    value("delay-boot", None),
    value("dependency", Some('d')),
    value("distribution", Some('m')),
    value("error", Some('e')),
    value("exclude", Some('x')),
    perhaps("exclusive", None),
    value("export", None),
    value("export-file", None),
    value("extra", None),
    value("extra-node-info", Some('B')),
    perhaps("get-user-env", None),
    value("gid", None),
    value("gpu-bind", None),
    value("gpu-freq", None),
    value("gpus", Some('G')),
    value("gpus-per-node", None),
    value("gpus-per-socket", None),
    value("gpus-per-task", None),
    value("gres", None),
    value("gres-flags", None),
    nothing("help", Some('h')),
    value("hint", None),
    nothing("hold", Some('H')),
    nothing("ignore-pbs", None),
    value("input", Some('i')),
    value("job-name", Some('J')),
    value("kill-on-invalid-dep", None),
    value("licenses", Some('L')),
    value("mail-type", None),
    value("mail-user", None),
    value("mcs-label", None),
    value("mem", None),
    value("mem-bind", None),
    value("mem-per-cpu", None),
    value("mem-per-gpu", None),
    value("mincpus", None),
    value("network", None),
    perhaps("nice", None),
    perhaps("no-kill", Some('k')),
    nothing("no-requeue", None),
    value("nodefile", Some('F')),
    value("nodelist", Some('w')),
    value("nodes", Some('N')),
    value("ntasks", Some('n')),
    value("ntasks-per-core", None),
    value("ntasks-per-gpu", None),
    value("ntasks-per-node", None),
    value("ntasks-per-socket", None),
    perhaps("oom-kill-step", None),
    value("open-mode", None),
    value("output", Some('o')),
    nothing("overcommit", Some('O')),
    nothing("oversubscribe", Some('s')),
    nothing("parsable", None),
    value("partition", Some('p')),
    value("power", None),
    value("prefer", None),
    value("priority", None),
    value("profile", None),
    perhaps("propagate", None),
    value("qos", Some('q')),
    nothing("quiet", Some('Q')),
    nothing("reboot", None),
    perhaps("requeue", None),
    value("reservation", None),
    perhaps("resv-ports", None),
    value("segment", None),
    value("signal", None),
    value("sockets-per-node", None),
    nothing("spread-job", None),
    nothing("spread-segments", None),
    nothing("stepmgr", None),
    value("switches", None),
    nothing("test-only", None),
    value("thread-spec", None),
    value("threads-per-core", None),
    value("time", Some('t')),
    value("time-min", None),
    value("tmp", None),
    value("tres-bind", None),
    value("tres-per-task", None),
    value("uid", None),
    nothing("usage", None),
    nothing("use-min-nodes", None),
    nothing("verbose", Some('v')),
    nothing("version", Some('V')),
    nothing("wait", Some('W')),
    value("wait-all-nodes", None),
    value("wckey", None),
    value("wrap", None),
];

/// Other names of some options.
pub const ALIASES: &[(&str, &str)] = &[
    ("tasks-per-node", "ntasks-per-node"),
    ("cluster", "clusters"),
];

/// The variables, with the options that they stand for. A later one precedes.
pub const VARIABLES: &[(&str, &str)] = &[
    ("SBATCH_ACCOUNT", "account"),
    ("SBATCH_ACCTG_FREQ", "acctg-freq"),
    ("SBATCH_ARRAY_INX", "array"),
    ("SBATCH_BATCH", "batch"),
    ("SBATCH_BURST_BUFFER", "bb"),
    ("SLURM_CLUSTERS", "clusters"),
    ("SBATCH_CLUSTERS", "clusters"),
    ("SBATCH_CLUSTER_CONSTRAINT", "cluster-constraint"),
    ("SBATCH_CONSOLIDATE_SEGMENTS", "consolidate-segments"),
    ("SBATCH_CONSTRAINT", "constraint"),
    ("SBATCH_CONTAINER", "container"),
    ("SBATCH_CONTAINER_ID", "container-id"),
    ("SBATCH_CONTAINER_TYPE", "container-type"),
    ("SBATCH_CORE_SPEC", "core-spec"),
    ("SBATCH_CPUS_PER_GPU", "cpus-per-gpu"),
    ("SLURM_CPU_FREQ_REQ", "cpu-freq"),
    ("SBATCH_CPU_FREQ_REQ", "cpu-freq"),
    ("SBATCH_DELAY_BOOT", "delay-boot"),
    ("SBATCH_DISTRIBUTION", "distribution"),
    ("SBATCH_ERROR", "error"),
    ("SBATCH_EXCLUSIVE", "exclusive"),
    ("SBATCH_EXPORT", "export"),
    ("SBATCH_GET_USER_ENV", "get-user-env"),
    ("SBATCH_GPUS", "gpus"),
    ("SBATCH_GPUS_PER_NODE", "gpus-per-node"),
    ("SBATCH_GPUS_PER_SOCKET", "gpus-per-socket"),
    ("SBATCH_GPUS_PER_TASK", "gpus-per-task"),
    ("SBATCH_GPU_BIND", "gpu-bind"),
    ("SBATCH_GPU_FREQ", "gpu-freq"),
    ("SBATCH_GRES", "gres"),
    ("SBATCH_GRES_FLAGS", "gres-flags"),
    ("SLURM_HINT", "hint"),
    ("SBATCH_HINT", "hint"),
    ("SBATCH_IGNORE_PBS", "ignore-pbs"),
    ("SBATCH_INPUT", "input"),
    ("SBATCH_JOB_NAME", "job-name"),
    ("SBATCH_MEM_BIND", "mem-bind"),
    ("SBATCH_MEM_PER_CPU", "mem-per-cpu"),
    ("SBATCH_MEM_PER_GPU", "mem-per-gpu"),
    ("SBATCH_MEM_PER_NODE", "mem"),
    ("SBATCH_NETWORK", "network"),
    ("SBATCH_NO_KILL", "no-kill"),
    ("SBATCH_NO_REQUEUE", "no-requeue"),
    ("SBATCH_OPEN_MODE", "open-mode"),
    ("SBATCH_OUTPUT", "output"),
    ("SBATCH_OVERCOMMIT", "overcommit"),
    ("SBATCH_PARTITION", "partition"),
    ("SBATCH_POWER", "power"),
    ("SBATCH_PROFILE", "profile"),
    ("SBATCH_QOS", "qos"),
    ("SBATCH_REQUEUE", "requeue"),
    ("SBATCH_RESERVATION", "reservation"),
    ("SBATCH_SEGMENT_SIZE", "segment"),
    ("SBATCH_SIGNAL", "signal"),
    ("SBATCH_SPREAD_JOB", "spread-job"),
    ("SBATCH_SPREAD_SEGMENTS", "spread-segments"),
    ("SBATCH_THREADS_PER_CORE", "threads-per-core"),
    ("SBATCH_THREAD_SPEC", "thread-spec"),
    ("SBATCH_TIMELIMIT", "time"),
    ("SBATCH_TRES_BIND", "tres-bind"),
    ("SBATCH_TRES_PER_TASK", "tres-per-task"),
    ("SBATCH_USE_MIN_NODES", "use-min-nodes"),
    ("SBATCH_WAIT", "wait"),
    ("SBATCH_REQ_SWITCH", "switches"),
    ("SBATCH_WAIT_ALL_NODES", "wait-all-nodes"),
    ("SBATCH_WCKEY", "wckey"),
];

/// The option with this long name, whole.
pub fn find(long: &str) -> Option<&'static Known> {
    OPTIONS.iter().find(|known| known.long == long)
}

/// The option with this letter.
pub fn of_letter(letter: char) -> Option<&'static Known> {
    OPTIONS.iter().find(|known| known.short == Some(letter))
}

/// The options whose long name begins so: one if it is a whole name.
pub fn beginning(prefix: &str) -> Vec<&'static Known> {
    let names = OPTIONS.iter().map(|it| (it.long, it.long));
    let names: Vec<_> = names.chain(ALIASES.iter().copied()).collect();
    let whole = names.iter().find(|(name, _)| *name == prefix);
    let mut found: Vec<&str> = match whole {
        Some((_, long)) => vec![long],
        None => {
            let begins = names.iter().filter(|(name, _)| name.starts_with(prefix));
            begins.map(|(_, long)| *long).collect()
        }
    };
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_and_alias_stands_for_an_option() {
        for (name, option) in VARIABLES.iter().chain(ALIASES) {
            assert!(find(option).is_some(), "{name}");
        }
        let mut letters: Vec<char> = OPTIONS.iter().filter_map(|it| it.short).collect();
        letters.sort_unstable();
        let count = letters.len();
        letters.dedup();
        assert_eq!(letters.len(), count, "a letter twice");
    }
}
