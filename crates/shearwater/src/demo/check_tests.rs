//! The checker against histories made by hand, against a simulated register
//! with and without bugs, and against every order of small histories.

use proptest::prelude::*;

use super::*;
use crate::demo::history::{Among, SortFields, Walk};

/// Reads `w1@0-10 r1@5-6 d@20-?`: an act, then when it began and ended.
/// `w` puts, `i` inserts, `p` patches, `m1>2` puts 2 if 1 is there, `d` deletes
/// what is there, `D` deletes whatever there is, `r` reads, `e` is left at the
/// end; a digit is a version, `-` is absent, `x` is a record of any version.
fn history(initial: Option<u32>, text: &str) -> History {
    let ops = text.split_whitespace().map(op).collect();
    History { initial: vec![initial.map(Version)], ops, walks: Vec::new() }
}

fn op(text: &str) -> Op {
    let (act, times) = text.split_once('@').unwrap();
    let (begun, ended) = times.split_once('-').unwrap();
    let seen = |text: &str| match text {
        "-" => Seen::Absent,
        "x" => Seen::Present,
        digits => Seen::Version(Version(digits.parse().unwrap())),
    };
    let wrote = |digits: &str, before| Act::Wrote {
        version: Version(digits.parse().unwrap()),
        before,
        touched: SortFields::NONE,
    };
    let (verb, rest) = act.split_at(1);
    let act = match verb {
        "w" => wrote(rest, Before::Anything),
        "i" => wrote(rest, Before::Absent),
        "p" => wrote(rest, Before::Present),
        "m" => {
            let (held, version) = rest.split_once('>').unwrap();
            wrote(version, Before::Version(Version(held.parse().unwrap())))
        }
        "d" => Act::Deleted { before: Before::Present },
        "D" => Act::Deleted { before: Before::Anything },
        "r" => Act::Saw(seen(rest)),
        "e" => Act::Left(seen(rest)),
        other => panic!("no act {other:?}"),
    };
    let ended_ns = if ended == "?" { NEVER } else { ended.parse().unwrap() };
    Op { key: KeyId(0), act, begun_ns: begun.parse().unwrap(), ended_ns }
}

/// Faults in the order of their discovery.
fn check_text(initial: Option<u32>, text: &str, expect: &[Fault]) {
    let verdict = check(&history(initial, text));
    let found: Vec<Fault> = verdict.findings.iter().map(|f| f.fault).collect();
    assert_eq!(found, expect, "{text}");
    assert_eq!(verdict.total(), expect.len() as u64, "{text}");
    assert_eq!(verdict.unchecked_keys, 0, "{text}");
}

#[test]
fn legal_histories_pass() {
    for (reason, initial, text) in [
        ("one after the other", None, "i1@0-1 r1@2-3 w2@4-5 r2@6-7 d@8-9 r-@10-11 e-@20-20"),
        ("a read beside a write sees either", Some(0), "w1@0-10 r0@1-2 r1@3-4 e1@20-20"),
        ("two reads beside a write, old one begun first", Some(0), "w1@0-10 r0@1-8 r1@2-9"),
        ("concurrent writes, either may win", Some(0), "w1@0-10 w2@0-10 e1@20-20"),
        ("concurrent writes, the other wins", Some(0), "w1@0-10 w2@0-10 e2@20-20"),
        ("an unknown write that happened", Some(0), "w1@0-? r0@5-6 r1@7-8 e1@20-20"),
        ("an unknown write that did not happen", Some(0), "w1@0-? r0@5-6 e0@20-20"),
        ("an unknown write that happened late", Some(0), "w1@0-? w2@1-2 r2@3-4 r1@5-6 e1@20-20"),
        ("an unknown delete", Some(0), "d@0-? r0@1-2 r-@3-4 e-@20-20"),
        ("deleted and made again", Some(0), "d@0-1 r-@2-3 i1@4-5 r1@6-7 d@8-9 i2@10-11 e2@20-20"),
        ("an insert refused because of a concurrent one", None, "i1@0-10 rx@1-9 e1@20-20"),
        ("conditional writes in a chain", Some(0), "m0>1@0-1 m1>2@2-3 e2@20-20"),
        ("three writers and a reader who sees all of them", Some(0), "w1@0-9 w2@0-9 w3@0-9 r2@1-8 r3@8-9 r1@9-10"),
        ("acts that touch are concurrent", Some(0), "w1@0-5 r0@5-6 e1@9-9"),
        ("a delete of whatever there is, when nothing is", None, "D@0-1 r-@2-3"),
    ] {
        println!("{reason}");
        check_text(initial, text, &[]);
    }
}

