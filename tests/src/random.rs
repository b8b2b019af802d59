//! Random choices that can be made again: by the seed that a failed test shows.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of random numbers (SplitMix64).
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Begins with the seed in `MIRROR_TEST_SEED`, or with any.
    pub fn new() -> Self {
        let given = std::env::var("MIRROR_TEST_SEED").ok();
        let seed = given.map_or_else(
            || RandomState::new().build_hasher().finish(),
            |text| text.parse().expect("MIRROR_TEST_SEED is a number"),
        );
        Self { seed, state: seed }
    }

    /// What to set `MIRROR_TEST_SEED` to for the same choices.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// One of several.
    pub fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
