//! MySQL's own JSON type, which keeps a value and not its writing: names are
//! ordered by length and then by bytes, and numbers are kept as the server
//! likes. What would come back changed is refused.

use shearwater_core::Value;
use shearwater_core::shape::FieldType;
use shearwater_core::value::json;

/// The text of a value in a JSON column.
pub(super) fn write(ty: FieldType, value: &Value) -> Result<String, String> {
    let keeps = match (ty, value) {
        (FieldType::Json, value) => is_kept(value),
        _ => return Err(format!("takes json, found {}", value.type_name())),
    };
    if keeps {
        Ok(json::to_string(value))
    } else {
        Err("a JSON column would reorder names or rewrite numbers of the value; declare it LONGTEXT".into())
    }
}

fn is_kept(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Text(_) => true,
        Value::Array(items) => items.iter().all(is_kept),
        Value::Document(document) => {
            let names: Vec<&str> = document.iter().map(|(name, _)| name).collect();
            names.windows(2).all(|pair| (pair[0].len(), pair[0]) < (pair[1].len(), pair[1]))
                && document.iter().all(|(_, value)| is_kept(value))
        }
        // Floats lose their writing, and tags of ours are documents of one
        // name, whose text stays.
        Value::Float(_) => false,
        Value::Decimal(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Local(_)
        | Value::Instant(_)
        | Value::Uuid(_) => true,
        Value::Extended(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_servers_json_keeps() {
        let check = |text: &str, kept: bool| {
            let value = json::parse(text.as_bytes()).unwrap();
            assert_eq!(write(FieldType::Json, &value).is_ok(), kept, "{text}");
        };
        check(r#"{"a":1,"b":[true,null,"x"],"aa":{}}"#, true);
        check(r#"{"b":1,"a":2}"#, false);
        check(r#"{"aa":1,"b":2}"#, false);
        check("[1.5]", false);
        check(r#"{"@decimal":"1.10"}"#, true);
    }
}
