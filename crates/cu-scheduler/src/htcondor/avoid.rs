//! The hosts that a submission is kept off for a time, since nothing started there.

use super::Htcondor;
use crate::cluster::is_same_host;

impl Htcondor {
    /// `hosts`, but none if the pool has no other machine: the submission would wait in vain.
    pub(super) async fn to_avoid(&self, hosts: &[String]) -> Vec<String> {
        if hosts.is_empty() {
            return Vec::new();
        }
        let machines =
            self.commands
                .command("condor_status")
                .arguments(["-startd", "-autoformat", "Machine"]);
        match self.commands.answer(machines).await {
            Ok(output) if has_another(&output.stdout, hosts) => hosts.to_vec(),
            // If the pool does not answer: the submission matters more.
            _ => Vec::new(),
        }
    }
}

/// Whether a line of `listed` names a machine that is none of `hosts`.
fn has_another(listed: &str, hosts: &[String]) -> bool {
    let mut machines = listed.lines().map(str::trim).filter(|it| !it.is_empty());
    machines.any(|machine| !hosts.iter().any(|host| is_same_host(host, machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_machine_of_a_pool_is_not_avoided() {
        let has_another = |listed: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            has_another(listed, &hosts)
        };
        assert!(!has_another("n1.pool\nn1.pool\n", &["n1"]));
        assert!(!has_another("n1\nn2\n\n", &["n1.pool", "n2"]));
        assert!(!has_another("", &["n1"]));
        assert!(has_another("n1.pool\nn10.pool\n", &["n1"]));
    }
}
