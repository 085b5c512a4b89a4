//! The user's table as the layout and the store describe it: its key, the part
//! of it that belongs to the entity, and the names that are ours.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::{Document, Key, Value};

use aws_sdk_dynamodb::types::{AttributeValue, KeyType as KeyRole, ScalarAttributeType, TableDescription};

use super::config::{Config, KeyType};
use super::error::refused;
use super::value::{Item, from_attribute, is_natural, size, to_attribute};

/// What our own tables' names begin with.
pub(super) const SIDECAR_PREFIX: &str = "_shearwater.";

/// Bytes of a partition key and of a sort key: DynamoDB's limits.
const PARTITION_BYTES_MAX: usize = 2048;
const SORT_BYTES_MAX: usize = 1024;

/// Characters of a table's name: DynamoDB's limit.
const NAME_CHARS_MAX: usize = 255;

/// Which part of the table's key an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Partition,
    Sort,
}

/// One attribute of the table's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyAttribute {
    pub(super) name: String,
    pub(super) ty: KeyType,
    pub(super) part: Part,
    /// What its texts begin with.
    pub(super) prefix: Option<String>,
}

/// The table's key as the store describes it, in the order of the layout.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) key: Vec<KeyAttribute>,
}

/// The names of one store.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) layout: DocumentLayout,
    pub(super) whole: Layout,
    /// The sidecar's table.
    pub(super) sidecar: String,
}

impl Names {
    /// # Errors
    /// The layout is `rows`, or a name is none that DynamoDB takes.
    pub(super) fn of(layout: Layout, config: &Config) -> StoreResult<Names> {
        let Layout::Document(document) = &layout else {
            return Err(unsupported(format!("table {:?}: DynamoDB holds documents, not rows", layout.table()))
                .with_hint("add layout = \"document\" to the store's section of the spec, and leave its columns out"));
        };
        let document = document.clone();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let chars = document.table.chars().count();
        if !document.table.chars().all(fits) || !(3..=NAME_CHARS_MAX).contains(&chars) {
            return Err(unsupported(format!("{:?} cannot name a table of DynamoDB", document.table))
                .with_hint("3 to 255 letters, digits, hyphens, underscores and dots"));
        }
        if document.table.to_ascii_lowercase().starts_with("_shearwater") {
            return Err(unsupported(format!("table {:?}: names that begin with _shearwater are ours", document.table)));
        }
        if document.key.is_empty() || document.key.len() > 2 {
            let found = document.key.len();
            return Err(unsupported(format!(
                "the key has {found} fields; DynamoDB has a partition key and a sort key"
            )));
        }
        let sidecar = sidecar_name(&document.table, config);
        Ok(Names { layout: document, whole: layout, sidecar })
    }
}

/// The sidecar's table: of the table, and of the entity in it if it has several.
fn sidecar_name(table: &str, config: &Config) -> String {
    let prefixes = (config.partition_prefix.as_deref(), config.sort_prefix.as_deref());
    let hash = |text: &str| Key::single(text).hash();
    let mut name = format!("{SIDECAR_PREFIX}{table}");
    if prefixes != (None, None) {
        name = format!("{name}.{:016x}", hash(&format!("{prefixes:?}")));
    }
    if name.len() > NAME_CHARS_MAX {
        name = format!("{SIDECAR_PREFIX}{:016x}{:016x}", hash(table), hash(&name));
    }
    name
}

fn unsupported(what: String) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, what)
}

impl Schema {
    /// The schema of a table that is there.
    ///
    /// # Errors
    /// `NotFound`: its key is not the layout's.
    pub(super) fn of(names: &Names, config: &Config, table: &TableDescription) -> StoreResult<Schema> {
        let described = key_of(table);
        let layout = &names.layout;
        let mut key = Vec::with_capacity(2);
        for name in &layout.key {
            match described.iter().find(|part| part.name == *name) {
                Some(part) => key.push(part.clone()),
                None => return Err(mismatch(layout, &described)),
            }
        }
        if key.len() != described.len() {
            return Err(mismatch(layout, &described));
        }
        Schema::with_prefixes(&layout.table, config, key)
    }

    /// The schema of a table to be made: the first key field is the partition key.
    pub(super) fn to_make(names: &Names, config: &Config) -> StoreResult<Schema> {
        let fields = &names.layout.key;
        if !config.key_types.is_empty() && config.key_types.len() != fields.len() {
            return Err(unsupported(format!(
                "key_types in the URL gives {} types, the key has {} fields",
                config.key_types.len(),
                fields.len()
            )));
        }
        let parts = [Part::Partition, Part::Sort];
        let key = fields.iter().zip(parts).enumerate().map(|(at, (name, part))| {
            let ty = config.key_types.get(at).copied().unwrap_or(KeyType::Text);
            KeyAttribute { name: name.clone(), ty, part, prefix: None }
        });
        Schema::with_prefixes(&names.layout.table, config, key.collect())
    }

    fn with_prefixes(table: &str, config: &Config, mut key: Vec<KeyAttribute>) -> StoreResult<Schema> {
        for (parameter, part, prefix) in
            [("pk_prefix", Part::Partition, &config.partition_prefix), ("sk_prefix", Part::Sort, &config.sort_prefix)]
        {
            let Some(prefix) = prefix else { continue };
            match key.iter_mut().find(|attribute| attribute.part == part && attribute.ty == KeyType::Text) {
                Some(attribute) => attribute.prefix = Some(prefix.clone()),
                None => {
                    let what = format!("{parameter} in the URL: table {table:?} has no such key of texts");
                    return Err(unsupported(what));
                }
            }
        }
        Ok(Schema { key })
    }

