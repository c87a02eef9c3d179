//! Where a run of the real `cu` takes place: in one lane of one cluster.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cu_tests::run::Place;

use crate::programs::static_program;
use crate::{CondorLane, CondorPool, SlurmCluster, SlurmLane};

/// A run of a few attempts, each of which may wait for a time limit of one minute.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs in the lane, with their directories in `directory`, which jobs must see.
#[must_use]
pub fn on_slurm(cluster: &SlurmCluster, lane: &SlurmLane<'_>, directory: &Path) -> Place {
    in_partition(cluster, lane.partition(), directory)
}

/// Runs in a partition of the cluster.
#[must_use]
pub fn in_partition(cluster: &SlurmCluster, partition: &str, directory: &Path) -> Place {
    let commands = cluster.commands();
    let config = format!(
        "[backend]\nkind = \"slurm\"\n[backend.slurm]\ncommands = {commands:?}\n\
         partition = {partition:?}\npoll = \"2s\"\n"
    );
    place(directory, config)
}

/// Runs in the lane of the pool.
#[must_use]
pub fn on_htcondor(pool: &CondorPool, lane: &CondorLane<'_>, directory: &Path) -> Place {
    let mut place = in_pool(pool, directory);
    let lane = format!("extra = [{:?}]\n", lane.submit_line());
    place.config.push_str(&lane);
    place
}

/// Runs on the local backend, within the Debian root of the cluster.
///
/// # Panics
/// As [`on_login_node`].
#[must_use]
pub fn in_root(cluster: &SlurmCluster, directory: &Path) -> Place {
    let config = "[backend]\nkind = \"local\"\n[backend.local]\ncpus = 4\n".to_owned();
    on_login_node(cluster, place(directory, config))
}

/// The same runs from within the Debian root, which has the programs of the jobs. `cu` is called by a script in the
/// directory of the runs.
///
/// # Panics
/// If the script can't be written.
#[must_use]
pub fn on_login_node(cluster: &SlurmCluster, place: Place) -> Place {
    let cu = place.directory.join("cu-in-root");
    let enter = cluster.commands().join("in-cluster");
    let script = format!(
        "#!/bin/sh\nexec {} {} \"$@\"\n",
        enter.display(),
        place.cu.display()
    );
    fs::write(&cu, script).unwrap();
    fs::set_permissions(&cu, Permissions::from_mode(0o755)).unwrap();
    Place { cu, ..place }
}

/// Runs in the slot of the pool that is outside all lanes.
#[must_use]
pub fn in_pool(pool: &CondorPool, directory: &Path) -> Place {
    let commands = pool.commands();
    let config = format!(
        "[backend]\nkind = \"htcondor\"\n[backend.htcondor]\ncommands = {commands:?}\n\
         poll = \"2s\"\n"
    );
    place(directory, config)
}

fn place(directory: &Path, config: String) -> Place {
    Place {
        cu: static_program("cu"),
        directory: directory.to_owned(),
        config,
        environment: Vec::new(),
        patience: PATIENCE,
    }
}
