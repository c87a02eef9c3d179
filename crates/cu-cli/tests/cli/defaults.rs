//! Defaults of the site and the user, profiles, and `cu config`.

use std::fs;

use crate::support::{Bench, COUNT, Ended};

/// Writes a file of defaults.
fn defaults(bench: &Bench, whose: &str, text: &str) {
    let directory = bench.path(whose).join("cluster-utils");
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("config.toml"), text).expect("a file");
}

#[test]
fn each_key_comes_from_the_nearest_place() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    defaults(
        &bench,
        "site",
        "[backend]\nkind = \"local\"\nslurm.account = \"site\"\nactivate = \"env.sh\"\n[stop]\ngrace = \"9s\"\n",
    );
    defaults(
        &bench,
        "user",
        "results_dir = \"mine\"\n[backend]\nslurm.account = \"user\"\n[stop]\ngrace = \"8s\"\n\
         [environment]\nA = \"user\"\n[profiles.gpu]\nstop.grace = \"7s\"\nresources.cpus = 1\n",
    );
    bench.write(
        "run.toml",
        "name = \"a\"\ncommand = [\"./count.sh\", \"2\"]\n[environment]\nB = \"config\"\n",
    );
    let words = [
        "config",
        "show",
        "run.toml",
        "stop.after=1h",
        "--profile",
        "gpu",
        "--origin",
    ];
    let shown = bench.cu(&words).stdout;
    let site = bench.path("site/cluster-utils");
    let user = bench.path("user/cluster-utils");
    for line in [
        format!(
            "stop.grace = \"7s\"  # {}, line 9",
            user.join("config.toml").display()
        ),
        format!(
            "backend.slurm.account = \"user\"  # {}, line 3",
            user.join("config.toml").display()
        ),
        format!(
            "backend.kind = \"local\"  # {}, line 2",
            site.join("config.toml").display()
        ),
        format!(
            "backend.activate = \"{0}/env.sh\"  # {0}/config.toml, line 4",
            site.display()
        ),
        "environment.A = \"user\"".to_owned(),
        "environment.B = \"config\"  # run.toml, line 4".to_owned(),
        "stop.after = \"1h\"  # the command line: stop.after=1h".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line}\nis not in\n{shown}");
    }
    let origins = &bench.json(&["config", "show", "run.toml", "--json"])["origins"];
    assert_eq!(origins["name"], "run.toml, line 1");

    // The run is made where the user's defaults say, and found there.
    fs::write(site.join("env.sh"), "").expect("a file");
    let ended = bench.cu(&["run", "run.toml", "--profile", "gpu"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let kept = bench.read("mine/a/run.toml");
    assert!(
        kept.contains("grace = \"7s\"") && kept.contains("account = \"user\""),
        "{kept}"
    );
    assert_eq!(bench.json(&["status", "--json"])["name"], "a");
    assert_eq!(bench.cu(&["status", "a"]).code, 0);
}

#[test]
fn wrong_defaults_are_named_and_make_nothing() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    defaults(&bench, "user", "[settings]\nrate = 0.1\n");
    let ended = bench.cu(&["run", "--", "./count.sh", "1"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let expected =
        "cluster-utils/config.toml, line 1: `settings`: this file has defaults for all runs";
    assert!(ended.stderr.contains(expected), "{ended:?}");
    assert!(!bench.path("results").exists());

    defaults(&bench, "user", "[profiles.gpu]\nstop.aftr = \"1h\"\n");
    let user = bench.path("user/cluster-utils/config.toml");
    let ended = bench.cu(&["config", "check", user.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("line 2: unknown key `stop.aftr`"),
        "{ended:?}"
    );

    let ended = bench.cu(&["run", "--profile", "cpu", "--", "./count.sh", "1"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("there is no profile `cpu`"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("the profiles are: gpu"), "{ended:?}");
}

#[test]
fn a_config_is_begun_checked_and_explained() {
    let bench = Bench::new();
    bench.write("train.py", "");
    assert_eq!(bench.cu(&["config", "init"]).code, 0);
    let again = bench.cu(&["config", "init"]);
    assert_eq!(again.code, 2, "{again:?}");
    let checked = bench.cu(&["config", "check", "run.toml"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.stdout, "the config is correct; it makes 1 job\n");
    bench.write(
        "wrong.toml",
        "name = \"a\"\ncommand = [\"true\"]\n[stop]\naftre = \"1h\"\ngrace = \"1:30\"\n",
    );
    let wrong = bench.cu(&["config", "check", "wrong.toml"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    for words in [
        "4 | aftre = \"1h\"\n  | ^^^^^^^^^^^^\nhint: did you mean `stop.after`?",
        "write 0:1:30 for 1 minutes, or 1:30:00 for 1 hours",
        "hint: `cu config reference stop.grace` explains it",
    ] {
        assert!(
            wrong.stderr.contains(words),
            "{words}\nis not in\n{}",
            wrong.stderr
        );
    }
    let explained = bench.cu(&["config", "reference", "stop.after"]).stdout;
    assert_eq!(
        explained,
        "[stop]\n\n# Ask after this time.\nafter = \"50min\"\n"
    );
    let unknown = bench.cu(&["config", "reference", "aftre"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let schema = bench.json(&["config", "schema"]);
    assert_eq!(
        schema["properties"]["stop"]["properties"]["after"]["type"],
        "string"
    );
}

#[test]
fn a_command_of_the_user_hears_of_the_end_once() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    defaults(&bench, "user", "on_end = \"cat > end.json; echo told\"\n");
    let ended = bench.cu(&["run", "--name", "a", "--", "./count.sh", "2"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = bench.path("results/a/end.json");
    let told_of: serde_json::Value =
        serde_json::from_slice(&fs::read(&told).expect("the command was run")).expect("JSON");
    assert_eq!(told_of["state"], "completed");
    assert_eq!(told_of["jobs"]["completed"], 1);
    assert!(bench.read("results/a/main.log").contains("told"));

    // A run that has ended had its turn.
    fs::remove_file(&told).expect("it is there");
    assert_eq!(bench.cu(&["resume", "a"]).code, 0);
    assert!(!told.exists());

    // A command that fails changes nothing of the run.
    defaults(
        &bench,
        "user",
        "on_end = \"echo no such address; exit 7\"\n",
    );
    let ended = bench.cu(&["run", "--name", "b", "--", "./count.sh", "1"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("exit status: 7"), "{ended:?}");
    assert!(bench.read("results/b/main.log").contains("no such address"));
    let ended = bench.cu(&["run", "--detach", "--name", "c", "--", "./count.sh", "1"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    bench.wait_until("the command has failed", |bench| {
        bench.read("results/c/main.log").contains("exit status: 7")
    });
}

#[test]
fn a_home_directory_that_is_closed_to_us_has_no_defaults() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    defaults(&bench, "user", "[stop]\ngrace = \"8s\"\n");
    let file = bench.path("user/cluster-utils/config.toml");
    let directory = file.parent().expect("it has one").to_owned();
    let close = |mode| {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&directory, mode).expect("it is ours");
    };
    close(0o000);
    // Nothing is closed to root.
    let is_closed = fs::read(&file).is_err();
    let shown = bench.cu(&["config", "show"]);
    close(0o700);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(shown.stdout.contains("grace"), !is_closed, "{shown:?}");
}

/// Each row: a variable, its value, the words, and what comes of them.
#[test]
fn an_option_is_read_from_its_variable_unless_typed() {
    let bench = Bench::new();
    let cu = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.envs(variables.iter().copied());
        Ended::from(command.output().expect("cu runs"))
    };
    let dry = ["run", "--dry-run", "--", "true"];
    let plan = |variables: &[(&str, &str)], options: &[&str]| {
        let words = [&["run", "--dry-run"], options, &["--", "true"]].concat();
        let ended = cu(variables, &words);
        assert_eq!(ended.code, 0, "{variables:?} {options:?}: {ended:?}");
        ended.stdout
    };
    let given = [
        ("CU_RUN_STOP_AFTER", "7min"),
        ("CU_RUN_NAME", "seven"),
        ("CU_RUN_CPUS", ""),
    ];
    let text = plan(&given, &[]);
    assert!(
        text.contains("name = \"seven\"") && text.contains("after = \"7min\""),
        "{text}"
    );
    let text = plan(&given, &["--stop-after", "8min"]);
    assert!(
        text.contains("after = \"8min\"") && text.contains("seven"),
        "{text}"
    );
    // Flags, and what excludes them.
    let json = [("CU_JSON", "1")];
    assert!(plan(&json, &[]).starts_with('{'));
    assert!(!plan(&[("CU_JSON", "no")], &[]).starts_with('{'));
    plan(&[("CU_RUN_DETACH", "1"), ("CU_QUIET", "1")], &["-v"]);
    // Mistakes name the variable; a variable of a job is none of these.
    let ended = cu(&[("CU_COLOR", "purple")], &dry);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("the variable CU_COLOR stands for --color"),
        "{ended:?}"
    );
    let ended = cu(&json, &["run", "--frob"]);
    assert_eq!(ended.json()["error"]["exit_code"], 2, "{ended:?}");
    plan(
        &[
            ("CU_STOP_FILE", "x"),
            ("CU_ATTEMPT", "x"),
            ("CU_RUN_DIR", "x"),
        ],
        &[],
    );
}
