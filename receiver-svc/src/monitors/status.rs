//! Page and metrics of monitors.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use axum::{Json, Router, extract::State, routing::get};
use mesh_monitors::Reason;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::{Value, json};

use super::collect::{Collected, Outcome};

/// State of the monitors, for the page and the metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MonitorStatus(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Current>,
    selected: Gauge,
    jobs: Gauge,
    hash: Gauge<u64, AtomicU64>,
    invalid: Family<Labels, Gauge>,
}

#[derive(Debug, Default)]
struct Current {
    collected: Arc<Collected>,
    /// Failures of the watches and of the settings.
    failures: Vec<String>,
    /// Errors of monitors whose jobs could not be applied, by the monitor's name.
    refused: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

// === impl MonitorStatus ===

impl MonitorStatus {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let shared = Shared::default();
        registry.register(
            "monitors_selected",
            "Selected ServiceMonitor, PodMonitor, Probe and ScrapeConfig objects",
            shared.selected.clone(),
        );
        registry.register(
            "monitors_scrape_configs",
            "Scrape configurations of valid monitors",
            shared.jobs.clone(),
        );
        registry.register(
            "monitors_config_hash",
            "Hash of the scrape configurations of all monitors, equal in all receivers of a group",
            shared.hash.clone(),
        );
        registry.register(
            "monitors_invalid",
            "Selected monitors that are left out, by reason",
            shared.invalid.clone(),
        );
        let status = Self(Arc::new(shared));
        status.update_metrics();
        status
    }

    pub(super) fn set_failures(&self, failures: Vec<String>) {
        self.0.state.lock().failures = failures;
    }

    pub(super) fn set_collected(&self, collected: Arc<Collected>) {
        self.0.state.lock().collected = collected;
        self.update_metrics();
    }

    /// Sets the monitors whose jobs could not be applied, with the errors.
    pub(crate) fn set_refused(&self, refused: BTreeMap<String, String>) {
        self.0.state.lock().refused = refused;
        self.update_metrics();
    }

    fn update_metrics(&self) {
        let state = self.0.state.lock();
        let mut invalid: BTreeMap<Reason, i64> = Reason::ALL.map(|reason| (reason, 0)).into();
        let (mut selected, mut jobs) = (0, 0);
        for outcome in &state.collected.outcomes {
            selected += i64::from(outcome.configs.is_some());
            match &outcome.configs {
                Some(Err(mistake)) => *invalid.entry(mistake.reason).or_default() += 1,
                Some(Ok(_)) if state.refused.contains_key(&outcome.name) => {
                    *invalid.entry(Reason::Unsupported).or_default() += 1;
                }
                Some(Ok(configs)) => jobs += configs.len() as i64,
                None => {}
            }
        }
        self.0.selected.set(selected);
        self.0.jobs.set(jobs);
        self.0.hash.set(state.collected.hash());
        for (reason, count) in invalid {
            let labels = Labels {
                reason: reason.as_str(),
            };
            self.0.invalid.get_or_create(&labels).set(count);
        }
    }

    /// Serves `/monitors`.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/monitors", get(page)).with_state(self)
    }

    fn to_json(&self) -> Value {
        let state = self.0.state.lock();
        let outcomes = state.collected.outcomes.iter();
        let monitors: Vec<_> = outcomes
            .map(|outcome| monitor(outcome, state.refused.get(&outcome.name)))
            .collect();
        json!({
            "hash": format!("{:012x}", state.collected.hash()),
            "failures": state.failures,
            "monitors": monitors,
        })
    }
}

async fn page(State(status): State<MonitorStatus>) -> Json<Value> {
    Json(status.to_json())
}

fn monitor(outcome: &Outcome, refused: Option<&String>) -> Value {
    let name = &outcome.name;
    match (&outcome.configs, refused) {
        (None, _) => json!({"monitor": name, "state": "not selected"}),
        (Some(Err(mistake)), _) => json!({
            "monitor": name,
            "state": "invalid",
            "reason": mistake.reason.as_str(),
            "field": mistake.field,
            "message": mistake.message,
        }),
        (Some(Ok(_)), Some(error)) => json!({
            "monitor": name,
            "state": "invalid",
            "reason": Reason::Unsupported.as_str(),
            "message": error,
        }),
        (Some(Ok(_)), None) => {
            let jobs = outcome.shown.iter();
            let jobs = jobs.filter_map(|job| serde_json::from_str::<Value>(job).ok());
            json!({"monitor": name, "state": "scraped", "scrape_configs": jobs.collect::<Vec<_>>()})
        }
    }
}
