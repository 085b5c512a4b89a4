//! Values that only the follower wants unique, looked for before the authority
//! takes a write in the ramp. A race past this look ends as a dead letter.

use std::collections::HashSet;

use shearwater_core::Key;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, ListQuery, Literal};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Put, Side};

use super::{DataPath, ServeError};

impl DataPath {
    pub(super) async fn check_unique(&self, authority: Side, follower: Side, puts: &[Put]) -> Result<(), ServeError> {
        let Layout::Rows(table) = self.setup.store(follower).layout() else { return Ok(()) };
        let unique: Vec<&str> = table
            .columns
            .iter()
            .filter(|column| column.unique && !table.key.contains(&column.name))
            .map(|column| column.name.as_str())
            .collect();
        if unique.is_empty() {
            return Ok(());
        }
        // The write's own keys are about to change: what they hold now is no obstacle.
        let own: HashSet<&Key> = puts.iter().map(|put| &put.key).collect();
        for put in puts {
            let Some(image) = &put.image else { continue };
            for column in &unique {
                let Some(value) = image.record.get(column).filter(|value| !value.is_null()) else { continue };
                let filter = Filter::Compare {
                    path: Path::field(*column),
                    op: CompareOp::Eq,
                    literal: Literal::Typed(value.clone()),
                };
                if self.is_taken(authority, follower, filter, &own).await? {
                    return Err(ServeError::Unprocessable {
                        code: "record/not-unique".to_owned(),
                        field: (*column).to_owned(),
                        message: "another record has this value, and it must be unique".to_owned(),
                        hint: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a record of the follower, which the authority confirms, matches.
    async fn is_taken(
        &self,
        authority: Side,
        follower: Side,
        filter: Filter,
        own: &HashSet<&Key>,
    ) -> Result<bool, ServeError> {
        let limit = own.len() + 1;
        let query = ListQuery { filter, order: vec![], after: None, limit };
        // A follower that is away cannot be asked; its refusal becomes a dead letter.
        let Ok(page) = self.setup.store(follower).list(&query).await else { return Ok(false) };
        for found in page.records.iter().filter(|found| !own.contains(&found.key)) {
            let Ok(key) = self.key_across(follower, authority, &found.key) else { continue };
            let held = self.setup.store(authority).fetch(&key).await?;
            if held.image.is_some() && !held.dirty {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
