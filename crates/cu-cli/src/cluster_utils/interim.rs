//! Writes the result files while a run goes on, so that one that is aborted in any way leaves them as far as it got: of a
//! grid search now and then, of an optimisation after each iteration, as cluster_utils does.

use std::time::{Duration, Instant};

use cu_core::{Reader, RunDir, Status};

use super::results;
use crate::config::Wanted;
use crate::error::Result;
use crate::optimize::beside::Beside;
use crate::optimize::best::ranked;

/// The least time from one writing to the next.
const LEAST: Duration = Duration::from_secs(10);

/// Writing takes at most about this part of the time.
const PART: u32 = 20;

/// Returns the writer of the files of `run`, if it has such files.
pub fn of(run: &RunDir) -> Option<Box<dyn Beside>> {
    if !results::are_meant(run) {
        return None;
    }
    let run = run.clone();
    Some(match Wanted::of_run(&run) {
        Some(wanted) => Box::new(Iterations {
            run,
            wanted,
            completed: 0,
            written: 0,
        }),
        None => Box::new(NowAndThen {
            run,
            settled: 0,
            next: None,
        }),
    })
}

/// Writes them when jobs have ended since, and it is time.
#[derive(Debug)]
struct NowAndThen {
    run: RunDir,
    /// How many jobs had ended when the files were written last.
    settled: u32,
    next: Option<Instant>,
}

impl Beside for NowAndThen {
    fn look(&mut self, reader: &Reader) -> Result<()> {
        let status = reader.status()?;
        let begun = Instant::now();
        let is_early = self.next.is_some_and(|next| begun < next);
        if status.jobs.settled() == self.settled || is_early || ends_now(&status) {
            return Ok(());
        }
        results::write(&self.run, &status, true)?;
        self.settled = status.jobs.settled();
        self.next = Some(Instant::now() + LEAST.max(begun.elapsed() * PART));
        Ok(())
    }
}

/// Writes them whenever as many jobs have completed as there are at a time.
#[derive(Debug)]
struct Iterations {
    run: RunDir,
    wanted: Wanted,
    /// How many jobs had completed at the last look.
    completed: u32,
    /// How many iterations are written.
    written: usize,
}

impl Beside for Iterations {
    fn look(&mut self, reader: &Reader) -> Result<()> {
        let status = reader.status()?;
        if status.jobs.completed == self.completed || ends_now(&status) {
            return Ok(());
        }
        let with_results = ranked(&self.wanted, &reader.jobs()?).len();
        let iteration = with_results / self.wanted.at_once as usize;
        if iteration > self.written {
            results::write(&self.run, &status, true)?;
            self.written = iteration;
        }
        self.completed = status.jobs.completed;
        Ok(())
    }
}

/// The end of a run writes the files by itself.
fn ends_now(status: &Status) -> bool {
    status.jobs.settled() == status.jobs.total
}
