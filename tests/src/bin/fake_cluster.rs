//! The commands of a fake cluster, under whose names it is linked: see `cu_tests::fake`.

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    std::process::exit(cu_tests::fake::play(&arguments));
}
