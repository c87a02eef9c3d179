//! Ordinary use of each form: save, load, and refuse other forms.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};

use cu_checkpoint::{Checkpoints, Damage, Error, Form, Generation};

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("the directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn loading_before_the_first_save_finds_and_creates_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("a/b");
    let mut checkpoints = Checkpoints::open(&directory).unwrap();
    assert!(checkpoints.load::<u32>().unwrap().is_none());
    assert!(checkpoints.reader().unwrap().is_none());
    assert!(checkpoints.load_bytes().unwrap().is_none());
    assert!(checkpoints.load_directory().unwrap().is_none());
    assert!(checkpoints.generations().unwrap().is_empty());
    assert!(
        !scratch.path().join("a").exists(),
        "loading created a directory"
    );
    checkpoints.save(&1_u32).unwrap();
    assert_eq!(names(&directory), ["0.0.checkpoint"]);
}

#[test]
fn counters_continue_in_a_new_process_and_restart_per_attempt() {
    let scratch = tempfile::tempdir().unwrap();
    let open = |attempt| {
        Checkpoints::open(scratch.path())
            .unwrap()
            .for_attempt(attempt)
    };
    let mut first = open(0);
    first.save("a").unwrap();
    first.save("b").unwrap();
    assert_eq!(open(0).save("c").unwrap(), Generation::new(0, 2));
    assert_eq!(open(1).save("d").unwrap(), Generation::new(1, 0));
    assert_eq!(first.save("zombie").unwrap(), Generation::new(0, 3));
    let found = open(2).load::<String>().unwrap().expect("saved");
    assert_eq!(
        (found.value.as_str(), found.generation),
        ("d", Generation::new(1, 0))
    );
    assert!(found.skipped.is_empty());
}

#[test]
fn an_outdated_attempt_removes_no_newer_checkpoints() {
    let scratch = tempfile::tempdir().unwrap();
    let keep = |attempt, count| {
        Checkpoints::open(scratch.path())
            .unwrap()
            .for_attempt(attempt)
            .keep_last(NonZeroUsize::new(count).unwrap())
    };
    let mut living = keep(1, 3);
    let mut zombie = keep(0, 1);
    for value in 0..5 {
        living.save(&value).unwrap();
    }
    assert_eq!(
        names(scratch.path()),
        ["1.2.checkpoint", "1.3.checkpoint", "1.4.checkpoint"]
    );
    zombie.save(&9).unwrap();
    zombie.save(&9).unwrap();
    assert_eq!(
        names(scratch.path()),
        [
            "0.1.checkpoint",
            "1.2.checkpoint",
            "1.3.checkpoint",
            "1.4.checkpoint"
        ]
    );
}

#[test]
fn a_stream_loads_unchanged_and_can_be_sought() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    for length in [0, 1, 65_471, 65_472, 65_473, 300_000] {
        let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        for piece in [1_000, 65_535, 65_536, 100_000] {
            let mut writer = checkpoints.writer().unwrap();
            for bytes in content.chunks(piece) {
                writer.write_all(bytes).unwrap();
            }
            assert_eq!(writer.length(), content.len() as u64);
            let generation = writer.commit().unwrap();
            let mut found = checkpoints.reader().unwrap().expect("saved");
            assert_eq!(found.generation, generation);
            assert_eq!(found.value.length(), content.len() as u64);
            let mut read = Vec::new();
            found.value.read_to_end(&mut read).unwrap();
            assert!(
                read == content,
                "{length} bytes in pieces of {piece} loaded as other bytes"
            );
            let at_once = checkpoints.load_bytes().unwrap().expect("saved");
            assert_eq!(at_once.generation, generation);
            assert!(
                at_once.value == content,
                "{length} bytes in pieces of {piece} loaded at once as other bytes"
            );
        }
    }
    let mut reader = checkpoints.reader().unwrap().expect("saved").value;
    let mut two = [0; 2];
    assert_eq!(reader.seek(SeekFrom::Start(10)).unwrap(), 10);
    reader.read_exact(&mut two).unwrap();
    assert_eq!(two, [10, 11]);
    assert_eq!(reader.seek(SeekFrom::Current(-3)).unwrap(), 9);
    assert_eq!(reader.fill_buf().unwrap()[0], 9);
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 299_999);
    assert!(
        reader.seek(SeekFrom::Current(-300_001)).is_err(),
        "the header can be reached"
    );
    assert!(
        reader.seek(SeekFrom::End(-300_001)).is_err(),
        "the header can be reached"
    );
}

