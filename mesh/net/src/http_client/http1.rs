//! HTTP/1 as devices speak it: reads the heads of responses as Go does, in front of hyper.
//!
//! ```text
//! hyper ──request──▶ Http1 ──────────────────────▶ connection
//! hyper ◀──body───── Http1 ◀──────body──────────── connection
//! hyper ◀──head───── Http1 ◀─ parse, check, write ─ connection
//! ```
//!
//! [`Http1`] also knows how far the current exchange has come. So the client knows which
//! requests a server has not processed ([`ConnectionState`]).

mod framing;
pub(super) mod head;
mod settings;
mod state;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use mesh_base::budget::{Budget, Reservation};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;
use tower::Service;

use self::{
    framing::Framing,
    head::{Head, HeadEnd, HeadError},
    settings::Settings,
};

pub(super) use state::{ConnectionState, Stage};

/// Opens connections whose HTTP/1 responses are read as Go reads them.
#[derive(Clone, Debug)]
pub(super) struct Http1Connect<C> {
    pub(super) connector: C,
    /// Memory of all large heads.
    pub(super) heads: Budget,
}

/// A connection. Passes HTTP/2 through unchanged, and reads the server's settings.
#[derive(Debug)]
pub(super) struct Http1<T> {
    io: TokioIo<T>,
    state: ConnectionState,
    phase: Phase,
    /// Bytes that hyper gets next: a head.
    output: BytesMut,
    /// Bytes of the server that were not passed on yet.
    input: BytesMut,
    heads: Budget,
    /// Memory of the current head, if it is large.
    large: Option<Reservation>,
}

#[derive(Debug)]
enum Phase {
    /// The settings of an HTTP/2 server have not arrived completely.
    Settings,
    /// Everything passes: HTTP/2, another protocol, or a body that ends with the connection.
    Raw,
    /// No exchange is in progress.
    Idle,
    /// The head of the response has not arrived yet.
    Head {
        end: HeadEnd,
        /// Size of the interim responses (1xx) so far in bytes.
        interim: usize,
    },
    /// The body of the response has not arrived completely.
    Body(Framing),
    /// The server sent more than the response.
    Excess,
}

/// Number of bytes that one call reads from the connection.
const READ_BYTES: usize = 16 << 10;
/// Size in bytes from which on a head uses the budget of large heads.
const LARGE_HEAD: usize = 64 << 10;
/// Number of copies of a head while it is read.
const COPIES: usize = 4;

// === impl Http1Connect ===

impl<C, T> Service<Uri> for Http1Connect<C>
where
    C: Service<Uri, Response = T>,
    C::Future: Send + 'static,
    T: Connection,
{
    type Response = Http1<T>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Http1<T>, C::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.connector.call(target);
        let heads = self.heads.clone();
        async move { Ok(Http1::new(connecting.await?, heads)) }.boxed()
    }
}

// === impl Http1 ===

impl<T: Connection> Http1<T> {
    fn new(io: T, heads: Budget) -> Self {
        let http1 = !io.connected().is_negotiated_h2();
        Self {
            io: TokioIo::new(io),
            state: ConnectionState::new(http1),
            phase: if http1 { Phase::Idle } else { Phase::Settings },
            output: BytesMut::new(),
            input: BytesMut::new(),
            heads,
            large: None,
        }
    }
}

impl<T> Http1<T> {
    /// Handles a complete head. `bytes` is its size and that of the interim ones before it.
    fn receive(&mut self, head: Head, bytes: usize) -> io::Result<()> {
        if head.is_interim() {
            if bytes > head::MAX_BYTES {
                return Err(HeadError::TooLarge.into());
            }
            self.phase = Phase::Head {
                end: HeadEnd::default(),
                interim: bytes,
            };
            return Ok(());
        }
        head.write(&mut self.output);
        self.phase = match head.framing {
            _ if head.status == 101 => Phase::Raw,
            Framing::UntilClose => Phase::Raw,
            framing => Phase::Body(framing),
        };
        self.end_exchange_if_complete();
        Ok(())
    }

