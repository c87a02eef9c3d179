//! What the victims of the tests save: a content for each generation.

use cu_checkpoint::Generation;

/// What the checkpoint with this generation holds: of a length and content that tell its neighbours
/// apart, and longer than a page.
pub fn content(generation: Generation) -> Vec<u8> {
    let seed = generation.counter() * 31 + u64::from(generation.attempt()) * 7;
    let length = 5_000 + (seed % 977) * 100;
    (0..length).map(|index| (index * 7 + seed) as u8).collect()
}
