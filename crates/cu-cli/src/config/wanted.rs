//! What `[optimize]` of a config asks for.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use cu_core::RunDir;
use cu_optimize::{
    BadJobs, Direction, Method, Optimizer, Setup, Stopper, Study, SuccessiveHalving, Values,
};
use serde_json::{Map, Value as Json};

use super::error::Error;
use super::file::{EarlyStopping, Optimize};
use super::further::point;
use super::grid::{MOST_JOBS, Point};
use super::json;
use super::overrides::Override;
use super::source::{Parsed, Source};
use super::space::space;
use super::table::join;
use super::units::{Goal, ResultsAs, StopRule};

/// A search, and how its jobs come.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is searched, and how.
    pub setup: Setup,
    /// The metric by which jobs are judged.
    pub metric: String,
    /// How many jobs the run has in the end.
    pub jobs: u32,
    /// How many of them are open at a time.
    pub at_once: u32,
    /// How many of these end before further ones come.
    pub refill_after: u32,
    /// What ends jobs early.
    pub stopper: Option<Stopper>,
    /// How many jobs' directories are kept.
    pub keep_best: usize,
    /// Whether the others are removed.
    pub removes_others: bool,
    /// Which result files the run has.
    pub results_as: ResultsAs,
}

type Result<T, E = Error> = std::result::Result<T, E>;

impl Wanted {
    /// What the config asks for; `None` if it has no `[optimize]`.
    ///
    /// # Errors
    /// If a key is missing or wrong.
    pub fn of(parsed: &Parsed) -> Result<Option<Self>> {
        let given = &parsed.file.optimize;
        if *given == Optimize::default() {
            return Ok(None);
        }
        if !parsed.file.grid.0.is_empty() {
            let reason = "jobs come from [grid] or from [optimize]: keep one of the two";
            return Err(parsed.wrong("optimize", reason));
        }
        let metric = given.metric.clone();
        let metric = metric.ok_or_else(|| parsed.missing("optimize.metric"))?;
        let jobs = given.jobs.ok_or_else(|| parsed.missing("optimize.jobs"))?;
        if given.parameters.0.is_empty() {
            return Err(parsed.missing("optimize.parameters"));
        }
        if jobs.get() as usize > MOST_JOBS {
            let reason = format!("a run has at most {MOST_JOBS} jobs");
            return Err(parsed.wrong("optimize.jobs", reason));
        }
        let at_once = given.at_once.map_or(8, NonZeroU32::get);
        let refill_after = given.refill_after.map_or(1, NonZeroU32::get);
        if refill_after > at_once {
            let reason = format!("it is more than `optimize.at_once`, which is {at_once}");
            return Err(parsed.wrong("optimize.refill_after", reason));
        }
        let setup = Setup {
            space: space(parsed)?,
            method: method(parsed)?,
            direction: match given.goal {
                Some(Goal::Maximize) => Direction::Maximize,
                Some(Goal::Minimize) | None => Direction::Minimize,
            },
            seed: given.seed.unwrap_or_default().into(),
        };
        Ok(Some(Self {
            setup,
            metric,
            jobs: jobs.get(),
            at_once,
            refill_after,
            stopper: stopper(parsed)?,
            keep_best: given.keep_best.unwrap_or_default() as usize,
            removes_others: given.remove_output_dirs.unwrap_or_default(),
            results_as: parsed.file.results_as.unwrap_or(ResultsAs::Cu),
        }))
    }

    /// What the config that is kept with `run` asks for. A config that can't be read is reported when the run is opened.
    pub fn of_run(run: &RunDir) -> Option<Self> {
        let parsed = Source::read_own(&run.config()).and_then(Source::parse);
        Self::of(&parsed.ok()?).ok().flatten()
    }

    /// A search without trials.
    pub fn study(&self) -> Study {
        Study::new(self.setup.clone()).expect("its method was checked")
    }

    /// The values of the jobs that come first, in the order of the parameters.
    pub fn first(&self) -> Vec<Map<String, Json>> {
        let mut study = self.study();
        let count = self.at_once.min(self.jobs);
        let asked = (0..count).map(|_| study.ask().values);
        asked.map(|values| self.in_order(&values)).collect()
    }

