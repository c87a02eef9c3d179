//! A study is a function of its setup and its history: it goes on after a crash as if there had been none.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

use cu_optimize::{
    Asked, Direction, Event, Method, Optimizer, Outcome, Parameter, Scale, Setup, Space, Study,
};
use proptest::prelude::*;
use serde_json::json;

fn space() -> Space {
    Space::new([
        Parameter::real("real", -1.0, 3.0, Scale::Linear),
        Parameter::real("rate", 1e-6, 1.0, Scale::Log),
        Parameter::integer("layers", -2, 7, Scale::Linear),
        Parameter::integer("width", 1, 1024, Scale::Log),
        Parameter::choice("pair", [json!(true), json!(null)]),
        Parameter::choice(
            "several",
            [json!("a"), json!([1, 2]), json!({"b": 0.5}), json!(4)],
        ),
        Parameter::real("fixed", 0.1, 0.1, Scale::Log),
        Parameter::integer("single", 4, 4, Scale::Linear),
        Parameter::choice("only", [json!("this")]),
    ])
    .unwrap()
}

/// What happens next: the next trial is asked for, or one of the running ones ends.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    Tell {
        which: prop::sample::Index,
        outcome: Outcome,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        10 => (-1e3..1e3).prop_map(Outcome::Value),
        2 => Just(Outcome::Value(0.0)),
        1 => Just(Outcome::Failed),
    ];
    let tell = (any::<prop::sample::Index>(), value);
    prop_oneof![
        Just(Step::Ask),
        tell.prop_map(|(which, outcome)| Step::Tell { which, outcome }),
    ]
}

fn method() -> impl Strategy<Value = Method> {
    let named = prop::sample::select(Method::NAMES);
    prop_oneof![
        named.prop_map(|name| name.parse().unwrap()),
        Just(serde_json::from_value(json!({"name": "cem", "with_restarts": true})).unwrap()),
        Just(serde_json::from_value(json!({"name": "cmaes", "population": 4})).unwrap()),
    ]
}

/// Lets the study go on and returns the history, as its user records it.
fn go_on(study: &mut Study, steps: &[Step]) -> Vec<Event> {
    let mut history = Vec::new();
    for step in steps {
        let trials = study.trials().iter().enumerate();
        let running = trials.filter(|(_, trial)| trial.outcome.is_none());
        let running: Vec<_> = running.map(|(number, _)| number).collect();
        match step {
            Step::Tell { which, outcome } if !running.is_empty() => {
                let (trial, outcome) = (*which.get(&running), *outcome);
                study.tell(trial, outcome).unwrap();
                history.push(Event::Told { trial, outcome });
            }
            _ => history.push(Event::Asked(study.ask().values)),
        }
    }
    history
}

/// As it comes back from a disk.
fn read_again<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_a_study_goes_on_as_before(
        method in method(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..90),
        cut in any::<prop::sample::Index>(),
        maximize in any::<bool>(),
    ) {
        let direction = if maximize { Direction::Maximize } else { Direction::Minimize };
        let setup = Setup { space: space(), method, direction, seed };
        let mut study = Study::new(setup.clone()).unwrap();
        let history = go_on(&mut study, &steps);

        let cut = cut.index(history.len() + 1);
        let mut again = Study::replay(read_again(&setup), read_again(&history[..cut].to_vec())).unwrap();
        for event in &history[cut..] {
            match event {
                Event::Asked(values) => prop_assert_eq!(&again.ask().values, values),
                Event::Told { trial, outcome } => again.tell(*trial, *outcome).unwrap(),
            }
        }
        prop_assert_eq!(again.table(), study.table());
        prop_assert_eq!(again.ask(), study.ask());
        setup.space.check(&study.ask().values).unwrap();
    }
}

#[test]
fn the_record_decides_about_earlier_values() {
    // Another method's history, and values that no method would have chosen.
    let setup = |name: &str| Setup {
        space: space(),
        method: name.parse().unwrap(),
        direction: Direction::Minimize,
        seed: 1,
    };
    let mut study = Study::new(setup("random")).unwrap();
    let mut history = Vec::new();
    for trial in 0..30 {
        let Asked { values, .. } = study.ask();
        let outcome = Outcome::Value(values["real"].as_f64().unwrap());
        history.extend([Event::Asked(values), Event::Told { trial, outcome }]);
    }
    for name in Method::NAMES {
        let again = Study::replay(setup(name), history.clone()).unwrap();
        assert_eq!(again.trials()[7].values, study.trials()[7].values, "{name}");
    }
}
