//! Several ways to do the same thing, timed in turns.
//!
//! In each round every contender has its turn, so that other load on the machine affects all of
//! them. The ratio of a contender is the median of its ratios to the first one in the same round.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::statistics::{median, quantile, seconds, three_digits};

/// One turn: does its work a number of times, and returns the seconds of one time.
type Turn<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Several contenders. The others are compared with the first one.
#[derive(Default)]
pub struct Contest<'a> {
    contenders: Vec<(String, Turn<'a>)>,
}

impl<'a> Contest<'a> {
    /// Makes a contest without contenders.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a contender.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, turn: impl FnMut() -> Result<f64> + 'a) -> Self {
        self.contenders.push((name.into(), Box::new(turn)));
        self
    }

    /// Gives each contender `rounds` turns, after one that doesn't count, and prints a Markdown
    /// table: the median, the 10 % and 90 % quantiles of all turns, and the ratio to the first
    /// contender.
    ///
    /// # Errors
    /// The first error of a contender.
    pub fn run(mut self, title: &str, rounds: usize) -> Result<()> {
        let mut times = vec![Vec::with_capacity(rounds); self.contenders.len()];
        for round in 0..=rounds {
            for ((name, turn), times) in self.contenders.iter_mut().zip(&mut times) {
                let time = turn().with_context(|| format!("{title}: {name}"))?;
                if round > 0 {
                    times.push(time);
                }
            }
        }
        println!("| {title} | median | 10 % to 90 % | ratio |");
        println!("| --- | --- | --- | --- |");
        for ((name, _), own) in self.contenders.iter().zip(&times) {
            let ratios: Vec<_> = own
                .iter()
                .zip(&times[0])
                .map(|(own, first)| own / first)
                .collect();
            let known = |value: Option<f64>| value.context("a contest has at least one round");
            println!(
                "| {name} | {} | {} to {} | {} |",
                seconds(known(median(own))?),
                seconds(known(quantile(own, 0.1))?),
                seconds(known(quantile(own, 0.9))?),
                three_digits(known(median(&ratios))?),
            );
        }
        println!();
        Ok(())
    }
}

/// Calls `work` `times` times. Returns the average in seconds.
///
/// # Errors
/// The first error of `work`.
pub fn timed(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..times {
        work()?;
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(times))
}
