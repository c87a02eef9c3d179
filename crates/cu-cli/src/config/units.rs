//! The types of keys: values with a unit (times, sizes), signals, paths.

use std::path::PathBuf;
use std::time::Duration;

use cu_protocol::ResumeExitCode;
use cu_run_dir::{CreateFile, StopSignal};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

/// A time, written with its unit or as Slurm writes it: `50min`, `1h 30m`, `1:30:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a time with its unit, such as \"90s\", \"50min\" or \"1h 30m\", or \
                                \"1:30:00\"";
        let text = text(deserializer, EXPECTED)?;
        match parse_time(&text) {
            Ok(time) => Ok(Self(time)),
            Err(WrongTime::NotATime) => {
                Err(D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED))
            }
            Err(wrong) => Err(D::Error::custom(format!("{wrong}, found {text:?}"))),
        }
    }
}

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongTime {
    /// It can't be read.
    #[error("expected a time with its unit, such as 90s, 50min or 1h 30m, or 1:30:00")]
    NotATime,
    /// It has two parts, which some read as hours and minutes, and Slurm as minutes and seconds.
    #[error(
        "expected hours, minutes and seconds: write 0:{text} for {minutes} minutes, or {text}:00 for \
         {minutes} hours"
    )]
    TwoParts {
        /// As it was given.
        text: String,
        /// Its first part.
        minutes: String,
    },
    /// It is too long to be useful. Shorter times never overflow when they are added to a moment.
    #[error("expected a time of at most 100 years")]
    TooLong,
}

/// A time with its unit, or as Slurm writes it, if that can't be misread: `H:MM:SS`, `D-H`, `D-H:MM`,
/// `D-H:MM:SS`.
///
/// # Errors
/// If it is neither, or is more than 100 years.
pub fn parse_time(text: &str) -> Result<Duration, WrongTime> {
    // A hundred years as humantime has them, of 365.25 days each.
    const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);
    let time = match text.contains([':', '-']) {
        true => parse_clock(text.trim())?,
        false => humantime::parse_duration(text).map_err(|error| match error {
            humantime::DurationError::NumberOverflow => WrongTime::TooLong,
            _ => WrongTime::NotATime,
        })?,
    };
    match time <= LONGEST {
        true => Ok(time),
        false => Err(WrongTime::TooLong),
    }
}

/// `1:30:00`, `2-12`, `2-12:30`, `2-12:30:00`.
fn parse_clock(text: &str) -> Result<Duration, WrongTime> {
    let number = |digits: &str| match digits.bytes().all(|it| it.is_ascii_digit()) {
        true if !digits.is_empty() => digits.parse::<u64>().map_err(|_| WrongTime::TooLong),
        _ => Err(WrongTime::NotATime),
    };
    let below_60 = |digits: &str| match number(digits)? {
        number if number < 60 && digits.len() <= 2 => Ok(number),
        _ => Err(WrongTime::NotATime),
    };
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(number(days)?), clock),
        None => (None, text),
    };
    let parts: Vec<_> = clock.split(':').collect();
    let (hours, minutes, seconds) = match (days, &parts[..]) {
        (Some(_), [hours]) => (number(hours)?, 0, 0),
        (Some(_), [hours, minutes]) => (number(hours)?, below_60(minutes)?, 0),
        (_, [hours, minutes, seconds]) => (number(hours)?, below_60(minutes)?, below_60(seconds)?),
        (None, [minutes, seconds]) => {
            number(minutes)?;
            below_60(seconds)?;
            return Err(WrongTime::TwoParts {
                text: text.to_owned(),
                minutes: (*minutes).to_owned(),
            });
        }
        _ => return Err(WrongTime::NotATime),
    };
    let days = days.unwrap_or_default().checked_mul(24 * 60 * 60);
    let hours = hours
        .checked_mul(60 * 60)
        .and_then(|it| it.checked_add(days?));
    let all = hours.and_then(|it| it.checked_add(60 * minutes + seconds));
    all.map(Duration::from_secs).ok_or(WrongTime::TooLong)
}

/// An amount of memory, written with its unit: `512MiB`, `2GiB`, `4GB`; or, as Slurm has it, `2G`, which
/// is `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a size with its unit, such as \"512MiB\", \"2GiB\" or \"4GB\"";
        let text = text(deserializer, EXPECTED)?;
        parse_bytes(&text)
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED))
    }
}

