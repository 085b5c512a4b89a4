//! Repeatable chance: the same seed gives the same demo data and the same
//! choices of each client (not the same interleaving, which is the machine's).

/// A small seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice for one purpose: `stream` tells clients and data of one seed apart.
    pub fn new(seed: u64, stream: u64) -> Dice {
        let mut dice = Dice { state: seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93) };
        dice.next();
        dice
    }

    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { ((u128::from(self.next()) * bound as u128) >> 64) as usize }
    }

    /// Whether something of this probability happens.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Zipf's distribution over ranks: few are asked for often, most seldom.
#[derive(Clone, Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// The exponent of web caches and of the usual store benchmarks.
    pub const EXPONENT: f64 = 0.99;

    /// Over ranks 0 to below `ranks` (at least one).
    pub fn new(ranks: usize) -> Zipf {
        let mut sum = 0.0;
        let cumulative = (1..=ranks.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-Zipf::EXPONENT);
                sum
            })
            .collect();
        Zipf { cumulative }
    }

    /// A rank.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let at = dice.unit() * total;
        self.cumulative.partition_point(|&sum| sum <= at).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_dice_and_streams_differ() {
        let rolls = |seed, stream| (0..8).map(|_| Dice::new(seed, stream).next()).collect::<Vec<_>>();
        assert_eq!(rolls(7, 1), rolls(7, 1));
        assert_ne!(Dice::new(7, 1).next(), Dice::new(7, 2).next());
        assert_ne!(Dice::new(7, 1).next(), Dice::new(8, 1).next());
    }

    #[test]
    fn below_stays_below_and_meets_every_face() {
        let mut dice = Dice::new(1, 0);
        let mut met = [0usize; 6];
        for _ in 0..6_000 {
            met[dice.below(6)] += 1;
        }
        assert!(met.iter().all(|&n| n > 800), "{met:?}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.below(1), 0);
    }

    #[test]
    fn zipf_prefers_low_ranks_and_reaches_high_ones() {
        let zipf = Zipf::new(1_000);
        let mut dice = Dice::new(3, 0);
        let draws: Vec<usize> = (0..20_000).map(|_| zipf.draw(&mut dice)).collect();
        let first = draws.iter().filter(|&&rank| rank == 0).count();
        let hundredth = draws.iter().filter(|&&rank| rank == 99).count();
        assert!(first > 20 * hundredth.max(1), "{first} against {hundredth}");
        assert!(draws.iter().any(|&rank| rank > 900));
        assert_eq!(Zipf::new(0).draw(&mut dice), 0);
    }
}
