//! A program that is a job and does next to nothing: it asks to be resumed until its attempt has the number
//! in `RESUMES`, by its exit code alone. It makes an empty file, since an attempt without progress is
//! resumed only after a pause.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::fs::write("progress", "").is_err() {
        return ExitCode::FAILURE;
    }
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match (number("CU_ATTEMPT"), number("RESUMES")) {
        (Some(attempt), Some(resumes)) if attempt < resumes => ExitCode::from(3),
        (Some(_), Some(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
