//! A new required field in a MongoDB collection: there, back to what was before,
//! cut at any statement, beside validators of the user's own.

use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::{Client, Collection};
use shearwater_core::Key;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::evolve::*;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_stores::Create;
use shearwater_testbed::Mongodb;

use crate::collection::Place;
use crate::place::PATIENCE;

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }";
const CONSTANT: &str = "\"ACTIVE\"";

async fn life(server: &Mongodb, value: &str) {
    let place = Place::with_nasty(server).await;
    let (schema, documents) = (place.schema().await, place.documents().await);
    let wanting = place.wanting(value).await;
    let evolve = &wanting.evolve;
    assert!(!evolve.hazards().await.unwrap().is_empty());
    assert_eq!((place.schema().await, place.documents().await), (schema.clone(), documents.clone()), "a look writes");
    for round in 0..2 {
        wanting.stage(Stage::Expand).await;
        place.users.update_one(doc! { "_id": "user-001" }, doc! { "$set": { "status": "CHOSEN" } }).await.unwrap();
        assert_eq!(wanting.backfill(&format!("run{round}"), 37).await, 151, "{value}");
        assert_eq!(evolve.count_missing().await.unwrap(), 0);
        assert_eq!(place.status("user-001").await, Some("CHOSEN".into()), "what somebody set is not overwritten");
        for document in place.documents().await {
            let active = document.get_bool("active").unwrap();
            let expected = if active || value == CONSTANT { "ACTIVE" } else { "INACTIVE" };
            let found = document.get_str("status").unwrap();
            assert!(found == expected || found == "CHOSEN", "{document}");
        }
        let keys: Vec<Key> = ["user-001", "user-002", "user-003"].map(Key::single).into();
        place.users.update_one(doc! { "_id": "user-003" }, doc! { "$set": { "status": "later" } }).await.unwrap();
        assert_eq!(evolve.chosen(&keys).await.unwrap(), [true, false, true], "{value}");
        wanting.stage(Stage::Enforce).await;
        assert!(evolve.look().await.unwrap().not_null);
        place.users.insert_one(doc! { "_id": "x" }).await.unwrap_err();
        place.users.insert_one(doc! { "_id": "x", "status": Bson::Null }).await.unwrap_err();
        place.users.insert_one(doc! { "_id": "x", "status": 5 }).await.unwrap_err();
        place.users.update_one(doc! { "_id": "user-002" }, doc! { "$unset": { "status": "" } }).await.unwrap_err();
        place.users.update_one(doc! { "_id": "user-002" }, doc! { "$set": { "nick": "n" } }).await.unwrap();
        place.users.insert_one(doc! { "_id": "x", "status": "new" }).await.unwrap();
        wanting.stage(Stage::Contract).await;
        wanting.stage(Stage::Back).await;
        assert_eq!(evolve.look().await.unwrap().check, None);
        place.users.insert_one(doc! { "_id": "y" }).await.unwrap();
        assert_eq!(place.status("user-001").await, Some("CHOSEN".into()), "the way back loses no value");
        assert_eq!(evolve.count_chosen().await.unwrap(), 3, "{value}");
        wanting.stage(Stage::Remove).await;
        place.users.delete_many(doc! { "_id": { "$in": ["x", "y"] } }).await.unwrap();
        let user = doc! { "_id": "user-002" };
        let before = documents.iter().find(|one| one.get("_id") == user.get("_id")).unwrap();
        place.users.replace_one(user, before).await.unwrap();
        assert_eq!((place.schema().await, place.documents().await), (schema.clone(), documents.clone()), "{value}");
    }
    wanting.stage(Stage::Expand).await;
    wanting.backfill("last", 1_000).await;
    for stage in [Stage::Enforce, Stage::Contract, Stage::Complete] {
        wanting.stage(stage).await;
    }
    assert!(!place.schema().await.join(" ").contains("shearwater"), "nothing of ours is left");
    assert!(evolve.look().await.unwrap().not_null, "the rule stays");
}

#[tokio::test]
async fn an_expression_and_a_constant_live_there_and_back() {
    life(shearwater_testbed::mongodb(), BY_ACTIVITY).await;
    life(shearwater_testbed::mongodb(), CONSTANT).await;
}

#[tokio::test]
async fn a_standalone_server_does_it_too() {
    life(&Mongodb::start(shearwater_testbed::Topology::Standalone), BY_ACTIVITY).await;
}