    /// The jobs that come first.
    ///
    /// # Errors
    /// If a parameter is also a setting.
    pub fn first_points(&self, parsed: &Parsed) -> Result<Vec<Point>> {
        let values = self.first().into_iter();
        values.map(|values| point(parsed, values)).collect()
    }

    fn in_order(&self, values: &Values) -> Map<String, Json> {
        let names = self.setup.space.parameters().iter().map(|it| &it.name);
        let pairs = names.filter_map(|name| Some((name.clone(), values.get(name)?.clone())));
        pairs.collect()
    }
}

/// A seed for a search that has none, as a key, so that it is kept with the run: the one of `run`, if that is there
/// already, or one by chance.
pub fn seed(parsed: &Parsed, run: &RunDir) -> Option<Override> {
    let given = &parsed.file.optimize;
    if *given == Optimize::default() || given.seed.is_some() {
        return None;
    }
    let kept = Source::read_own(&run.config()).and_then(Source::parse);
    let kept = kept.ok().and_then(|kept| kept.file.optimize.seed);
    // The keys of the hash are random.
    let seed = kept.unwrap_or_else(|| RandomState::new().hash_one(0) as u32);
    let words = format!("a seed by chance: {seed}");
    Some(Override::option("optimize.seed", i64::from(seed), words))
}

fn method(parsed: &Parsed) -> Result<Method> {
    const KEY: &str = "optimize.method";
    const OPTIONS: &str = "optimize.options";
    let given = &parsed.file.optimize;
    let name = given.method.as_deref().unwrap_or("cem");
    let method: Method = name
        .parse()
        .map_err(|error: cu_optimize::Error| parsed.wrong(KEY, error.to_string()))?;
    let mut options = json::object(&given.options.0)
        .map_err(|key| parsed.wrong(&join(OPTIONS, &key), "JSON can't hold nan or inf"))?;
    if options.is_empty() {
        return Ok(method);
    }
    options.insert("name".to_owned(), name.into());
    let method = serde_json::from_value::<Method>(Json::Object(options))
        .map_err(|error| parsed.wrong(OPTIONS, format!("for the method {name}: {error}")))?;
    checked(parsed, OPTIONS, method.check())?;
    Ok(method)
}

fn stopper(parsed: &Parsed) -> Result<Option<Stopper>> {
    const TABLE: &str = "optimize.early_stopping";
    let given = &parsed.file.optimize.early_stopping;
    if *given == EarlyStopping::default() {
        return Ok(None);
    }
    let rule = given.rule;
    let rule = rule.ok_or_else(|| parsed.missing("optimize.early_stopping.rule"))?;
    let whole = |number: Option<NonZeroU32>, default| {
        number.map_or(default, |number| number.get() as usize)
    };
    let (of_other, name) = match rule {
        StopRule::SuccessiveHalving => (
            [
                ("target_rank", given.target_rank.is_some()),
                ("how_many_stds", given.how_many_stds.is_some()),
            ],
            "successive_halving",
        ),
        StopRule::BadJobs => (
            [
                ("first_rung", given.first_rung.is_some()),
                ("reduction_factor", given.reduction_factor.is_some()),
            ],
            "bad_jobs",
        ),
    };
    if let Some((other, _)) = of_other.iter().find(|(_, is_given)| *is_given) {
        let reason = format!("it means nothing to the rule {name}");
        return Err(parsed.wrong(&join(TABLE, other), reason));
    }
    let stopper = match rule {
        StopRule::SuccessiveHalving => Stopper::SuccessiveHalving(SuccessiveHalving {
            first_rung: whole(given.first_rung, 1),
            reduction_factor: whole(given.reduction_factor, 3),
        }),
        StopRule::BadJobs => Stopper::BadJobs(BadJobs {
            target_rank: whole(given.target_rank, 5),
            how_many_stds: given.how_many_stds.unwrap_or(2.0),
        }),
    };
    checked(parsed, TABLE, stopper.check())?;
    Ok(Some(stopper))
}

/// An option that was refused, at its key.
fn checked(parsed: &Parsed, table: &str, checked: cu_optimize::Result<()>) -> Result<()> {
    checked.map_err(|error| match error {
        cu_optimize::Error::Option {
            option,
            value,
            must,
            ..
        } => parsed.wrong(
            &join(table, option),
            format!("it is {value} and must be {must}"),
        ),
        other => parsed.wrong(table, other.to_string()),
    })
}
