//! The JSON Schema of the spec, for editors.

use serde_json::{Value, json};

use super::literal::FIELD_TYPES;
use super::require::{Contract, RequireGates};
use super::{Gates, Pace, Prefer, Unfit, stores::STORE_SCHEMES};

/// The JSON Schema (draft 2020-12) of the format, for editors.
pub fn json_schema() -> Value {
    let types: Vec<&str> = FIELD_TYPES.iter().map(|ty| ty.name()).collect();
    let unfit: Vec<&str> = Unfit::WORDS.iter().map(|(word, _)| *word).collect();
    let gates = Gates::default();
    let moving = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["migration", "kind", "entity", "source", "target", "fields"],
        "properties": {
            "migration": {
                "description": "The migration's name",
                "type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$", "maxLength": 63
            },
            "kind": { "description": "What is done", "const": "move" },
            "entity": {
                "description": "The entity's name in the gateway's paths",
                "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]*$"
            },
            "source": store(json!({
                "columns": {
                    "description": "The columns of a source in the `rows` layout",
                    "type": "object",
                    "additionalProperties": { "$ref": "#/$defs/column" }
                },
                "residue": { "description": "The source's JSON column for other fields", "type": "string" }
            })),
            "target": store(json!({
                "unique_together": {
                    "description": "Columns that are unique together, in a table that the start makes",
                    "type": "array", "items": columns()
                },
                "foreign_keys": {
                    "description": "Columns whose values stand together in another table",
                    "type": "array",
                    "items": {
                        "type": "object", "additionalProperties": false,
                        "required": ["columns", "table", "references"],
                        "properties": {
                            "columns": columns(),
                            "table": { "description": "The other table", "type": "string" },
                            "references": columns()
                        }
                    }
                }
            })),
            "fields": {
                "description": "One rule for each field of v2, in column order",
                "type": "object", "minProperties": 1,
                "additionalProperties": { "$ref": "#/$defs/field" }
            },
            "unmapped": {
                "description": "What happens to fields that no rule names",
                "type": "object", "additionalProperties": false,
                "properties": {
                    "keep_in": { "description": "The residue column", "type": "string", "default": "extra" },
                    "refuse": { "description": "A record that has any is refused", "const": true }
                },
                "not": { "required": ["keep_in", "refuse"] }
            },
            "gates": {
                "description": "What must be true before steps forward",
                "type": "object", "additionalProperties": false,
                "properties": {
                    "mismatches_max": number("Mismatches of the last verification", 0, None, gates.mismatches_max),
                    "pause_ms_max": number("The longest pause of writes, ms", 1, Some(60_000), gates.pause_ms_max),
                    "shadow_reads_min":
                        number("Shadow reads compared before the ramp may start", 0, None, gates.shadow_reads_min),
                    "backlog_max": number("Dirty keys left when a cutover may start", 0, None, gates.backlog_max)
                }
            },
            "pace": pace_schema(&Pace::default())
        }
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Shearwater migration",
        "oneOf": [moving, requiring(&pace_schema(&Pace::unnoticed())), absorbing(&moving)],
        "$defs": {
            "type": { "enum": types },
            "field": { "anyOf": [
                { "description": "A path of v1", "type": "string" },
                {
                    "type": "object", "additionalProperties": false,
                    "properties": {
                        "from": { "description": "A path of v1", "type": "string" },
                        "sql": { "description": "An expression over v1", "type": "string" },
                        "back": {
                            "description": "v1 paths, each with an expression over v2",
                            "type": "object", "minProperties": 1, "additionalProperties": { "type": "string" }
                        },
                        "derived": { "description": "v2 clients cannot set it", "type": "boolean" },
                        "value": { "description": "The same value for every record" },
                        "target_only": { "description": "Only v2 has it", "const": true },
                        "type": { "$ref": "#/$defs/type" },
                        "cast": { "description": "Convert where that is exact", "type": "boolean" },
                        "required": { "description": "NULL is refused", "type": "boolean" },
                        "unique": { "description": "Unique over the table", "type": "boolean" },
                        "native": { "description": "The column's type in the store's own words", "type": "string" },
                        "unfit": {
                            "description": "What becomes of a value that the column cannot hold; it comes back as it was",
                            "enum": unfit
                        },
                        "chars_max": { "description": "The most characters of a text", "type": "integer", "minimum": 1 },
                        "references": {
                            "description": "The table and column of the target in which each value must stand",
                            "type": "string"
                        },
                        "identity": {
                            "description": "The store numbers the key where a program leaves it out", "type": "boolean"
                        },
                        "column_default": {
                            "description": "What the store puts where a program leaves the column out; \"now\" for times"
                        },
                        "default": { "description": "What stands for a missing value" },
                        "table": { "description": "The child table of an array", "type": "string" },
                        "fields": {
                            "description": "Rules of an array of documents",
                            "type": "object", "additionalProperties": { "$ref": "#/$defs/field" }
                        },
                        "scalar": { "description": "The column of an array of plain values", "type": "string" }
                    }
                }
            ] },
            "column": { "anyOf": [
                { "$ref": "#/$defs/type" },
                {
                    "type": "object", "additionalProperties": false,
                    "properties": {
                        "type": { "$ref": "#/$defs/type" },
                        "required": { "type": "boolean" },
                        "unique": { "type": "boolean" },
                        "native": { "type": "string" },
                        "table": { "type": "string" },
                        "fields": { "type": "object", "additionalProperties": { "$ref": "#/$defs/column" } },
                        "scalar": { "type": "string" }
                    }
                }
            ] }
        }
    })
}

