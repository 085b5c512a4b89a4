//! Lists that fall by a column while their keys rise. MariaDB has no such order
//! of an index that people make, and sorts the whole table for it; so the index
//! is read from behind, where the keys of a value fall too, and the rows of each
//! value are turned round.

use super::cell::Cell;
use super::error::Tried;
use super::list::{Candidate, Direction, Full, GROUP_ROWS_MAX, List, Part, Segment, value_at};
use super::record::RootRow;

impl List<'_> {
    /// Reads the values of a column (its place in the root's columns) falling,
    /// after a value and a key if they are given.
    pub(super) async fn falling(
        &mut self,
        at: usize,
        after: Option<(Cell, Vec<Cell>)>,
        chosen: &mut Vec<Candidate>,
    ) -> Tried<Full> {
        let mut below = None;
        if let Some((value, key)) = after {
            below = Some(value.clone());
            if self.ties(at, value, key, chosen).await? == Full::Yes {
                return Ok(Full::Yes);
            }
        }
        let mut rows = self.first_group();
        loop {
            let after = below.clone().map(|value| (value, Vec::new()));
            let mut segment = Segment { part: Part::Values(at, Direction::Falling), after };
            let (mut found, count) = self.group(&mut segment, rows).await?;
            let last = found.last().map(|row| value_at(row, at));
            if count == rows {
                // Rows of the last value may be missing: it is read again, from its lowest key.
                found.retain(|row| Some(value_at(row, at)) != last);
            }
            if self.take(turned(found, at), chosen).await? == Full::Yes {
                return Ok(Full::Yes);
            }
            match last {
                Some(value) if count == rows => {
                    below = Some(value.clone());
                    if self.ties(at, value, Vec::new(), chosen).await? == Full::Yes {
                        return Ok(Full::Yes);
                    }
                }
                _ => return Ok(Full::No),
            }
            rows = (rows * 4).min(GROUP_ROWS_MAX);
        }
    }

    async fn ties(&mut self, at: usize, value: Cell, key: Vec<Cell>, chosen: &mut Vec<Candidate>) -> Tried<Full> {
        self.straight(Segment { part: Part::Ties(at), after: Some((value, key)) }, chosen).await
    }
}

/// Rows with those of each value turned round.
fn turned(mut rows: Vec<RootRow>, at: usize) -> Vec<RootRow> {
    let mut turned = Vec::with_capacity(rows.len());
    while let Some(first) = rows.first() {
        let value = value_at(first, at);
        let end = rows.iter().position(|row| value_at(row, at) != value).unwrap_or(rows.len());
        let rest = rows.split_off(end);
        turned.extend(rows.into_iter().rev());
        rows = rest;
    }
    turned
}