#[test]
fn a_directory_loads_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    for round in 0..4_u8 {
        let files = checkpoints.directory().unwrap();
        fs::create_dir_all(files.path().join("deep/deeper")).unwrap();
        fs::create_dir(files.path().join("empty")).unwrap();
        fs::write(files.path().join("deep/deeper/weights"), [round; 1000]).unwrap();
        fs::write(files.path().join("nothing"), []).unwrap();
        let generation = files.commit().unwrap();
        let found = checkpoints.load_directory().unwrap().expect("saved");
        assert_eq!(found.generation, generation);
        assert_eq!(
            fs::read(found.value.join("deep/deeper/weights")).unwrap(),
            [round; 1000]
        );
        assert!(found.value.join("empty").is_dir());
    }
    assert_eq!(names(scratch.path()), ["0.2.checkpoint", "0.3.checkpoint"]);
}

#[test]
fn an_uncommitted_checkpoint_leaves_no_trace() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints
        .writer()
        .unwrap()
        .write_all(&[1; 100_000])
        .unwrap();
    let files = checkpoints.directory().unwrap();
    fs::create_dir(files.path().join("sub")).unwrap();
    fs::write(files.path().join("sub/file"), "x").unwrap();
    drop(files);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn only_files_and_directories_can_be_committed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    let files = checkpoints.directory().unwrap();
    symlink("/etc/passwd", files.path().join("link")).unwrap();
    let error = files.commit().unwrap_err();
    assert!(
        matches!(&error, Error::NotCommittable { path, .. } if path.ends_with("link")),
        "{error}"
    );
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_directory_that_lost_its_manifest_is_refused() {
    let losses: [fn(&std::path::Path); 4] = [
        |path| fs::remove_dir_all(path).unwrap(),
        |path| {
            fs::remove_dir_all(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::write(path.join("weights"), "new").unwrap();
        },
        |path| {
            fs::remove_file(path.join(".cu-manifest")).unwrap();
            fs::write(path.join(".cu-manifest"), "").unwrap();
        },
        |path| {
            let elsewhere = path.parent().unwrap().join("elsewhere");
            fs::rename(path, elsewhere).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for lose in losses {
        let scratch = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
        let files = checkpoints.directory().unwrap();
        lose(files.path());
        let error = files.commit().unwrap_err();
        assert!(matches!(&error, Error::ManifestRemoved { .. }), "{error}");
        assert!(error.to_string().contains("needs one below it"), "{error}");
        assert_eq!(checkpoints.generations().unwrap(), []);
    }
}

#[test]
fn another_form_is_an_error_but_not_if_it_is_damaged() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints.save(&7_u32).unwrap();
    let mut writer = checkpoints.writer().unwrap();
    writer.write_all(b"stream").unwrap();
    writer.commit().unwrap();

    let error = checkpoints.load::<u32>().unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherForm {
                found: Form::Stream,
                wanted: Form::Value,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        checkpoints.load_directory().unwrap_err(),
        Error::OtherForm {
            found: Form::Stream,
            wanted: Form::Directory,
            ..
        }
    ));

    let newest = scratch.path().join("0.1.checkpoint");
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    let found = checkpoints.load::<u32>().unwrap().expect("the older one");
    assert_eq!(found.value, 7);
    assert_eq!(found.skipped[0].damage, Damage::Checksum);
    assert_eq!(found.skipped[0].path, newest);
}

#[test]
fn another_type_is_an_error_that_names_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints.save(&u64::MAX).unwrap();
    let error = checkpoints.load::<String>().unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    assert!(error.to_string().contains("0.0.checkpoint"), "{error}");
}

