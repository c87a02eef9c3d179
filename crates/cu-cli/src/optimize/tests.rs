//! What `[optimize]` asks for, and what is wrong with it.

use cu_core::{JobPlan, JobSource, JobState};
use cu_protocol::{JobId, Metrics};
use serde_json::json;

use super::search::Search;
use crate::config::source::tests::parsed;
use crate::config::{Config, Further, Wanted};

const SEARCH: &str = "name = \"a\"\ncommand = [\"/bin/echo\", \"{settings.net.x}\", \"{job}\"]\n\
    [settings]\nnet.y = 1\n[optimize]\nmetric = \"loss\"\njobs = 9\nat_once = 3\nseed = 5\n\
    parameters.\"net.x\" = { low = 0.0, high = 1.0 }\nparameters.kind = [\"a\", 2, true, [1]]\n";

fn wrong(more: &[&str]) -> String {
    let parsed = match parsed(SEARCH, more) {
        Ok(parsed) => parsed,
        Err(error) => return error.to_string(),
    };
    let config = Config::new(parsed);
    config.expect_err(&more.join(" ")).to_string()
}

#[test]
fn a_search_that_makes_no_sense_is_refused_at_its_key() {
    for (key, expected) in [
        (
            "optimize.method=cme",
            "`optimize.method`: there is no method \"cme\"; did you mean \"cem\"?",
        ),
        ("optimize.metrik=loss", "unknown key `optimize.metrik`"),
        ("optimize.goal=small", "`optimize.goal`: "),
        (
            "optimize.jobs=0",
            "`optimize.jobs`: expected a whole number above 0",
        ),
        (
            "optimize.jobs=100001",
            "`optimize.jobs`: a run has at most 100000 jobs",
        ),
        (
            "optimize.refill_after=4",
            "it is more than `optimize.at_once`, which is 3",
        ),
        (
            "grid.z=[1]",
            "`optimize`: jobs come from [grid] or from [optimize]",
        ),
        (
            "settings.kind=1",
            "`optimize.parameters.kind`: it is also in [settings]",
        ),
        (
            "settings.net.x=1",
            "`optimize.parameters.net.x`: it is also in [settings]",
        ),
        (
            "optimize.options.elite=3",
            "`optimize.options`: for the method cem: unknown field `elite`",
        ),
        (
            "optimize.options.elite_size=0",
            "`optimize.options.elite_size`: it is 0 and must be at least 1",
        ),
        (
            "optimize.parameters.z=1",
            "`optimize.parameters.z`: expected two bounds",
        ),
        (
            "optimize.parameters.z=[]",
            "`optimize.parameters.z`: it has no options",
        ),
        (
            "optimize.parameters.z={ low = 1 }",
            "it has one bound: give `low` and `high`",
        ),
        (
            "optimize.parameters.z={ low = 2, high = 1 }",
            "its lower bound 2 is greater",
        ),
        (
            "optimize.parameters.z={ low = 0, high = 1, scale = \"log\" }",
            "must be greater than 0",
        ),
        (
            "optimize.parameters.z={ low = 0, high = 1, scale = \"lg\" }",
            "`scale` is \"linear\" or \"log\"",
        ),
        (
            "optimize.parameters.z={ low = 0, hi = 1 }",
            "`hi` means nothing here",
        ),
        (
            "optimize.early_stopping.first_rung=2",
            "`optimize.early_stopping.rule` is missing",
        ),
        (
            "optimize.early_stopping.rule=halving",
            "`optimize.early_stopping.rule`: ",
        ),
    ] {
        let said = wrong(&[key]);
        assert!(said.contains(expected), "{key}: {said}");
    }
    let said = wrong(&[
        "optimize.early_stopping.rule=bad_jobs",
        "optimize.early_stopping.reduction_factor=2",
    ]);
    let expected =
        "`optimize.early_stopping.reduction_factor`: it means nothing to the rule bad_jobs";
    assert!(said.contains(expected), "{said}");
    let nothing = parsed("[optimize]\nmethod = \"tpe\"\n", &[]).expect("types");
    let missing = Wanted::of(&nothing).expect_err("no metric").to_string();
    assert_eq!(missing, "run.toml: `optimize.metric` is missing");
}

fn search(more: &[&str]) -> (Vec<JobPlan>, Search) {
    let parsed = parsed(SEARCH, more).expect("types");
    let plan = Config::new(parsed.clone()).expect("a search").plan;
    let wanted = Wanted::of(&parsed).expect("a search").expect("one");
    let further = Further::new(parsed, plan.jobs[0].clone());
    let mut search = Search::new(wanted, further);
    for (job, plan) in (0..).zip(&plan.jobs) {
        search.added(JobId(job), plan).expect("its own");
    }
    (plan.jobs, search)
}

fn loss(value: f64) -> Metrics {
    Metrics::from([("loss".to_owned(), value.into())])
}

#[test]
fn further_jobs_are_like_the_first_with_other_values() {
    let (first, mut search) = search(&[]);
    assert_eq!(first.len(), 3);
    let next = search.next(1, 6).expect("more come");
    assert_eq!(next.len(), 2);
    for job in first.iter().chain(&next) {
        let x = job.parameters["net.x"].as_f64().expect("a number");
        assert_eq!(job.settings["net"], json!({"y": 1, "x": x}));
        let given = job.command[1].as_text().expect("filled in");
        assert_eq!(given.parse(), Ok(x));
        assert_eq!(job.settings["kind"], job.parameters["kind"]);
        assert_eq!(job.resources, first[0].resources);
    }
    let values: std::collections::BTreeSet<_> = first
        .iter()
        .chain(&next)
        .map(|job| job.settings["net"]["x"].to_string())
        .collect();
    assert!(values.len() > 1, "{values:?}");
}

#[test]
fn jobs_come_when_enough_places_are_free() {
    let (_, mut search) = search(&["optimize.refill_after=2"]);
    let mut next = |open, to_come| search.next(open, to_come).map(|jobs| jobs.len());
    assert_eq!(next(3, 6), Some(0));
    assert_eq!(next(2, 6), Some(0));
    assert_eq!(next(1, 6), Some(2));
    assert_eq!(next(1, 1), Some(1));
    assert_eq!(next(0, 3), Some(3));
}

#[test]
fn a_search_goes_on_from_what_it_hears() {
    // Enough for a method that learns.
    let keys = ["optimize.jobs=60", "optimize.at_once=20"];
    let (first, mut lived) = search(&keys);
    let end = |search: &mut Search, job: u32, value: f64| {
        search.settled(JobId(job), JobState::Completed, &loss(value));
    };
    for job in 0..20 {
        end(&mut lived, job, f64::from(job));
    }
    let (_, mut again) = search(&keys);
    for job in 0..20 {
        end(&mut again, job, -f64::from(job));
    }
    let (_, mut retried) = search(&keys);
    // A job that was retried counts with its last end.
    end(&mut retried, 19, -100.0);
    for job in 0..20 {
        end(&mut retried, job, f64::from(job));
    }
    let next = |search: &mut Search| search.next(0, 40).expect("more");
    let expected = next(&mut lived);
    assert!(next(&mut retried) == expected);
    assert!(next(&mut again) != expected);
    // A space that was edited has no place for what was asked.
    let (_, mut other) = search(&["optimize.parameters.kind=[1]"]);
    let error = other.added(JobId(3), &first[0]).expect_err("another space");
    assert!(
        error.contains("were the parameters in run.toml edited?"),
        "{error}"
    );
}
