//! Addresses that no other program on this machine uses.

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

/// Values of n for the networks 127.n.0.0/16.
const NETS: std::ops::Range<u8> = 20..220;
const FREE_TIME: Duration = Duration::from_secs(10);
const FREE_POLL: Duration = Duration::from_millis(50);

/// Waits until an address is free. Processes of an earlier scenario may use it for a
/// moment.
pub(super) async fn wait_until_free(address: SocketAddr) -> anyhow::Result<()> {
    let bound = async {
        while TcpListener::bind(address).await.is_err() {
            sleep(FREE_POLL).await;
        }
    };
    let bound = timeout(FREE_TIME, bound).await;
    bound.with_context(|| format!("{address} is in use by another program"))
}

/// Reserves a network that no other run on this machine uses. The second value holds the
/// reservation. The seed selects the network if it is free, since receivers distribute
/// targets by their addresses.
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
