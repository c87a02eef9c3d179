//! GPUs of a shared machine: only those that `cu` was given itself are handed out.
#![allow(clippy::unwrap_used)]

use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;

const CONFIG: &str = "[resources]\ngpus = 1\n[backend.local]\ngpus = 2\n[grid]\njob = [0, 1]\n";

fn run_with(run: &Run, visible: &str) -> Exit {
    let mut command = run.command(&["run", run.config().to_str().unwrap()]);
    command.env("CUDA_VISIBLE_DEVICES", visible);
    Process::start(command, &run.path("")).wait()
}

#[test]
fn gpus_that_were_given_to_others_are_not_handed_out() {
    // Both jobs run at once: each waits until the other has begun.
    let script = r#"echo "$CUDA_VISIBLE_DEVICES" >"$CU_OUTPUT_DIR/gpu"
        touch "$CU_TESTS_SCRATCH/begun-$CU_JOB_ID"
        while [ ! -e "$CU_TESTS_SCRATCH/begun-0" ] || [ ! -e "$CU_TESTS_SCRATCH/begun-1" ]; do
            [ -d "$CU_TESTS_SCRATCH" ] || exit; sleep 0.02; done"#;
    let run = Run::new(&["sh", "-c", script], CONFIG);
    let exit = run_with(&run, "2,GPU-8932f937");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let gpu = |job| std::fs::read_to_string(run.output(job, "gpu")).unwrap();
    let mut gpus = [gpu(0), gpu(1)];
    gpus.sort();
    assert_eq!(gpus, ["2\n", "GPU-8932f937\n"]);
}

#[test]
fn more_gpus_than_cu_was_given_are_refused() {
    let run = Run::new(&["true"], CONFIG);
    let exit = run_with(&run, "2");
    assert_ne!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("CUDA_VISIBLE_DEVICES"), "{exit:?}");
    assert!(exit.stderr.contains("2 GPUs"), "{exit:?}");
}
