//! What a store under test gives to the suite, and the records that it uses.

use std::sync::Arc;

use async_trait::async_trait;
use shearwater_core::shape::{ChildShape, ColumnShape, DocumentLayout, FieldType, Layout, TableShape};
use shearwater_core::store::{Change, Expect, Fence, Image, Put, Role, Store, Write, Written};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp, Value};

/// The two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Key and document.
    Document,
    /// Root, child tables, residue.
    Rows,
}

/// A change by a program that has never heard of us.
#[derive(Clone, Debug)]
pub enum DirectChange {
    /// Sets `age` of an existing record of the standard layout.
    SetAge(String, i64),
    /// Deletes a record.
    Delete(String),
    /// Gives a record another key.
    Rename(String, String),
}

/// Where a value of the `rows` layout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a key column.
    Key,
    /// In another column.
    Column,
}

/// What becomes of a program that writes past the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Its writes are captured as it makes them, and the fence refuses them.
    Captured,
    /// A write to a record that we have written is noticed when the record is
    /// looked at next, and captured, or noted as foreign, then.
    Noticed,
    /// As [`Bypass::Noticed`], but a deletion leaves nothing to be noticed by:
    /// verification alone finds it.
    NoticedWhereItStands,
}

/// How even the ranges of a split are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// By counted records.
    Even,
    /// By the store's own hash of the key: even in large tables only.
    Hashed,
}

/// A kind of store under test.
#[async_trait]
pub trait Bench: Send + Sync {
    /// Which layout is tested.
    fn flavour(&self) -> Flavour;

    /// Whether the columns that the store makes for a type hold a value of it in
    /// the `rows` layout. What they do not hold must be refused by name; all
    /// else must survive exactly.
    fn holds(&self, _place: Place, _ty: FieldType, _value: &Value) -> bool {
        true
    }

    /// Whether the store holds a value exactly in the `document` layout. What it
    /// does not hold must be refused by name.
    fn holds_in_document(&self, _place: Place, _value: &Value) -> bool {
        true
    }

    /// A record as the store gives it back while it has no sidecar.
    fn bare(&self, record: Document) -> Document {
        record
    }

    /// What becomes of programs that write past the gateway.
    fn bypass(&self) -> Bypass {
        Bypass::Captured
    }

    /// How even the ranges of a split are.
    fn ranges(&self) -> Ranges {
        Ranges::Even
    }

    /// Changes that one write takes.
    fn changes_max(&self) -> usize {
        usize::MAX
    }

    /// A name for a table, as like this one as the store takes.
    fn table_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// A new, empty place with a store of this layout in it, provisioned,
    /// without a sidecar.
    async fn fresh(&self, layout: Layout) -> Arc<dyn Store>;

    /// Another handle on the place that was made last for `store`, as another
    /// process would open it.
    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store>;

    /// A change of `store`'s table behind its back; the error is the database's text.
    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String>;

    /// The file of naughty strings: one JSON array of texts.
    fn naughty_strings(&self) -> Vec<String>;

    /// The seed of random checks; a failure prints it.
    fn seed(&self) -> u64;
}

/// A small generator of numbers (SplitMix64), so that a seed is all it takes
/// to see a failure again.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

pub(super) fn column(name: &str, ty: FieldType) -> ColumnShape {
    ColumnShape {
        name: name.into(),
        ty,
        nullable: name != "id",
        unique: name == "email",
        native: None,
        references: None,
    }
}

/// The standard layout: a text key `id`, and in `rows` the columns below, a
/// child table for `tags` (with one for `marks` inside) and a residue.
pub(super) fn layout(flavour: Flavour) -> Layout {
    match flavour {
        Flavour::Document => {
            Layout::Document(DocumentLayout { table: "users".into(), key: vec!["id".into()], document: "doc".into() })
        }
        Flavour::Rows => Layout::Rows(TableShape {
            extras: Default::default(),
            table: "users".into(),
            key: vec!["id".into()],
            columns: vec![
                column("id", FieldType::Text),
                column("email", FieldType::Text),
                column("age", FieldType::Int),
                column("score", FieldType::Float),
                column("active", FieldType::Bool),
            ],
            children: vec![ChildShape {
                field: "tags".into(),
                table: "user_tags".into(),
                columns: vec![column("tag", FieldType::Text)],
                children: vec![ChildShape {
                    field: "marks".into(),
                    table: "user_tag_marks".into(),
                    columns: vec![column("mark", FieldType::Int)],
                    children: vec![],
                    residue: None,
                }],
                residue: Some("more".into()),
            }],
            residue: Some("extra".into()),
        }),
    }
}

/// A document from its JSON text.
pub(super) fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

/// A standard record, fit for both layouts.
pub(super) fn record(id: &str, age: i64) -> Document {
    let id_json = json::to_string(&id.into());
    doc(&format!(
        r#"{{"id":{id_json},"email":{id_json},"age":{age},"score":0.5,"active":true,
            "tags":[{{"tag":"red","marks":[{{"mark":1}},{{"mark":2}}]}},{{"tag":null,"marks":[],"more":{{"x":[1]}}}}],
            "extra":{{"age was":[{age}]}}}}"#
    ))
}

pub(super) fn key(id: &str) -> Key {
    Key::single(id)
}

pub(super) fn put_change(id: &str, age: i64, expect: Expect) -> Change {
    Change { key: key(id), image: Some(Image::of(record(id, age))), expect }
}

pub(super) fn delete_change(id: &str, expect: Expect) -> Change {
    Change { key: key(id), image: None, expect }
}

pub(super) fn put(id: &str, age: i64, stamp: Stamp) -> Put {
    Put { key: key(id), image: Some(Image::of(record(id, age))), stamp }
}

pub(super) fn tombstone(id: &str, stamp: Stamp) -> Put {
    Put { key: key(id), image: None, stamp }
}

pub(super) fn fence(role: Role, epoch: u64) -> Fence {
    Fence { role, epoch }
}

/// A store of the standard layout with its sidecar.
pub(super) async fn installed(bench: &dyn Bench, role: Role) -> Arc<dyn Store> {
    let store = bench.fresh(layout(bench.flavour())).await;
    store.install(fence(role, 1)).await.unwrap();
    store
}

/// Writes at epoch 1; the stamps.
pub(super) async fn write(store: &Arc<dyn Store>, changes: Vec<Change>) -> Vec<Stamp> {
    match store.write(Write { epoch: Some(1), changes, idempotency: None }).await.unwrap() {
        Written::Applied(stamps) => stamps.into_iter().map(Option::unwrap).collect(),
        replayed => panic!("not applied: {replayed:?}"),
    }
}

/// As [`write`], in as many writes as the store needs.
pub(super) async fn write_all(bench: &dyn Bench, store: &Arc<dyn Store>, changes: Vec<Change>) -> Vec<Stamp> {
    let mut stamps = Vec::with_capacity(changes.len());
    for some in changes.chunks(bench.changes_max()) {
        stamps.extend(write(store, some.to_vec()).await);
    }
    stamps
}

/// Whether a store under test takes a value in one of the places where it stands.
pub(super) fn holds(bench: &dyn Bench, place: Place, ty: FieldType, value: &Value) -> bool {
    match bench.flavour() {
        _ if value.is_null() => true,
        Flavour::Document => bench.holds_in_document(place, value),
        Flavour::Rows => bench.holds(place, ty, value),
    }
}

/// The record under a key.
pub(super) async fn record_of(store: &Arc<dyn Store>, id: &str) -> Option<Document> {
    store.fetch(&key(id)).await.unwrap().image.map(|image| image.record)
}
