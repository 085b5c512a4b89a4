//! Counts and times of the gateway and the engine, for `/metrics`.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets of times, seconds: from a read of one record in
/// memory to the longest request that is not cut off.
const SECONDS_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often samples are moved into their buckets; between two rounds each
/// sample takes memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The process's recorder; installed by whoever asks first, and before any
/// counter is made. Where the process has another recorder already, that one
/// stays and this one shows nothing.
pub fn recorder() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(SECONDS_BUCKETS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics will be empty");
        }
        handle
    })
}

/// Moves samples into their buckets until it is dropped.
pub async fn keep_up() {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        recorder().run_upkeep();
    }
}

/// Everything in the text form of Prometheus.
pub fn render() -> String {
    recorder().render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rendered() {
        recorder();
        metrics::counter!("shearwater_test_total", "kind" => "rendered").increment(3);
        assert!(render().contains("shearwater_test_total{kind=\"rendered\"} 3"));
    }

    #[test]
    fn the_buckets_are_in_order() {
        assert!(SECONDS_BUCKETS.is_sorted());
    }
}
