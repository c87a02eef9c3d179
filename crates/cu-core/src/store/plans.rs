//! The plans of all jobs in memory. Unfolded, a plan takes several times its text, and of a million jobs a few are
//! submitted at a time. The plans of a run differ in few words, so only these are kept of each.

use serde::Deserialize;

use crate::{JobPlan, Resources};

/// The plan of a job as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct PlanText(Box<str>);

impl PlanText {
    /// The text of a plan.
    pub fn of(plan: &JobPlan) -> Self {
        let text = serde_json::to_string(plan);
        Self(text.expect("a plan is plain data").into())
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plan.
    pub fn plan(&self) -> JobPlan {
        serde_json::from_str(&self.0).expect("it was read when the run was opened")
    }

    /// Only what each attempt requests from the scheduler.
    pub fn resources(&self) -> Resources {
        #[derive(Deserialize)]
        struct Needs {
            resources: Resources,
        }
        let needs: Needs = serde_json::from_str(&self.0).expect("it is a plan");
        needs.resources
    }
}

/// The plans of jobs, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    first: Box<str>,
    all: Vec<Difference>,
}

/// What a text has in the place of the middle of the first one.
#[derive(Debug)]
struct Difference {
    /// How many bytes at the beginning are those of the first text.
    front: u32,
    /// How many bytes at the end are.
    back: u32,
    middle: Box<str>,
}

impl Plans {
    /// Adds the plan of the next job: the text of a valid one.
    pub fn push(&mut self, text: &str) {
        if self.all.is_empty() {
            self.first = text.into();
        }
        self.all.push(Difference::of(&self.first, text));
    }

    /// The plan of a job with this number.
    pub fn get(&self, number: usize) -> PlanText {
        PlanText(self.all[number].text(&self.first).into())
    }

    /// Gives back what growing has reserved.
    pub fn shrink(&mut self) {
        self.all.shrink_to_fit();
    }
}

impl Difference {
    fn of(first: &str, text: &str) -> Self {
        let same = |(one, other): &(u8, u8)| one == other;
        let mut front = first.bytes().zip(text.bytes()).take_while(same).count();
        while !text.is_char_boundary(front) {
            front -= 1;
        }
        let (of_first, of_text) = (first[front..].bytes().rev(), text[front..].bytes().rev());
        let mut back = of_first.zip(of_text).take_while(same).count();
        while !text.is_char_boundary(text.len() - back) {
            back -= 1;
        }
        match (u32::try_from(front), u32::try_from(back)) {
            (Ok(front_bytes), Ok(back_bytes)) => Self {
                front: front_bytes,
                back: back_bytes,
                middle: text[front..text.len() - back].into(),
            },
            _ => Self {
                front: 0,
                back: 0,
                middle: text.into(),
            },
        }
    }

    fn text(&self, first: &str) -> String {
        let (front, back) = (self.front as usize, self.back as usize);
        let mut text = String::with_capacity(front + self.middle.len() + back);
        text.push_str(&first[..front]);
        text.push_str(&self.middle);
        text.push_str(&first[first.len() - back..]);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_text_comes_back(
            texts in prop::collection::vec("[aäöé\u{1f600}]{0,8}", 1..8),
        ) {
            let first = &texts[0];
            for text in &texts {
                let difference = Difference::of(first, text);
                prop_assert_eq!(&difference.text(first), text);
                prop_assert!(difference.middle.len() <= text.len());
            }
        }
    }

    #[test]
    fn equal_plans_are_kept_once() {
        let plan = |settings: &str| {
            let mut plan = JobPlan::new(vec!["/bin/true".to_owned()]);
            let value = serde_json::Value::from(settings);
            plan.settings.insert("name".to_owned(), value);
            plan
        };
        let mut plans = Plans::default();
        for job in ["a", "ab", "ü", "a"] {
            plans.push(PlanText::of(&plan(job)).as_str());
        }
        let middles: Vec<_> = plans.all.iter().map(|it| &*it.middle).collect();
        assert_eq!(middles, ["", "b", "ü", ""]);
        for (number, job) in ["a", "ab", "ü", "a"].into_iter().enumerate() {
            assert_eq!(plans.get(number).plan(), plan(job));
        }
    }
}
