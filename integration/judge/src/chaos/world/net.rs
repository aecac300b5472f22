//! Addresses that nobody else on this machine uses.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use super::GRPC;

/// Networks are 127.n.0.0/16, from this n on.
const NETS: std::ops::Range<u8> = 20..220;
const FREE_TIME: Duration = Duration::from_secs(10);
const FREE_POLL: Duration = Duration::from_millis(50);

/// Waits until nobody listens at an address, as an earlier scenario's parts may do for
/// a moment.
pub(super) async fn free(address: SocketAddr) -> anyhow::Result<()> {
    let bound = async {
        while TcpListener::bind(address).await.is_err() {
            sleep(FREE_POLL).await;
        }
    };
    let bound = timeout(FREE_TIME, bound).await;
    bound.with_context(|| format!("{address} is in use"))
}

/// A network that no other chaos on this machine uses, and what keeps it so. It
/// follows from the seed where it is free, as receivers share targets by their
/// addresses.
pub(super) async fn reserve(seed: u64) -> anyhow::Result<(u8, TcpListener)> {
    let nets = u64::from(NETS.end - NETS.start);
    for n in 0..nets {
        let net = NETS.start + ((seed + n) % nets) as u8;
        if let Ok(reserved) = TcpListener::bind((Ipv4Addr::new(127, net, 0, 1), GRPC)).await {
            return Ok((net, reserved));
        }
    }
    anyhow::bail!("no free network in 127.0.0.0/8")
}
