//! The cross-entropy method of the package cluster_utils 3.0.0 itself, asked and told in a process of Python.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use cu_optimize::{
    Asked, Distribution, Error, Optimizer, Outcome, Parameter, Result, Scale, Space, Values,
};
use serde_json::{Value, json};

/// A process of Python.
struct Python {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/comparison");
        let mut python = Command::new(Path::new(environment()).join("bin/python"));
        let python = python.arg(directory.join("ask_and_tell.py"));
        // One processor for each: several are asked at a time.
        let python = python.env("OPENBLAS_NUM_THREADS", "1");
        let python = python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().expect("Python starts");
        Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

thread_local! {
    /// The one that the last search of this thread has left.
    static IDLE: RefCell<Option<Python>> = const { RefCell::new(None) };
}

pub struct ClusterUtils {
    /// Always there until it is dropped.
    python: Option<Python>,
    asked: Vec<Values>,
}

impl ClusterUtils {
    pub fn start(space: &Space, elite_size: usize, trials: usize, seed: u64) -> Self {
        let python = IDLE.take().unwrap_or_else(Python::start);
        let mut started = Self {
            python: Some(python),
            asked: Vec::new(),
        };
        let parameters: Vec<_> = space.parameters().iter().map(as_theirs).collect();
        started.say(&json!({
            "seed": seed, "trials": trials, "elite_size": elite_size, "parameters": parameters,
        }));
        started
    }

    /// Lets it learn what came of values, whoever chose them.
    pub fn learn(&mut self, values: &Values, value: Option<f64>) {
        self.say(&json!({"values": values, "result": value}));
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.python.as_mut().unwrap().input, "{message}").expect("Python listens");
    }
}

impl Optimizer for ClusterUtils {
    fn ask(&mut self) -> Asked {
        self.say(&Value::Null);
        let mut line = String::new();
        self.python
            .as_mut()
            .unwrap()
            .output
            .read_line(&mut line)
            .expect("Python answers");
        let values: Values = serde_json::from_str(&line).expect("one value for each parameter");
        self.asked.push(values.clone());
        let trial = self.asked.len() - 1;
        Asked { trial, values }
    }

    fn tell(&mut self, trial: usize, outcome: Outcome) -> Result<()> {
        let asked = self.asked.len();
        let values = self
            .asked
            .get(trial)
            .ok_or(Error::UnknownTrial { trial, asked })?;
        let values = values.clone();
        self.learn(&values, outcome.value());
        Ok(())
    }
}

impl Drop for ClusterUtils {
    fn drop(&mut self) {
        IDLE.set(self.python.take());
    }
}

/// The name of a parameter, the class of its distribution there, and its arguments.
fn as_theirs(parameter: &Parameter) -> Value {
    let (class, arguments) = match &parameter.distribution {
        Distribution::Real {
            low,
            high,
            scale: Scale::Linear,
        } => ("TruncatedNormal", json!({"bounds": [low, high]})),
        Distribution::Real {
            low,
            high,
            scale: Scale::Log,
        } => ("TruncatedLogNormal", json!({"bounds": [low, high]})),
        Distribution::Integer {
            low,
            high,
            scale: Scale::Linear,
        } => ("IntNormal", json!({"bounds": [low, high]})),
        Distribution::Integer {
            low,
            high,
            scale: Scale::Log,
        } => ("IntLogNormal", json!({"bounds": [low, high]})),
        Distribution::Choice { options } => ("Discrete", json!({"options": options})),
    };
    json!([parameter.name, class, arguments])
}

/// The virtual environment with the package. It is made when it is missing, and kept.
fn environment() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python-tools");
        let output = Command::new(tools)
            .arg("optimization")
            .stderr(Stdio::inherit())
            .output();
        let output = output.expect("tests/python-tools starts");
        assert!(
            output.status.success(),
            "tests/python-tools: {}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}
