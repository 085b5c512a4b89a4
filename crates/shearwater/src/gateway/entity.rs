//! A served entity: its data path and, for each version, its shape.

use std::sync::Arc;

use shearwater_core::Key;
use shearwater_core::journal::JournalError;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::Image;
use shearwater_core::value::{Document, Uuid, Value};
use shearwater_engine::Serve;
use shearwater_engine::records::Shape;

use super::json::Codec;
use super::key_text;
use super::page::Sealer;
use super::problem::{Kind, Problem};
use super::usage::{self, Usage};

/// One entity with both of its versions.
pub struct Entity {
    /// Its name in paths.
    pub name: String,
    /// The migration that it belongs to: its reads and writes.
    pub serve: Arc<dyn Serve>,
    /// Page tokens.
    pub sealer: Sealer,
    v1: Version,
    v2: Version,
}

/// One version of an entity: how its clients see the records.
pub struct Version {
    /// The shape.
    pub shape: Shape,
    /// The path of the collection, for example `/v1/users`.
    pub path: String,
    /// The layout.
    pub layout: Layout,
    /// The layout in JSON.
    pub codec: Codec,
    /// The declared types of the key fields.
    pub key_types: Vec<Option<FieldType>>,
    /// Counts.
    pub usage: Usage,
}

impl Entity {
    /// Opens an entity for serving.
    pub async fn open(serve: Arc<dyn Serve>) -> Result<Entity, JournalError> {
        let sealer = Sealer::open(serve.journal().as_ref()).await?;
        let name = serve.entity().to_owned();
        let version = |shape| Version::new(&name, shape, serve.layout(shape).clone(), serve.fields(shape));
        let (v1, v2) = (version(Shape::V1), version(Shape::V2));
        Ok(Entity { name, serve, sealer, v1, v2 })
    }

    /// One version.
    pub fn version(&self, shape: Shape) -> &Version {
        match shape {
            Shape::V1 => &self.v1,
            Shape::V2 => &self.v2,
        }
    }

    /// Adds the counts of this member to those in the journal.
    pub async fn save_usage(&self) -> Result<(), JournalError> {
        usage::save(self.serve.journal().as_ref(), self.serve.member_id(), &self.v1.usage, &self.v2.usage).await
    }

    /// The key of a record of a shape.
    pub fn key_of(&self, shape: Shape, record: Document) -> Result<(Key, Document), Problem> {
        let image = Image::of(record);
        let key = self.serve.key_of(shape, &image).map_err(|error| {
            let mut problem = Problem::new(Kind::Unprocessable, error.to_string()).field(error.path);
            problem.code = Some(error.code.into());
            problem.hint = error.hint;
            problem
        })?;
        Ok((key, image.record))
    }

    /// Gives a record without key fields the key that `uuid` makes, where keys
    /// are text or UUIDs in the shape that will last. Chosen here and not by a
    /// store, so that a write that is sent again names the same record (H17).
    pub fn with_key(&self, shape: Shape, record: Document, uuid: Uuid) -> Result<Document, Problem> {
        let version = self.version(shape);
        let names = version.layout.key_fields();
        if names.iter().any(|name| record.contains(name)) {
            return Ok(record);
        }
        let chosen = chosen_key(&self.v2, uuid).and_then(|key| self.serve.key_from_v2(shape, &key));
        let Some(key) = chosen.filter(|key| key.values().len() == names.len()) else {
            return Err(Problem::new(Kind::Unprocessable, format!("{} is missing", names.join(", ")))
                .field(names.join(","))
                .hint("send the key; the gateway chooses one only where keys are text or UUIDs"));
        };
        Ok(names.iter().cloned().zip(key.values().iter().cloned()).chain(record).collect())
    }
}

impl Version {
    fn new(entity: &str, shape: Shape, layout: Layout, fields: Vec<String>) -> Version {
        Version {
            shape,
            path: format!("/{}/{entity}", usage::version(shape)),
            codec: Codec::of(&layout),
            key_types: key_text::types(&layout),
            usage: Usage::new(entity, shape, fields),
            layout,
        }
    }

    /// Fills in the key fields that a body of one record left out, because the
    /// path has them already.
    pub fn fill_key(&self, key: &Key, record: &mut Document) {
        for (name, value) in self.layout.key_fields().iter().zip(key.values()) {
            if !record.contains(name) {
                record.set(name.as_str(), value.clone());
            }
        }
    }
}

/// A new key, if keys of this version can be chosen.
fn chosen_key(v2: &Version, uuid: Uuid) -> Option<Key> {
    match v2.key_types.as_slice() {
        [None | Some(FieldType::Text)] => Some(Key::single(uuid.to_string())),
        [Some(FieldType::Uuid)] => Some(Key::single(Value::Uuid(uuid))),
        _ => None,
    }
}
