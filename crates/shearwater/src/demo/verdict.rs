//! From evidence to report.

use shearwater_core::store::Side;

use super::check::{self, Fault, Finding, Verdict};
use super::conduct::{Change, Chronicle, STEP_COMPLETE, step_name};
use super::direct::Try;
use super::history::{History, NEVER, Version};
use super::register::Disagreement;
use super::report::{DemoReport, StepReport, latency, pauses};
use super::stage::{Doing, Stage, Timed};

/// Findings in the report; the rest are in the counts.
const FINDINGS_MAX: usize = 20;

/// What everybody saw.
pub struct Evidence {
    /// Acts and walks.
    pub history: History,
    /// Requests.
    pub timed: Vec<Timed>,
    /// Tries of the direct writer.
    pub tries: Vec<Try>,
    /// Records that differ between the stores at the end.
    pub stores_differ: u64,
    /// Dead letters before `complete`.
    pub dead_letters: u64,
    records: u32,
}

impl Evidence {
    /// None yet, over this many initial records.
    pub fn new(records: u32) -> Evidence {
        let initial = vec![Some(Version(0)); records as usize];
        Evidence {
            history: History { initial, ..History::default() },
            timed: Vec::new(),
            tries: Vec::new(),
            stores_differ: 0,
            dead_letters: 0,
            records,
        }
    }
}

/// Judges the evidence.
pub fn judge(evidence: Evidence, chronicle: &Chronicle, stage: &Stage) -> DemoReport {
    let verdict = check::check(&evidence.history);
    let (disagreements, disagreed) = stage.register.disagreements();
    let (errors, error_texts) = stage.errors();
    let verified: u64 = chronicle.verifications.iter().map(|totals| totals.mismatches()).sum();
    let windows: Vec<Window> = chronicle.changes.iter().map(|change| Window::of(change, stage)).collect();
    let given_up: Vec<Window> = chronicle.given_up.iter().map(|change| Window::of(change, stage)).collect();
    let tries = Tries::count(&evidence.tries, &windows, &given_up);
    let backfill = chronicle.backfills.first().copied().unwrap_or_default();
    let of = |doing| evidence.timed.iter().filter(move |t| t.doing == doing).map(took_ns).collect();
    let paused = |from| pauses(held_ns(&evidence.timed, &windows, from));
    DemoReport {
        source: String::new(),
        target: String::new(),
        records: u64::from(evidence.records),
        requests: stage.requests(),
        errors,
        lost: verdict.lost,
        resurrected: verdict.resurrected,
        backwards_reads: verdict.backwards_reads,
        list_repeats: verdict.list_repeats,
        list_gaps: verdict.list_gaps,
        mismatches: verified + disagreements + evidence.stores_differ + verdict.phantoms,
        dead_letters: evidence.dead_letters,
        fence_violations: tries.violations,
        unchecked_keys: verdict.unchecked_keys,
        direct_writes: tries.accepted,
        direct_refused: tries.refused,
        retries: stage.retries(),
        unknown_outcomes: evidence.history.ops.iter().filter(|op| op.ended_ns == NEVER).count() as u64,
        walks: evidence.history.walks.len() as u64,
        switches_aborted: chronicle.given_up.len() as u64,
        backfill_records_per_s: backfill.read as f64 * 1_000.0 / backfill.elapsed_ms.max(1) as f64,
        cutover_pause_ms: paused(Side::Source),
        rollback_pause_ms: paused(Side::Target),
        read_latency_ms: latency(of(Doing::Read)),
        write_latency_ms: latency(of(Doing::Write)),
        seed: stage.seed,
        duration_s: 0.0,
        steps: steps(&evidence.timed),
        findings: findings(&verdict, &disagreed, error_texts, stage),
    }
}

fn took_ns(timed: &Timed) -> u64 {
    timed.ended_ns - timed.begun_ns
}

fn steps(timed: &[Timed]) -> Vec<StepReport> {
    (0..=STEP_COMPLETE)
        .map(|step| {
            let of_step = || timed.iter().filter(move |t| usize::from(t.step) == step);
            let of = |doing| latency(of_step().filter(|t| t.doing == doing).map(took_ns).collect());
            StepReport {
                step: step_name(step).to_owned(),
                requests: of_step().count() as u64,
                read_latency_ms: of(Doing::Read),
                write_latency_ms: of(Doing::Write),
            }
        })
        .collect()
}

/// A change of authority on the demo's clock. The journal's times are whole
/// milliseconds, so the window is widened to hold them.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Side,
    begun_ns: u64,
    ended_ns: u64,
    pause_ns: u64,
}