fn columns() -> Value {
    json!({ "type": "array", "minItems": 2, "items": { "type": "string" } })
}

/// The spec of an `absorb`: what a `move` has but `[unmapped]`, and its own.
fn absorbing(moving: &Value) -> Value {
    let mut schema = moving.clone();
    schema["required"] = json!(["migration", "kind", "entity", "source", "target", "fields", "require"]);
    let prefer: Vec<&str> = Prefer::WORDS.iter().map(|(word, _)| *word).collect();
    let own = json!({
        "kind": { "description": "What is done: another company's records, one by one", "const": "absorb" },
        "scope": { "description": "Which records v2 shows", "enum": ["origin", "all"], "default": "origin" },
        "require": {
            "description": "The fields without which no record moves",
            "type": "object", "minProperties": 1,
            "additionalProperties": { "$ref": "#/$defs/field" }
        },
        "conflicts": {
            "description": "What becomes of a value that a record of the target has already",
            "type": "object",
            "additionalProperties": { "oneOf": [
                { "enum": ["refuse", "keep-target"] },
                {
                    "type": "object", "additionalProperties": false, "required": ["keep_both"],
                    "properties": { "keep_both": { "type": "string" } }
                },
                {
                    "description": "For the key, or with [identity] for another field: the two records become one, field by field",
                    "type": "object", "additionalProperties": false, "required": ["merge"],
                    "properties": {
                        "merge": { "type": "object", "additionalProperties": { "enum": prefer } },
                        "otherwise": { "enum": prefer, "default": "target" },
                        "newest_by": { "description": "The v2 field with the time of a record's last change", "type": "string" }
                    }
                }
            ] }
        },
        "lists": {
            "description": "In which orders clients ask for lists",
            "type": "object", "additionalProperties": false,
            "properties": {
                "orders": {
                    "description": "Orders over v2, as in the query string; the plan tells which index each needs",
                    "anyOf": [
                        { "type": "string" },
                        { "type": "array", "minItems": 1, "items": { "type": "string" } }
                    ]
                },
                "collation": {
                    "description": "How text is ordered: by its bytes, or by the root collation of Unicode",
                    "enum": ["binary", "unicode"], "default": "binary"
                }
            }
        },
        "identity": {
            "description": "How records get a key of the target that no rule computes",
            "type": "object", "additionalProperties": false, "required": ["assign"],
            "properties": {
                "assign": {
                    "description": "next: the next free number; uuid5: a UUID out of the source's key",
                    "enum": ["next", "uuid5"]
                },
                "first": { "description": "The lowest number that is assigned", "type": "integer", "minimum": 1, "default": 1 },
                "namespace": { "description": "The namespace of the UUIDs", "type": "string", "format": "uuid" },
                "keep": {
                    "description": "The table of keys stays after the end, for the references of other migrations",
                    "type": "boolean", "default": false
                }
            }
        },
        "references": {
            "description": "Fields that name records whose keys were assigned, by this migration or another",
            "type": "object",
            "additionalProperties": {
                "type": "object", "additionalProperties": false, "required": ["migration", "table", "key"],
                "properties": {
                    "migration": { "description": "The migration that assigned the keys", "type": "string" },
                    "table": { "description": "The table of the target in which those records live", "type": "string" },
                    "key": { "description": "Its key", "type": "string" },
                    "by": {
                        "description": "Where the other record's key in its source has several fields: the v1 fields with them, in its order",
                        "type": "array", "items": { "type": "string" }, "minItems": 1
                    }
                }
            }
        },
        "joins": {
            "description": "Other tables of the source that records name; fields are made from \"join.column\"",
            "type": "object",
            "additionalProperties": {
                "type": "object", "additionalProperties": false, "required": ["key", "by"],
                "properties": {
                    "table": { "description": "The table; else as the join is called", "type": "string" },
                    "key": { "description": "Its key", "type": "string" },
                    "type": { "$ref": "#/$defs/type" },
                    "by": { "description": "The source's column with its key, or \"join.column\" of a join above", "type": "string" }
                }
            }
        },
        "stragglers": {
            "description": "What becomes of records that nobody updates",
            "type": "object", "additionalProperties": false,
            "required": ["activity", "deactivate_after_days", "deactivate"],
            "properties": {
                "activity": { "description": "The v1 field with the time of the last activity", "type": "string" },
                "without_activity": {
                    "description": "What a record without an activity is judged by",
                    "oneOf": [
                        { "const": "never" },
                        {
                            "type": "object", "additionalProperties": false, "required": ["since"],
                            "properties": { "since": { "description": "A v1 field of the same type", "type": "string" } }
                        }
                    ],
                    "default": "never"
                },
                "deactivate_after_days": { "type": "integer", "minimum": 1, "maximum": 36_525 },
                "deactivate": { "description": "The v2 fields that they are moved with", "type": "object" },
                "per_day_max": number("Records deactivated in one day", 1, None, 1_000)
            }
        }
    });
    if let (Some(properties), Value::Object(own)) = (schema["properties"].as_object_mut(), own) {
        properties.remove("unmapped");
        properties.extend(own);
    }
    schema["properties"]["source"]["properties"]["flag"] =
        json!({ "description": "The column that says whether a record has moved", "type": "string" });
    schema
}