#[tokio::test]
async fn every_stage_is_resumed_from_every_statement() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let before = (place.schema().await, place.documents().await);
    for cut in 0..3 {
        let wanting = place.wanting(BY_ACTIVITY).await;
        for stage in [Stage::Expand, Stage::Enforce, Stage::Contract, Stage::Back, Stage::Remove] {
            for what in wanting.evolve.alterations(stage).into_iter().take(cut) {
                wanting.evolve.try_to(what, PATIENCE, 1_000).await.unwrap();
            }
            // Another process takes over; it has seen nothing.
            let other = place.wanting(BY_ACTIVITY).await;
            other.stage(stage).await;
            if stage == Stage::Expand {
                other.backfill(&format!("cut{cut}"), 100).await;
            }
        }
        assert_eq!((place.schema().await, place.documents().await), before, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_validator_of_the_users_own_stays_and_comes_back_as_it_was() {
    let own = doc! { "$jsonSchema": { "properties": { "name": { "bsonType": "string" } } } };
    for (level, action) in [("strict", "error"), ("moderate", "error"), ("strict", "warn"), ("off", "error")] {
        let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
        let rules =
            doc! { "collMod": "users", "validator": own.clone(), "validationLevel": level, "validationAction": action };
        place.database.run_command(rules).await.unwrap();
        let before = place.schema().await;
        let why = format!("{level} {action}");
        let wanting = place.wanting(BY_ACTIVITY).await;
        wanting.stage(Stage::Expand).await;
        wanting.backfill("r", 1_000).await;
        wanting.stage(Stage::Enforce).await;
        let refuses = action == "error" && level != "off";
        let look = wanting.evolve.look().await.unwrap();
        assert_eq!((look.check, look.not_null), (Some(true), refuses), "{why}");
        let told = wanting.evolve.hazards().await.unwrap().join("\n");
        assert_eq!(told.contains("the server refuses nothing"), !refuses, "{why}: {told}");
        assert!(told.contains(&format!("validationLevel {level}, validationAction {action}")), "{why}: {told}");
        let taken = place.users.insert_one(doc! { "_id": "x", "name": "n" }).await;
        assert_eq!(taken.is_err(), refuses, "{why}");
        let taken = place.users.insert_one(doc! { "_id": "z", "name": 5, "status": "A" }).await;
        assert_eq!(taken.is_err(), refuses, "{why}: the user's own rule holds as before");
        wanting.stage(Stage::Back).await;
        assert!(place.schema().await.contains(&before[0]), "{why}: {:?}", place.schema().await);
        wanting.stage(Stage::Remove).await;
        assert_eq!(place.schema().await, before, "{why}");
    }
}

#[tokio::test]
async fn a_validator_that_somebody_changed_meanwhile_is_not_overwritten() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let wanting = place.wanting(BY_ACTIVITY).await;
    wanting.stage(Stage::Expand).await;
    wanting.backfill("r", 1_000).await;
    wanting.stage(Stage::Enforce).await;
    let theirs = doc! { "name": { "$exists": true } };
    let found = place.database.run_command(doc! { "listCollections": 1, "filter": { "name": "users" } }).await.unwrap();
    let options = found.get_document("cursor").unwrap().get_array("firstBatch").unwrap()[0].as_document().unwrap();
    let ours = options.get_document("options").unwrap().get_document("validator").unwrap().clone();
    let both = doc! { "collMod": "users", "validator": { "$and": [theirs.clone(), ours] } };
    place.database.run_command(both).await.unwrap();
    let refused = wanting.evolve.try_to(Alteration::DropCheck, PATIENCE, 1_000).await.unwrap_err();
    assert!(refused.message.contains("changed the validator") && refused.hint.is_some(), "{refused}");
    // Once ours is out of it, theirs stays and the way back is open.
    place.database.run_command(doc! { "collMod": "users", "validator": theirs.clone() }).await.unwrap();
    let schema = place.schema().await;
    wanting.stage(Stage::Back).await;
    assert_eq!(place.schema().await, schema);
}

#[tokio::test]
async fn documents_that_stand_in_the_way_are_named_and_nothing_stays_behind() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let wanting = place.wanting(BY_ACTIVITY).await;
    wanting.stage(Stage::Expand).await;
    wanting.backfill("r", 1_000).await;
    place.users.insert_one(doc! { "_id": "direct", "name": "n" }).await.unwrap();
    let schema = place.schema().await;
    let [add, validate] = wanting.evolve.alterations(Stage::Enforce)[..] else { panic!() };
    assert!(matches!(wanting.evolve.try_to(add, PATIENCE, 1_000).await, Ok(Try::Made { .. })));
    let tried = wanting.evolve.try_to(validate, PATIENCE, 1_000).await.unwrap();
    assert_eq!(tried, Try::Violated(vec![Key::single("direct")]));
    assert_eq!(wanting.evolve.count_missing().await.unwrap(), 1);
    wanting.stage(Stage::Back).await;
    assert_eq!(place.schema().await, schema);
    place.users.update_one(doc! { "_id": "direct" }, doc! { "$set": { "name": "m" } }).await.unwrap();
}

