//! A backend that fails.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use stand_ins::amp::{Fault, Keys};
use crate::chaos::{scenario::Scenario, world::World};

/// The metric of the targets that the backend refuses.
pub(crate) const REFUSED: &str = "test_gauge0";

const LATENCY: Duration = Duration::from_secs(10);
const SHORT_MS: std::ops::Range<u64> = 5_000..9_000;
const LONG_MS: std::ops::Range<u64> = 12_000..20_000;

/// Lets every request fail for a while.
pub(crate) async fn fault(world: &mut World, scenario: Scenario) -> anyhow::Result<()> {
    let fault = match scenario {
        Scenario::Amp429 => Fault::throttle(1),
        Scenario::AmpTimeOut | Scenario::AmpHang => Fault::StoreAndHang,
        Scenario::AmpSlow => Fault::Slow(LATENCY),
        Scenario::AmpRefusesOneSeries => Fault::RejectMetric(REFUSED.to_owned()),
        _ => Fault::status(500, "told to fail"),
    };
    let times = match scenario {
        Scenario::AmpHang | Scenario::AmpSlow => LONG_MS,
        _ => SHORT_MS,
    };
    world.fail_backend(fault);
    sleep(Duration::from_millis(world.rng.random_range(times))).await;
    world.heal_backend();
    if scenario == Scenario::AmpSlow {
        // What has been taken by then takes its time.
        sleep(LATENCY).await;
        world.mended();
    }
    Ok(())
}

/// Takes no new series while two targets are new.
pub(crate) async fn series_limit(world: &mut World) -> anyhow::Result<()> {
    world.fail_backend(Fault::SeriesLimit);
    for _ in 0..2 {
        world.add_target().await?;
    }
    sleep(Duration::from_millis(world.rng.random_range(SHORT_MS))).await;
    world.heal_backend();
    Ok(())
}

/// The keys are no longer valid, and some seconds later exporters find new ones.
pub(crate) async fn rotated_credentials(world: &mut World) -> anyhow::Result<()> {
    let keys = Keys {
        access_key: "AKIDROTATED".to_owned(),
        secret_key: "another+secret/key".to_owned(),
        ..Keys::example()
    };
    world.amp.backend().rotate(keys.clone());
    sleep(Duration::from_millis(world.rng.random_range(SHORT_MS))).await;
    world.rotate_credentials(&keys)?;
    world.mended();
    Ok(())
}
