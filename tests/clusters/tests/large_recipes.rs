//! The recipes whose programs are large: `just recipes` runs them, and `tests/all` does not.

use std::path::Path;
use std::time::Duration;

use cu_cluster_tests::recipe::{Large, Recipe, comes_out_the_same_in_attempts};

const LARGE: Large = Large(true);

/// Lines of a file or of a program's output.
fn lines(text: &str, wanted: fn(&str) -> bool) -> String {
    text.lines()
        .filter(|line| wanted(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn file(work: &Path, name: &str) -> String {
    let file = work.join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What the last of all attempts printed.
fn last_output(work: &Path) -> String {
    let attempts = work.join("results/run/attempts/0");
    let outputs = (0..100).map(|attempt| attempts.join(format!("{attempt}/stdout")));
    let newest = outputs.take_while(|output| output.exists()).last();
    std::fs::read_to_string(newest.expect("an attempt")).expect("its output")
}

#[test]
fn quantum_espresso_that_exits_with_2_continues() {
    let recipe = Recipe {
        directory: "recipes/quantum-espresso",
        more_words: &[],
        environment: "OMP_NUM_THREADS = \"1\"\n",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.lines_that_begin(|line| line.starts_with("total energy ")),
        // Six digits of the energy in Ry: how far a relaxation goes is decided by 1e-4.
        result: |work| {
            let output = last_output(work);
            let energy = output
                .lines()
                .rfind(|line| line.starts_with('!'))
                .expect("an energy");
            let energy = energy.split_whitespace().rev().nth(1).expect("a number");
            let energy: f64 = energy.parse().expect("a number");
            format!("{energy:.4}")
        },
    };
    comes_out_the_same_in_attempts(&recipe, LARGE);
}

#[test]
fn cp2k_that_removes_its_stop_file_continues() {
    let recipe = Recipe {
        directory: "recipes/cp2k",
        more_words: &[],
        environment: "OMP_NUM_THREADS = \"1\"\n",
        on_slurm: "",
        grace: "5min",
        // `external_control` in its source: "files will only be checked every 20 seconds".
        looks_every: Duration::from_secs(21),
        steps: |traces| traces.changed("argon-1.restart"),
        // All but the processor time of the last step.
        result: |work| {
            let energies = file(work, "argon-1.ener");
            let last = energies.lines().last().expect("a step");
            last.split_whitespace()
                .take(6)
                .collect::<Vec<_>>()
                .join(" ")
        },
    };
    comes_out_the_same_in_attempts(&recipe, LARGE);
}

#[test]
fn openfoam_that_writes_at_a_signal_continues() {
    let recipe = Recipe {
        directory: "recipes/openfoam",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.lines_that_begin(|line| line.starts_with("Time = ")),
        result: |work| lines(&file(work, "2/U"), |line| line.starts_with('(')),
    };
    comes_out_the_same_in_attempts(&recipe, LARGE);
}

#[test]
fn nwchem_that_ends_at_once_continues_from_its_database() {
    let recipe = Recipe {
        directory: "recipes/nwchem",
        more_words: &[],
        environment: "",
        on_slurm: "",
        grace: "5min",
        looks_every: Duration::ZERO,
        steps: |traces| traces.lines_that_begin(|line| line.starts_with("@    ")),
        // The energy of the relaxed molecule in Hartree: a relaxation ends when it changes by less than 1e-6.
        result: |work| {
            let output = last_output(work);
            let last = output
                .lines()
                .rfind(|line| line.starts_with("@ "))
                .expect("a step");
            let energy = last.split_whitespace().nth(2).expect("an energy");
            let energy: f64 = energy.parse().expect("a number");
            format!("{energy:.5}")
        },
    };
    comes_out_the_same_in_attempts(&recipe, LARGE);
}