    fn end_exchange_if_complete(&mut self) {
        let Phase::Body(framing) = &self.phase else {
            return;
        };
        if !framing.is_complete() {
            return;
        }
        self.phase = if self.input.is_empty() {
            Phase::Idle
        } else {
            Phase::Excess
        };
        // Idle connections hold no memory.
        self.input = BytesMut::new();
        self.large = None;
        self.state.enter(Stage::Unsent);
    }

    /// Reserves memory if the head is large.
    fn reserve(&mut self) -> Result<(), HeadError> {
        if self.input.len() <= LARGE_HEAD {
            return Ok(());
        }
        let large = &mut self.large;
        let large = large.get_or_insert_with(|| self.heads.empty_reservation());
        if large.grow_to(self.input.len() * COPIES) {
            Ok(())
        } else {
            Err(HeadError::NoMemory(self.heads.capacity() >> 20))
        }
    }

    /// Records that hyper writes a request.
    fn begin_exchange(&mut self) {
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Head {
                end: HeadEnd::default(),
                interim: 0,
            };
        }
    }
}

impl<T: Read + Unpin> Http1<T> {
    /// Reads more input. Returns the number of new bytes, 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ_BYTES);
        poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input)
    }

    /// Waits for the end of an idle connection.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        Poll::Ready(match buffer.filled() {
            [] => Ok(()),
            _ => Err(invalid("the server sent data without a request")),
        })
    }
}

impl<T: Read + Unpin> Read for Http1<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.output.is_empty() {
                let n = this.output.len().min(buffer.remaining());
                buffer.put_slice(&this.output.split_to(n));
                return Poll::Ready(Ok(()));
            }
            this.output = BytesMut::new();
            match &mut this.phase {
                Phase::Settings => match Settings::find(&this.input) {
                    Settings::Incomplete if ready!(this.poll_fill(cx))? > 0 => {}
                    found => {
                        if let Settings::MaxStreams(limit) = found {
                            this.state.set_max_streams(limit);
                        }
                        this.phase = Phase::Raw;
                    }
                },
                Phase::Raw if this.input.is_empty() => {
                    return Pin::new(this.io.inner_mut()).poll_read(cx, buffer);
                }
                Phase::Raw => {
                    let n = this.input.len().min(buffer.remaining());
                    buffer.put_slice(&this.input.split_to(n));
                    return Poll::Ready(Ok(()));
                }
                Phase::Idle => return this.poll_idle(cx),
                Phase::Excess => {
                    return Poll::Ready(Err(invalid("the server sent data after the response")));
                }
                Phase::Head { end, interim } => {
                    if let Some(length) = end.find(&this.input)? {
                        let bytes = *interim + length;
                        let head = Head::parse(&this.input[..length])?;
                        this.input.advance(length);
                        this.receive(head, bytes)?;
                    } else if ready!(this.poll_fill(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    } else {
                        this.state.enter(Stage::Answered);
                        this.reserve()?;
                    }
                }
                Phase::Body(framing) => {
                    if !this.input.is_empty() {
                        let n = this.input.len().min(buffer.remaining());
                        let n = framing.advance(&this.input[..n]);
                        buffer.put_slice(&this.input[..n]);
                        this.input.advance(n);
                        this.end_exchange_if_complete();
                        return Poll::Ready(Ok(()));
                    }
                    if ready!(this.poll_fill(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: Write + Unpin> Write for Http1<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_exchange();
        let written = ready!(Pin::new(this.io.inner_mut()).poll_write(cx, bytes))?;
        this.state.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io.inner_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io.inner_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.inner().is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_exchange();
        let io = Pin::new(this.io.inner_mut());
        let written = ready!(io.poll_write_vectored(cx, slices))?;
        this.state.sent(written);
        Poll::Ready(Ok(written))
    }
}

impl<T: Connection> Connection for Http1<T> {
    fn connected(&self) -> Connected {
        self.io.inner().connected().extra(self.state.clone())
    }
}

impl From<HeadError> for io::Error {
    fn from(error: HeadError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
