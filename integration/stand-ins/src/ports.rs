//! Reserves listen addresses for services that start later.
//!
//! A reserved socket is bound but does not listen. As long as it is open, the system does not
//! assign its port to anyone else. A service that names the address can still listen on it,
//! since both set `SO_REUSEADDR`.

use std::{io, net::SocketAddr};

use tokio::net::TcpSocket;

/// Reserves an address. Port 0 picks a free port.
///
/// # Errors
/// Returns an error if another socket listens on the address.
pub fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Reserves `count` free ports of 127.0.0.1. Returns the sockets and their addresses.
///
/// # Errors
/// Returns an error if there are not enough free ports.
pub fn reserve_ports(count: usize) -> io::Result<(Vec<TcpSocket>, Vec<String>)> {
    let one = || -> io::Result<_> {
        let socket = reserve(([127, 0, 0, 1], 0).into())?;
        let address = socket.local_addr()?.to_string();
        Ok((socket, address))
    };
    (0..count).map(|_| one()).collect()
}
