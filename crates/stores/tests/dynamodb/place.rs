//! What is not as the spec says: clear errors, and nothing is written.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, KeySchemaElement, KeyType, ProvisionedThroughput, ScalarAttributeType,
    TimeToLiveSpecification,
};
use shearwater_core::shape::{Layout, TableShape};
use shearwater_core::store::{Expect, Role};
use shearwater_core::{Key, Value};
use shearwater_stores::Create;
use shearwater_testbed::dynamodb;

use crate::direct::{Direct, Item};
use crate::given::{captured, check_error, doc, fence, layout, open, put, records, user, users, write};

#[tokio::test]
async fn places_that_are_not_there_are_told() {
    let url = dynamodb().database("absent");
    let told = open(&url, layout("users", &["id"])).await.err().unwrap();
    check_error(&told, "store/not-found", "there is no table \"users\"", "region");
    users(&url).await;
    let told = open(&url, layout("users", &["pk"])).await.err().unwrap();
    check_error(&told, "store/not-found", "its key is (id), the spec says (pk)", "key = [\"id\"]");
    let told = open(&url, layout("users", &["id", "sk"])).await.err().unwrap();
    check_error(&told, "store/not-found", "its key is (id), the spec says (id, sk)", "key = [\"id\"]");
    for create in [Create::Never, Create::IfMissing] {
        let told = shearwater_stores::open(&url, layout("users", &["pk"]), create).await.err().unwrap();
        check_error(&told, "store/not-found", "its key is (id)", "key =");
    }
    let rows = TableShape {
        table: "users".into(),
        key: vec!["id".into()],
        columns: vec![],
        children: vec![],
        residue: None,
        extras: Default::default(),
    };
    let told = open(&url, Layout::Rows(rows)).await.err().unwrap();
    check_error(&told, "store/unsupported", "not rows", "layout = \"document\"");
    let told = open(&url, layout("a table", &["id"])).await.err().unwrap();
    check_error(&told, "store/unsupported", "cannot name a table", "letters");
    let told = open(&url, layout("users", &["a", "b", "c"])).await.err().unwrap();
    check_error(&told, "store/unsupported", "3 fields", "");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = format!("dynamodb://{nobody}/?region=x&access_key=a&secret_key=s3cret");
    let told = open(&unreachable, layout("users", &["id"])).await.err().unwrap();
    check_error(&told, "store/unavailable", "the connection failed", "endpoint");
    assert!(!told.message.contains("s3cret"));
    let told = shearwater_stores::inspect(&unreachable).await.unwrap_err();
    check_error(&told, "store/unavailable", "listing tables", "endpoint");
}

