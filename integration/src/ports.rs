//! Addresses that only who names them gets: they are bound for as long as their sockets
//! are kept, and free to those that listen on them.

use std::{io, net::SocketAddr};

use tokio::net::TcpSocket;

/// Reserves an address; with port 0, a port that nobody has.
///
/// # Errors
/// Where somebody listens there.
pub fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Reserves so many ports of 127.0.0.1.
///
/// # Errors
/// Where there are not so many.
pub(crate) fn reserve_some(count: usize) -> io::Result<(Vec<TcpSocket>, Vec<String>)> {
    let one = || -> io::Result<_> {
        let socket = reserve(([127, 0, 0, 1], 0).into())?;
        let address = socket.local_addr()?.to_string();
        Ok((socket, address))
    };
    (0..count).map(|_| one()).collect()
}
