//! The commands `cu job …` without a supervisor: all of them work, and the files are there.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn environment(&self) -> Environment {
        Environment {
            output_dir: Some(self.directory.path().to_owned()),
            settings: Some(self.path("settings.json")),
            stop_file: Some(self.path("stop")),
            ..Environment::default()
        }
    }

    fn job(&self) -> ShellJob {
        ShellJob::open_in(self.environment()).unwrap()
    }
}

#[test]
fn a_file_is_saved_and_loaded_in_place_of_another() {
    let place = Place::new();
    let state = place.path("state.bin");
    assert_eq!(place.job().load_checkpoint(&state).unwrap(), None);
    assert_eq!(place.job().started().unwrap().checkpoint, None);
    fs::write(&state, "seven").unwrap();
    let saved = place.job().save_checkpoint(&state).unwrap();
    fs::write(&state, "half of eig").unwrap();
    assert_eq!(place.job().load_checkpoint(&state).unwrap(), Some(saved));
    assert_eq!(fs::read_to_string(&state).unwrap(), "seven");
    assert_eq!(place.job().started().unwrap().checkpoint, Some(saved));
    assert_eq!(place.job().save_checkpoint(&state).unwrap().counter(), 1);
}

#[test]
fn a_directory_is_saved_and_loaded_as_a_whole() {
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(state.join("optimizer")).unwrap();
    fs::write(state.join("weights"), "w1").unwrap();
    fs::write(state.join("optimizer/moments"), "m1").unwrap();
    let saved = place.job().save_checkpoint(&state).unwrap();

    fs::write(state.join("weights"), "w2").unwrap();
    fs::write(state.join("later"), "not in the checkpoint").unwrap();
    // Leftovers of a process that was killed while loading.
    fs::create_dir(place.path(".cu-new-state")).unwrap();
    assert_eq!(place.job().load_checkpoint(&state).unwrap(), Some(saved));
    assert_eq!(fs::read_to_string(state.join("weights")).unwrap(), "w1");
    assert_eq!(
        fs::read_to_string(state.join("optimizer/moments")).unwrap(),
        "m1"
    );
    let mut left: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .chain(fs::read_dir(place.directory.path()).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["checkpoints", "optimizer", "state", "weights"]);

    let path = place.job().checkpoint_path().unwrap().unwrap();
    assert_eq!(fs::read_to_string(path.join("weights")).unwrap(), "w1");
    // A fresh machine has no directory yet.
    fs::remove_dir_all(&state).unwrap();
    place.job().load_checkpoint(&state).unwrap();
    assert!(state.join("weights").exists());
}

#[test]
fn a_missing_or_special_file_is_refused_by_name() {
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", state.join("link")).unwrap();
    let message = place.job().save_checkpoint(&state).unwrap_err().to_string();
    assert!(
        message.contains(state.join("link").to_str().unwrap()),
        "{message}"
    );
    let absent = place.path("absent");
    let message = place
        .job()
        .save_checkpoint(&absent)
        .unwrap_err()
        .to_string();
    assert!(message.contains(absent.to_str().unwrap()), "{message}");
    assert_eq!(place.job().load_checkpoint(&state).unwrap(), None);
}

#[test]
fn settings_are_as_a_script_can_use_them() {
    let place = Place::new();
    let json = r#"{"a": {"text": "two words", "list": [1, "x"]}, "rate": 1e-05, "no": null}"#;
    fs::write(place.path("settings.json"), json).unwrap();
    let get = |key| place.job().setting(key).unwrap();
    assert_eq!(get("a.text"), "two words");
    assert_eq!(get("a.list"), r#"[1,"x"]"#);
    assert_eq!(get("rate").parse(), Ok(1e-05));
    assert_eq!(get("no"), "");
    let or = |key| place.job().setting_or(key, "7").unwrap();
    assert_eq!(or("a.x"), "7");
    assert_eq!(or("a.text"), "two words");
    let message = place.job().setting("a.x").unwrap_err().to_string();
    assert!(
        message.contains("a.x") && message.contains("settings.json"),
        "{message}"
    );
}

#[test]
fn finish_writes_the_files_of_a_job() {
    let place = Place::new();
    fs::write(place.path("settings.json"), r#"{"seed": 1}"#).unwrap();
    let refused = place.job().finish(&["accuracy"]);
    assert!(matches!(refused, Err(Error::Word { .. })));
    assert!(!place.path("metrics.csv").exists());
    place.job().finish(&["accuracy=0.5", "loss=nan"]).unwrap();
    let read = |name| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("metrics.csv"), "accuracy,loss\r\n0.5,nan\r\n");
    assert_eq!(read("param_choice.csv"), "seed\r\n1\r\n");
}

#[test]
fn the_stop_file_and_the_time_limit_are_reasons_to_exit() {
    let place = Place::new();
    assert_eq!(place.job().should_exit(MARGIN), None);
    let limit = |left| {
        let mut environment = place.environment();
        environment.deadline = Some(SystemTime::now() + Duration::from_secs(left));
        ShellJob::open_in(environment).unwrap().should_exit(MARGIN)
    };
    assert_eq!(limit(3600), None);
    assert_eq!(limit(59), Some(StopCause::TimeLimit));
    fs::write(place.path("stop"), "").unwrap();
    assert_eq!(place.job().should_exit(MARGIN), Some(StopCause::StopFile));
}

#[test]
fn a_fraction_is_from_0_to_1() {
    let place = Place::new();
    assert!(place.job().progress(1.0).is_ok());
    for wrong in [1.5, -0.1, f64::NAN] {
        let refused = place.job().progress(wrong);
        assert!(matches!(refused, Err(Error::Word { .. })), "{wrong}");
    }
    assert_eq!(place.job().exit_for_resume(), 3);
}