#[tokio::test]
async fn what_dynamodb_does_not_hold_is_refused_by_name() {
    let store = captured(&dynamodb().database("held"), Role::Authority).await;
    let refused = async |record: &str, field: &str, says: &str| {
        let told = write(&store, vec![put(doc(record), Expect::Any)]).await.unwrap_err();
        check_error(&told, "store/refused", says, "");
        assert!(told.message.contains(field), "{told}");
    };
    let digits = "1".repeat(39);
    refused(&format!(r#"{{"id":"a","price":{digits}}}"#), "price", "38 significant digits").await;
    refused(r#"{"id":"a","x":{"@float":"NaN"}}"#, "\"x\"", "no NaN").await;
    refused(&format!(r#"{{"id":"a","deep":{}1{}}}"#, "[".repeat(32), "]".repeat(32)), "deep", "32 levels").await;
    refused(r#"{"id":"a","_shearwater":1}"#, "_shearwater", "ours").await;
    refused(r#"{"id":""}"#, "\"id\"", "no empty key").await;
    refused(r#"{"id":5}"#, "\"id\"", "of type S, found N").await;
    refused(&format!(r#"{{"id":"{}"}}"#, "k".repeat(2_049)), "\"id\"", "2048").await;
    let big = format!(r#"{{"id":"a","small":1,"big":"{}"}}"#, "x".repeat(410_000));
    let told = write(&store, vec![put(doc(&big), Expect::Any)]).await.unwrap_err();
    check_error(&told, "store/refused", "holds at most 409600", "");
    assert_eq!(told.kind, shearwater_core::error::StoreErrorKind::Refused { field: Some("big".into()) });
    let many = (0..50).map(|n| put(user(&format!("k{n}"), n), Expect::Any)).collect();
    let told = write(&store, many).await.unwrap_err();
    check_error(&told, "store/refused", "50 changes; one transaction of DynamoDB takes 49", "several");
    assert_eq!((records(&store).await, store.dirty_count().await.unwrap()), (vec![], 0), "nothing was written");
    // At the limits it is held.
    let nested = format!(r#"{{"id":"a","deep":{}1{}}}"#, "[".repeat(31), "]".repeat(31));
    write(&store, vec![put(doc(&nested), Expect::Any)]).await.unwrap();
    let large = format!(r#"{{"id":"b","big":"{}"}}"#, "x".repeat(409_000));
    write(&store, vec![put(doc(&large), Expect::Any)]).await.unwrap();
    let many: Vec<_> = (0..49).map(|n| put(user(&format!("k{n}"), n), Expect::Any)).collect();
    write(&store, many).await.unwrap();
    assert_eq!(store.fetch(&Key::single("a")).await.unwrap().image.unwrap().record, doc(&nested));
}

/// The server's own texts of numbers are ours, so that what is natural stays natural.
#[tokio::test]
async fn numbers_come_back_from_the_server_as_they_are() {
    let url = dynamodb().database("numbers");
    let store = captured(&url, Role::Authority).await;
    let direct = Direct::connect(&url);
    for (n, text) in [
        "0",
        "5",
        "-5",
        "0.5",
        "1.50",
        "100000000000000000000",
        "1E+30",
        "1E-30",
        "1E-130",
        "9.9E+125",
        "-0",
        "12345678901234567890123456789012345678",
        "0.12345678901234567890123456789012345678",
        "18446744073709551615",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("n{n}");
        let item: Item = [("id", AttributeValue::S(id.clone())), ("x", AttributeValue::N((*text).to_owned()))]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        direct.put("users", item).await;
        let held = direct.get("users", "id", &id).await.unwrap();
        let read = store.fetch(&Key::single(id.as_str())).await.unwrap().image.unwrap().record;
        // What was read is written again, and is the same to the server.
        write(&store, vec![put(read.clone(), Expect::Present)]).await.unwrap();
        assert_eq!(direct.get("users", "id", &id).await.unwrap()["x"], held["x"], "{text}");
        assert_eq!(store.fetch(&Key::single(id.as_str())).await.unwrap().image.unwrap().record, read, "{text}");
        // An import of the server's own text makes the same of it.
        let imported = shearwater_core::value::dynamo_json::number(held["x"].as_n().unwrap());
        assert_eq!(imported.as_ref(), read.get("x"), "{text}");
    }
}

#[tokio::test]
async fn a_table_is_looked_at_with_its_hazards() {
    let url = dynamodb().database("hazards");
    let direct = Direct::connect(&url);
    let attribute =
        |name: &str, ty| AttributeDefinition::builder().attribute_name(name).attribute_type(ty).build().unwrap();
    let element = |name: &str, ty| KeySchemaElement::builder().attribute_name(name).key_type(ty).build().unwrap();
    let capacity = ProvisionedThroughput::builder().read_capacity_units(7).write_capacity_units(3).build().unwrap();
    let create = direct.client.create_table().table_name("orders");
    let create = create.attribute_definitions(attribute("PK", ScalarAttributeType::S));
    let create = create.attribute_definitions(attribute("SK", ScalarAttributeType::N));
    let create = create.key_schema(element("PK", KeyType::Hash)).key_schema(element("SK", KeyType::Range));
    create.provisioned_throughput(capacity).send().await.unwrap();
    let expires = TimeToLiveSpecification::builder().enabled(true).attribute_name("expires").build().unwrap();
    direct.client.update_time_to_live().table_name("orders").time_to_live_specification(expires).send().await.unwrap();
    let look = shearwater_stores::inspect(&url).await.unwrap();
    let table = &look.tables[0];
    assert_eq!((table.name.as_str(), table.key.clone()), ("orders", vec!["PK".to_owned(), "SK".to_owned()]));
    let columns: Vec<(&str, &str)> = table.columns.iter().map(|c| (c.name.as_str(), c.declared.as_str())).collect();
    assert_eq!(columns, [("PK", "S"), ("SK", "N"), ("doc", "item")]);
    let hazards = table.hazards.join("\n");
    for says in ["\"expires\" (TTL)", "7 read and 3 write units", "reads the whole table"] {
        assert!(hazards.contains(says), "{says}: {hazards}");
    }
    assert!(look.hazards.iter().any(|hazard| hazard.contains("past the gateway")), "{:?}", look.hazards);
    // The key's two parts are of the types that the table has.
    let store = open(&url, layout("orders", &["SK", "PK"])).await.unwrap();
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let key = Key::composite(vec![Value::Int(5), "a".into()]);
    assert_eq!(store.fetch(&key).await.unwrap().image, None);
    assert_eq!(shearwater_stores::inspect(&url).await.unwrap().tables.len(), 1, "our own table is not shown");
}
