//! Lists: the same in every phase, over changes of phase, and with keys that the
//! follower does not have yet.

use shearwater_core::lifecycle::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal, OrderTerm};
use shearwater_core::store::Side;
use shearwater_engine::records::{Edit, ListAsk, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, by, doc};
use crate::{SERVING, options};

fn people() -> Vec<String> {
    (0..60)
        .map(|n| {
            let name = format!("n{:02}", n * 37 % 60);
            match n % 4 {
                0 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "score": {}}}"#, n % 5),
                1 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "score": null}}"#),
                2 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "nested": {{"rank": {}}}}}"#, n % 7),
                _ => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "tags": ["t{n}"], "nested": {{"rank": 1}}}}"#),
            }
        })
        .collect()
}

/// The lists that the following tests walk: pushed down in both shapes, and
/// such as only a scan can answer where the other store serves.
fn asks(shape: Shape) -> Vec<ListAsk> {
    let term = |path: &str, descending, nulls_first| OrderTerm {
        descending,
        nulls_first,
        ..OrderTerm::by(Path::parse(path).unwrap())
    };
    let inner = if shape == Shape::V1 { "nested.rank" } else { "extra.nested.rank" };
    let orders = [
        vec![],
        vec![term("name", true, false)],
        vec![term("score", false, true), term("name", true, true)],
        vec![term(inner, true, true)],
    ];
    let filter = Filter::Not(Box::new(Filter::Compare {
        path: Path::field("name"),
        op: CompareOp::Lt,
        literal: Literal::Untyped("n20".into()),
    }));
    let ask = |filter: &Filter, order: &Vec<OrderTerm>| ListAsk {
        shape,
        filter: filter.clone(),
        order: order.clone(),
        after: None,
        limit: 7,
    };
    orders.iter().flat_map(|order| [ask(&Filter::All, order), ask(&filter, order)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_the_same_in_every_phase() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let mut first: Option<Vec<Vec<String>>> = None;
    for phase in SERVING {
        let stage = Stage::at(phase, &people).await;
        let server = stage.serve(options()).await;
        let mut walked = Vec::new();
        for shape in [Shape::V1, Shape::V2] {
            for ask in asks(shape) {
                let keys = server.walk(ask.clone()).await;
                let whole = server.walk(ListAsk { limit: 1_000, ..ask }).await;
                assert_eq!(keys, whole, "pages add up to the whole list, {phase}");
                walked.push(keys);
            }
        }
        assert_eq!(walked[0].len(), 60);
        assert_eq!(walked[..8], walked[8..], "both shapes have the same order, {phase}");
        assert_eq!(*first.get_or_insert(walked.clone()), walked, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_survives_changes_of_phase() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    for shape in [Shape::V1, Shape::V2] {
        let stage = Stage::at(Phase::DualWrite, &people).await;
        let server = stage.serve(options()).await;
        let mut walks: Vec<(ListAsk, Vec<String>, Vec<String>)> = Vec::new();
        for ask in asks(shape) {
            walks.push((ask.clone(), server.walk(ListAsk { limit: 1_000, ..ask }).await, vec![]));
        }
        let steps = [Phase::ShadowRead, Phase::ReadRamp, Phase::Cutover, Phase::ReverseWindow, Phase::Complete];
        for step in steps {
            for (ask, _, seen) in &mut walks {
                let page = server.list(ask.clone()).await;
                seen.extend(page.records.iter().map(|got| got.key.to_text()));
                ask.after = page.next;
            }
            match step {
                Phase::ReverseWindow => stage.finish_switch(Side::Source).await,
                other => stage.go(other).await,
            }
            server.sync().await;
        }
        for (ask, expect, mut seen) in walks {
            if ask.after.is_some() {
                seen.extend(server.walk(ask).await);
            }
            assert_eq!(seen, expect);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_the_ramp_shows_dirty_keys_from_the_source() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    for shape in [Shape::V1, Shape::V2] {
        let stage = Stage::at(Phase::ReadRamp, &people).await;
        let server = stage.serve(options()).await;
        stage.target.bend(Bend::ApplyFails);
        // First becomes last, one goes, one comes, one is renamed past the page.
        server.patch(Shape::V1, "p00", r#"{"name": "z"}"#).await.unwrap();
        server.edit(Shape::V1, "p01", Edit::Delete).await.unwrap();
        server.edit(Shape::V1, "aaa", Edit::Insert(doc(r#"{"_id": "aaa", "name": "n00"}"#))).await.unwrap();
        server.patch(Shape::V1, "p10", r#"{"_id": "p10x"}"#).await.unwrap();
        for limit in [1, 3, 7, 59, 60, 61] {
            let mut ask = by(shape, "name", limit);
            let ramped = server.walk(ask.clone()).await;
            ask.limit = 1_000;
            stage.target.bend(Bend::ListFails);
            let from_source = server.walk(ask).await;
            stage.target.bend(Bend::ApplyFails);
            assert_eq!(ramped, from_source, "limit {limit}");
            assert_eq!(ramped.len(), 60);
            assert_eq!((ramped[0].as_str(), ramped[59].as_str()), ("aaa", "p00"));
        }
    }
}