#[tokio::test]
async fn a_backfill_goes_on_at_its_checkpoint_and_leaves_what_has_changed() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let wanting = place.wanting(BY_ACTIVITY).await;
    wanting.stage(Stage::Expand).await;
    let ranges = wanting.evolve.fill_ranges(1).await.unwrap();
    let first = wanting.evolve.fill("r", &ranges[0], &FillCheckpoint::default(), 60).await.unwrap();
    assert_eq!((first.filled, first.done), (60, false));
    assert_eq!(wanting.evolve.fill_checkpoints("r").await.unwrap(), std::slice::from_ref(&first));
    // The same batch again, as after a kill before its checkpoint.
    let again = wanting.evolve.fill("r", &ranges[0], &FillCheckpoint::default(), 60).await.unwrap();
    assert_eq!((again.filled, &again.cursor), (0, &first.cursor), "it skips what is filled");
    place.users.insert_one(doc! { "_id": "zzz" }).await.unwrap();
    let mut at = first;
    while !at.done {
        at = wanting.evolve.fill("r", &ranges[0], &at, 60).await.unwrap();
    }
    let last =
        wanting.evolve.fill("r", &ranges[1], &FillCheckpoint { range: 1, ..Default::default() }, 60).await.unwrap();
    assert_eq!((at.filled, last.filled), (152, 1), "the end is the last document when it began");
}

#[tokio::test]
async fn what_some_documents_have_already_stays_through_there_and_back() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let mine = doc! { "$set": { "status": "MINE" } };
    place.users.update_many(doc! { "_id": { "$regex": "^user-00" } }, mine).await.unwrap();
    place.users.update_one(doc! { "_id": "user-020" }, doc! { "$set": { "status": Bson::Null } }).await.unwrap();
    let before = (place.schema().await, place.documents().await);
    let wanting = place.wanting(BY_ACTIVITY).await;
    let told = wanting.evolve.hazards().await.unwrap().join("\n");
    assert!(told.contains("11 documents have status already"), "{told}");
    wanting.stage(Stage::Expand).await;
    assert_eq!(wanting.backfill("r", 50).await, 142);
    assert_eq!(place.status("user-001").await, Some("MINE".into()));
    assert_eq!(wanting.evolve.count_chosen().await.unwrap(), 0, "nothing of theirs goes");
    wanting.stage(Stage::Enforce).await;
    wanting.stage(Stage::Back).await;
    wanting.stage(Stage::Remove).await;
    assert_eq!((place.schema().await, place.documents().await), before);
}

#[tokio::test]
async fn a_document_that_the_fill_does_not_take_is_named() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    place.users.update_one(doc! { "_id": "user-007" }, doc! { "$set": { "active": "yes" } }).await.unwrap();
    let wanting = place.wanting(BY_ACTIVITY).await;
    let told = wanting.evolve.hazards().await.unwrap().join("\n");
    assert!(told.contains("1 have values that the fill cannot be made from"), "{told}");
    wanting.stage(Stage::Expand).await;
    let ranges = wanting.evolve.fill_ranges(1).await.unwrap();
    let refused = wanting.evolve.fill("r", &ranges[0], &FillCheckpoint::default(), 1_000).await.unwrap_err();
    assert!(matches!(refused.kind, StoreErrorKind::Refused { .. }), "{refused}");
    assert!(refused.message.contains("user-007") && !refused.message.contains("yes"), "{refused}");
}