/// `[pace]`, which every kind has.
fn pace_schema(pace: &Pace) -> Value {
    let mut schema = json!({
        "description": "How gently background work goes",
        "type": "object", "additionalProperties": false,
        "properties": {
            "workers": number("Parallel backfill workers", 1, Some(64), pace.workers as u64),
            "chunk_ms_target":
                number("The time that one chunk's write should take, ms", 1, Some(60_000), pace.chunk_ms_target),
            "foreground_ms_max": number(
                "Write latency of clients above which the backfill slows down, ms",
                1, Some(60_000), pace.foreground_ms_max
            ),
            "duty_percent_max": number(
                "The part of the time that background work may be writing, percent",
                1, Some(100), u64::from(pace.duty_percent_max)
            ),
            "lock_waits_max": number(
                "Sessions that may wait for our locks before background work rests",
                0, None, pace.lock_waits_max
            ),
            "replica_lag_ms_max": number(
                "How far a store's slowest replica may be behind before background work rests, ms",
                1, Some(86_400_000), pace.replica_lag_ms_max
            )
        }
    });
    if let Some(percent) = pace.foreground_percent_max {
        schema["properties"]["foreground_percent_max"] = number(
            "The p99 of clients' requests while background work goes on, in percent of what it is without, above which \
             the work slows down",
            105,
            Some(10_000),
            u64::from(percent),
        );
    }
    schema
}

