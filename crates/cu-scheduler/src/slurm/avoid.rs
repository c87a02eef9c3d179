//! The nodes that a submission is kept off, since nothing started there.

use std::collections::BTreeSet;

use super::Cluster;
use super::options::SlurmOptions;
use crate::cluster::is_same_host;

/// What a person's options begin with that choose nodes.
const CHOOSES: [&str; 6] = ["--exclude", "-x", "--nodelist", "-w", "--nodefile", "-F"];

/// The states, by their beginning, of nodes that may take a job now or later.
const USABLE: [&str; 7] = [
    "idle",
    "mixed",
    "allocated",
    "completing",
    "planned",
    "reserved",
    "power",
];

impl Cluster {
    /// The nodes to exclude, by Slurm's names, so that a submission avoids `hosts`. None if Slurm does not
    /// know a host, if a person has chosen the nodes, or if no other usable node would be left: sbatch would
    /// refuse the submission.
    pub(super) async fn to_exclude(&self, hosts: &[String]) -> Vec<String> {
        if hosts.is_empty() || chooses_nodes(&self.options) {
            return Vec::new();
        }
        let partition = self.options.partition.iter();
        let partition = partition.map(|name| format!("--partition={name}"));
        let client = self.client();
        let nodes = client
            .command("sinfo")
            .arguments(["--noheader", "--Node", "--format", "%N|%n|%T"])
            .arguments(partition);
        match client.ask(nodes).await {
            Ok(output) => of_hosts(&output.stdout, hosts),
            // The submission matters more.
            Err(_) => Vec::new(),
        }
    }
}

fn chooses_nodes(options: &SlurmOptions) -> bool {
    let given = options.sbatch.iter().flatten().chain(&options.extra);
    let mut given = given.map(|option| option.trim());
    !options.hosts.is_empty() || given.any(|it| CHOOSES.iter().any(|word| it.starts_with(word)))
}

/// The nodes of `listed`, with a name, a host name and a state in each line, that are on `hosts`.
fn of_hosts(listed: &str, hosts: &[String]) -> Vec<String> {
    let (mut found, mut is_other_usable) = (BTreeSet::new(), false);
    for line in listed.lines() {
        let mut fields = line.trim().split('|');
        let (Some(node), Some(host_name), Some(state)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let is_it = |host: &String| is_same_host(host, node) || is_same_host(host, host_name);
        if hosts.iter().any(is_it) {
            found.insert(node.to_owned());
        } else {
            // A node that does not answer has a `*` behind its state.
            let is_usable = USABLE.iter().any(|word| state.starts_with(word));
            is_other_usable |= is_usable && !state.ends_with('*');
        }
    }
    match is_other_usable {
        true => found.into_iter().collect(),
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str =
        "n1|n1|idle\nn2|n2.cluster|mixed\nn3|big-3|allocated\nn1|n1|idle\nn4|n4|down*\n";

    fn excluded(listed: &str, hosts: &[&str]) -> String {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        of_hosts(listed, &hosts).join(",")
    }

    #[test]
    fn hosts_are_excluded_by_the_names_that_slurm_gives_them() {
        for (hosts, expected) in [
            (&["n1"][..], "n1"),
            (&["n1.cluster.org"], "n1"),
            (&["n2"], "n2"),
            (&["n2.cluster"], "n2"),
            (&["big-3", "n1"], "n1,n3"),
            (&["big-3.cluster"], "n3"),
            (&["n"], ""),
            (&["n11"], ""),
            (&["elsewhere"], ""),
            (&[""], ""),
        ] {
            assert_eq!(excluded(LISTED, hosts), expected, "{hosts:?}");
        }
    }

    #[test]
    fn the_last_usable_node_is_not_excluded() {
        assert_eq!(excluded("n1|n1|idle\n", &["n1"]), "");
        assert_eq!(excluded("n1|n1|idle\nn2|n2|drained\n", &["n1"]), "");
        assert_eq!(excluded("n1|n1|idle\nn2|n2|idle*\n", &["n1"]), "");
        assert_eq!(excluded("n1|n1|idle\nn2|n2|idle~\n", &["n1"]), "n1");
        assert_eq!(excluded(LISTED, &["n1", "n2", "big-3"]), "");
        // Several slurmd on one host.
        assert_eq!(excluded("a1|vm|idle\na2|vm|idle\n", &["vm"]), "");
        assert_eq!(excluded("debug|idle|2\nsomething else\n", &["vm"]), "");
    }

    #[test]
    fn nodes_that_a_person_chose_are_not_changed() {
        let none = SlurmOptions::default();
        assert!(!chooses_nodes(&none));
        for option in ["--exclude=n1", "-x n1", "--nodelist=n[1-3]", "-w n1"] {
            let options = SlurmOptions {
                extra: vec![option.to_owned()],
                ..SlurmOptions::default()
            };
            assert!(chooses_nodes(&options), "{option}");
        }
    }
}
