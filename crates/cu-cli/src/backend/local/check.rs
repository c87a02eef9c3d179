//! Checks whether a config suits this machine.

use std::num::NonZeroU32;

use cu_core::RunDir;
use cu_system::machine;

use super::options::options;
use crate::config::{Error, Parsed};
use crate::text::{plural, size};

/// Checks a config for this machine. Returns warnings about what is probably not meant.
///
/// # Errors
/// If an attempt would need more than the backend offers, and so would never start.
pub fn check(run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, Error> {
    let file = &parsed.file;
    let options = options(run, file);
    let (cpus, offered) = (
        file.resources.cpus.map_or(1, NonZeroU32::get),
        options.offered_cpus(),
    );
    if cpus > offered {
        let who = match file.backend.local.cpus {
            Some(_) => "backend.local.cpus offers",
            None => "this machine has",
        };
        let reason = format!("a job needs {cpus} CPUs, and {who} {offered}");
        return Err(parsed.wrong("resources.cpus", reason));
    }
    let gpus = file.resources.gpus.unwrap_or_default();
    if gpus > options.gpus {
        let offers = match options.gpus {
            0 => "offers none".to_owned(),
            offered => format!("offers {offered}"),
        };
        let reason = format!(
            "a job needs {}, and this machine {offers}: set backend.local.gpus to the number that runs may use",
            plural(gpus.into(), "GPU")
        );
        return Err(parsed.wrong("resources.gpus", reason));
    }
    if let Some(shown) = options.too_few_visible_gpus() {
        let offered = plural(options.gpus.into(), "GPU");
        let reason = format!("it offers {offered}, but CUDA_VISIBLE_DEVICES shows {shown} of them");
        return Err(parsed.wrong("backend.local.gpus", reason));
    }
    let memory = file.resources.memory.map(|memory| memory.0);
    let has = machine::memory();
    let too_much = memory.filter(|memory| has > 0 && *memory > has);
    Ok(Vec::from_iter(too_much.map(|memory| {
        format!(
            "resources.memory = {} is more than this machine has, which is {}; nothing limits the memory of a job here",
            size(memory),
            size(has)
        )
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;

    fn checked(overrides: &[&str]) -> Result<Vec<String>, String> {
        let parsed = parsed("command = [\"true\"]", overrides).expect("a config");
        check(&RunDir::new("/results/a"), &parsed).map_err(|error| error.to_string())
    }

    #[test]
    fn a_config_that_asks_for_too_much_names_its_key() {
        for (overrides, reason) in [
            (
                &["resources.cpus=100000"][..],
                "`resources.cpus`: a job needs 100000 CPUs, and this machine has ",
            ),
            (
                &["resources.cpus=2", "backend.local.cpus=1"],
                "2 CPUs, and backend.local.cpus offers 1",
            ),
            (
                &["resources.gpus=1"],
                "a job needs 1 GPU, and this machine offers none: set backend.local.gpus",
            ),
            (
                &["resources.gpus=2", "backend.local.gpus=1"],
                "`resources.gpus`: a job needs 2 GPUs",
            ),
        ] {
            let error = checked(overrides).expect_err("too much");
            assert!(error.contains(reason), "{error}");
        }
        let warnings = checked(&["resources.memory=1000TiB"]).expect("only a warning");
        assert!(
            warnings[0].contains("resources.memory = 1000.0 TiB is more"),
            "{warnings:?}"
        );
        assert_eq!(checked(&["resources.memory=1MiB"]), Ok(Vec::new()));
    }
}
