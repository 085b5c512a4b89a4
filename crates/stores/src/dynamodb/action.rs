//! The actions of a transaction, each with the condition under which all of them
//! are done.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use shearwater_core::error::StoreResult;
use shearwater_core::store::{Fence, Role};

use super::item::{Guard, RESERVED, STAMP, stamp_text};
use super::session::unbuilt;
use super::sidecar;
use super::table::Schema;
use super::value::{Item, item_size};

/// A condition, or the words of an update, with what its names and values stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Item,
}

impl Words {
    pub(super) fn new(text: impl Into<String>) -> Words {
        Words { text: text.into(), ..Words::default() }
    }

    pub(super) fn name(mut self, placeholder: &str, name: &str) -> Words {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    pub(super) fn value(mut self, placeholder: &str, value: AttributeValue) -> Words {
        self.values.insert(placeholder.to_owned(), value);
        self
    }

    /// Both must hold; placeholders must differ or mean the same.
    pub(super) fn and(mut self, other: Words) -> Words {
        self.text = match (self.text.is_empty(), other.text.is_empty()) {
            (_, true) => self.text,
            (true, _) => other.text,
            _ => format!("{} AND {}", self.text, other.text),
        };
        self.names.extend(other.names);
        self.values.extend(other.values);
        self
    }

    pub(super) fn text_if_any(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| self.text.clone())
    }

    pub(super) fn names_if_any(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(super) fn values_if_any(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// That nobody has written the item since it was looked at.
pub(super) fn unchanged(schema: &Schema, guard: Guard) -> Words {
    let partition = schema.partition().map_or("", |attribute| attribute.name.as_str());
    match guard {
        Guard::Absent => Words::new("attribute_not_exists(#pk)").name("#pk", partition),
        Guard::Plain => {
            Words::new("attribute_exists(#pk) AND attribute_not_exists(#r)").name("#pk", partition).name("#r", RESERVED)
        }
        Guard::Stamped(stamp) => stamped(stamp_text(stamp)),
    }
}

/// That the item has this stamp.
pub(super) fn stamped(stamp: AttributeValue) -> Words {
    Words::new("#r.#s = :held").name("#r", RESERVED).name("#s", STAMP).value(":held", stamp)
}

/// That the fence still admits the authority's writes of this epoch.
pub(super) fn admits_writes(sidecar: &str, number: usize, fence: Fence) -> StoreResult<TransactWriteItem> {
    let words = Words::new("#role = :role AND #epoch = :epoch")
        .value(":role", sidecar::s(sidecar::role_word(Role::Authority)))
        .value(":epoch", sidecar::epoch(fence.epoch));
    check_fence(sidecar, number, words)
}

/// That the fence still admits a follower's puts of this epoch.
pub(super) fn admits_puts(sidecar: &str, number: usize, epoch: u64) -> StoreResult<TransactWriteItem> {
    let words = Words::new("#role <> :role AND #epoch <= :epoch")
        .value(":role", sidecar::s(sidecar::role_word(Role::Authority)))
        .value(":epoch", sidecar::epoch(epoch));
    check_fence(sidecar, number, words)
}

fn check_fence(sidecar: &str, number: usize, words: Words) -> StoreResult<TransactWriteItem> {
    let words = words.name("#role", "role").name("#epoch", "epoch");
    let check = ConditionCheck::builder()
        .table_name(sidecar)
        .set_key(Some(sidecar::fence_key(number)))
        .condition_expression(&words.text)
        .set_expression_attribute_names(words.names_if_any())
        .set_expression_attribute_values(words.values_if_any())
        .build()
        .map_err(|error| unbuilt(&error))?;
    Ok(TransactWriteItem::builder().condition_check(check).build())
}

/// Puts an item.
pub(super) fn put(table: &str, item: Item, condition: &Words) -> StoreResult<TransactWriteItem> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .set_condition_expression(condition.text_if_any())
        .set_expression_attribute_names(condition.names_if_any())
        .set_expression_attribute_values(condition.values_if_any())
        .build()
        .map_err(|error| unbuilt(&error))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Deletes an item.
pub(super) fn delete(table: &str, key: Item, condition: &Words) -> StoreResult<TransactWriteItem> {
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(key))
        .set_condition_expression(condition.text_if_any())
        .set_expression_attribute_names(condition.names_if_any())
        .set_expression_attribute_values(condition.values_if_any())
        .build()
        .map_err(|error| unbuilt(&error))?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

/// Updates an item that is as `condition` says.
pub(super) fn update(table: &str, key: Item, words: &str, condition: &Words) -> StoreResult<TransactWriteItem> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(key))
        .update_expression(words)
        .set_condition_expression(condition.text_if_any())
        .set_expression_attribute_names(condition.names_if_any())
        .set_expression_attribute_values(condition.values_if_any())
        .build()
        .map_err(|error| unbuilt(&error))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// Bytes of the items in a transaction.
pub(super) fn bytes(actions: &[TransactWriteItem]) -> usize {
    actions.iter().filter_map(|action| action.put.as_ref()).map(|put| item_size(&put.item)).sum()
}
