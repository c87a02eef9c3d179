//! What a run asks of machines and of the pool beyond processors and memory: GPUs, and bids.

use std::path::Path;
use std::time::Duration;

use cu_cluster_tests::CondorPool;
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};
use cu_scheduler::{Cancel, ClusterJobId, ClusterState, EndCause, Scheduler};

use crate::htcondor::{
    self, Bed, POOL, attempt, commands_with, end, in_history, lines, submit, until,
};

/// Two GPUs in the slot that is in no lane.
const GPUS: &str = "SLOT_TYPE_1 = cpus=16, memory=16000, gpus=2\n\
                    SLOT_TYPE_2 = cpus=3, memory=4000, gpus=0\n";

/// What HTCondor's program that looks for GPUs says where there are these.
const FOUND: &str = r#"#!/bin/sh
cat <<'GPUS'
DetectedGPUs="GPU-small, GPU-large"
GPU_small=[ Id="GPU-small"; Capability=7.5; GlobalMemoryMb=8192; DeviceName="small"; ]
GPU_large=[ Id="GPU-large"; Capability=8.0; GlobalMemoryMb=40960; DeviceName="large"; ]
GPUS
"#;

/// Each way to say which GPU is wanted, and the one that is got.
#[test]
fn a_job_gets_the_gpu_that_it_asks_for() {
    let found = tempfile::Builder::new().prefix("cu-gpus-").tempdir();
    let found = found.expect("/tmp can be written");
    let script = found.path().join("gpus");
    write_program(&script, FOUND);
    open_to_all(found.path());
    let settings = format!(
        "{GPUS}MACHINE_RESOURCE_INVENTORY_GPUs = {}\n",
        script.display()
    );
    let own = CondorPool::own(&settings);
    let work = own.work_directory();
    htcondor::runtime().block_on(async {
        let wanted: [(Option<&str>, Option<u64>, Option<&str>); 6] = [
            (Some("8.0"), None, Some("GPU-large")),
            (Some("<8"), None, Some("GPU-small")),
            (Some("DeviceName == \"small\""), None, Some("GPU-small")),
            (None, Some(20 << 30), Some("GPU-large")),
            (Some("7.5"), Some(20 << 30), Some("GPU-large")),
            (Some("9.0"), None, None),
        ];
        let mut jobs = Vec::new();
        for (number, (requirement, memory, gpu)) in (0..).zip(wanted) {
            let directory = work.path().join(format!("run{number}"));
            std::fs::create_dir(&directory).expect("the directory is the user's");
            let mut options = HtcondorOptions::new(directory.join("state"));
            options.poll = Duration::from_secs(1);
            options.cuda_requirement = requirement.map(str::to_owned);
            options.gpu_memory = memory;
            options.commands = Some(own.commands());
            let pool = Htcondor::open(options).await.expect("they can be right");
            let mut job = attempt(&directory, 0, "echo $CUDA_VISIBLE_DEVICES >gpu");
            job.resources.gpus = 1;
            let id = submit(&pool, &job).await;
            jobs.push((pool, id, directory, gpu));
        }
        for (pool, job, directory, gpu) in jobs {
            match gpu {
                Some(gpu) => {
                    assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
                    assert_eq!(lines(&directory.join("gpu")), [gpu], "{directory:?}");
                }
                None => nobody_has_it(&pool, &job).await,
            }
        }
    });
}

/// A GPU that no machine has: that is told, and that the job goes on waiting.
async fn nobody_has_it(pool: &Htcondor, job: &ClusterJobId) {
    let told = |state: &ClusterState| match state {
        ClusterState::Queued { reason } => reason.as_ref().is_some_and(|reason| {
            reason.contains("at present no machine of the pool can run it")
                && reason.contains("RequireGPUs = Capability >= 9.0")
        }),
        _ => false,
    };
    until(pool, job, "told that no machine has such a GPU", told).await;
    let cancelled = pool.cancel(std::slice::from_ref(job), Cancel::Terminate);
    cancelled.await.expect("the pool answers");
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("/tmp can be written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, executable).expect("it is ours");
}

/// Others may look for what is in `directory`.
fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, open).expect("it is ours");
}

/// Clusters where jobs bid have a command of their own, which makes an attribute of the bid.
#[test]
fn a_bid_goes_to_the_command_that_takes_bids() {
    htcondor::runtime().block_on(async {
        let bed = Bed::new();
        let submit_bid = format!(
            "bid=$1; shift; exec {} -append \"+JobBid = $bid\" \"$@\"",
            POOL.commands().join("condor_submit").display()
        );
        let commands = commands_with(
            &POOL,
            bed.directory(),
            &[("condor_submit_bid", &submit_bid)],
        );
        let mut options = bed.options(Resume::Submit);
        options.commands = Some(commands.clone());
        options.bid = Some(25);
        let bid = |job: &ClusterJobId| in_history(&POOL, &job.0, "JobBid");
        let pool = Htcondor::open(options.clone())
            .await
            .expect("they can be right");
        let job = submit(&pool, &attempt(bed.directory(), 0, "exit 0")).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
        assert_eq!(bid(&job), "25");
        // Called otherwise, with arguments of its own before the bid.
        let own = bed.directory().join("commands/our_submit");
        write_program(
            &own,
            &format!("#!/bin/sh\n[ \"$1\" = --bid ] && shift\n{submit_bid}\n"),
        );
        options.submit_command = vec![own.to_string_lossy().into_owned(), "--bid".into()];
        options.bid = Some(7);
        let pool = Htcondor::open(options).await.expect("they can be right");
        let job = submit(&pool, &attempt(bed.directory(), 1, "exit 0")).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
        assert_eq!(bid(&job), "7");
    });
}
