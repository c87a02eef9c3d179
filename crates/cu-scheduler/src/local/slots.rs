//! The free slots of this machine: a number of processors, and graphics processors by their index.

use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit};

use crate::Resources;

/// If this many more files may be opened than the attempts need, open files are not counted.
const PLENTY: u64 = 256;
/// The number of descriptors to keep free for the start of an attempt and for the rest of this
/// process.
const RESERVE: u64 = 12;

#[derive(Debug)]
pub(super) struct Slots {
    cpus: u32,
    gpus: u32,
    most_running: usize,
    cpus_taken: u32,
    free_gpus: BTreeSet<u32>,
    running: usize,
}

impl Slots {
    pub fn new(cpus: u32, gpus: u32, most_running: Option<usize>) -> Self {
        Self {
            cpus,
            gpus,
            most_running: most_running.unwrap_or(usize::MAX),
            cpus_taken: 0,
            free_gpus: (0..gpus).collect(),
            running: 0,
        }
    }

    /// Returns whether jobs may use graphics processors.
    pub fn hands_out_gpus(&self) -> bool {
        self.gpus > 0
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
        } else if resources.gpus > self.gpus {
            Some(format!(
                "it asks for {} GPUs, but this machine is configured to offer {}",
                resources.gpus, self.gpus
            ))
        } else {
            None
        }
    }

    /// Returns the limit on open files if it leaves too few for another attempt, beside the running
    /// attempts and `starting` more. Each attempt needs one descriptor here and one for its
    /// connection, and the rest of this process needs some. A single attempt is always tried.
    pub fn lacks_descriptors(&self, starting: usize) -> Option<u64> {
        let limit = getrlimit(Resource::Nofile).current?;
        let of_each = |attempts: usize| u64::try_from(attempts * 2).unwrap_or(u64::MAX);
        // Counting takes longer the more files are open.
        if self.running == 0 || of_each(self.running) + PLENTY <= limit {
            return None;
        }
        // If no descriptor is left for counting, there are too few.
        let open = std::fs::read_dir("/proc/self/fd").map_or(limit, |all| all.count() as u64);
        let free = limit.saturating_sub(open);
        (free < RESERVE + of_each(starting)).then_some(limit)
    }

    /// Takes `resources` if they are free now. Returns their graphics processors.
    pub fn take(&mut self, resources: &Resources) -> Option<Vec<u32>> {
        let gpus = resources.gpus as usize;
        let fits = self.running < self.most_running
            && self.cpus_taken.saturating_add(resources.cpus) <= self.cpus
            && gpus <= self.free_gpus.len();
        fits.then(|| {
            let gpus: Vec<u32> = self.free_gpus.iter().copied().take(gpus).collect();
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

    pub fn release(&mut self, cpus: u32, gpus: &[u32]) {
        self.running = self.running.saturating_sub(1);
        self.cpus_taken = self.cpus_taken.saturating_sub(cpus);
        let known = gpus.iter().filter(|gpu| **gpu < self.gpus);
        self.free_gpus.extend(known);
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
        let mut slots = Slots::new(4, 0, None);
        assert_eq!(slots.take(&asks(3, 0)), Some(vec![]));
        assert_eq!(slots.take(&asks(2, 0)), None);
        assert_eq!(slots.take(&asks(1, 0)), Some(vec![]));
        slots.release(3, &[]);
        assert_eq!(slots.take(&asks(3, 0)), Some(vec![]));
    }

    #[test]
    fn no_two_attempts_share_a_graphics_processor() {
        let mut slots = Slots::new(8, 2, None);
        assert_eq!(slots.take(&asks(1, 1)), Some(vec![0]));
        assert_eq!(slots.take(&asks(1, 1)), Some(vec![1]));
        assert_eq!(slots.take(&asks(1, 1)), None);
        slots.release(1, &[0]);
        assert_eq!(slots.take(&asks(1, 1)), Some(vec![0]));
    }

    #[test]
    fn the_number_of_attempts_can_be_limited_too() {
        let mut slots = Slots::new(8, 0, Some(1));
        assert!(slots.take(&asks(1, 0)).is_some());
        assert_eq!(slots.take(&asks(1, 0)), None);
    }

    #[test]
    fn an_impossible_request_is_refused_with_both_numbers() {
        let slots = Slots::new(2, 0, None);
        let reason = slots.refusal(&asks(3, 0)).unwrap();
        assert!(reason.contains('3') && reason.contains('2'), "{reason}");
        assert!(slots.refusal(&asks(1, 1)).unwrap().contains("GPUs"));
        assert!(slots.refusal(&asks(0, 0)).is_some());
        assert_eq!(slots.refusal(&asks(2, 0)), None);
    }
}
