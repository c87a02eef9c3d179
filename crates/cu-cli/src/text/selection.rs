//! Selections of jobs, such as `1-3,5`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use cu_protocol::{JobId, Selection};

use super::plural;

/// Jobs as a person writes them: numbers and ranges with commas in between, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// Every job of the run.
    All,
    /// These numbers.
    Ranges(Vec<RangeInclusive<u32>>),
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = |digits: &str| {
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| valid);
            number.ok_or_else(|| format!("`{text}` does not name jobs; write 1-3,5 or `all`"))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            match first <= last {
                true => Ok(first..=last),
                false => Err(format!(
                    "`{part}` is not a range of jobs: {first} is greater than {last}"
                )),
            }
        };
        text.split(',')
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self::Ranges)
    }
}

impl Jobs {
    /// The jobs of a run that has `total` of them.
    ///
    /// # Errors
    /// If one of them does not exist.
    pub fn of(&self, total: u32) -> Result<Selection, String> {
        let Self::Ranges(ranges) = self else {
            return Ok(Selection::All);
        };
        let last = ranges.iter().map(|range| *range.end()).max();
        if let Some(last) = last.filter(|last| *last >= total) {
            let jobs = plural(total.into(), "job");
            return Err(format!(
                "there is no job {last}: the run has {jobs}, numbered from 0"
            ));
        }
        let mut jobs: Vec<_> = ranges.iter().cloned().flatten().map(JobId).collect();
        jobs.sort_unstable();
        jobs.dedup();
        Ok(Selection::Jobs(jobs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_ranges_and_all() {
        let jobs = |text: &str| text.parse::<Jobs>().expect(text).of(10).expect(text);
        let numbers =
            |numbers: &[u32]| Selection::Jobs(numbers.iter().copied().map(JobId).collect());
        assert_eq!(jobs("all"), Selection::All);
        assert_eq!(jobs("0"), numbers(&[0]));
        assert_eq!(jobs("1-3,5"), numbers(&[1, 2, 3, 5]));
        assert_eq!(jobs("5,1-3,2"), numbers(&[1, 2, 3, 5]));
    }

    #[test]
    fn anything_that_names_no_jobs_is_refused() {
        for text in [
            "",
            ",",
            "1,",
            "-1",
            "1-",
            "3-1",
            "+1",
            "a",
            "1 2",
            "4294967296",
            "ALL",
        ] {
            assert!(text.parse::<Jobs>().is_err(), "{text}");
        }
    }

    #[test]
    fn jobs_that_do_not_exist_are_refused() {
        // A huge range is refused before it becomes a list.
        let jobs: Jobs = "0-4294967295".parse().expect("a range");
        let error = jobs.of(3).expect_err("3 jobs");
        let expected = "there is no job 4294967295: the run has 3 jobs, numbered from 0";
        assert_eq!(error, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_jobs_or_an_error(text in any::<String>()) {
            if let Ok(jobs) = text.parse::<Jobs>() {
                let _ = jobs.of(5);
            }
        }
    }
}
