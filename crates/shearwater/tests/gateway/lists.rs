//! Lists: filters, orders, selections, pages.

use serde_json::{Value, json};
use shearwater::gateway::ServeOptions;
use shearwater_core::lifecycle::Phase;

use crate::world::{Server, World, key};

async fn served(records: usize) -> (World, Server) {
    let world = World::new(records);
    let server = world.serve(ServeOptions::default()).await;
    (world, server)
}

/// Walks all pages; every page but the last is full.
pub async fn walk(server: &Server, first: &str, field: &str) -> Vec<Value> {
    let (mut all, mut path, mut seen) = (Vec::new(), first.to_owned(), 0);
    loop {
        let page = server.get(&path).expect(200).await;
        let column = page.column(field);
        let range = match column.len() {
            0 => "*/*".to_owned(),
            count => format!("{seen}-{}/*", seen + count - 1),
        };
        assert_eq!(page.header("content-range"), range, "{path}");
        seen += column.len();
        all.extend(column);
        match page.next() {
            Some(next) => path = next,
            None => return all,
        }
    }
}

fn keys(numbers: impl IntoIterator<Item = usize>) -> Vec<Value> {
    numbers.into_iter().map(|n| json!(key(n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_mean_the_same_in_both_shapes() {
    let (_world, server) = served(30).await;
    for phase in [Phase::Planned, Phase::DualWrite, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        let check = async |v1: &str, v2: &str, expect: Vec<Value>| {
            let found = server.get(&format!("/v1/users?{v1}")).expect(200).await;
            assert_eq!(found.column("_id"), expect, "{phase:?} v1 {v1}");
            let found = server.get(&format!("/v2/users?{v2}")).expect(200).await;
            assert_eq!(found.column("id"), expect, "{phase:?} v2 {v2}");
        };
        let same = async |query: &str, expect: Vec<Value>| check(query, query, expect).await;
        same("age=eq.21", keys([21])).await;
        same("age=gte.27", keys([27, 28, 29])).await;
        same("age=gt.3&age=lt.6", keys([4, 5])).await;
        same("age=in.(1,2,99)", keys([1, 2])).await;
        check("address->>city=eq.c6", "city=eq.c6", keys([6, 13, 20, 27])).await;
        check("address.city=neq.c0&age=lte.2", "city=neq.c0&age=lte.2", keys([1, 2])).await;
        same("email=like.u0000*@*&age=lt.2", keys([0, 1])).await;
        same("email=ilike.U00029*", keys([29])).await;
        same("email=not.like.*&age=eq.1", vec![]).await;
        same("or=(age.eq.1,and(age.gte.28,age.not.eq.29))", keys([1, 28])).await;
        same("age=is.null", vec![]).await;
        same("age=not.is.null&order=age.desc&limit=2", keys([29, 28])).await;
        same("order=age.desc.nullslast,email&age=lt.2", keys([1, 0])).await;
        same("limit=0", vec![]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_refused() {
    let (_world, server) = served(1).await;
    let refuse = async |query: &str, slug: &str| server.get(&format!("/v2/users?{query}")).problem(400, slug).await;
    let problem = refuse("aeg=eq.1", "unknown-field").await;
    assert_eq!((&problem["code"], &problem["field"]), (&json!("42703"), &json!("aeg")));
    refuse("age=21", "bad-query").await;
    refuse("age=eq.old", "bad-literal").await;
    refuse("offset=10001", "offset-unsupported").await;
    refuse("on_conflict=id", "unknown-parameter").await;
    refuse("limit=1001", "bad-query").await;
    refuse("order=nope", "unknown-field").await;
    refuse("select=age::text", "bad-query").await;
    refuse("after=xyz", "bad-page-token").await;
    refuse("columns=age", "unknown-parameter").await;
    refuse("or=(age.eq.1", "bad-query").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_single_objects() {
    let (_world, server) = served(25).await;
    let count = |path: &str| server.get(path).header("prefer", "count=exact");
    let page = count("/v2/users?limit=10").expect(200).await;
    assert_eq!((page.header("content-range"), page.header("preference-applied")), ("0-9/25", "count=exact"));
    let next = page.next().unwrap();
    assert_eq!(count(&next).expect(200).await.header("content-range"), "10-19/25");
    assert_eq!(count("/v2/users?age=lt.5").expect(200).await.header("content-range"), "0-4/5");
    assert_eq!(count("/v2/users?age=gt.99").expect(200).await.header("content-range"), "*/0");
    let single = |path: &str| server.get(path).header("accept", "application/vnd.pgrst.object+json");
    let one = single("/v2/users?age=eq.3&select=id").expect(200).await;
    assert_eq!(one.text, r#"{"id":"u00003"}"#);
    assert_eq!(one.header("content-type"), "application/vnd.pgrst.object+json");
    let problem = single("/v2/users?age=eq.99").problem(406, "not-singular").await;
    assert_eq!((&problem["code"], &problem["details"]), (&json!("PGRST116"), &json!("The result contains 0 rows")));
    single("/v2/users?age=lt.3").problem(406, "not-singular").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_shows_every_record_once() {
    let (_world, server) = served(53).await;
    server.forward_to(Phase::DualWrite).await;
    for order in ["", "&order=age", "&order=age.desc", "&order=city.desc,age", "&order=city,email.desc"] {
        let all = walk(&server, &format!("/v2/users?limit=7{order}"), "id").await;
        let mut sorted: Vec<_> = all.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        sorted.sort();
        sorted.dedup();
        assert_eq!((all.len(), sorted.len()), (53, 53), "{order}");
    }
    assert_eq!(walk(&server, "/v1/users?limit=10&order=age.desc", "_id").await, keys((0..53).rev()));
    assert_eq!(walk(&server, "/v1/users?limit=53", "_id").await, keys(0..53), "a full last page has no next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_goes_on_across_phases_and_processes() {
    let (world, server) = served(60).await;
    let mut pages = Vec::new();
    let first = server.get("/v2/users?limit=10&order=age.desc").expect(200).await;
    pages.extend(first.column("id"));
    let mut next = first.next().unwrap();
    for phase in [Phase::DualWrite, Phase::ReadRamp, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        let page = server.get(&next).expect(200).await;
        pages.extend(page.column("id"));
        next = page.next().unwrap();
    }
    server.handle.stop().await;
    let server = world.serve(ServeOptions::default()).await;
    let page = server.get(&next).expect(200).await;
    pages.extend(page.column("id"));
    server.forward_to(Phase::Complete).await;
    let page = server.get(&page.next().unwrap()).expect(200).await;
    pages.extend(page.column("id"));
    assert_eq!(page.next(), None);
    assert_eq!(pages, keys((0..60).rev()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_its_own_list() {
    let (_world, server) = served(20).await;
    let page = server.get("/v2/users?limit=5&order=age&age=gt.1").expect(200).await;
    let next = page.next().unwrap();
    let token = next.split("after=").nth(1).unwrap();
    let other_text = if &token[10..12] == "AA" { "BB" } else { "AA" };
    let forged = format!("{}{other_text}{}", &token[..10], &token[12..]);
    server.get(&next).expect(200).await;
    server.get(&format!("/v2/users?select=id&limit=3&age=gt.1&order=age&after={token}")).expect(200).await;
    for other in [
        format!("/v2/users?order=age.desc&age=gt.1&after={token}"),
        format!("/v2/users?order=age&age=gt.2&after={token}"),
        format!("/v2/users?order=age&after={token}"),
        format!("/v1/users?order=age&age=gt.1&after={token}"),
        format!("/v2/users?order=age&age=gt.1&after={}", forged),
    ] {
        let problem = server.get(&other).problem(400, "bad-page-token").await;
        assert_eq!(problem["hint"], "begin again at the first page");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_offset_and_by_range() {
    let (_world, server) = served(1_250).await;
    for phase in [Phase::Planned, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        let check = async |page: crate::world::Answer, range: &str, expect: std::ops::Range<usize>| {
            assert_eq!((page.column("id"), page.header("content-range")), (keys(expect), range), "{phase:?}");
            page
        };
        let get = |query: &str| server.get(&format!("/v2/users?{query}")).expect(200);
        check(get("limit=5&offset=10").await, "10-14/*", 10..15).await;
        check(get("limit=5&offset=1000").await, "1000-1004/*", 1_000..1_005).await;
        check(get("limit=5&offset=1248").await, "1248-1249/*", 1_248..1_250).await;
        check(get("limit=5&offset=1250").await, "*/*", 0..0).await;
        check(get("limit=5&offset=2000").await, "*/*", 0..0).await;
        check(get("age=gte.100&order=age.asc&limit=2&offset=3").await, "3-4/*", 103..105).await;
        // Its link goes on by token, from where it is.
        let page = get("order=age&offset=20&limit=10").await;
        let next = page.next().unwrap();
        assert!(!next.contains("offset"), "{next}");
        check(server.get(&next).expect(200).await, "30-39/*", 30..40).await;
        let range = |text: &str| server.get("/v2/users").header("range", text).header("range-unit", "items");
        let page = check(range("7-11").expect(200).await, "7-11/*", 7..12).await;
        check(server.get(&page.next().unwrap()).expect(200).await, "12-16/*", 12..17).await;
        check(range("1200-").expect(200).await, "1200-1249/*", 1_200..1_250).await;
        range("3-2").problem(416, "range-not-satisfiable").await;
        range("0-1000").problem(400, "bad-query").await;
        range("10001-10002").problem(400, "offset-unsupported").await;
        server.get("/v2/users?limit=3").header("range", "0-4").problem(400, "bad-header").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_beyond_a_page_and_by_estimate() {
    let (_world, server) = served(10_500).await;
    let count = async |path: &str, how: &str| {
        let page = server.get(path).header("prefer", how).expect(200).await;
        (page.header("content-range").to_owned(), page.header("preference-applied").to_owned())
    };
    let told = |range: &str, applied: &str| (range.to_owned(), applied.to_owned());
    assert_eq!(count("/v2/users?limit=10", "count=exact").await, told("0-9/10500", "count=exact"));
    assert_eq!(count("/v2/users?limit=1&age=gte.1", "count=exact").await, told("0-0/10499", "count=exact"));
    assert_eq!(count("/v2/users?limit=10", "count=planned").await, told("0-9/10500", "count=planned"));
    assert_eq!(count("/v2/users?limit=10", "count=estimated").await, told("0-9/10500", "count=estimated"));
    // The estimate is of all records: with a filter only few are counted, and no more is said than is known.
    assert_eq!(count("/v2/users?limit=1&age=lt.5", "count=planned").await, told("0-0/*", ""));
    assert_eq!(count("/v2/users?limit=1&age=lt.5", "count=estimated").await, told("0-0/5", "count=estimated"));
    assert_eq!(count("/v2/users?limit=1&age=gte.1", "count=estimated").await, told("0-0/*", ""));
    assert_eq!(count("/v2/users?limit=0", "count=exact").await, told("*/10500", "count=exact"));
    let beyond = server.get("/v2/users?age=lt.5&offset=6").header("prefer", "count=exact");
    beyond.problem(416, "range-not-satisfiable").await;
}
