//! Order of faults and repairs in each scenario. The seed of the cluster decides all random
//! choices.

pub(crate) mod backend;
pub(crate) mod clocks;
pub(crate) mod disks;
pub(crate) mod kill;
pub(crate) mod network;
pub(crate) mod outage;
pub(crate) mod poison;
pub(crate) mod roll;
pub(crate) mod scale;
pub(crate) mod second;
pub(crate) mod stale_views;