impl Window {
    fn of(change: &Change, stage: &Stage) -> Window {
        Window {
            from: change.from,
            begun_ns: stage.ns_at(change.began_at_ms),
            ended_ns: stage.ns_at(change.opened_at_ms + 1),
            pause_ns: change.pause_micros * 1_000,
        }
    }

    fn meets(&self, begun_ns: u64, ended_ns: u64) -> bool {
        begun_ns <= self.ended_ns && ended_ns >= self.begun_ns
    }
}

/// How long writes were held by the changes of authority from a side.
fn held_ns(timed: &[Timed], windows: &[Window], from: Side) -> Vec<u64> {
    let windows = || windows.iter().filter(move |window| window.from == from);
    let writes = timed.iter().filter(|t| t.doing == Doing::Write);
    writes
        .filter(|t| windows().any(|window| window.meets(t.begun_ns, t.ended_ns)))
        .map(took_ns)
        .chain(windows().map(|window| window.pause_ns))
        .collect()
}

/// What became of the direct writer's tries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tries {
    accepted: u64,
    refused: u64,
    violations: u64,
}

impl Tries {
    /// While a change is made, or given up, either may be.
    fn count(tries: &[Try], windows: &[Window], given_up: &[Window]) -> Tries {
        let mut count = Tries::default();
        for one in tries {
            *if one.refused { &mut count.refused } else { &mut count.accepted } += 1;
            if windows.iter().chain(given_up).any(|window| window.meets(one.begun_ns, one.ended_ns)) {
                continue;
            }
            let last = windows.iter().rfind(|window| window.ended_ns < one.begun_ns);
            let closed = last.is_some_and(|window| window.from == Side::Source);
            count.violations += u64::from(closed != one.refused);
        }
        count
    }
}

fn findings(verdict: &Verdict, disagreed: &[Disagreement], errors: Vec<String>, stage: &Stage) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    for error in errors {
        if !findings.contains(&error) {
            findings.push(error);
        }
    }
    findings.extend(stage.remarks());
    findings.extend(verdict.findings.iter().map(|finding| shown(finding, stage)));
    findings.extend(
        disagreed
            .iter()
            .map(|d| format!("key #{} version {} ({:?}) looks otherwise: {}", d.key.0, d.version.0, d.shape, d.place)),
    );
    findings.truncate(FINDINGS_MAX);
    findings
}

fn shown(finding: &Finding, stage: &Stage) -> String {
    let what = match finding.fault {
        Fault::Lost => "an acknowledged write is gone",
        Fault::Resurrected => "back after its delete",
        Fault::BackwardsRead => "read an older version than before",
        Fault::Phantom => "read a version that nobody had written",
        Fault::ListRepeat => "twice in one walk",
        Fault::ListGap => "left out of a walk",
    };
    let ms = |ns: u64| ns as f64 / 1e6;
    let step = stage.step_at(finding.begun_ns).map_or("?", |step| step_name(usize::from(step)));
    format!(
        "key #{}: {what}, between {:.3} and {:.3} ms ({step})",
        finding.key.0,
        ms(finding.begun_ns),
        ms(finding.ended_ns)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: Side, begun_ns: u64, ended_ns: u64) -> Window {
        Window { from, begun_ns, ended_ns, pause_ns: 5 }
    }

    #[test]
    fn the_fence_is_judged_between_the_changes_only() {
        let windows = [window(Side::Source, 10, 20), window(Side::Target, 30, 40)];
        let count = |begun_ns, ended_ns, refused| {
            Tries::count(&[Try { begun_ns, ended_ns, refused }], &windows, &[window(Side::Source, 5, 7)]).violations
        };
        assert_eq!(count(1, 2, false), 0);
        assert_eq!(count(1, 2, true), 1);
        assert_eq!((count(6, 8, true), count(8, 8, true)), (0, 1), "one was given up, and the source opened again");
        assert_eq!(count(9, 11, true), 0);
        assert_eq!(count(12, 13, false), 0);
        assert_eq!(count(21, 22, true), 0);
        assert_eq!(count(21, 22, false), 1);
        assert_eq!(count(41, 42, false), 0);
        assert_eq!(count(41, 42, true), 1);
    }

    #[test]
    fn a_pause_is_the_whole_latency_of_each_write_in_it() {
        let write = |begun_ns, ended_ns| Timed { doing: Doing::Write, step: 0, begun_ns, ended_ns };
        let timed =
            [write(1, 9), write(5, 12), write(15, 50), write(21, 22), Timed { doing: Doing::Read, ..write(11, 12) }];
        let windows = [window(Side::Source, 10, 20), window(Side::Target, 100, 110)];
        assert_eq!(held_ns(&timed, &windows, Side::Source), [7, 35, 5]);
        assert_eq!(held_ns(&timed, &windows, Side::Target), [5]);
    }
}
