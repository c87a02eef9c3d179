//! Recorded answers of real Slurms, for tests: the files in `tests/recorded/slurm`.

/// The answer of each version, the oldest first: pairs of a version and the text of `$file`.
macro_rules! recorded {
    ($file:literal) => {
        recorded!($file: "20.11", "22.05", "24.11", "26.05")
    };
    ($file:literal: $($version:literal),*) => {
        [$((
            $version,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/tests/recorded/slurm/", $version, "/", $file
            )),
        )),*]
    };
}
pub(super) use recorded;
