//! Numbers that look random and are the same for the same seed.

/// Spreads `number` over all 64 bits (the last steps of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A sequence of them.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed` and `part`.
    pub(crate) fn new(seed: u64, part: u64) -> Random {
        Random(mix(seed ^ mix(part.wrapping_add(1))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// True in `times` of 16 cases.
    pub(crate) fn sixteenths(&mut self, times: u64) -> bool {
        self.below(16) < times
    }

    /// One of a list; its first when the list has but one.
    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, list: [T; N]) -> T {
        list[self.below(N as u64) as usize]
    }

    /// Puts a list into another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let take = |seed, part| {
            let mut random = Random::new(seed, part);
            [random.next(), random.next(), random.below(10)]
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(2, 2));
        assert_ne!(take(1, 2), take(1, 3));
    }

    #[test]
    fn all_values_come_up() {
        let mut random = Random::new(7, 0);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[random.below(5) as usize] += 1);
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
        let mut list: Vec<u32> = (0..50).collect();
        random.shuffle(&mut list);
        assert!(!list.is_sorted());
        list.sort_unstable();
        assert!(list.iter().copied().eq(0..50));
    }
}
