//! The free slots of this machine: a number of processors, and graphics processors by their index.

use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit};

use crate::Resources;

/// If this many more files may be opened than the attempts need, open files are not counted.
const PLENTY: u64 = 256;
/// The number of descriptors to keep free for the start of an attempt and for the rest of this
/// process.
const RESERVE: u64 = 12;
/// At most this many attempts end while others take their places: a disk on which no end can be recorded must
/// not fill the machine with supervisors.
const MOST_ENDING: usize = 16;

#[derive(Debug)]
pub(super) struct Slots {
    cpus: u32,
    /// What each graphics processor is called in `CUDA_VISIBLE_DEVICES`, by index.
    gpus: Vec<String>,
    most_running: usize,
    cpus_taken: u32,
    free_gpus: BTreeSet<u32>,
    running: usize,
    /// Attempts that have nothing left but to record their end.
    ending: usize,
}

impl Slots {
    pub fn new(cpus: u32, gpus: Vec<String>, most_running: Option<usize>) -> Self {
        Self {
            cpus,
            most_running: most_running.unwrap_or(usize::MAX),
            cpus_taken: 0,
            free_gpus: (0..count(&gpus)).collect(),
            gpus,
            running: 0,
            ending: 0,
        }
    }

    /// Returns the value of `CUDA_VISIBLE_DEVICES` for an attempt that got these graphics processors;
    /// `None` if the backend hands out none and leaves the variable alone.
    pub fn visible(&self, gpus: &[u32]) -> Option<String> {
        let name = |gpu: &u32| self.gpus.get(*gpu as usize).map(String::as_str);
        let names: Vec<&str> = gpus.iter().filter_map(name).collect();
        (!self.gpus.is_empty()).then(|| names.join(","))
    }

    /// Returns how many attempts run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Returns how many attempts have given their resources back, and are still ending.
    pub fn ending(&self) -> usize {
        self.ending
    }

    /// Returns why `resources` can never be free here, even if no other job runs.
    pub fn refusal(&self, resources: &Resources) -> Option<String> {
        if resources.cpus == 0 {
            Some("it asks for 0 CPUs, but the least is 1".into())
        } else if resources.cpus > self.cpus {
            Some(format!(
                "it asks for {} CPUs, but this machine offers {}",
                resources.cpus, self.cpus
            ))
        } else if resources.gpus > count(&self.gpus) {
            Some(format!(
                "it asks for {} GPUs, but this machine is configured to offer {}",
                resources.gpus,
                self.gpus.len()
            ))
        } else {
            None
        }
    }

    /// Returns the limit on open files if it leaves too few for another attempt, beside the running
    /// attempts, `starting` more, and the rest of this process. A single attempt is always tried.
    pub fn lacks_descriptors(&self, starting: usize) -> Option<u64> {
        // Counting takes longer the more files are open.
        if self.running == 0 || self.has_plenty_of_descriptors() {
            return None;
        }
        let limit = getrlimit(Resource::Nofile).current?;
        // If no descriptor is left for counting, there are too few.
        let open = std::fs::read_dir("/proc/self/fd").map_or(limit, |all| all.count() as u64);
        let free = limit.saturating_sub(open);
        (free < RESERVE + for_attempts(starting)).then_some(limit)
    }

    /// Whether the limit on open files is so far away that nobody needs to count them, or to save any.
    pub fn has_plenty_of_descriptors(&self) -> bool {
        let limit = getrlimit(Resource::Nofile).current;
        limit.is_none_or(|limit| for_attempts(self.running + self.ending) + PLENTY <= limit)
    }

    /// Whether `resources` are free now, as far as our own attempts go.
    pub fn has(&self, resources: &Resources) -> bool {
        self.running < self.most_running
            && self.ending < MOST_ENDING
            && self.cpus_taken.saturating_add(resources.cpus) <= self.cpus
            && resources.gpus as usize <= self.free_gpus.len()
    }

    /// Takes `resources` if they are free now. Returns their graphics processors, none of which is called as one
    /// of `others`.
    pub fn take(&mut self, resources: &Resources, others: &BTreeSet<String>) -> Option<Vec<u32>> {
        let wanted = resources.gpus as usize;
        let free = self.free_gpus.iter().copied();
        let free = free.filter(|gpu| !others.contains(&self.gpus[*gpu as usize]));
        let gpus: Vec<u32> = free.take(wanted).collect();
        let fits = self.has(resources) && gpus.len() == wanted;
        fits.then(|| {
            self.occupy(resources.cpus, &gpus);
            gpus
        })
    }

    /// Notes the resources of an adopted attempt, even if they are more than this machine has.
    pub fn occupy(&mut self, cpus: u32, gpus: &[u32]) {
        self.running += 1;
        self.cpus_taken = self.cpus_taken.saturating_add(cpus);
        for gpu in gpus {
            self.free_gpus.remove(gpu);
        }
    }

    /// An attempt gives its resources back, and is still ending.
    pub fn release_early(&mut self, cpus: u32, gpus: &[u32]) {
        self.release(cpus, gpus);
        self.ending += 1;
    }

    /// An attempt that has given its resources back early has ended.
    pub fn has_ended(&mut self) {
        self.ending = self.ending.saturating_sub(1);
    }