#[test]
fn each_rule_is_found_broken() {
    use Fault::*;
    for (reason, initial, text, expect) in [
        ("acknowledged, then not there", None, "i1@0-1 r-@2-3", Lost),
        ("acknowledged, older left at the end", Some(0), "w1@0-1 e0@20-20", Lost),
        ("acknowledged, nothing left at the end", Some(0), "w1@0-1 e-@20-20", Lost),
        ("the initial record is gone", Some(0), "r-@2-3", Lost),
        ("two conditional writes on one version", Some(0), "m0>1@0-1 m0>2@2-3", Lost),
        ("an insert over an acknowledged record", None, "i1@0-1 i2@2-3", Lost),
        ("deleted, then read", Some(0), "d@0-1 r0@2-3", Resurrected),
        ("deleted, then left", Some(0), "d@0-1 e0@20-20", Resurrected),
        ("deleted, then patched", Some(0), "d@0-1 p1@2-3", Resurrected),
        ("deleted, then an insert is refused", Some(0), "d@0-1 rx@2-3", Resurrected),
        ("made again, then the deleted version comes back", Some(0), "d@0-1 i1@2-3 r0@4-5", BackwardsRead),
        ("read older than acknowledged", Some(0), "w1@0-1 r0@2-3", BackwardsRead),
        ("read older than read before, write still under way", Some(0), "w1@0-10 r1@1-2 r0@3-4", BackwardsRead),
        ("the same with an unknown write", Some(0), "w1@0-? r1@1-2 r0@3-4", BackwardsRead),
        ("two readers disagree on the order", Some(0), "w1@0-9 w2@0-9 r1@1-2 r2@3-4 r1@5-6", BackwardsRead),
        ("a version that nobody wrote", Some(0), "r7@2-3", Phantom),
        ("a version that is written only later", Some(0), "r1@2-3 w1@4-5", Phantom),
    ] {
        println!("{reason}");
        check_text(initial, text, &[expect]);
    }
}

#[test]
fn one_violation_is_counted_once() {
    check_text(Some(0), "w1@0-1 r0@2-3 r1@4-5 r1@6-7 e1@20-20", &[Fault::BackwardsRead]);
    check_text(Some(0), "w1@0-1 r0@2-3 r1@4-5 r0@6-7 e1@20-20", &[Fault::BackwardsRead, Fault::BackwardsRead]);
}

#[test]
fn keys_are_judged_apart() {
    let mut two = history(Some(0), "w1@0-1 r1@2-3");
    two.initial.push(Some(Version(0)));
    two.ops.push(Op { key: KeyId(1), ..op("r0@2-3") });
    assert_eq!(check(&two), Verdict::default());
}

#[test]
fn an_entangled_key_is_reported_and_not_judged() {
    let text: Vec<String> = (1..=70).map(|n| format!("w{n}@0-?")).collect();
    let verdict = check(&history(Some(0), &format!("{} r3@5-6", text.join(" "))));
    assert_eq!(verdict.unchecked_keys, 1);
}

/// A walk from 10 to 20 over keys 0 to 2, which all exist at the beginning.
fn check_walk(shown: &[u32], changes: &[(u32, &str)], expect: &[Fault]) {
    let order = SortFields(1);
    let ops = changes
        .iter()
        .map(|(key, text)| {
            // `s` is a put that changes the sort key.
            let (text, touched) = match text.strip_prefix('s') {
                Some(rest) => (format!("w{rest}"), order),
                None => ((*text).to_owned(), SortFields(2)),
            };
            let mut op = op(&text);
            if let Act::Wrote { touched: t, .. } = &mut op.act {
                *t = touched;
            }
            Op { key: KeyId(*key), ..op }
        })
        .collect();
    let walk = Walk {
        among: Among::All,
        order,
        begun_ns: 10,
        ended_ns: 20,
        keys: shown.iter().map(|&key| KeyId(key)).collect(),
    };
    let verdict = check(&History { initial: vec![Some(Version(0)); 3], ops, walks: vec![walk] });
    let found: Vec<Fault> = verdict.findings.iter().map(|f| f.fault).collect();
    assert_eq!(found, expect, "{shown:?} {changes:?}");
}