/// The spec of a `require`.
fn requiring(pace: &Value) -> Value {
    let (contract, gates) = (Contract::default(), RequireGates::default());
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["migration", "kind", "entity", "store", "field"],
        "properties": {
            "migration": {
                "description": "The migration's name",
                "type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$", "maxLength": 63
            },
            "kind": { "description": "What is done: a new required field", "const": "require" },
            "entity": {
                "description": "The entity's name in the gateway's paths",
                "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]*$"
            },
            "store": store(json!({})),
            "field": {
                "description": "The new field",
                "type": "object", "additionalProperties": false,
                "required": ["name", "type", "value"],
                "properties": {
                    "name": { "description": "Its name, and the column's", "type": "string" },
                    "type": {
                        "description": "Its type",
                        "enum": [
                            "text", "int", "bool", "decimal", "float", "date", "time", "timestamp", "instant", "uuid",
                            "bytes", "json"
                        ]
                    },
                    "precision": {
                        "description": "Digits of a decimal in all", "type": "integer", "minimum": 1, "maximum": 38
                    },
                    "scale": {
                        "description": "Digits of a decimal after the point", "type": "integer", "minimum": 0, "maximum": 24
                    },
                    "values": {
                        "description": "The only values of a text",
                        "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 100, "uniqueItems": true
                    },
                    "native": { "description": "The column's type in the store's own words", "type": "string" },
                    "value": {
                        "description": "What records without it get",
                        "anyOf": [
                            {
                                "description": "The same for each, as the type is written",
                                "type": ["string", "integer", "boolean", "number", "array", "object"]
                            },
                            {
                                "type": "object", "additionalProperties": false, "required": ["sql"],
                                "properties": {
                                    "sql": { "description": "An expression over the record", "type": "string" },
                                    "fallback": { "description": "What stands for NULL" }
                                }
                            }
                        ]
                    }
                }
            },
            "contract": {
                "description": "When the old shape may end",
                "type": "object", "additionalProperties": false,
                "properties": {
                    "outdated_writes_quiet_hours": number(
                        "How long no v1 write may have been seen, hours",
                        0, Some(8_784), contract.outdated_writes_quiet_hours
                    )
                }
            },
            "gates": {
                "description": "What must be true before steps forward",
                "type": "object", "additionalProperties": false,
                "properties": {
                    "mismatches_max": number("Values that nobody chose and that are wrong", 0, None, gates.mismatches_max),
                    "standby_lag_ms_max": number(
                        "How far a standby may be behind when a lock is asked for, ms",
                        1, Some(86_400_000), gates.standby_lag_ms_max
                    )
                }
            },
            "pace": pace
        }
    })
}

fn store(more: Value) -> Value {
    let schemes = STORE_SCHEMES.join("|");
    let mut properties = json!({
        "url": {
            "description": "Where the store is; secrets as ${NAME} from the environment",
            "type": "string", "pattern": format!("^(({schemes}):.+|.*\\$\\{{.+\\}}.*)$")
        },
        "table": { "description": "The table or collection", "type": "string" },
        "key": {
            "description": "The key field or fields",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true }
            ]
        },
        "layout": { "description": "How a record is held", "enum": ["document", "rows"] },
        "document": { "description": "The JSON column of layout `document`", "type": "string", "default": "doc" }
    });
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    json!({
        "type": "object", "additionalProperties": false,
        "required": ["url", "table", "key"],
        "properties": properties
    })
}

fn number(description: &str, low: u64, high: Option<u64>, default: u64) -> Value {
    let mut schema = json!({ "description": description, "type": "integer", "minimum": low, "default": default });
    if let (Some(high), Some(schema)) = (high, schema.as_object_mut()) {
        schema.insert("maximum".to_owned(), json!(high));
    }
    schema
}