    pub fn release(&mut self, cpus: u32, gpus: &[u32]) {
        self.running = self.running.saturating_sub(1);
        self.cpus_taken = self.cpus_taken.saturating_sub(cpus);
        let offered = count(&self.gpus);
        self.free_gpus
            .extend(gpus.iter().filter(|gpu| **gpu < offered));
    }
}

/// The descriptors of so many attempts: one for the process, one for what a copy says, one for its connection.
fn for_attempts(attempts: usize) -> u64 {
    u64::try_from(attempts * 3).unwrap_or(u64::MAX)
}

fn count(gpus: &[String]) -> u32 {
    u32::try_from(gpus.len()).unwrap_or(u32::MAX)
}

/// What the first `wanted` graphics processors are called, where `CUDA_VISIBLE_DEVICES` is `visible`
/// for this process.
///
/// # Errors
/// How many it shows, if they are fewer.
pub(super) fn names(wanted: u32, visible: Option<&str>) -> Result<Vec<String>, usize> {
    let Some(visible) = visible else {
        return Ok((0..wanted).map(|gpu| gpu.to_string()).collect());
    };
    // CUDA takes a list up to the first entry that names no device.
    let shown = visible.split(',').map(str::trim);
    let shown: Vec<&str> = shown
        .take_while(|name| !name.is_empty() && *name != "-1")
        .collect();
    let wanted = wanted as usize;
    match shown.get(..wanted) {
        Some(names) => Ok(names.iter().map(|name| (*name).to_owned()).collect()),
        None => Err(shown.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(cpus: u32, gpus: u32) -> Resources {
        Resources {
            cpus,
            gpus,
            ..Resources::default()
        }
    }

    #[test]
    fn resources_beyond_the_free_ones_are_not_taken() {
        let mut slots = Slots::new(4, Vec::new(), None);
        assert_eq!(slots.take(&asks(3, 0), &BTreeSet::new()), Some(vec![]));
        assert_eq!(slots.take(&asks(2, 0), &BTreeSet::new()), None);
        assert_eq!(slots.take(&asks(1, 0), &BTreeSet::new()), Some(vec![]));
        slots.release(3, &[]);
        assert_eq!(slots.take(&asks(3, 0), &BTreeSet::new()), Some(vec![]));
    }

    #[test]
    fn no_two_attempts_share_a_graphics_processor() {
        let mut slots = Slots::new(8, names(2, None).unwrap(), None);
        assert_eq!(slots.take(&asks(1, 1), &BTreeSet::new()), Some(vec![0]));
        assert_eq!(slots.take(&asks(1, 1), &BTreeSet::new()), Some(vec![1]));
        assert_eq!(slots.take(&asks(1, 1), &BTreeSet::new()), None);
        slots.release(1, &[0]);
        assert_eq!(slots.take(&asks(1, 1), &BTreeSet::new()), Some(vec![0]));
    }

    #[test]
    fn gpus_of_another_run_are_left_to_it() {
        let mut slots = Slots::new(8, names(2, None).unwrap(), None);
        let others = BTreeSet::from(["0".to_owned()]);
        assert_eq!(slots.take(&asks(1, 2), &others), None);
        assert_eq!(slots.take(&asks(1, 1), &others), Some(vec![1]));
        assert!(slots.has(&asks(1, 1)), "it waits for the other run");
        assert_eq!(slots.take(&asks(1, 1), &others), None);
        assert_eq!(slots.take(&asks(1, 0), &others), Some(vec![]));
    }

    #[test]
    fn gpus_of_other_users_are_not_handed_out() {
        let mut slots = Slots::new(8, names(2, Some("2, GPU-8932f937")).unwrap(), None);
        let first = slots.take(&asks(1, 1), &BTreeSet::new()).unwrap();
        let second = slots.take(&asks(1, 1), &BTreeSet::new()).unwrap();
        assert_eq!(slots.visible(&first).as_deref(), Some("2"));
        assert_eq!(slots.visible(&second).as_deref(), Some("GPU-8932f937"));
        assert_eq!(
            slots.visible(&[]).as_deref(),
            Some(""),
            "none for who asks for none"
        );
    }

    #[test]
    fn more_gpus_than_are_visible_are_refused_with_their_number() {
        assert_eq!(names(3, Some("2,3")), Err(2));
        assert_eq!(names(1, Some("")), Err(0));
        assert_eq!(names(2, Some("4,-1,5")), Err(1));
        assert_eq!(names(0, Some("4")), Ok(Vec::new()));
        assert_eq!(names(2, None).unwrap(), ["0", "1"]);
        // A backend without GPUs leaves the variable alone.
        assert_eq!(Slots::new(1, Vec::new(), None).visible(&[]), None);
    }

    #[test]
    fn the_number_of_attempts_can_be_limited_too() {
        let mut slots = Slots::new(8, Vec::new(), Some(1));
        assert!(slots.take(&asks(1, 0), &BTreeSet::new()).is_some());
        assert_eq!(slots.take(&asks(1, 0), &BTreeSet::new()), None);
    }

    #[test]
    fn an_impossible_request_is_refused_with_both_numbers() {
        let slots = Slots::new(2, Vec::new(), None);
        let reason = slots.refusal(&asks(3, 0)).unwrap();
        assert!(reason.contains('3') && reason.contains('2'), "{reason}");
        assert!(slots.refusal(&asks(1, 1)).unwrap().contains("GPUs"));
        assert!(slots.refusal(&asks(0, 0)).is_some());
        assert_eq!(slots.refusal(&asks(2, 0)), None);
    }
}
