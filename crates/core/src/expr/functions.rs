//! The functions of the subset: one table for names, arguments and results.

use crate::shape::FieldType;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Ceil,
    Coalesce,
    Concat,
    Floor,
    FromEpochMs,
    Greatest,
    Least,
    Left,
    Length,
    Lower,
    Ltrim,
    NullIf,
    Position,
    Replace,
    Right,
    Round,
    Rtrim,
    SplitPart,
    Substring,
    ToEpochMs,
    Trim,
    Upper,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    Int,
    Number,
    Instant,
    /// Anything that has a text.
    Scalar,
    /// The same type as the other arguments of this kind.
    Alike,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Type(FieldType),
    /// The type of the first argument.
    First,
    /// The common type of the arguments.
    Alike,
}

/// What is known of a function.
pub(super) struct Signature {
    pub function: Function,
    pub name: &'static str,
    /// The arguments; the last stands for all that follow when there may be more.
    pub takes: &'static [Takes],
    pub arguments_min: usize,
    pub arguments_max: usize,
    pub gives: Gives,
    /// Whether a null argument makes the result null.
    pub nulls: Nulls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    /// A null argument makes the result null.
    Spread,
    /// The function sees them.
    Seen,
}

/// Arguments of the functions that take any number: more would be a list, not an expression.
const ARGUMENTS_MAX: usize = 64;

macro_rules! signatures {
    ($($function:ident $name:literal ($($takes:ident),*) $min:literal..$max:expr => $gives:expr, $nulls:ident;)*) => {
        /// All functions by name.
        pub(super) const SIGNATURES: &[Signature] = &[$(Signature {
            function: Function::$function,
            name: $name,
            takes: &[$(Takes::$takes),*],
            arguments_min: $min,
            arguments_max: $max,
            gives: $gives,
            nulls: Nulls::$nulls,
        }),*];

        impl Function {
            pub(super) fn signature(self) -> &'static Signature {
                let place = match self {
                    $(Function::$function => Function::$function as usize),*
                };
                &SIGNATURES[place]
            }
        }
    };
}

const TEXT: Gives = Gives::Type(FieldType::Text);
const INT: Gives = Gives::Type(FieldType::Int);

// In the order of the enum.
signatures! {
    Abs "abs" (Number) 1..1 => Gives::First, Spread;
    Ceil "ceil" (Number) 1..1 => Gives::First, Spread;
    Coalesce "coalesce" (Alike) 1..ARGUMENTS_MAX => Gives::Alike, Seen;
    Concat "concat" (Scalar) 1..ARGUMENTS_MAX => TEXT, Seen;
    Floor "floor" (Number) 1..1 => Gives::First, Spread;
    FromEpochMs "from_epoch_ms" (Int) 1..1 => Gives::Type(FieldType::Instant), Spread;
    Greatest "greatest" (Alike) 1..ARGUMENTS_MAX => Gives::Alike, Seen;
    Least "least" (Alike) 1..ARGUMENTS_MAX => Gives::Alike, Seen;
    Left "left" (Text, Int) 2..2 => TEXT, Spread;
    Length "length" (Text) 1..1 => INT, Spread;
    Lower "lower" (Text) 1..1 => TEXT, Spread;
    Ltrim "ltrim" (Text, Text) 1..2 => TEXT, Spread;
    NullIf "nullif" (Alike, Alike) 2..2 => Gives::First, Seen;
    Position "position" (Text, Text) 2..2 => INT, Spread;
    Replace "replace" (Text, Text, Text) 3..3 => TEXT, Spread;
    Right "right" (Text, Int) 2..2 => TEXT, Spread;
    Round "round" (Number, Int) 1..2 => Gives::First, Spread;
    Rtrim "rtrim" (Text, Text) 1..2 => TEXT, Spread;
    SplitPart "split_part" (Text, Text, Int) 3..3 => TEXT, Spread;
    Substring "substring" (Text, Int, Int) 2..3 => TEXT, Spread;
    ToEpochMs "to_epoch_ms" (Instant) 1..1 => INT, Spread;
    Trim "trim" (Text, Text) 1..2 => TEXT, Spread;
    Upper "upper" (Text) 1..1 => TEXT, Spread;
}

impl Function {
    /// Whether it counts the characters of a text.
    pub(super) fn counts_characters(self) -> bool {
        matches!(self, Function::Length | Function::Substring)
    }
}

/// Other names under which databases know them.
const ALIASES: &[(&str, Function)] = &[
    ("btrim", Function::Trim),
    ("ceiling", Function::Ceil),
    ("char_length", Function::Length),
    ("character_length", Function::Length),
    ("substr", Function::Substring),
];

/// The function of a name, in any case.
pub(super) fn named(name: &str) -> Option<Function> {
    let name = name.to_ascii_lowercase();
    let own = SIGNATURES.iter().find(|signature| signature.name == name).map(|signature| signature.function);
    own.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, function)| *function))
}

/// The name that was probably meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let nearest = SIGNATURES.iter().map(|signature| (distance(&name, signature.name), signature.name)).min()?;
    (nearest.0 <= name.len().div_ceil(3)).then_some(nearest.1)
}

/// Insertions, deletions and replacements from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
