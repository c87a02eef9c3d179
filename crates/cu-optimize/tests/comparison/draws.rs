//! The cross-entropy method draws from the distributions from which that of cluster_utils draws.

use cu_optimize::{
    Direction, Distribution, Event, Optimizer, Outcome, Parameter, Scale, Setup, Space, Study,
    Values,
};
use serde_json::json;

use crate::witness::ClusterUtils;

/// How many values are drawn at each moment.
const DRAWS: usize = 300;

fn space() -> Space {
    Space::new([
        Parameter::real("momentum", 0.0, 1.0, Scale::Linear),
        Parameter::real("decay", 0.0, 1.0, Scale::Linear),
        Parameter::integer("layers", 1, 10, Scale::Linear),
        Parameter::real("rate", 1e-5, 1.0, Scale::Log),
        Parameter::integer("width", 8, 2048, Scale::Log),
        Parameter::choice("optimizer", ["sgd", "adam", "lamb"].map(|name| json!(name))),
    ])
    .unwrap()
}

/// Fourteen results. The elite, the best ten, changes last with the eleventh, so that the mean before that one counts.
fn results() -> Vec<(Values, f64)> {
    let optimizers = ["sgd", "adam", "lamb"];
    let result = |number: u8| {
        let place = f64::from(number);
        let values = json!({
            "momentum": 0.5 + 0.03 * place,
            // Its mean stays as it is while the elite changes for the last time.
            "decay": 0.3 + 0.02 * f64::from(number % 10),
            "layers": 1 + number % 6,
            "rate": 10_f64.powf(-4.0 + 0.2 * place),
            "width": 16 + 20 * u32::from(number),
            "optimizer": optimizers[usize::from(number).pow(2) % 3],
        });
        (
            serde_json::from_value(values).unwrap(),
            (place - 6.1).powi(2),
        )
    };
    (0..14).map(result).collect()
}

/// The mean and the standard deviation of a parameter, on its scale, or the shares of its options.
fn summary(parameter: &Parameter, draws: &[Values]) -> Vec<f64> {
    let values = draws.iter().map(|draw| &draw[&parameter.name]);
    let count = DRAWS as f64;
    let numbers: Vec<f64> = match &parameter.distribution {
        Distribution::Choice { options } => {
            let share =
                |option| values.clone().filter(|value| *value == option).count() as f64 / count;
            return options.iter().map(share).collect();
        }
        Distribution::Real {
            scale: Scale::Log, ..
        }
        | Distribution::Integer {
            scale: Scale::Log, ..
        } => values.map(|value| value.as_f64().unwrap().ln()).collect(),
        _ => values.map(|value| value.as_f64().unwrap()).collect(),
    };
    let mean = numbers.iter().sum::<f64>() / count;
    let squares = numbers.iter().map(|number| (number - mean).powi(2));
    vec![mean, (squares.sum::<f64>() / count).sqrt()]
}

fn assert_alike(parameter: &Parameter, told: usize, ours: &[Values], theirs: &[Values]) {
    let (ours, theirs) = (summary(parameter, ours), summary(parameter, theirs));
    let what = format!(
        "{} after {told} results: ours {ours:.3?}, theirs {theirs:.3?}",
        parameter.name
    );
    println!("{what}");
    if let Distribution::Choice { .. } = parameter.distribution {
        let mut shares = ours.iter().zip(&theirs);
        assert!(
            shares.all(|(one, other)| (one - other).abs() < 0.13),
            "{what}"
        );
        return;
    }
    let ratio = ours[1] / theirs[1];
    assert!((0.8..1.25).contains(&ratio), "{what}");
    // On a logarithmic scale theirs looks ahead by accident only.
    let is_log = ["rate", "width"].contains(&&*parameter.name);
    if told == 0 || !is_log {
        assert!((ours[0] - theirs[0]).abs() < 0.3 * theirs[1], "{what}");
    }
}

#[test]
fn cem_draws_as_cluster_utils_does() {
    let (space, results) = (space(), results());
    let method = "cem".parse().unwrap();
    let direction = Direction::Minimize;
    let mut ours = Study::new(Setup {
        space: space.clone(),
        method,
        direction,
        seed: 1,
    })
    .unwrap();
    let mut theirs = ClusterUtils::start(&space, 10, 100, 1);
    let draw = |optimizer: &mut dyn Optimizer| {
        let draws = (0..DRAWS).map(|_| optimizer.ask().values);
        draws.collect::<Vec<_>>()
    };
    for told in 0..=results.len() {
        if [0, 5, 9, 14].contains(&told) {
            let (ours, theirs) = (draw(&mut ours), draw(&mut theirs));
            for parameter in space.parameters() {
                assert_alike(parameter, told, &ours, &theirs);
            }
        }
        if let Some((values, value)) = results.get(told) {
            theirs.learn(values, Some(*value));
            let trial = ours.trials().len();
            ours.record(Event::Asked(values.clone())).unwrap();
            ours.tell(trial, Outcome::Value(*value)).unwrap();
        }
    }
}