/// `2GiB`, `1.5 GB` as bytes, if it is a whole number of them above 0.
fn parse_bytes(text: &str) -> Option<u64> {
    const KIBI: f64 = 1024.0;
    let text = text.trim();
    let unit_at = text.find(|byte: char| !byte.is_ascii_digit() && byte != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "K" | "KiB" => KIBI,
        "M" | "MiB" => KIBI.powi(2),
        "G" | "GiB" => KIBI.powi(3),
        "T" | "TiB" => KIBI.powi(4),
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * scale;
    // Beyond 2^53 a float no longer holds every whole number; no machine has that much memory.
    (bytes >= 1.0 && bytes <= 2f64.powi(53)).then_some(bytes as u64)
}

/// How a program is asked to stop: a signal by its name, with or without `SIG`, or another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalName(pub StopSignal);

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "auto, none, or one of the signals HUP, INT, TERM, USR1, USR2";
        let text = text(deserializer, EXPECTED)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED))
    }
}

/// The file that asks a program to stop: its name, or its name and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToCreate(pub CreateFile);

impl<'de> Deserialize<'de> for FileToCreate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Given {
            file: String,
            #[serde(default)]
            content: String,
        }

        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Given;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("the name of a file, or { file = \"STOPCAR\", content = \"…\" }")
            }

            fn visit_str<E: Error>(self, file: &str) -> Result<Given, E> {
                let (file, content) = (file.to_owned(), String::new());
                Ok(Given { file, content })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Given, A::Error> {
                Given::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }

        let given = deserializer.deserialize_any(Visitor)?;
        let names_a_file = !given.file.ends_with('/') && !given.file.contains('\0');
        if given.file.is_empty() || !names_a_file {
            return Err(D::Error::custom(format!(
                "expected the name of a file, found {:?}",
                given.file
            )));
        }
        Ok(Self(CreateFile {
            path: given.file.into(),
            content: given.content,
        }))
    }
}

/// The exit codes that ask to be resumed, from 1 to 255: one number, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    /// The first.
    pub first: ResumeExitCode,
    /// The others.
    pub more: Vec<ResumeExitCode>,
}

impl<'de> Deserialize<'de> for ExitCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<i64>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a whole number, or a list of them such as [3, 85]")
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<Vec<i64>, E> {
                Ok(vec![code])
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Vec<i64>, A::Error> {
                let mut codes = Vec::new();
                while let Some(code) = list.next_element()? {
                    codes.push(code);
                }
                Ok(codes)
            }
        }

        let mut codes = Vec::new();
        for code in deserializer.deserialize_any(Visitor)? {
            if code == 0 {
                return Err(D::Error::custom(
                    "0 can't ask to be resumed. After a request to stop, 0 means \"resume me\" anyway \
                     (resume.exit_0_when_stopped); without such a request it means that the job is done",
                ));
            }
            let code = i32::try_from(code).unwrap_or(-1);
            codes.push(ResumeExitCode::try_from(code).map_err(D::Error::custom)?);
        }
        if codes.is_empty() {
            return Err(D::Error::custom(
                "expected at least one exit code, found none",
            ));
        }
        let first = codes.remove(0);
        Ok(Self { first, more: codes })
    }
}

/// What exit code 0 means after a request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZeroWhenStopped {
    /// It has saved, and continues with the next attempt.
    Resume,
    /// The job is done.
    Completed,
}

/// The result files and the exit code that a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultsAs {
    /// Its own.
    Cu,
    /// Those of the Python package cluster_utils.
    ClusterUtils,
}

/// Which values of a metric are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Small ones.
    Minimize,
    /// Large ones.
    Maximize,
}

/// The rule by which jobs are ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopRule {
    /// All but the best end at certain places.
    SuccessiveHalving,
    /// Those end that will rank too low.
    BadJobs,
}

/// The variables that a program gets on a cluster, beside those of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surroundings {
    /// Those of the main process.
    Inherit,
    /// Those that the cluster gives.
    Clean,
}

/// A path. A relative one starts at the config's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl FilePath {
    /// Shadows [`NoPath::PATH`].
    pub const PATH: Option<PathKind> = Some(PathKind::Always);
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(text(deserializer, "a string")?.into()))
    }
}

/// A path. A relative one starts at the current directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFromHere(pub String);