#[test]
fn walks_show_each_lasting_record_once() {
    use Fault::{ListGap, ListRepeat};
    check_walk(&[0, 1, 2], &[], &[]);
    check_walk(&[2, 0], &[], &[ListGap]);
    check_walk(&[0, 1, 2, 1], &[], &[ListRepeat]);
    check_walk(&[0, 2], &[(1, "w1@12-13")], &[ListGap]);
    check_walk(&[0, 2], &[(1, "s1@12-13")], &[]);
    check_walk(&[0, 1, 1, 2], &[(1, "s1@12-13")], &[]);
    check_walk(&[0, 1, 1, 2], &[(1, "s1@2-3")], &[ListRepeat]);
    check_walk(&[0, 2], &[(1, "d@2-3")], &[]);
    check_walk(&[0, 2], &[(1, "d@19-30")], &[]);
    check_walk(&[0, 2], &[(1, "d@21-30")], &[ListGap]);
    check_walk(&[0, 2], &[(1, "d@2-3"), (1, "i1@4-5")], &[ListGap]);
    check_walk(&[0, 2], &[(1, "d@2-?"), (1, "w1@4-5")], &[]);
    check_walk(&[0, 1, 2], &[(7, "i1@2-3")], &[ListGap]);
    check_walk(&[0, 1, 2], &[(7, "i1@9-11")], &[]);
    check_walk(&[0, 1, 2, 7, 7], &[(7, "i1@2-3")], &[ListRepeat]);
}

#[test]
fn walks_over_a_bucket_owe_only_its_keys() {
    let walk = |keys: &[u32]| Walk {
        among: Among::Bucket(1),
        order: SortFields::NONE,
        begun_ns: 10,
        ended_ns: 20,
        keys: keys.iter().map(|&key| KeyId(key)).collect(),
    };
    let gaps =
        |keys| check(&History { initial: vec![Some(Version(0)); 40], ops: vec![], walks: vec![walk(keys)] }).list_gaps;
    assert_eq!(gaps(&[1, 17, 33]), 0);
    assert_eq!(gaps(&[1, 33]), 1);
}

/// What a simulated client wants, in time slots on a line.
#[derive(Clone, Debug)]
struct Want {
    verb: u8,
    begun: u64,
    takes: u64,
    /// Where in its time the act takes effect, percent.
    at: u64,
    unknown: bool,
}

fn wants(most: usize) -> impl Strategy<Value = Vec<Want>> {
    let want = (0u8..6, 0u64..60, 1u64..20, 0u64..=100, prop::bool::weighted(0.1))
        .prop_map(|(verb, begun, takes, at, unknown)| Want { verb, begun, takes, at, unknown });
    prop::collection::vec(want, 1..most)
}

/// A bug that the simulated register has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    /// The n-th write is acknowledged and not kept.
    Forgets(usize),
    /// Reads show what was there some writes ago.
    Stale(usize),
    /// The n-th delete is undone by the next act.
    Undeletes(usize),
}

