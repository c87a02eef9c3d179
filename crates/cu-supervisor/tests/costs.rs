//! What an attempt costs its supervisor, in allocations: times are noise on a shared machine, and these are not.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::Run;
use common::main_process::MainProcess;
use cu_protocol::{OutputChange, ProgramEnd};

/// The allocations of an attempt of this command, with a main process that acknowledges all.
fn of_an_attempt(command: [&str; 2]) -> u64 {
    let run = Run::of(command);
    let _main_process = MainProcess::start(&run, true);
    let counted = run.dir.path().join("allocations");
    let path = counted.to_str().unwrap();
    let [_, second] = [0, 1].map(|attempt| {
        // Whatever is in the tester's environment is copied for the program.
        run.start_bare(
            attempt,
            &[("PATH", "/usr/bin:/bin"), ("COUNT_ALLOCATIONS", path)],
        )
        .wait();
        let record = run.record(attempt);
        assert_eq!(record.end, ProgramEnd::Exited(0));
        assert_eq!(record.output_changed, OutputChange::Changed);
        std::fs::read_to_string(&counted).unwrap().parse().unwrap()
    });
    second
}

#[test]
fn an_attempt_costs_its_supervisor_few_allocations() {
    let count = of_an_attempt(["touch", "step"]);
    println!("{count} allocations");
    assert!(count <= 850, "{count} allocations");
}