#[tokio::test]
async fn a_transaction_that_holds_the_collection_is_named() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let wanting = place.wanting(BY_ACTIVITY).await;
    wanting.stage(Stage::Expand).await;
    wanting.backfill("r", 1_000).await;
    let client = Client::with_uri_str(&place.url).await.unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let users: Collection<Bsons> = client.default_database().unwrap().collection("users");
    users.update_one(doc! { "_id": "user-001" }, doc! { "$set": { "n": 1 } }).session(&mut session).await.unwrap();
    let short = std::time::Duration::from_millis(20);
    let Try::Busy(blockers) = wanting.evolve.try_to(Alteration::AddCheck, short, 1_000).await.unwrap() else {
        panic!()
    };
    assert!(blockers.iter().any(|who| who.what.contains("transaction")), "{blockers:?}");
    assert_eq!(wanting.evolve.look().await.unwrap().check, None, "nothing was changed");
    session.commit_transaction().await.unwrap();
    wanting.stage(Stage::Enforce).await;
}

#[tokio::test]
async fn what_the_fill_gives_is_the_same_in_the_gateway_and_in_the_backfill() {
    let cases = [
        ("text", "{ sql = '''coalesce(nick, name)''', fallback = \"none\" }"),
        ("text", "{ sql = '''upper(name) || '/' || nick''', fallback = \"none\" }"),
        ("text", "{ sql = '''CASE nick WHEN 'ä' THEN 'a' WHEN '' THEN 'empty' ELSE 'else' END''' }"),
        ("text active blocked", "{ sql = '''CASE WHEN active THEN 'active' ELSE 'blocked' END''' }"),
        ("int", "{ sql = '''CASE WHEN active THEN 9223372036854775807 ELSE -1 END''' }"),
        ("int", "{ sql = '''length(nick) * 9223372036854775807''', fallback = -1 }"),
        ("decimal 5 2", "{ sql = '''length(nick)''', fallback = \"-0.5\" }"),
        ("bool", "{ sql = '''nick IS NULL''' }"),
        ("int", "-7"),
        ("bool", "false"),
        ("decimal 34 2", "\"99999999999999999999999999999999.99\""),
        ("float", "-0.0"),
        ("instant", "2026-01-31T12:30:00.001Z"),
        ("uuid", "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        ("bytes", "\"AP8=\""),
        ("json", "{ b = [1, 1.0, true], a = {} }"),
        ("json", "\"7\""),
    ];
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let layout = DocumentLayout { table: "users".into(), key: vec!["_id".into()], document: "doc".into() };
    let store = shearwater_stores::open(&place.url, Layout::Document(layout), Create::Never).await.unwrap();
    for (ty, value) in cases {
        let wanting = place.wanting_of(ty, value).await;
        wanting.stage(Stage::Expand).await;
        wanting.backfill("r", 50).await;
        wanting.stage(Stage::Enforce).await;
        let keys: Vec<Key> = (0..140).map(|n| Key::single(format!("user-{n:03}"))).collect();
        for fetched in store.fetch_many(&keys).await.unwrap() {
            let record = fetched.image.unwrap().record;
            let expected = wanting.fill.value(&record).unwrap();
            assert_eq!(record.get("status"), Some(&expected), "{ty}, {value}: {record:?}");
            assert!(wanting.fill.takes(&expected), "{ty}, {value}");
        }
        // From enforce on the server itself looks at the type, and at the declared values.
        for wrong in [Bson::Null, Bson::JavaScriptCode("1".into())] {
            let update =
                place.users.update_one(doc! { "_id": "user-001" }, doc! { "$set": { "status": wrong.clone() } });
            assert!(ty == "json" && wrong != Bson::Null || update.await.is_err(), "{ty}, {value}: {wrong}");
        }
        if ty == "text active blocked" {
            let other = doc! { "$set": { "status": "Active" } };
            assert!(place.users.update_one(doc! { "_id": "user-001" }, other).await.is_err());
        }
        assert_eq!(wanting.evolve.count_chosen().await.unwrap(), 0, "{value}");
        wanting.stage(Stage::Back).await;
        wanting.stage(Stage::Remove).await;
    }
}

