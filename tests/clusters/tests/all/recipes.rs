//! The recipes for programs that nobody changes, with the real programs. Those whose packages are large are in
//! `large_recipes.rs`.

use std::path::Path;
use std::time::Duration;

use cu_cluster_tests::recipe::{Large, Recipe, comes_out_the_same_in_attempts};

fn file(work: &Path, name: &str) -> String {
    let file = work.join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

const SMALL: Large = Large(false);

#[test]
fn gromacs_that_exits_with_1_after_it_has_saved_continues() {
    let recipe = Recipe {
        directory: "recipes/gromacs",
        // With -reprod a simulation that is continued from its checkpoint is the same bit for bit.
        more_words: &["-reprod", "-nt", "1", "-pin", "off"],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.changed("md.xtc"),
        result: |work| file(work, "md.gro"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn lammps_that_handles_no_signal_stops_by_a_file() {
    let recipe = Recipe {
        directory: "recipes/lammps",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| {
            traces.lines_that_begin(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        },
        // A restart changes the order of the atoms, and with it the last bits of sums. In the few oscillations
        // of this crystal they don't reach the eight digits that LAMMPS prints.
        result: |work| {
            let log = file(work, "log.lammps");
            let last = log.lines().find(|line| line.trim().starts_with("6000 "));
            last.unwrap_or_default().to_owned()
        },
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn r_that_ends_at_once_continues_from_its_last_step() {
    let recipe = Recipe {
        directory: "recipes/r",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.changed("state.rds"),
        // 17 digits are all bits.
        result: |work| file(work, "result.txt"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn mpi_ranks_behind_mpirun_save_together() {
    let recipe = Recipe {
        directory: "recipes/openmpi",
        more_words: &[],
        // A rank that waits for another leaves it the processor. Slots are not processors here.
        environment: "OMPI_MCA_mpi_yield_when_idle = \"1\"\nOMPI_MCA_rmaps_base_oversubscribe = \"1\"\n",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.lines_that_begin(|line| line.starts_with("step ")),
        result: |work| file(work, "result.txt"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn snakemake_that_exits_with_1_makes_the_rest() {
    let recipe = Recipe {
        directory: "recipes/snakemake",
        more_words: &[],
        environment: "",
        on_slurm: "",
        // Snakemake 7 was seen to hang when SIGTERM comes at the very moment when a step ends. It is killed then, and
        // makes that step anew.
        grace: "20s",
        looks_every: Duration::ZERO,
        steps: |traces| {
            let begun = std::fs::read_dir(traces.work.join("logs"));
            begun.map_or(0, |begun| begun.count() as u128)
        },
        result: |work| file(work, "total.txt"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn pytorch_interrupted_within_an_epoch_continues() {
    let recipe = Recipe {
        directory: "recipes/pytorch",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.changed("last.pt"),
        result: |work| file(work, "weights.txt"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}

#[test]
fn pytorch_stopped_between_two_batches_continues() {
    let recipe = Recipe {
        directory: "pytorch",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.lines_that_begin(|line| line.starts_with("epoch ")),
        result: |work| file(work, "results/run/working_directories/0/weights.txt"),
    };
    comes_out_the_same_in_attempts(&recipe, SMALL);
}
