//! The options of sbatch as people give them: on its command line, in its variables, and in the `#SBATCH`
//! lines of a script.

mod lines;
mod table;
mod words;

pub use lines::{has_lines, of_script, pbs_line};
pub use words::{CommandLine, command_line};

/// An option of sbatch, by its long name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOption {
    /// Its long name, without dashes.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<String>,
    /// Where it was given, in the person's own words: `--time=5`, `SBATCH_TIMELIMIT=5`.
    pub words: String,
    /// By which means it was given.
    pub origin: Origin,
}

/// By which means an option was given. A later one takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An `#SBATCH` line.
    Script,
    /// A variable of sbatch.
    Variable,
    /// The command line.
    CommandLine,
}

/// Options of which sbatch takes only one, so that a variable gives way to what was given otherwise.
const ALTERNATIVES: [&[&str]; 2] = [
    &["mem", "mem-per-cpu", "mem-per-gpu"],
    &["exclusive", "oversubscribe"],
];

impl BatchOption {
    /// As a word of a command line: `--name=value`.
    pub fn word(&self) -> String {
        match &self.value {
            Some(value) => format!("--{}={value}", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// The options that hold, each once, in the order of their names: those of the command line before
/// variables before `#SBATCH` lines, and of one origin the last.
pub fn in_effect(mut given: Vec<BatchOption>) -> Vec<BatchOption> {
    // Stable: of one origin the last stays last.
    given.sort_by_key(|option| option.origin);
    let is_elsewhere = |names: &[&str]| {
        let mut others = given.iter().filter(|it| it.origin != Origin::Variable);
        others.any(|it| names.contains(&it.name.as_str()))
    };
    let gives_way: Vec<&str> = ALTERNATIVES
        .into_iter()
        .filter(|names| is_elsewhere(names))
        .flatten()
        .copied()
        .collect();
    let mut settled = std::collections::BTreeMap::new();
    for option in given {
        let is_variable = option.origin == Origin::Variable;
        if is_variable && gives_way.contains(&option.name.as_str()) {
            continue;
        }
        settled.insert(option.name.clone(), option);
    }
    settled.into_values().collect()
}

/// The options that the variables of sbatch stand for. `variable` is the environment.
pub fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Vec<BatchOption> {
    let mut options = Vec::new();
    for (name, option) in table::VARIABLES {
        let Some(value) = variable(name) else {
            continue;
        };
        let takes = table::find(option).map(|it| it.value);
        let value = match takes {
            // Slurm reads a switch from it.
            Some(table::Takes::Nothing) if ["0", "no", "off"].contains(&value.as_str()) => continue,
            Some(table::Takes::Nothing) => None,
            Some(table::Takes::Perhaps) => Some(value).filter(|value| !value.is_empty()),
            _ if value.is_empty() => continue,
            _ => Some(value),
        };
        let shown = value.as_deref().unwrap_or("1");
        options.push(BatchOption {
            name: (*option).to_owned(),
            words: format!("{name}={shown}"),
            value,
            origin: Origin::Variable,
        });
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(script: &str, variables: &[(&str, &str)], words: &[&str]) -> Vec<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let mut given = of_script(script.as_bytes()).expect("a script");
        given.extend(of_variables(variable));
        given.extend(command_line(&words).expect("words").options);
        in_effect(given).iter().map(BatchOption::word).collect()
    }

    #[test]
    fn the_command_line_precedes_variables_and_these_the_script() {
        let script = "#!/bin/sh\n#SBATCH --time=1 -J a -p x\n#SBATCH --time=2\n";
        assert_eq!(
            settled(script, &[("SBATCH_TIMELIMIT", "3")], &["-p", "y"]),
            ["--job-name=a", "--partition=y", "--time=3"]
        );
        assert_eq!(
            settled(script, &[("SBATCH_TIMELIMIT", "3")], &["-t4", "--time=5"]),
            ["--job-name=a", "--partition=x", "--time=5"]
        );
    }

    #[test]
    fn a_variable_gives_way_to_an_alternative() {
        let script = "#!/bin/sh\n#SBATCH --mem=10 --exclusive\n";
        let variables = [("SBATCH_MEM_PER_CPU", "20"), ("SBATCH_MEM_PER_NODE", "30")];
        assert_eq!(
            settled(script, &variables, &[]),
            ["--exclusive", "--mem=10"]
        );
        assert_eq!(
            settled("#!/bin/sh\n", &variables[..1], &[]),
            ["--mem-per-cpu=20"]
        );
        // sbatch refuses these itself.
        assert_eq!(
            settled(script, &[], &["--mem-per-cpu=5"]),
            ["--exclusive", "--mem=10", "--mem-per-cpu=5"]
        );
    }

    #[test]
    fn a_switch_in_a_variable_is_on_or_off() {
        for (value, expected) in [
            ("1", &["--overcommit"][..]),
            ("0", &[]),
            ("", &["--overcommit"]),
        ] {
            let variables = [("SBATCH_OVERCOMMIT", value)];
            assert_eq!(settled("#!/bin/sh\n", &variables, &[]), expected, "{value}");
        }
    }
}