#[tokio::test]
async fn what_a_document_would_hold_otherwise_is_refused_by_name() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    for (ty, value, says) in [
        ("date", "2026-01-31", "BSON has no date"),
        ("time", "12:30:00", "BSON has no time"),
        ("timestamp", "2026-01-31T12:30:00", "BSON has no timestamp"),
        ("instant", "2026-01-31T12:30:00.000001Z", "milliseconds"),
        ("decimal 35 2", "\"1.00\"", "34 digits"),
    ] {
        let Err(told) = place.try_wanting(ty, value).await else { panic!("{ty} is taken") };
        assert!(told.message.contains(says) && told.hint.is_some(), "{ty}: {told:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_hint() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let closed = doc! { "$jsonSchema": { "properties": { "_id": {}, "name": {} }, "additionalProperties": false } };
    place.database.run_command(doc! { "collMod": "users", "validator": closed }).await.unwrap();
    let wanting = place.wanting(BY_ACTIVITY).await;
    let refused = wanting.evolve.hazards().await.unwrap_err();
    assert!(refused.message.contains("takes no field") && refused.hint.is_some(), "{refused}");
}

#[tokio::test]
async fn a_plan_says_of_each_command_what_it_takes_and_its_copy_is_one() {
    let place = Place::with_nasty(shearwater_testbed::mongodb()).await;
    let index = doc! { "createIndexes": "users", "indexes": [{ "key": { "name": 1 }, "name": "by_name" }] };
    place.database.run_command(index).await.unwrap();
    let before = (place.schema().await, place.documents().await);
    let wanting = place.wanting(BY_ACTIVITY).await;
    for stage in Stage::ALL {
        let statements = wanting.evolve.statements(stage).await.unwrap();
        let told: Vec<Alteration> = statements.iter().map(|statement| statement.what).collect();
        assert_eq!(told, wanting.evolve.alterations(stage));
        assert!(
            statements.iter().all(|s| !s.sql.is_empty() && !s.lock.is_empty() && s.expected_ms > 0),
            "{statements:?}"
        );
    }
    let to = CopyPlace { url: place.url.clone(), table: "copied".into() };
    assert_eq!(wanting.evolve.copy(&to, 100).await.unwrap(), 100);
    let copied: Collection<Bsons> = place.database.collection("copied");
    assert!(copied.list_index_names().await.unwrap().contains(&"by_name".to_owned()));
    copied.drop().await.unwrap();
    assert_eq!((place.schema().await, place.documents().await), before, "a plan writes nothing");
}

/// What the fill has read is not what stands there when it writes: a document whose
/// value would be another one by now, that has got one, or that is gone, is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_the_fill_was_on_its_way_stays() {
    let server = shearwater_testbed::mongodb();
    let place = Place::new(server).await;
    let one = |id: &str| doc! { "_id": id, "name": "n", "active": true };
    place.users.insert_many(["a", "b", "c", "d"].map(one)).await.unwrap();
    let wanting = place.wanting(BY_ACTIVITY).await;
    wanting.stage(Stage::Expand).await;
    let hang = |mode: &str| {
        let command = doc! {
            "configureFailPoint": "hangDuringBatchUpdate", "mode": mode,
            "data": { "nss": place.users.namespace().to_string() },
        };
        tokio::task::block_in_place(|| server.run_on(0, command))
    };
    let entered = hang("alwaysOn").get_i32("count").unwrap();
    let range = wanting.evolve.fill_ranges(1).await.unwrap().remove(0);
    let filling = {
        let evolve = wanting.evolve.clone();
        tokio::spawn(async move { evolve.fill("race", &range, &FillCheckpoint::default(), 100).await.unwrap() })
    };
    let reached = doc! {
        "waitForFailPoint": "hangDuringBatchUpdate", "timesEntered": i64::from(entered) + 1, "maxTimeMS": 60_000,
    };
    tokio::task::block_in_place(|| server.run_on(0, reached));
    // No updates, which would hang too.
    let set = async |id: &str, set: Bsons| {
        place.users.find_one_and_update(doc! { "_id": id }, doc! { "$set": set }).await.unwrap().unwrap();
    };
    set("a", doc! { "active": false }).await;
    set("b", doc! { "status": "MINE" }).await;
    place.users.delete_one(doc! { "_id": "c" }).await.unwrap();
    hang("off");
    let done = filling.await.unwrap();
    // The last one is a range of its own.
    assert_eq!((done.read, done.filled), (3, 0), "{done:?}");
    assert_eq!((place.status("a").await, place.status("b").await), (None, Some("MINE".into())));
    assert_eq!(place.documents().await.len(), 3, "none comes back");
    assert_eq!(wanting.backfill("again", 1_000).await, 2);
    assert_eq!((place.status("a").await, place.status("d").await), (Some("INACTIVE".into()), Some("ACTIVE".into())));
}
