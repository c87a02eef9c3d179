//! The exit code by which a program asks to be resumed.

use std::fmt;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

/// The exit code that by itself is a resume request: from 1 to 255, since 0 means that the job is done.
///
/// ```
/// use cu_protocol::ResumeExitCode;
///
/// assert_eq!(ResumeExitCode::DEFAULT.code(), 3);
/// assert_eq!(ResumeExitCode::try_from(85)?.code(), 85);
/// assert!(ResumeExitCode::try_from(0).is_err());
/// # Ok::<(), cu_protocol::NotAnExitCode>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResumeExitCode(pub NonZeroU8);

impl ResumeExitCode {
    /// 3: what `exit_for_resume` exits with, and what a job means that says nothing else.
    pub const DEFAULT: Self = Self(NonZeroU8::new(3).unwrap());

    /// The code, as the system and [`std::process::exit`] have it.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0.get() as i32
    }
}

impl Default for ResumeExitCode {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for ResumeExitCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A number that can't be a [`ResumeExitCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an exit code from 1 to 255 is expected: 0 means that the job is done")]
pub struct NotAnExitCode;

impl TryFrom<i32> for ResumeExitCode {
    type Error = NotAnExitCode;

    fn try_from(code: i32) -> Result<Self, NotAnExitCode> {
        let code = u8::try_from(code).ok().and_then(NonZeroU8::new);
        code.map(Self).ok_or(NotAnExitCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_a_process_can_end_with_ask_to_resume() {
        for code in [-1, 0, 256, 259] {
            assert_eq!(ResumeExitCode::try_from(code), Err(NotAnExitCode));
            assert!(serde_json::from_str::<ResumeExitCode>(&code.to_string()).is_err());
        }
        let code = ResumeExitCode::try_from(255).expect("the greatest");
        assert_eq!(serde_json::to_string(&code).expect("a number"), "255");
    }
}
