//! Writes that meet others: everybody gets done, and what a write decided on is
//! what it changed.

use shearwater_core::Value;
use shearwater_core::lifecycle::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_engine::records::{ClientChange, Condition, Edit, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, doc, key};
use crate::{ANN, SERVING, options};

const BOB: &str = r#"{"_id": "bob", "name": "Bob"}"#;

fn named(name: &str) -> Filter {
    Filter::Compare { path: Path::field("name"), op: CompareOp::Eq, literal: Literal::Typed(Value::text(name)) }
}

fn matching(id: &str, edit: Edit, filter: Filter) -> ClientChange {
    ClientChange { key: key(id), edit, condition: Condition::Matching(filter) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_match_is_left_alone_and_the_rest_is_changed() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN, BOB]).await;
        let server = stage.serve(options()).await;
        for shape in [Shape::V1, Shape::V2] {
            let patch = || Edit::MergePatch(doc(r#"{"score": 1}"#));
            let all =
                |filter: &Filter| ["ann", "bob", "nobody"].map(|id| matching(id, patch(), filter.clone())).to_vec();
            let done = server.records.write(shape, all(&named("Bob")), None).await.unwrap();
            let changed: Vec<_> = done.records.iter().map(|got| got.as_ref().map(|got| got.key.clone())).collect();
            assert_eq!(changed, [None, Some(key("bob")), None], "{phase} {shape:?}");
            assert_eq!(server.get(shape, "bob").await, done.records[1], "{phase} {shape:?}");
            let none = server.records.write(shape, all(&named("Eve")), None).await.unwrap();
            assert_eq!(none.records, [None, None, None], "{phase} {shape:?}");
        }
        let ann = server.get(Shape::V2, "ann").await;
        let delete = |id| matching(id, Edit::Delete, named("Ann"));
        let done = server.records.write(Shape::V2, vec![delete("bob"), delete("ann")], None).await.unwrap();
        assert_eq!((&done.deleted[0], &done.deleted[1]), (&None, &ann), "{phase}: what was deleted is shown");
        assert_eq!(server.get(Shape::V1, "ann").await, None, "{phase}");
        assert!(server.get(Shape::V1, "bob").await.is_some(), "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_sets_what_is_sent_or_leaves_the_record_alone() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let done = server.edit(Shape::V2, "ann", Edit::InsertOrSet(doc(r#"{"name": "New"}"#))).await.unwrap();
        assert_eq!((done.created[0], &done.records[0]), (false, &server.get(Shape::V2, "ann").await), "{phase}");
        let ann = server.get(Shape::V1, "ann").await.unwrap();
        assert_eq!(ann.record, doc(&ANN.replace("\"Ann\"", "\"New\"")), "{phase}: what v2 does not see stays");
        let done = server.edit(Shape::V1, "ann", Edit::InsertIfAbsent(doc(r#"{"name": "No"}"#))).await.unwrap();
        assert_eq!((&done.records[0], done.created[0]), (&None, false), "{phase}");
        assert_eq!(server.get(Shape::V1, "ann").await, Some(ann), "{phase}");
        for (id, edit) in [
            ("eve", Edit::InsertOrSet(doc(r#"{"name": "Eve"}"#))),
            ("kim", Edit::InsertIfAbsent(doc(r#"{"name": "Kim"}"#))),
        ] {
            let done = server.edit(Shape::V2, id, edit).await.unwrap();
            assert!(done.created[0], "{phase}");
            assert_eq!(server.get(Shape::V2, id).await, done.records[0], "{phase}");
        }
    }
}

/// Each write of one record is shorter than the read of the large one, so that
/// the large one would lose every race.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_many_records_gets_done_while_others_write_them_all_the_time() {
    let records: Vec<String> = (0..10).map(|n| format!(r#"{{"_id": "r{n}", "name": "x"}}"#)).collect();
    let stage = Stage::at(Phase::DualWrite, &records.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let server = stage.serve(options()).await.records;
    stage.source.bend(Bend::ReadsManySlowly);

    let (done, stop) = tokio::sync::watch::channel(false);
    let mut others = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (server, stop) = (server.clone(), stop.clone());
        others.spawn(async move {
            let mut written = 0;
            while !*stop.borrow() {
                written += 1;
                let edit = Edit::MergePatch(doc(&format!(r#"{{"score": {written}}}"#)));
                let change = ClientChange { key: key(&format!("r{n}")), edit, condition: Condition::None };
                server.write(Shape::V1, vec![change], None).await.unwrap();
            }
            (n, written)
        });
    }
    for round in 0..5 {
        let patch = Edit::MergePatch(doc(&format!(r#"{{"name": "bulk{round}"}}"#)));
        let changes = (0..10).map(|n| matching(&format!("r{n}"), patch.clone(), Filter::All)).collect();
        let written = server.write(Shape::V2, changes, None).await.unwrap();
        assert_eq!(written.records.iter().flatten().count(), 10);
    }
    done.send(true).unwrap();
    while let Some(other) = others.join_next().await {
        let (n, written) = other.unwrap();
        let record = server.get(Shape::V1, &key(&format!("r{n}"))).await.unwrap().unwrap().record;
        assert_eq!(record.get("score"), Some(&Value::Int(written)), "r{n}: nobody's write is lost");
        assert_eq!(record.get("name"), Some(&Value::text("bulk4")), "r{n}");
    }
}
