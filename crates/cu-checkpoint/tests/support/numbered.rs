//! The content that the killed processes save, another one for each generation.

use cu_checkpoint::Generation;

/// The content of the checkpoint with this generation. It is longer than a page, and its length and
/// bytes differ from those of its neighbours.
pub fn content(generation: Generation) -> Vec<u8> {
    let seed = generation.counter() * 31 + u64::from(generation.attempt()) * 7;
    let length = 5_000 + (seed % 977) * 100;
    (0..length).map(|index| (index * 7 + seed) as u8).collect()
}
