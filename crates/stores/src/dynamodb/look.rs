//! Reading by key: what the store holds, with the fence and what stands beside
//! it, and noticing writers that have gone past us.

use std::collections::HashMap;

use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fence, Fetched, IdempotencyRow, Role};

use super::DynamoDb;
use super::item::{Guard, Held, Sidecar, read};
use super::session::Found;
use super::sidecar::{
    Life, MarkRecord, P, fence_key, idempotency_key, is_fence, mark_key, read_fence, read_idempotency, read_mark,
};
use super::table::Schema;
use super::value::Item;

/// How often a key is looked at again when others write it meanwhile.
const LOOKS_MAX: u32 = 8;

/// What is read together with the items.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside<'a> {
    /// The fence.
    Fence,
    /// The fence, and the marks of the keys.
    Marks,
    /// The fence, and an idempotency row.
    Idempotency(&'a str),
}

/// What was found. Each item is as of some moment during the look.
pub(super) struct Look {
    /// `None`: there is no sidecar.
    pub(super) fence: Option<Fence>,
    pub(super) marks: HashMap<Key, MarkRecord>,
    pub(super) idempotency: Option<IdempotencyRow>,
    held: HashMap<Key, Held>,
}

impl Look {
    /// What is under a key.
    pub(super) fn held(&self, key: &Key) -> Held {
        self.held.get(key).cloned().unwrap_or_else(|| Held::nothing(key.clone()))
    }

    pub(super) fn sidecar(&self) -> Sidecar {
        if self.fence.is_some() { Sidecar::Installed } else { Sidecar::Absent }
    }
}

impl DynamoDb {
    /// Looks at keys; those that the table cannot hold have nothing under them.
    pub(super) async fn look(&self, schema: &Schema, keys: &[Key], beside: Beside<'_>) -> StoreResult<Look> {
        let (table, sidecar) = (self.names.layout.table.as_str(), self.names.sidecar.as_str());
        let mut distinct: HashMap<&Key, Item> = HashMap::with_capacity(keys.len());
        for key in keys {
            if let Ok(item) = schema.item_of(table, key) {
                distinct.insert(key, item);
            }
        }
        let mut wanted = vec![(sidecar, fence_key(self.turn()))];
        match beside {
            Beside::Fence => {}
            Beside::Marks => wanted.extend(distinct.keys().map(|key| (sidecar, mark_key(key)))),
            Beside::Idempotency(key) => wanted.push((sidecar, idempotency_key(key))),
        }
        let items: Vec<(&str, Item)> = distinct.into_values().map(|item| (table, item)).collect();
        let doing = "reading by key";
        let all = wanted.into_iter().chain(items.iter().cloned()).collect();
        let found = match self.session.batch_get(doing, all).await {
            Ok(found) => found,
            // There is no sidecar, or not even the table.
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => {
                self.session.batch_get(doing, items).await?
            }
            Err(failed) => return Err(failed.error),
        };
        self.looked(schema, found)
    }

    fn looked(&self, schema: &Schema, mut found: Found) -> StoreResult<Look> {
        let mut look = Look { fence: None, marks: HashMap::new(), idempotency: None, held: HashMap::new() };
        for item in found.remove(&self.names.sidecar).unwrap_or_default() {
            match item.get(P).and_then(|partition| partition.as_s().ok()) {
                Some(partition) if partition.starts_with("mark.") => {
                    let mark = read_mark(&item)?;
                    look.marks.insert(mark.key.clone(), mark);
                }
                Some(partition) if partition.starts_with("idempotency.") => {
                    look.idempotency = Some(read_idempotency(&item)?);
                }
                _ if is_fence(&item) => look.fence = Some(read_fence(&item)?),
                _ => {}
            }
        }
        for item in found.remove(&self.names.layout.table).unwrap_or_default() {
            let held = read(&self.names, schema, item).map_err(|unreadable| unreadable.error)?;
            look.held.insert(held.key.clone(), held);
        }
        Ok(look)
    }

    /// One record, and whether somebody else has written it: then the write is
    /// captured now, late, or noted as foreign where this store follows.
    pub(super) async fn fetch_and_notice(&self, key: &Key) -> StoreResult<Fetched> {
        let schema = self.schema().await?;
        let mut looks = 0;
        loop {
            let look = self.look(schema, std::slice::from_ref(key), Beside::Marks).await?;
            let held = look.held(key);
            let Some(fence) = look.fence.filter(|_| is_strayed(&held, look.marks.get(key))) else {
                return Ok(held.into_fetched(look.sidecar()));
            };
            looks += 1;
            if looks > LOOKS_MAX {
                let what = format!("table {:?}: others write the record all the time", self.names.layout.table);
                return Err(StoreError::new(StoreErrorKind::Unavailable, what));
            }
            match fence.role {
                Role::Authority => self.adopt(schema, fence, &held, look.marks.get(key)).await?,
                Role::Follower | Role::Closed => {
                    self.note_foreign(key).await?;
                    return Ok(held.into_fetched(look.sidecar()));
                }
            }
        }
    }
}

/// Whether what is held was written by somebody who does not know us: other
/// content than our attribute says, or no attribute where we have set one.
fn is_strayed(held: &Held, mark: Option<&MarkRecord>) -> bool {
    held.strayed || (mark.is_some() && matches!(held.guard, Guard::Plain | Guard::Absent))
}

/// What a mark says of a key that has lost our attribute.
pub(super) fn life_of(held: &Held) -> Life {
    if held.image.is_some() { Life::There } else { Life::Gone }
}
