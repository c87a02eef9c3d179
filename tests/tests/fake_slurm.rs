//! What Slurm does at other people's sites, on a fake one: scripts that end before they begin,
//! answers that are lost, refusals in the middle of a chain, queues that can't be asked.
#![allow(clippy::unwrap_used)]

use cu_tests::fake::{Fake, Kind};
use cu_tests::process::Exit;
use cu_tests::run::{Run, scratch};
use tempfile::TempDir;

/// A fake Slurm in a directory that goes with the test.
struct Site {
    slurm: Fake,
    _scratch: TempDir,
}

impl Site {
    fn new() -> Self {
        let scratch = scratch();
        let slurm = Fake::new(
            Kind::Slurm,
            scratch.path(),
            env!("CARGO_BIN_EXE_fake_cluster"),
        );
        Self {
            slurm,
            _scratch: scratch,
        }
    }

    /// A run of `script`, which starts in the output directory.
    fn run(&self, script: &str, slurm: &str, config: &str) -> Run {
        let script = format!("cd \"$CU_OUTPUT_DIR\" && {script}");
        Run::at(self.slurm.place(slurm), &["sh", "-c", &script], config)
    }
}

/// Resumes twice, then is done; `n` counts the attempts.
const TWO_RESUMES: &str = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; \
                           [ $n -ge 2 ] || exit 3";

fn attempts(run: &Run) -> u32 {
    let text = std::fs::read_to_string(run.output(0, "n")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[track_caller]
fn completed(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_chain_runs_on_the_fake_as_on_a_real_slurm() {
    let site = Site::new();
    let run = site.run(TWO_RESUMES, "", "");
    completed(&run.start().wait());
    assert_eq!(attempts(&run), 3);
    assert_eq!(site.slurm.jobs(), ["1000", "1001", "1002"]);
}

#[test]
fn a_cancelled_job_ends_on_the_fake() {
    let site = Site::new();
    let run = site.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(site.slurm.calls("scancel").len(), 1);
}
