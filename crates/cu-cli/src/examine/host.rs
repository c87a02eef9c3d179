//! Checks this host: the program `cu`, addresses that nodes could reach, Python.

use std::net::IpAddr;
use std::path::Path;

use cu_core::{FileSystem, Sharing, host_addresses};
use cu_scheduler::Level;

use super::Nodes;
use crate::backend::Finding;
use crate::config::find_command;

/// The findings for attempts on `nodes`.
pub fn examine(nodes: Nodes) -> Vec<Finding> {
    let mut findings = Vec::new();
    if nodes == Nodes::Unproven {
        findings.extend(crate::this_program::path().ok().map(|path| program(&path)));
        findings.push(network(&host_addresses()));
    }
    findings.push(match find_command("python3", None) {
        Some(path) => Finding::new("python3", Level::Good, path.display().to_string()),
        None => Finding::new(
            "python3",
            Level::Note,
            "it is not in PATH; jobs in Python need it",
        ),
    });
    findings
}

/// The attempts start the very file that runs here.
fn program(path: &Path) -> Finding {
    let file_system = FileSystem::of(path);
    let text = format!("{} is on {}", path.display(), file_system.name);
    match file_system.sharing {
        Some(Sharing::Shared) => Finding::new("cu", Level::Good, text),
        Some(Sharing::Own | Sharing::Memory) => Finding::new(
            "cu",
            Level::Warning,
            format!("{text}, which other machines rarely see; attempts start it by this path"),
        )
        .advise(
            "install cu where the nodes see it, or under the same path on each of them; \
             `cu doctor --submit` checks that",
        ),
        None => Finding::new("cu", Level::Note, text),
    }
}

fn network(addresses: &[IpAddr]) -> Finding {
    if addresses.is_empty() {
        let text = "this host has only its loopback address: messages of attempts come through \
                    files, with a delay";
        return Finding::new("network", Level::Warning, text);
    }
    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    let text = format!(
        "nodes will try to reach this host at {}",
        addresses.join(", ")
    );
    Finding::new("network", Level::Good, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_addresses_is_a_warning() {
        assert_eq!(network(&[]).level, Level::Warning);
        let addresses = [IpAddr::from([10, 0, 0, 7]), IpAddr::from([192, 168, 0, 7])];
        let finding = network(&addresses);
        assert_eq!(finding.level, Level::Good);
        assert!(
            finding.text.ends_with("10.0.0.7, 192.168.0.7"),
            "{finding:?}"
        );
    }

    #[test]
    fn a_local_cluster_needs_neither_addresses_nor_a_shared_program() {
        let subjects: Vec<_> = examine(Nodes::None)
            .iter()
            .map(|finding| finding.subject)
            .collect();
        assert_eq!(subjects, ["python3"]);
    }
}