/// Runs acts at their moments of effect against one register and writes down
/// what each client is told.
fn simulate(wants: &[Want], bug: Bug) -> History {
    let mut order: Vec<(u64, usize)> =
        wants.iter().enumerate().map(|(n, w)| (w.begun * 100 + w.takes * w.at, n)).collect();
    order.sort_unstable();
    let mut past: Vec<Held> = vec![Some(Version(0))];
    let (mut writes, mut deletes, mut undo) = (0, 0, None);
    let mut ops = Vec::new();
    for (_, n) in order {
        let want = &wants[n];
        if let Some(back) = undo.take() {
            past.push(back);
        }
        let held = past[past.len() - 1];
        let version = Version(n as u32 + 1);
        let mut keep = true;
        let act = match want.verb {
            0 => Act::Wrote { version, before: Before::Anything, touched: SortFields::NONE },
            1 if held.is_none() => Act::Wrote { version, before: Before::Absent, touched: SortFields::NONE },
            1 => Act::Saw(Seen::Present),
            2 => match held {
                Some(held) => Act::Wrote { version, before: Before::Version(held), touched: SortFields::NONE },
                None => Act::Saw(Seen::Absent),
            },
            3 if held.is_some() => Act::Deleted { before: Before::Present },
            3 => Act::Saw(Seen::Absent),
            _ => {
                let back = if let Bug::Stale(back) = bug { back } else { 0 };
                let held = past[past.len() - 1 - back.min(past.len() - 1)];
                Act::Saw(held.map_or(Seen::Absent, Seen::Version))
            }
        };
        if matches!(act, Act::Wrote { .. }) {
            keep = bug != Bug::Forgets(writes);
            writes += 1;
        }
        if matches!(act, Act::Deleted { .. }) {
            undo = (bug == Bug::Undeletes(deletes)).then_some(held);
            deletes += 1;
        }
        if let (false, true, Some(next)) = (is_read(act), keep, after(held, act)) {
            past.push(next);
        }
        let unknown = want.unknown && !is_read(act);
        let ended_ns = if unknown { NEVER } else { (want.begun + want.takes) * 100 };
        ops.push(Op { key: KeyId(0), act, begun_ns: want.begun * 100, ended_ns });
    }
    let left = past[past.len() - 1];
    ops.push(Op {
        key: KeyId(0),
        act: Act::Left(left.map_or(Seen::Absent, Seen::Version)),
        begun_ns: 100_000,
        ended_ns: 100_001,
    });
    History { initial: vec![Some(Version(0))], ops, walks: Vec::new() }
}

/// Tries every order: the definition, for small histories.
fn explainable(held: Held, ops: &[Op], done: u32) -> bool {
    let open = |n: usize| done & (1 << n) == 0;
    if ops.iter().enumerate().all(|(n, op)| !open(n) || op.ended_ns == NEVER) {
        return true;
    }
    let first_end = ops.iter().enumerate().filter(|(n, _)| open(*n)).map(|(_, op)| op.ended_ns).min().unwrap_or(NEVER);
    ops.iter().enumerate().any(|(n, op)| {
        open(n)
            && op.begun_ns <= first_end
            && after(held, op.act).is_some_and(|next| explainable(next, ops, done | 1 << n))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_register_passes(wants in wants(40)) {
        prop_assert_eq!(check(&simulate(&wants, Bug::None)), Verdict::default());
    }

    #[test]
    fn the_search_agrees_with_trying_every_order(
        wants in wants(8),
        bug in prop_oneof![
            (0usize..3).prop_map(Bug::Forgets),
            (1usize..3).prop_map(Bug::Stale),
            (0usize..2).prop_map(Bug::Undeletes),
        ],
    ) {
        let history = simulate(&wants, bug);
        let verdict = check(&history);
        prop_assert_eq!(verdict.total() == 0, explainable(Some(Version(0)), &history.ops, 0), "{:?}", history.ops);
    }
}

#[test]
fn seeded_bugs_are_found_when_acts_do_not_overlap() {
    let want = |verb, begun| Want { verb, begun, takes: 1, at: 50, unknown: false };
    let acts = [want(0, 0), want(5, 2), want(3, 4), want(5, 6), want(0, 8), want(5, 10)];
    for (bug, fault) in [
        (Bug::Forgets(0), Fault::BackwardsRead),
        (Bug::Forgets(1), Fault::Lost),
        (Bug::Stale(1), Fault::BackwardsRead),
        (Bug::Undeletes(0), Fault::Resurrected),
    ] {
        let verdict = check(&simulate(&acts, bug));
        assert_eq!(verdict.findings.first().map(|f| f.fault), Some(fault), "{bug:?}: {verdict:?}");
    }
}
