//! What is broken, in which order, and how it is mended. What is left to chance
//! follows from the world's seed.

pub(crate) mod backend;
pub(crate) mod clocks;
pub(crate) mod disks;
pub(crate) mod kill;
pub(crate) mod network;
pub(crate) mod outage;
pub(crate) mod roll;
pub(crate) mod scale;
pub(crate) mod sight;