impl PathFromHere {
    /// Shadows [`NoPath::PATH`].
    pub const PATH: Option<PathKind> = Some(PathKind::FromHere);
}

impl<'de> Deserialize<'de> for PathFromHere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(text(deserializer, "a string")?))
    }
}

/// A path if such a file exists, else the name of something elsewhere, such as of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOrName(pub String);

impl PathOrName {
    /// Shadows [`NoPath::PATH`].
    pub const PATH: Option<PathKind> = Some(PathKind::IfItExists);
}

impl<'de> Deserialize<'de> for PathOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(text(deserializer, "a string")?))
    }
}

/// When the value of a key is a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Whatever it says.
    Always,
    /// If there is such a file.
    IfItExists,
    /// Always, but it does not depend on where the config is.
    FromHere,
}

/// Every type of a key has a constant `PATH`: the path types one of their own, which hides this one.
/// So [`table!`](super::table) asks each type, and nothing else lists the keys that are paths.
pub trait NoPath {
    /// When a value of this type is a path.
    const PATH: Option<PathKind> = None;
}

impl<T> NoPath for T {}

/// Reads a text; otherwise, the error says what was `expected`.
pub fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<String, D::Error> {
    struct Visitor(&'static str);
    impl serde::de::Visitor<'_> for Visitor {
        type Value = String;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_str(Visitor(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error as ValueError;

    fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, ValueError> {
        T::deserialize(text.into_deserializer())
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(read("1h 30m"), Ok(Time(Duration::from_secs(5400))));
        let error = read::<Time>("90").expect_err("no unit").to_string();
        assert!(error.contains("a time with its unit"), "{error}");
        let number = Time::deserialize(IntoDeserializer::<ValueError>::into_deserializer(90_i64));
        let error = number.expect_err("no text").to_string();
        assert!(error.contains("a time with its unit"), "{error}");
    }

    #[test]
    fn times_of_slurm_are_read_unless_they_can_be_misread() {
        for (text, seconds) in [
            ("1:30:00", 5400),
            ("01:00:00", 3600),
            ("100:00:01", 360_001),
            ("0:00:30", 30),
            ("2-12", 216_000),
            ("2-12:30", 217_800),
            ("0-00:00:10", 10),
            (" 1:00:00 ", 3600),
        ] {
            assert_eq!(read(text), Ok(Time(Duration::from_secs(seconds))), "{text}");
        }
        for wrong in [
            "1:60:00", "1:00:60", "1:000:00", "1::00", ":", "-", "1-", "-1", "1-2-3", "1:2:3:4",
            "+1:00:00", "1:00:0a", "1h:00:00",
        ] {
            assert!(read::<Time>(wrong).is_err(), "{wrong}");
        }
        let error = read::<Time>("10:30")
            .expect_err("it can be misread")
            .to_string();
        assert!(
            error.contains("write 0:10:30 for 10 minutes, or 10:30:00 for 10 hours"),
            "{error}"
        );
    }

    #[test]
    fn a_time_is_at_most_a_hundred_years() {
        for good in ["0s", "100years", "36500days"] {
            assert!(read::<Time>(good).is_ok(), "{good}");
        }
        for wrong in [
            "101years",
            "5000000000h",
            "584000000000years",
            "18446744073709551615s",
            "99999999999999999999s",
            "99999999999999999999:00:00",
            "36526-0",
            "18446744073709551615-1:00:00",
        ] {
            let error = read::<Time>(wrong).expect_err(wrong).to_string();
            let expected = "expected a time of at most 100 years, found ";
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        assert_eq!(read("2GiB"), Ok(Bytes(2 << 30)));
        assert_eq!(read("1.5 kB"), Ok(Bytes(1500)));
        assert_eq!(read("2G"), Ok(Bytes(2 << 30)));
        assert_eq!(read("512M"), Ok(Bytes(512 << 20)));
        for wrong in ["2", "GiB", "2 gigs", "-1GiB", "0GiB", "1e99TB", "..MB", ""] {
            assert!(read::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_go_by_either_name() {
        assert_eq!(read("SIGTERM"), Ok(SignalName(StopSignal::Term)));
        assert_eq!(read("USR2"), Ok(SignalName(StopSignal::Usr2)));
        assert_eq!(read("auto"), Ok(SignalName(StopSignal::Auto)));
        assert!(read::<SignalName>("KILL").is_err());
    }
}
