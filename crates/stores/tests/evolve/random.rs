//! Fills made at random, of what every store is proven to evaluate alike.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (a linear congruence), so that a seed says everything.
pub struct Random(u64);

/// The variable that repeats a run.
const SEED: &str = "SHEARWATER_SEED";

/// Operators in one another.
const DEPTH_MAX: u32 = 3;

impl Random {
    /// From the seed that is asked for, or a new one, which is printed.
    pub fn seeded() -> Random {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now);
        println!("{SEED}={seed}");
        Random(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len() as u64) as usize]
    }

    /// A field's type and value, as a spec has them.
    pub fn field(&mut self) -> (&'static str, String) {
        let (ty, expression, fallback) = match self.below(5) {
            0 => ("int", self.int(0), "-42"),
            1 => ("bool", self.bool(0), "true"),
            2 => ("decimal 8 2", self.int(0), "\"0\""),
            3 => ("text active blocked 7", self.text(0), "\"blocked\""),
            _ => ("text", self.text(0), "\"fall back\""),
        };
        (ty, format!("{{ sql = '''{expression} ''', fallback = {fallback} }}"))
    }

    fn int(&mut self, depth: u32) -> String {
        let leaf = depth >= DEPTH_MAX;
        let below = depth + 1;
        match self.below(if leaf { 3 } else { 11 }) {
            0 => "id".to_owned(),
            1 => "age".to_owned(),
            2 => self.one(&["0", "-1", "7", "9223372036854775807", "-9223372036854775808", "1000"]).to_owned(),
            3..=5 => {
                let sign = self.one(&["+", "-", "*", "%"]);
                format!("({} {sign} {})", self.int(below), self.int(below))
            }
            6 => format!("(- {})", self.int(below)),
            7 => format!("CAST({} AS int)", self.text(below)),
            8 => format!("length({})", self.text(below)),
            9 => format!("CASE WHEN {} THEN {} ELSE {} END", self.bool(below), self.int(below), self.int(below)),
            _ => format!("coalesce({}, {})", self.int(below), self.int(below)),
        }
    }

    fn text(&mut self, depth: u32) -> String {
        let leaf = depth >= DEPTH_MAX;
        let below = depth + 1;
        match self.below(if leaf { 3 } else { 11 }) {
            0 => "name".to_owned(),
            1 => "nick".to_owned(),
            2 => self.one(&["''", "'a'", "'A '", "'7'", "'😀ü'", "'true'", "'active'", "'it''s'"]).to_owned(),
            3 => format!("({} || {})", self.text(below), self.text(below)),
            4 => format!("concat({}, {})", self.text(below), self.text(below)),
            5 => format!("CAST({} AS text)", self.int(below)),
            6 => format!("CAST({} AS text)", self.bool(below)),
            7 => format!("substr({}, {}, {})", self.text(below), 1 + self.below(3), self.below(3)),
            8 => format!("CASE WHEN {} THEN {} ELSE {} END", self.bool(below), self.text(below), self.text(below)),
            9 => format!("nullif({}, {})", self.text(below), self.text(below)),
            _ => format!("coalesce({}, {})", self.text(below), self.text(below)),
        }
    }

    fn bool(&mut self, depth: u32) -> String {
        let leaf = depth >= DEPTH_MAX;
        let below = depth + 1;
        let sign = self.one(&["=", "<>", "<", "<=", ">", ">="]);
        match self.below(if leaf { 2 } else { 9 }) {
            0 => "active".to_owned(),
            1 => self.one(&["TRUE", "FALSE"]).to_owned(),
            2 => format!("({} {sign} {})", self.int(below), self.int(below)),
            3 => format!("({} {sign} {})", self.text(below), self.text(below)),
            4 => format!("({} AND {})", self.bool(below), self.bool(below)),
            5 => format!("({} OR {})", self.bool(below), self.bool(below)),
            6 => format!("(NOT {})", self.bool(below)),
            7 => format!("({} IS NULL)", self.text(below)),
            _ => format!("({} BETWEEN {} AND {})", self.int(below), self.int(below), self.int(below)),
        }
    }
}
