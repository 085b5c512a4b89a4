//! Decimals of any precision.

/// A decimal number: sign, digits, scale; also NaN and the infinities, which
/// PostgreSQL's `numeric` has. The scale is kept: `1.0` and `1.00` differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decimal {
    /// `(-1)^negative * digits * 10^-scale`; digits are 0–9 without leading
    /// zeros (one `0` for zero). The scale may be negative (`1e3` is 1, -3).
    Finite {
        /// Whether the sign is minus.
        negative: bool,
        /// Decimal digits, most significant first, each 0–9.
        digits: Vec<u8>,
        /// Digits after the decimal point.
        scale: i32,
    },
    /// Not a number.
    NaN,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegInfinity,
}
