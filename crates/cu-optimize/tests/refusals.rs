//! What can't be searched is refused, with the name of what is wrong.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

use cu_optimize::{Method, Parameter, Scale, Setup, Space, Study, Values};
use serde_json::json;

fn refused(parameter: Parameter) -> String {
    let good = Parameter::real("good", 0.0, 1.0, Scale::Linear);
    Space::new([good, parameter]).unwrap_err().to_string()
}

#[test]
fn a_parameter_without_values_is_named() {
    let real = |low, high, scale| refused(Parameter::real("lr", low, high, scale));
    let said = real(1.0, 0.5, Scale::Linear);
    assert_eq!(
        said,
        "parameter \"lr\": its lower bound 1 is greater than its upper bound 0.5"
    );
    let said = real(0.0, 0.5, Scale::Log);
    assert_eq!(
        said,
        "parameter \"lr\": its lower bound 0 must be greater than 0, as its scale is logarithmic"
    );
    assert!(real(f64::NAN, 0.5, Scale::Linear).contains("must be finite"));
    assert!(real(f64::MIN, f64::MAX, Scale::Linear).contains("too far apart"));
    let integer = |low, high, scale| refused(Parameter::integer("n", low, high, scale));
    assert!(
        integer(3, 2, Scale::Linear).contains("lower bound 3 is greater than its upper bound 2")
    );
    assert!(integer(0, 2, Scale::Log).contains("must be greater than 0"));
    assert!(integer(0, i64::MAX, Scale::Linear).contains("between -2^53 and 2^53"));
    assert!(refused(Parameter::choice("c", [])).contains("\"c\": it has no options"));
    let said = refused(Parameter::choice("c", [json!("a"), json!(1), json!("a")]));
    assert_eq!(said, "parameter \"c\": its option \"a\" is listed twice");
    let said = refused(Parameter::choice("good", [json!("a")]));
    assert_eq!(said, "parameter \"good\": it is listed twice");
    assert!(
        Space::new([])
            .unwrap_err()
            .to_string()
            .contains("nothing to search")
    );
}

#[test]
fn values_from_elsewhere_are_checked() {
    let space = Space::new([
        Parameter::real("lr", 0.0, 1.0, Scale::Linear),
        Parameter::integer("n", 1, 3, Scale::Linear),
        Parameter::choice("c", [json!("a"), json!(2)]),
    ]);
    let space = space.unwrap();
    let good = json!({"lr": 1, "n": 3, "c": 2});
    let check = |change: serde_json::Value| {
        let mut values: Values = serde_json::from_value(good.clone()).unwrap();
        values.extend(serde_json::from_value::<Values>(change).unwrap());
        space.check(&values).map_err(|error| error.to_string())
    };
    assert_eq!(check(json!({})), Ok(()));
    let refused = |change| check(change).unwrap_err();
    assert_eq!(
        refused(json!({"lr": 1.5})),
        "parameter \"lr\": 1.5 does not lie between 0 and 1"
    );
    assert_eq!(
        refused(json!({"lr": "1"})),
        "parameter \"lr\": \"1\" is not a number"
    );
    assert_eq!(
        refused(json!({"n": 2.5})),
        "parameter \"n\": 2.5 is not an integer"
    );
    assert_eq!(
        refused(json!({"c": "b"})),
        "parameter \"c\": \"b\" is not one of \"a\", 2"
    );
    assert_eq!(
        refused(json!({"x": 1})),
        "parameter \"x\": the space has no parameter of this name"
    );
    let missing = space.check(&Values::new()).unwrap_err().to_string();
    assert_eq!(missing, "parameter \"lr\": it has no value");
}

#[test]
fn an_unknown_method_gets_the_nearest_name() {
    let refused = |name: &str| name.parse::<Method>().unwrap_err().to_string();
    let said = refused("CMA-ES");
    let known = "The methods are cem, tpe, cmaes, random";
    assert_eq!(
        said,
        format!("there is no method \"CMA-ES\"; did you mean \"cmaes\"? {known}")
    );
    assert!(refused("cen").contains("did you mean \"cem\"?"));
    for name in Method::NAMES {
        let method: Method = name.parse().unwrap();
        assert_eq!(method.name(), *name);
        assert_eq!(
            serde_json::from_value::<Method>(json!({"name": name})).unwrap(),
            method
        );
    }
}

#[test]
fn an_option_out_of_its_range_is_named() {
    let space = Space::new([Parameter::real("x", 0.0, 1.0, Scale::Linear)]).unwrap();
    let refused = |method: serde_json::Value| {
        let method = serde_json::from_value(method).unwrap();
        let space = space.clone();
        let setup = Setup {
            space,
            method,
            direction: Default::default(),
            seed: 1,
        };
        Study::new(setup).unwrap_err().to_string()
    };
    let said = refused(json!({"name": "cem", "elite_size": 0}));
    assert_eq!(
        said,
        "option \"elite_size\" of \"cem\" is 0: it must be at least 1"
    );
    let said = refused(json!({"name": "tpe", "best_share": 1.0}));
    assert_eq!(
        said,
        "option \"best_share\" of \"tpe\" is 1: it must be between 0 and 1"
    );
    assert!(refused(json!({"name": "tpe", "candidates": 0})).contains("\"candidates\" of \"tpe\""));
    let said = refused(json!({"name": "cmaes", "population": 3}));
    assert_eq!(
        said,
        "option \"population\" of \"cmaes\" is 3: it must be between 4 and 10000"
    );
    assert!(refused(json!({"name": "cmaes", "deviation": 0.0})).contains("\"deviation\""));
    for unknown in [
        json!({"name": "cem", "elite": 5}),
        json!({"name": "random", "a": 1}),
    ] {
        assert!(
            serde_json::from_value::<Method>(unknown.clone()).is_err(),
            "{unknown}"
        );
    }
}

#[test]
fn a_space_is_read_as_it_was_written() {
    let text = r#"[{"name": "lr", "distribution": {"real": {"low": 1e-5, "high": 1.0, "scale": "log"}}},
        {"name": "n", "distribution": {"integer": {"low": 1, "high": 9}}},
        {"name": "c", "distribution": {"choice": {"options": [null, "a"]}}}]"#;
    let space: Space = serde_json::from_str(text).unwrap();
    let names: Vec<_> = space
        .parameters()
        .iter()
        .map(|parameter| &parameter.name)
        .collect();
    assert_eq!(names, ["lr", "n", "c"]);
    let again = serde_json::from_str(&serde_json::to_string(&space).unwrap()).unwrap();
    assert_eq!(space, again);
    let bad = text.replace("\"low\": 1,", "\"low\": 10,");
    let said = serde_json::from_str::<Space>(&bad).unwrap_err().to_string();
    assert!(
        said.contains("parameter \"n\": its lower bound 10 is greater"),
        "{said}"
    );
    let bad = text.replace("\"low\": 1,", "\"low\": 1, \"step\": 2,");
    assert!(serde_json::from_str::<Space>(&bad).is_err());
}
