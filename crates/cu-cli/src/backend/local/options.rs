//! From the keys of a config to the options of this machine as a backend.

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::local::{LocalOptions, Preloaded};

use crate::backend::STAND_BY;
use crate::backend::shared::supervisor_grace;
use crate::config::File;

/// The options with which the backend is opened.
pub fn options(run: &RunDir, file: &File) -> LocalOptions {
    let local = &file.backend.local;
    let mut options = LocalOptions::new(run.backend("local"));
    options.cpus = local.cpus.map(NonZeroU32::get);
    options.gpus = local.gpus.unwrap_or_default();
    // If the caller gave us only some of the GPUs, the others are for somebody else.
    options.visible_gpus = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    options.grace = supervisor_grace(file);
    // If its path can't be known, no run is opened anyway.
    let this_program = crate::this_program::path().ok();
    let this_program = this_program.and_then(|path| path.into_os_string().into_string().ok());
    options.preloaded = this_program.map(|cu| {
        let prefix = vec![cu, "exec".to_owned()];
        let server = prefix.iter().cloned().chain([STAND_BY.to_owned()]);
        Preloaded {
            server: server.collect(),
            prefix,
            patience: Duration::ZERO,
        }
    });
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;
    #[test]
    fn the_config_arrives_in_the_backend() {
        let text = "[stop]\ngrace = \"10s\"\n[backend.local]\ncpus = 3\ngpus = 1\n";
        let run = RunDir::new("/results/digits");
        let options = options(&run, &parsed(text, &[]).expect("a config").file);
        assert_eq!(options.state_dir, run.backend("local"));
        assert_eq!((options.cpus, options.gpus), (Some(3), 1));
        assert_eq!(options.grace, Duration::from_secs(25));
    }

    #[test]
    fn the_defaults_of_the_reference_are_the_real_ones() {
        let run = RunDir::new("/results/digits");
        let defaults = crate::config::reference::tests::defaults();
        assert_eq!(options(&run, &defaults), options(&run, &File::default()));
    }
}
