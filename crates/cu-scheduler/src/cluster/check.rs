//! Checks a submission for what no cluster takes.

use crate::Submission;

/// Checks that a submission has a program by an absolute path, arguments and variables that a process
/// can be given, at least one processor, and directories by absolute paths.
///
/// # Errors
/// The first that is wrong, in a sentence.
pub fn check(submission: &Submission) -> Result<(), String> {
    let Some(program) = submission.command.first() else {
        return Err("there is no command".into());
    };
    if !program.starts_with('/') {
        return Err(format!("the program `{program}` is not an absolute path"));
    }
    if let Some(argument) = submission.command.iter().find(|it| it.contains('\0')) {
        return Err(format!("the argument {argument:?} contains a zero byte"));
    }
    for (name, value) in &submission.environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} can't be the name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!("the variable {name} contains a zero byte"));
        }
    }
    if submission.resources.cpus == 0 {
        return Err("cpus must be at least 1".into());
    }
    for directory in [&submission.working_directory, &submission.directory] {
        if !directory.is_absolute() {
            let directory = directory.display();
            return Err(format!("the directory {directory} is not an absolute path"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::submission;
    use super::*;

    #[test]
    fn each_fault_is_found_and_named() {
        assert_eq!(check(&submission(0)), Ok(()));
        type Change = fn(&mut Submission);
        let faults: [(&str, Change); 8] = [
            ("no command", |it| it.command.clear()),
            ("`sh` is not", |it| it.command = vec!["sh".into()]),
            (r#""a\0b""#, |it| it.command.push("a\0b".into())),
            (r#""A=B""#, |it| {
                it.environment.insert("A=B".into(), String::new());
            }),
            ("variable A ", |it| {
                it.environment.insert("A".into(), "\0".into());
            }),
            ("at least 1", |it| it.resources.cpus = 0),
            ("directory out ", |it| it.directory = "out".into()),
            ("directory . ", |it| it.working_directory = ".".into()),
        ];
        for (expected, change) in faults {
            let mut submission = submission(0);
            change(&mut submission);
            let reason = check(&submission).unwrap_err();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
}
