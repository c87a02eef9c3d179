//! Backends and runs on real clusters whose submissions share cluster jobs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cu_cluster_tests::processes::{command_line, of_which};
use cu_cluster_tests::programs::static_program;
use cu_scheduler::keep::{Keeping, Kept};
use cu_scheduler::{Examine, Scheduler};
use cu_tests::run::{Place, Run};
use serde_json::Value;

/// `backend` in the wrapper, whose files are in `directory`.
pub fn kept(backend: impl Examine + 'static, directory: &Path) -> Arc<dyn Scheduler> {
    let program = static_program("cu");
    let program = program.to_str().expect("UTF-8").to_owned();
    let keeping = Keeping {
        directory: directory.join("keep"),
        keep: Some(Duration::from_secs(600)),
        host: vec![program, "exec".to_owned(), "--keep".to_owned()],
    };
    Arc::new(Kept::new(Arc::new(backend), keeping).expect("a thread starts"))
}

/// The place with a backend whose attempts share allocations.
pub fn keeping(mut place: Place) -> Place {
    place.config.push_str("keep = \"20min\"\n");
    place
}

/// A process that serves in an allocation.
pub struct Host {
    pub pid: u32,
    /// The directory of the orders.
    room: PathBuf,
    /// The number of the allocation.
    number: String,
}

impl Host {
    /// Those of a run.
    pub fn all(run: &Run) -> Vec<Self> {
        let host = |words: Vec<Vec<u8>>| {
            let text = |at: usize| Some(std::str::from_utf8(words.get(at)?).ok()?.to_owned());
            let room = PathBuf::from(text(3)?);
            let number = text(5)?;
            let is_ours = text(2)? == "--keep" && room.starts_with(run.dir().path());
            is_ours.then_some((room, number))
        };
        let found = of_which(|pid| host(command_line(pid)).is_some()).into_iter();
        let found = found.filter_map(|pid| {
            let (room, number) = host(command_line(pid))?;
            let pid = pid.as_raw_nonzero().get().cast_unsigned();
            Some(Self { pid, room, number })
        });
        found.collect()
    }

    /// Whether it has served an attempt and has none at the moment.
    pub fn is_between_two_attempts(&self) -> bool {
        let files = |directory: &str| {
            let files = std::fs::read_dir(self.room.join(directory)).expect("it is there");
            files.map(|file| file.expect("it can be read").path())
        };
        let taken = format!("~{}", self.number);
        let has_one = files("taken").any(|file| file.to_string_lossy().ends_with(&taken));
        let ended = format!("\"allocation\":{},", self.number);
        let is_its =
            |file: PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&ended));
        !has_one && files("ended").any(is_its)
    }
}

/// The allocations in which the attempts of these jobs ran.
pub fn allocations(jobs: &[Value]) -> BTreeSet<String> {
    let attempts = jobs
        .iter()
        .flat_map(|job| job["attempts"].as_array().expect("attempts"));
    let named = attempts.filter_map(|attempt| attempt["allocation"].as_str());
    named.map(str::to_owned).collect()
}

/// The allocation of the first attempt of job 0, once its program has announced itself.
pub fn await_first_allocation(run: &Run) -> String {
    run.await_file(&run.output(0, "here"));
    run.until("its allocation in the files", || {
        let job = run.show(0);
        job["attempts"][0]["allocation"].as_str().map(str::to_owned)
    })
}
