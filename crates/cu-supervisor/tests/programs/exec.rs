//! The least that is a supervisor, for the tests to start: `cu-supervisor-exec RUN_DIR JOB [ATTEMPT]`. It writes the
//! number of its allocations into the file that `COUNT_ALLOCATIONS` names, if that is set. It is not published.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use cu_supervisor::{RunDir, supervise};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: it is the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (run, job, attempt) = match arguments.as_slice() {
        [run, job] => (run, job.parse()?, None),
        [run, job, attempt] => (run, job.parse()?, Some(attempt.parse()?)),
        _ => return Err("usage: cu-supervisor-exec RUN_DIR JOB [ATTEMPT]".into()),
    };
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let outcome = supervise(&RunDir::new(run), job, attempt)?;
    if let Some(path) = std::env::var_os("COUNT_ALLOCATIONS") {
        let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
        std::fs::write(path, count.to_string())?;
    }
    Ok(ExitCode::from(outcome.exit_code()))
}