#[test]
fn a_value_without_an_encoding_leaves_no_trace() {
    struct Endless;
    impl serde::Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::from_fn(|| Some(1)))
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    assert!(matches!(
        checkpoints.save(&Endless),
        Err(Error::Encode { .. })
    ));
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_newer_format_is_never_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints.save(&1).unwrap();
    let mut header = [0; 64];
    header[..8].copy_from_slice(b"\x89CUCKP\r\n");
    header[8] = 2;
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(
        scratch.path().join("0.1.checkpoint"),
        [&header[..], b"whatever"].concat(),
    )
    .unwrap();
    let error = checkpoints.load::<i32>().unwrap_err();
    assert!(
        matches!(error, Error::NewerFormat { version: 2, .. }),
        "{error}"
    );
}

#[test]
fn all_damaged_is_an_error_and_not_an_empty_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints.save(&1).unwrap();
    checkpoints.save(&2).unwrap();
    fs::write(scratch.path().join("0.0.checkpoint"), "x").unwrap();
    fs::remove_file(scratch.path().join("0.1.checkpoint")).unwrap();
    symlink("nowhere", scratch.path().join("0.1.checkpoint")).unwrap();
    let Err(Error::AllDamaged { skipped, .. }) = checkpoints.load::<i32>() else {
        panic!("a damaged checkpoint was loaded or ignored");
    };
    let reasons: Vec<_> = skipped.into_iter().map(|skipped| skipped.damage).collect();
    assert_eq!(reasons, [Damage::Missing, Damage::HeaderCut]);
    assert_eq!(checkpoints.save(&3).unwrap(), Generation::new(0, 2));
}

#[test]
fn a_checkpoint_under_another_name_is_damaged() {
    let scratch = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    checkpoints.save(&1).unwrap();
    fs::copy(
        scratch.path().join("0.0.checkpoint"),
        scratch.path().join("7.0.checkpoint"),
    )
    .unwrap();
    let found = checkpoints.load::<i32>().unwrap().expect("saved");
    assert_eq!(found.generation, Generation::new(0, 0));
    assert_eq!(
        found.skipped[0].damage,
        Damage::OtherGeneration(Generation::new(0, 0))
    );
}

#[test]
fn running_out_of_numbers_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let name = format!("{}.checkpoint", Generation::new(0, u64::MAX));
    fs::write(scratch.path().join(name), "").unwrap();
    let mut checkpoints = Checkpoints::open(scratch.path()).unwrap();
    assert!(matches!(
        checkpoints.save(&1),
        Err(Error::NoNumberLeft { attempt: 0, .. })
    ));
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Checkpoints::open(&path).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert!(Checkpoints::open(path.join("below")).is_err());
}

#[test]
fn files_get_the_mode_that_the_umask_leaves() {
    let scratch = tempfile::tempdir().unwrap();
    let ordinary = scratch.path().join("ordinary");
    fs::write(&ordinary, "").unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let directory = scratch.path().join("checkpoints");
    let mut checkpoints = Checkpoints::open(&directory).unwrap();
    checkpoints.save(&1).unwrap();
    assert_eq!(mode(&directory.join("0.0.checkpoint")), mode(&ordinary));
    checkpoints.directory().unwrap().commit().unwrap();
    fs::create_dir(scratch.path().join("ordinary_directory")).unwrap();
    let ordinary_directory = mode(&scratch.path().join("ordinary_directory"));
    assert_eq!(mode(&directory), ordinary_directory);
    assert_eq!(mode(&directory.join("0.1.checkpoint")), ordinary_directory);
    assert_eq!(
        mode(&directory.join("0.1.checkpoint/.cu-manifest")),
        mode(&ordinary)
    );
}
