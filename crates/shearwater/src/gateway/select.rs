//! `select=a,b,alias:c,nested->x,addresses(city)`: which fields an answer has.

use shearwater_core::path::{Path, Step};
use shearwater_core::shape::Layout;

use super::field_path::{self, Scan};
use super::fields::{self, FieldKind};
use super::problem::{Kind, Problem};

/// Fields in one selection: each is looked up in every record of the page.
pub const ITEMS_MAX: usize = 128;

/// Nesting of `list(…)`: the parser recurses.
pub const DEPTH_MAX: usize = 8;

/// What an answer has.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Whether `*` is named: every field that no item takes the name of.
    pub rest: Rest,
    /// The named fields, in their order.
    pub items: Vec<Item>,
}

/// Whether the fields that are not named are there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They are.
    Kept,
    /// They are not.
    Left,
}

/// One selected field.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name in the answer.
    pub name: String,
    /// Where its value is.
    pub path: Path,
    /// What is kept of each document inside, for `list(…)`.
    pub inner: Option<Select>,
}

/// Reads a selection of a layout's fields.
pub fn read(layout: &Layout, text: &str) -> Result<Select, Problem> {
    let mut scan = Scan::new(text);
    let mut items = 0;
    let select = list(&mut scan, &mut items, 1)?;
    if !scan.at_end() {
        return Err(scan.problem("expected a comma"));
    }
    for item in &select.items {
        let kind = fields::kind(layout, &item.path)?;
        if item.inner.is_some() && matches!(kind, FieldKind::Typed(_)) {
            let shown = field_path::shown(&item.path);
            return Err(Problem::new(Kind::BadQuery, format!("{shown} has nothing inside to select")).field(shown));
        }
    }
    Ok(select)
}

fn list(scan: &mut Scan<'_>, items_read: &mut usize, depth: usize) -> Result<Select, Problem> {
    if depth > DEPTH_MAX {
        return Err(scan.problem(&format!("selections are nested deeper than {DEPTH_MAX}")));
    }
    let mut select = Select { rest: Rest::Left, items: Vec::new() };
    loop {
        match scan.eat("*") {
            true => select.rest = Rest::Kept,
            false => {
                let item = item(scan, items_read, depth)?;
                if select.items.iter().any(|other| other.name == item.name) {
                    return Err(scan
                        .problem("two selected fields have the same name")
                        .field(item.name)
                        .hint("give one of them another name: alias:field"));
                }
                select.items.push(item);
            }
        }
        *items_read += 1;
        if *items_read > ITEMS_MAX {
            return Err(scan.problem(&format!("more than {ITEMS_MAX} selected fields")));
        }
        if !scan.eat(",") {
            return Ok(select);
        }
    }
}

fn item(scan: &mut Scan<'_>, items_read: &mut usize, depth: usize) -> Result<Item, Problem> {
    let mut segments = scan.segments()?;
    let mut alias = None;
    if scan.rest.starts_with(':') && !scan.rest.starts_with("::") {
        scan.eat(":");
        alias = match segments.as_slice() {
            [only] => match &only.step {
                Step::Field(name) => Some(name.clone()),
                Step::Index(_) => None,
            },
            _ => return Err(scan.problem("a new name is one word, or stands in double quotes")),
        };
        segments = scan.segments()?;
    }
    if scan.rest.starts_with("::") {
        return Err(scan
            .problem("casts are not served")
            .hint("select the field without ::, and convert it at your side"));
    }
    let path = field_path::path(segments)?;
    let inner = match scan.eat("(") {
        false => None,
        true => {
            let inner = list(scan, items_read, depth + 1)?;
            if !scan.eat(")") {
                return Err(scan.problem("expected a comma or a closing parenthesis"));
            }
            Some(inner)
        }
    };
    let name = alias.unwrap_or_else(|| last_name(&path));
    Ok(Item { name, path, inner })
}

/// The name that a path's value has when no other is given: its last field's.
fn last_name(path: &Path) -> String {
    let name = path.steps().iter().rev().find_map(|step| match step {
        Step::Field(name) => Some(name.as_str()),
        Step::Index(_) => None,
    });
    name.unwrap_or_else(|| path.root()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::{documents, users};
    use super::*;
    use proptest::prelude::*;

    fn show(select: &Select) -> String {
        let mut shown: Vec<String> = Vec::new();
        if select.rest == Rest::Kept {
            shown.push("*".into());
        }
        for item in &select.items {
            let inner = item.inner.as_ref().map(|inner| format!("({})", show(inner))).unwrap_or_default();
            shown.push(format!("{}={}{inner}", item.name, field_path::shown(&item.path)));
        }
        shown.join(" ")
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(read(&documents(), text).map(|select| show(&select)).as_deref(), Ok(expect), "{text}");
    }

    fn refuse(text: &str, detail: &str) {
        assert_eq!(read(&users(), text).unwrap_err().detail, detail, "{text}");
    }

    #[test]
    fn selections() {
        check("a,b", "a=a b=b");
        check("*", "*");
        check("*,x:a", "* x=a");
        check("alias:c", "alias=c");
        check("nested->x", "x=nested.x");
        check("city:address->>city", "city=address.city");
        check("address.city", "city=address.city");
        check("tags[0]", "tags=tags[0]");
        check("addresses(city,since)", "addresses=addresses(city=city since=since)");
        check("homes:addresses(*),a", "homes=addresses(*) a=a");
        check("\"odd,name\"", "odd,name=odd,name");
    }

    #[test]
    fn refusals() {
        refuse("age::text", "casts are not served at character 4");
        refuse("age,age", "two selected fields have the same name at character 8");
        refuse("age,", "expected a field name at character 5");
        refuse("age(x)", "age has nothing inside to select");
        refuse("aeg", "there is no field aeg");
        refuse("addresses(city", "expected a comma or a closing parenthesis at character 15");
        refuse("a.b:age", "a new name is one word, or stands in double quotes at character 5");
        refuse(
            &format!("{}x{}", "addresses(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX)),
            "selections are nested deeper than 8 at character 81",
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z*,:()\"\\\\.>\\[\\]-]{0,40}") {
            let _ = read(&users(), &text);
        }
    }
}
