//! Stamps: the total order of writes to one record.

/// `(epoch, counter)`, assigned by the authority in the same atomic write that
/// changes the record. [`Stamp::ZERO`] belongs to a record that nobody has
/// written since capture began, so an untouched record needs no sidecar row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The epoch in which the write was admitted.
    pub epoch: u64,
    /// The write's number in its store.
    pub counter: u64,
}

impl Stamp {
    /// The stamp of a record that nobody has written since capture began.
    pub const ZERO: Stamp = Stamp { epoch: 0, counter: 0 };

    /// A stamp from its parts.
    pub fn new(epoch: u64, counter: u64) -> Stamp {
        Stamp { epoch, counter }
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// A text that is no stamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no stamp; expected EPOCH.COUNTER, for example 2.41")]
pub struct StampError(String);

impl std::str::FromStr for Stamp {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Stamp, StampError> {
        let bad = || StampError(text.to_owned());
        let (epoch, counter) = text.split_once('.').ok_or_else(bad)?;
        Ok(Stamp { epoch: epoch.parse().map_err(|_| bad())?, counter: counter.parse().map_err(|_| bad())? })
    }
}
