//! How long it is from the start of an attempt that ends at once to the start of the next, in each way
//! of resuming, on the shared pool, medians of 11:
//! `cargo run -p cu-cluster-tests --example htcondor_cycles`.

#[path = "../tests/all/htcondor/mod.rs"]
mod htcondor;

use std::path::Path;
use std::time::Duration;

use cu_cluster_tests::wait;
use cu_scheduler::htcondor::Resume;

use htcondor::{Bed, attempt, end, lines, submit};

const CYCLES: u32 = 11;

fn main() {
    let same_slot = Resume::Checkpoint {
        max_restarts: None,
        wait: Duration::from_secs(60),
    };
    htcondor::runtime().block_on(async {
        for (name, resume) in [
            ("submit", Resume::Submit),
            ("requeue", Resume::Requeue),
            ("checkpoint", same_slot),
        ] {
            for (who, told_by_itself) in
                [("the backend reports", false), ("the command says", true)]
            {
                let bed = Bed::new();
                let pool = bed.open(resume).await;
                let started = bed.directory().join("started");
                let mut previous = None;
                for number in 0..=CYCLES {
                    let code = if number == CYCLES { 0 } else { 3 };
                    let script = format!("date +%s%N >>started; exit {code}");
                    let mut next = attempt(bed.directory(), number, &script);
                    next.previous = previous.take();
                    let job = submit(&pool, &next).await;
                    if told_by_itself {
                        until_started(&started, number);
                    } else {
                        end(&pool, &job).await;
                    }
                    previous = Some(job);
                }
                until_started(&started, CYCLES);
                println!("{name:12} {who:18} {:.2} s", median(&started));
            }
        }
    });
}

fn until_started(started: &Path, number: u32) {
    wait::until("an attempt's start", wait::BOUND, || {
        (lines(started).len() > number as usize).then_some(())
    });
}

/// Of the times between the starts, in seconds.
fn median(started: &Path) -> f64 {
    let starts: Vec<f64> = lines(started)
        .iter()
        .map(|line| line.parse::<f64>().expect("nanoseconds") / 1e9)
        .collect();
    let mut cycles: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    cycles.sort_by(f64::total_cmp);
    cycles[cycles.len() / 2]
}
