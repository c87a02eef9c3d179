//! What the methods are compared on.

use cu_optimize::{Parameter, Scale, Space, Values};
use serde_json::json;

/// A function, the space on which it is minimized, and its name in the table.
pub struct Function {
    pub name: &'static str,
    pub space: Space,
    pub value: fn(&Values) -> f64,
}

pub fn all() -> [Function; 3] {
    [
        Function {
            name: "Rosenbrock, 2 dimensions",
            space: rosenbrock_space(2),
            value: rosenbrock,
        },
        Function {
            name: "Rosenbrock, 5 dimensions",
            space: rosenbrock_space(5),
            value: rosenbrock,
        },
        Function {
            name: "mixed types, 6 parameters",
            space: mixed_space(),
            value: mixed,
        },
    ]
}

fn rosenbrock_space(dimensions: usize) -> Space {
    let parameter = |number| Parameter::real(format!("x{number}"), -5.0, 10.0, Scale::Linear);
    Space::new((0..dimensions).map(parameter)).unwrap()
}

/// A valley, curved and flat. It is shifted: it is 0 where all numbers are 1.3717, not 1, since a method that rounds its
/// values hits a round number by luck.
fn rosenbrock(values: &Values) -> f64 {
    let x = values.values().filter_map(serde_json::Value::as_f64);
    let x: Vec<_> = x.map(|x| x - 0.3717).collect();
    let pairs = x.windows(2);
    pairs
        .map(|pair| 100.0 * (pair[1] - pair[0].powi(2)).powi(2) + (1.0 - pair[0]).powi(2))
        .sum()
}

fn mixed_space() -> Space {
    Space::new([
        Parameter::real("learning_rate", 1e-5, 1.0, Scale::Log),
        Parameter::real("momentum", 0.0, 1.0, Scale::Linear),
        Parameter::integer("layers", 1, 10, Scale::Linear),
        Parameter::integer("width", 8, 2048, Scale::Log),
        Parameter::choice("optimizer", [json!("sgd"), json!("adam"), json!("lamb")]),
        Parameter::choice("normalize", [json!(false), json!(true)]),
    ])
    .unwrap()
}

/// As a network's loss depends on how it is trained: the best learning rate depends on the optimizer and the depth, the
/// best width on the depth. 0 for adam with normalization, 0.003, 0.9, 4 layers, 200 wide.
fn mixed(values: &Values) -> f64 {
    let number = |name: &str| values[name].as_f64().unwrap();
    let (optimizer, rate) = match values["optimizer"].as_str().unwrap() {
        "adam" => (0.0, 0.00273),
        "lamb" => (0.15, 0.01),
        _ => (0.3, 0.1),
    };
    let depth = number("layers") - 4.0;
    let normalize = if values["normalize"] == true {
        0.0
    } else {
        0.2 + 0.05 * depth.abs()
    };
    let rate = (number("learning_rate") / rate).log10() + 0.1 * depth;
    let width = (number("width") / 211.0).log2() + 0.25 * depth;
    let momentum = number("momentum") - 0.8817;
    optimizer
        + normalize
        + rate.powi(2)
        + 0.02 * depth.powi(2)
        + 0.05 * width.powi(2)
        + 2.0 * momentum.powi(2)
}
