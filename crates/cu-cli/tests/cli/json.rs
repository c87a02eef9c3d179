//! The names and types of `cu status --json` and `cu show JOB --json`, which scripts depend on: in
//! the middle of a run and after it.

use crate::support::{Bench, WAIT};
use serde_json::Value;

/// What kind of value a name has.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Number,
    Object,
    List,
    Moment,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            // 2026-11-24T16:48:32.120Z
            Self::Moment => value.as_str().is_some_and(|text| {
                let shape: String = text
                    .chars()
                    .map(|character| {
                        if character.is_ascii_digit() {
                            '0'
                        } else {
                            character
                        }
                    })
                    .collect();
                shape == "0000-00-00T00:00:00.000Z"
            }),
        }
    }
}

fn assert_shape(value: &Value, shape: &[(&str, Kind)], or_null: bool) {
    for (name, kind) in shape {
        let found = value
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in {value}"));
        let fits = kind.fits(found) || (or_null && found.is_null());
        assert!(fits, "`{name}` is {found}, expected {kind:?}");
    }
}

fn assert_status(status: &Value) {
    let shape = [
        ("run_dir", Kind::Text),
        ("name", Kind::Text),
        ("state", Kind::Text),
        ("backend", Kind::Text),
        ("jobs", Kind::Object),
        ("attempts", Kind::Number),
        ("resumes", Kind::Number),
        ("created", Kind::Moment),
    ];
    assert_shape(status, &shape, false);
    let counts = [
        "total",
        "waiting",
        "queued",
        "running",
        "completed",
        "failed",
        "cancelled",
    ];
    assert_shape(
        &status["jobs"],
        &counts.map(|name| (name, Kind::Number)),
        false,
    );
}

fn assert_job(job: &Value) {
    let shape = [
        ("job", Kind::Number),
        ("state", Kind::Text),
        ("output_dir", Kind::Text),
        ("metrics", Kind::Object),
        ("why", Kind::Text),
        ("attempts", Kind::List),
    ];
    assert_shape(job, &shape, false);
    for attempt in job["attempts"].as_array().expect("a list") {
        assert_shape(
            attempt,
            &[("attempt", Kind::Number), ("submitted", Kind::Moment)],
            false,
        );
        let may_be_null = [
            ("cluster_job_id", Kind::Text),
            ("host", Kind::Text),
            ("started", Kind::Moment),
            ("ended", Kind::Moment),
            ("end", Kind::Text),
            ("exit_code", Kind::Number),
            ("signal", Kind::Number),
        ];
        assert_shape(attempt, &may_be_null, true);
    }
}

#[test]
fn in_the_middle_of_a_run_and_after_it() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let run = bench.start(&["run", "--json", "--", "./wait.sh"]);
    bench.wait_until_waiting("wait");
    // The program may be ahead of the supervisor's word that it has started, and the scheduler's
    // word that the attempt runs as well.
    let mut job = Value::Null;
    bench.wait_until("its start is recorded", |bench| {
        assert_status(&bench.json(&["status", "--json"]));
        job = bench.json(&["show", "0", "--json"]);
        job["attempts"][0]["started"].is_string()
    });
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["state"], "running");
    assert_eq!(status["jobs"]["running"], 1);
    assert_job(&job);
    assert_eq!(job["state"], "running");
    let attempt = &job["attempts"][0];
    assert!(attempt["host"].is_string(), "{attempt}");
    assert!(
        attempt["ended"].is_null() && attempt["end"].is_null(),
        "{attempt}"
    );

    bench.let_go("wait");
    let ended = run.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_status(&ended.json());
    assert_eq!(ended.json()["state"], "completed");
    let job = bench.json(&["show", "0", "--json"]);
    assert_job(&job);
    assert_eq!(job["state"], "completed");
    let attempt = &job["attempts"][0];
    assert_eq!(attempt["end"], "completed");
    assert_eq!(attempt["exit_code"], 0);
    assert!(
        attempt["signal"].is_null() && attempt["ended"].is_string(),
        "{attempt}"
    );
}
