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

/// Runs that share this machine know nothing of each other, and each counts the GPUs from 0.
#[test]
fn a_gpu_that_another_run_has_is_not_handed_out() {
    let script = r#"echo "$CUDA_VISIBLE_DEVICES" >"$CU_OUTPUT_DIR/gpu"
        while [ -d "$CU_TESTS_SCRATCH" ] && [ ! -e "$CU_TESTS_SCRATCH/go" ]; do sleep 0.02; done"#;
    let run_of = |offered: u32| {
        let config = format!("[resources]\ngpus = 1\n[backend.local]\ngpus = {offered}\n");
        Run::new(&["sh", "-c", script], &config)
    };
    let gpu = |run: &Run| {
        run.await_file(&run.output(0, "gpu"));
        run.until("the name", || {
            std::fs::read_to_string(run.output(0, "gpu"))
                .ok()
                .filter(|it| it.ends_with('\n'))
        })
    };
    let (first, second, third) = (run_of(1), run_of(2), run_of(1));
    let mut processes = vec![first.start()];
    assert_eq!(gpu(&first), "0\n");
    processes.push(second.start());
    assert_eq!(gpu(&second), "1\n");
    processes.push(third.start());
    third.until("the job to be queued", || {
        let status = cu_core::Reader::open(&third.dir()).ok()?.status().ok()?;
        (status.jobs.queued == 1).then_some(())
    });
    std::fs::write(second.path("go"), "").unwrap();
    assert_eq!(processes.remove(1).wait().code, Some(0));
    assert!(!third.output(0, "gpu").exists(), "both runs have GPU 0");
    // It outlives its main process, and so does its claim.
    processes[0].kill();
    std::fs::write(first.path("go"), "").unwrap();
    assert_eq!(gpu(&third), "0\n");
    std::fs::write(third.path("go"), "").unwrap();
    assert_eq!(processes.remove(1).wait().code, Some(0));
}

#[test]
fn more_gpus_than_cu_was_given_are_refused() {
    let run = Run::new(&["true"], CONFIG);
    let exit = run_with(&run, "2");
    assert_ne!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("CUDA_VISIBLE_DEVICES"), "{exit:?}");
    assert!(exit.stderr.contains("2 GPUs"), "{exit:?}");
}
