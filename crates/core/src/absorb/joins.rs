//! Fields of v2 that are taken out of other tables of the source: looked up for
//! each record that lives there, and put beside its row like any field that only
//! the target has. What the target has instead comes back on the next move, as
//! long as those tables say what they said then.

use super::{Shapes, strays};
use crate::mapping::MappingError;
use crate::shape::{ColumnShape, FieldType, Layout, TableShape};
use crate::spec::{Join, JoinedField, Joins};
use crate::store::Image;
use crate::value::{Document, Value};

impl Joins {
    /// A join's table, as far as is asked of it.
    pub fn layout(&self, join: &Join) -> Layout {
        let taken = self.fields.iter().filter(|field| field.join == join.name);
        let next = self.tables.iter().filter(|next| next.of.as_ref() == Some(&join.name));
        let mut columns = vec![column(&join.key, join.ty, Nullable::No)];
        for (name, ty) in taken.map(|field| (&field.column, field.ty)).chain(next.map(|next| (&next.by, next.ty))) {
            if !columns.iter().any(|column| column.name == *name) {
                columns.push(column(name, ty, Nullable::Yes));
            }
        }
        Layout::Rows(TableShape {
            table: join.table.clone(),
            key: vec![join.key.clone()],
            columns,
            children: Vec::new(),
            residue: None,
            extras: Default::default(),
        })
    }

    /// A moved record that a v1 client has written keeps what it came with,
    /// unless it names other rows now.
    pub fn keep(&self, before: &Image, now: &mut Image) {
        let mut named = self.tables.iter().filter(|join| join.of.is_none()).map(|join| join.by.as_str());
        if named.all(|by| before.record.get(by) == now.record.get(by)) {
            for field in &self.fields {
                field.put(now, field.value(&before.parked).clone());
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Nullable {
    Yes,
    No,
}

fn column(name: &str, ty: FieldType, nullable: Nullable) -> ColumnShape {
    ColumnShape {
        name: name.to_owned(),
        ty,
        nullable: nullable == Nullable::Yes,
        unique: false,
        native: None,
        references: None,
    }
}

impl JoinedField {
    fn value<'d>(&self, record: &'d Document) -> &'d Value {
        record.get(&self.field).unwrap_or(&Value::Null)
    }

    fn put(&self, v1: &mut Image, value: Value) {
        match value {
            Value::Null => v1.parked.remove(&self.field),
            value => v1.parked.set(self.field.as_str(), value),
        };
    }

    /// Puts what was looked up beside a row, or what the target had instead of it.
    pub fn look(&self, v1: &mut Image, looked_up: Value) {
        let value = match strays::of(v1, &self.field) {
            Some((was, is)) if *was == looked_up => is.clone(),
            _ => looked_up,
        };
        self.put(v1, value);
    }

    /// A row whose record has the value of `v2` from now on.
    pub fn follow(&self, v1: &mut Image, v2: &Document) {
        let (now, before) = (self.value(v2), self.value(&v1.parked).clone());
        if *now == before {
            return;
        }
        let was = strays::of(v1, &self.field).map_or(before, |(was, _)| was.clone());
        let stray = (was != *now).then(|| (was, now.clone()));
        strays::set(v1, &self.field, stray);
        self.put(v1, now.clone());
    }

    /// A row that goes back, where this would be looked up for it.
    pub fn settle(&self, v1: &mut Image, looked_up: Value) {
        let has = self.value(&v1.parked).clone();
        strays::set(v1, &self.field, (has != looked_up).then_some((looked_up, has)));
    }
}

impl Shapes {
    /// The fields that are taken out of other tables.
    pub fn joins(&self) -> &Joins {
        &self.joins
    }

    /// Whether a row has every field that must be taken out of other tables.
    ///
    /// # Errors
    /// `mapping/required`: which it has not.
    pub fn joined(&self, v1: &Image) -> Result<(), MappingError> {
        let is_missing = |field: &&JoinedField| field.required && field.value(&v1.parked).is_null();
        match self.joins.fields.iter().find(is_missing) {
            None => Ok(()),
            Some(field) => Err(MappingError {
                code: "mapping/required",
                path: field.field.clone(),
                message: format!("found nothing or null in {}.{}, which it requires", field.join, field.column),
                hint: Some("mend the row that the record names, or leave out required = true".to_owned()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field() -> JoinedField {
        JoinedField {
            field: "city".into(),
            ty: FieldType::Text,
            required: false,
            join: "city".into(),
            column: "city".into(),
        }
    }

    fn v2(city: Value) -> Document {
        [("city", city)].into_iter().collect()
    }

    #[test]
    fn what_the_target_has_instead_counts_as_long_as_the_tables_say_the_same() {
        let (field, mut row) = (field(), Image::default());
        let parked = |row: &Image| row.parked.get("city").cloned().unwrap_or(Value::Null);
        field.look(&mut row, "Rome".into());
        field.follow(&mut row, &v2("Rome".into()));
        assert_eq!((parked(&row), strays::of(&row, "city")), ("Rome".into(), None));
        for other in [Value::from("Oslo"), Value::Null] {
            field.follow(&mut row, &v2(other.clone()));
            field.look(&mut row, "Rome".into());
            assert_eq!(parked(&row), other);
        }
        field.look(&mut row, "Bonn".into());
        assert_eq!(parked(&row), "Bonn".into(), "somebody has moved there since");
        // Going home: only what is otherwise there stays beside the row.
        field.settle(&mut row, "Bonn".into());
        assert_eq!(strays::of(&row, "city"), None);
        field.settle(&mut row, "Kiel".into());
        field.look(&mut row, "Kiel".into());
        assert_eq!(parked(&row), "Bonn".into());
    }
}