    /// The partition key's attribute.
    pub(super) fn partition(&self) -> Option<&KeyAttribute> {
        self.key.iter().find(|attribute| attribute.part == Part::Partition)
    }

    /// The key's attributes.
    ///
    /// # Errors
    /// `Refused`: DynamoDB cannot hold it as a key of this table.
    pub(super) fn item_of(&self, table: &str, key: &Key) -> StoreResult<Item> {
        let values = key.values();
        if values.len() != self.key.len() {
            let names: Vec<&str> = self.key.iter().map(|attribute| attribute.name.as_str()).collect();
            let what = format!("the key has {} parts, not {}", values.len(), self.key.len());
            return Err(refused(table, &names.join(", "), what));
        }
        let mut item = Item::with_capacity(2);
        for (attribute, value) in self.key.iter().zip(values) {
            let part = attribute.hold(value).map_err(|what| refused(table, &attribute.name, what))?;
            item.insert(attribute.name.clone(), part);
        }
        Ok(item)
    }

    /// The key in an item.
    pub(super) fn key_in(&self, item: &Item) -> Result<Key, (String, String)> {
        let values = self.key.iter().map(|attribute| {
            let name = &attribute.name;
            let found = item.get(name).cloned().ok_or_else(|| (name.clone(), "is missing".to_owned()))?;
            from_attribute(found).map_err(|what| (name.clone(), what))
        });
        Ok(Key::composite(values.collect::<Result<_, _>>()?))
    }

    /// Refuses a record that does not hold its key.
    pub(super) fn check_record(&self, table: &str, key: &Key, record: &Document) -> StoreResult<()> {
        for (attribute, part) in self.key.iter().zip(key.values()) {
            match record.get(&attribute.name) {
                Some(value) if value == part => {}
                Some(_) => {
                    return Err(refused(table, &attribute.name, "the record's key field differs from its key"));
                }
                None => return Err(refused(table, &attribute.name, "the record lacks its key field")),
            }
        }
        Ok(())
    }
}

impl KeyAttribute {
    /// The value as this part of a key, or why it cannot be one.
    pub(super) fn hold(&self, value: &Value) -> Result<AttributeValue, String> {
        let held = to_attribute(value)?;
        let ty = match &held {
            AttributeValue::S(_) => Some(KeyType::Text),
            AttributeValue::N(_) => Some(KeyType::Number),
            AttributeValue::B(_) => Some(KeyType::Bytes),
            _ => None,
        };
        if !is_natural(value) || ty.is_none() {
            return Err(format!("a key of type {} would come back as another value", value.type_name()));
        }
        if ty != Some(self.ty) {
            let (found, expected) = (ty.map_or("?", KeyType::letter), self.ty.letter());
            return Err(format!("the table's key is of type {expected}, found {found}"));
        }
        let (bytes, bytes_max) = (size(&held), self.part.bytes_max());
        if bytes == 0 {
            return Err("DynamoDB takes no empty key".to_owned());
        }
        if bytes > bytes_max {
            return Err(format!("the key has {bytes} bytes; DynamoDB takes at most {bytes_max}"));
        }
        match (&self.prefix, value) {
            (Some(prefix), Value::Text(text)) if !text.starts_with(prefix.as_str()) => {
                Err(format!("keys of this entity begin with {prefix:?}"))
            }
            _ => Ok(held),
        }
    }
}

impl Part {
    fn bytes_max(self) -> usize {
        match self {
            Part::Partition => PARTITION_BYTES_MAX,
            Part::Sort => SORT_BYTES_MAX,
        }
    }
}

/// The key's attributes of a table, the partition key first.
pub(super) fn key_of(table: &TableDescription) -> Vec<KeyAttribute> {
    let types = table.attribute_definitions();
    let mut key: Vec<KeyAttribute> = table
        .key_schema()
        .iter()
        .map(|element| {
            let name = element.attribute_name().to_owned();
            let ty = types.iter().find(|ty| ty.attribute_name() == name).map(|ty| ty.attribute_type());
            let ty = match ty {
                Some(ScalarAttributeType::N) => KeyType::Number,
                Some(ScalarAttributeType::B) => KeyType::Bytes,
                _ => KeyType::Text,
            };
            let part = if *element.key_type() == KeyRole::Hash { Part::Partition } else { Part::Sort };
            KeyAttribute { name, ty, part, prefix: None }
        })
        .collect();
    key.sort_by_key(|attribute| attribute.part == Part::Sort);
    key
}

fn mismatch(layout: &DocumentLayout, described: &[KeyAttribute]) -> StoreError {
    let names: Vec<String> = described.iter().map(|part| format!("{:?}", part.name)).collect();
    let what = format!(
        "table {:?}: its key is ({}), the spec says ({})",
        layout.table,
        described.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", "),
        layout.key.join(", ")
    );
    StoreError::new(StoreErrorKind::NotFound, what)
        .with_hint(format!("write key = [{}] in the store's section of the spec", names.join(", ")))
}

impl Schema {
    /// A key's attributes as a place in a scan, whichever entity it belongs to;
    /// `None` when it can be no key of the table.
    pub(super) fn place_of(&self, key: &Key) -> Option<Item> {
        if key.values().len() != self.key.len() {
            return None;
        }
        let parts = self.key.iter().zip(key.values());
        parts.map(|(attribute, value)| Some((attribute.name.clone(), to_attribute(value).ok()?))).collect()
    }
}
