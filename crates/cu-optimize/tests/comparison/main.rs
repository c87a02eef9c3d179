//! How good the methods are beside the optimizer of cluster_utils, on functions whose best value is known.
//!
//! `CU_WRITE_TABLE=1 cargo test -p cu-optimize --test comparison` writes the table in docs/search_methods.md anew. It takes
//! a few minutes, most of which are pandas'.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

mod draws;
mod functions;
mod witness;

use std::collections::VecDeque;
use std::path::Path;

use cu_optimize::{Direction, Method, Optimizer, Outcome, Setup, Study};
use functions::Function;
use witness::ClusterUtils;

/// How often each search is repeated, each time with another seed.
const SEEDS: u64 = 20;

/// How many trials run at a time. Those that started first end first.
const IN_FLIGHT: usize = 10;

/// The optimizer that searches.
#[derive(Clone, Copy, PartialEq)]
enum Searcher {
    ClusterUtils,
    Ours(&'static str),
}

const CEM: Searcher = Searcher::Ours("cem");
const TPE: Searcher = Searcher::Ours("tpe");
const CMAES: Searcher = Searcher::Ours("cmaes");
const RANDOM: Searcher = Searcher::Ours("random");

impl Searcher {
    fn name(self) -> &'static str {
        match self {
            Self::ClusterUtils => "cluster_utils 3.0.0",
            Self::Ours(name) => name,
        }
    }

    fn start(self, function: &Function, trials: usize, seed: u64) -> Box<dyn Optimizer> {
        let space = function.space.clone();
        match self {
            Self::ClusterUtils => Box::new(ClusterUtils::start(&space, 10, trials, seed)),
            Self::Ours(name) => {
                let method: Method = name.parse().unwrap();
                let direction = Direction::Minimize;
                let setup = Setup {
                    space,
                    method,
                    direction,
                    seed,
                };
                Box::new(Study::new(setup).unwrap())
            }
        }
    }

    /// The best value after each budget, which is a number of results.
    fn search(self, function: &Function, budgets: &[usize], seed: u64) -> Vec<f64> {
        let last = *budgets.last().unwrap();
        let mut optimizer = self.start(function, last, seed);
        let mut running: VecDeque<_> = (0..IN_FLIGHT).map(|_| optimizer.ask()).collect();
        let (mut best, mut told) = (f64::INFINITY, 0);
        let mut best_after = |budget: &usize| {
            while told < *budget {
                let ended = running.pop_front().unwrap();
                let value = (function.value)(&ended.values);
                best = best.min(value);
                optimizer.tell(ended.trial, Outcome::Value(value)).unwrap();
                running.push_back(optimizer.ask());
                told += 1;
            }
            best
        };
        budgets.iter().map(&mut best_after).collect()
    }

    /// The median over all seeds of the best value, after each budget.
    fn medians(self, function: &Function, budgets: &[usize]) -> Vec<f64> {
        let search = |seed: u64| self.search(function, budgets, seed);
        let bests: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let halves = [1..=SEEDS / 2, SEEDS / 2 + 1..=SEEDS];
            let start =
                |seeds| scope.spawn(move || Iterator::map(seeds, search).collect::<Vec<_>>());
            let halves = halves.map(start);
            halves
                .into_iter()
                .flat_map(|half| half.join().unwrap())
                .collect()
        });
        let median = |place: usize| {
            let mut values: Vec<_> = bests.iter().map(|best| best[place]).collect();
            values.sort_by(f64::total_cmp);
            let middle = values.len() / 2;
            f64::midpoint(values[middle - 1], values[middle])
        };
        (0..budgets.len()).map(median).collect()
    }
}

const BEGIN: &str = "<!-- This table is written by `CU_WRITE_TABLE=1 cargo test -p cu-optimize --test comparison`. -->\n";
const END: &str = "\n<!-- End of the table. -->";

/// Writes the table into the page, between its marks.
fn write(table: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/search_methods.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark after the table");
    std::fs::write(page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

#[test]
fn cem_is_no_worse_than_cluster_utils() {
    let writes = std::env::var_os("CU_WRITE_TABLE").is_some();
    let budgets = if writes { &[100, 200][..] } else { &[100] };
    let searchers = [Searcher::ClusterUtils, CEM, TPE, CMAES, RANDOM];
    let names = searchers.map(|searcher| searcher.name().to_owned());
    let head = ["function", "results"].map(str::to_owned);
    let mut table = vec![
        row(head.into_iter().chain(names)),
        row(std::iter::repeat_n("---".to_owned(), 2 + searchers.len())),
    ];
    for function in functions::all() {
        let searchers = if writes {
            &searchers[..]
        } else {
            &searchers[..2]
        };
        let medians = searchers
            .iter()
            .map(|searcher| searcher.medians(&function, budgets));
        let medians: Vec<_> = medians.collect();
        for (place, budget) in budgets.iter().enumerate() {
            let (theirs, ours) = (medians[0][place], medians[1][place]);
            let name = function.name;
            println!("{name}, {budget} results: theirs {theirs:.3e}, ours {ours:.3e}");
            assert!(
                ours <= 3.0 * theirs,
                "{name}, {budget} results: {ours} beside {theirs}"
            );
            let medians = medians.iter().map(|of| format!("{:.1e}", of[place]));
            let head = [name.to_owned(), budget.to_string()];
            table.push(row(head.into_iter().chain(medians)));
        }
    }
    if writes {
        write(&table.join("\n"));
    }
}

#[test]
fn every_method_beats_random_search() {
    for function in functions::all() {
        let random = RANDOM.medians(&function, &[100])[0];
        for searcher in [CEM, TPE, CMAES] {
            let median = searcher.medians(&function, &[100])[0];
            let name = searcher.name();
            println!(
                "{}: {name} {median:.3e}, random {random:.3e}",
                function.name
            );
            assert!(
                median < random / 1.5,
                "{}: {name} {median} beside {random}",
                function.name
            );
        }
    }
}
