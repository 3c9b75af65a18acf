//! One lane: frames in and out of a pair of byte streams, with a pace that either side has to keep.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use zeroize::Zeroize;

use crate::token::Wiped;
use crate::wire::{Header, Kind, WireError};

/// What carries one request at a time.
pub(crate) struct Lane {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

impl Lane {
    pub(crate) fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
        pace: Pace,
    ) -> Self {
        let reader = Reader { from: Box::new(from), buffer: BytesMut::new(), pace };
        Self { reader, writer: Writer { to: Box::new(to), out: BytesMut::new(), data: Bytes::new(), pace } }
    }

    /// Forgets what the last request took: memory and patience.
    pub(crate) fn rest(&mut self) {
        self.reader.pace.forgive();
        self.writer.pace.forgive();
        if self.reader.buffer.is_empty() {
            self.reader.buffer = BytesMut::new();
        }
        self.writer.out = BytesMut::new();
    }
}

/// The frames that a peer sends. Every call may be dropped and made again: nothing of a frame is lost.
pub(crate) struct Reader {
    from: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    pace: Pace,
}

impl Reader {
    /// The header of the next frame, which stays the next; `None` when the lane ended before it began.
    pub(crate) async fn header(&mut self) -> io::Result<Option<Header>> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk() {
                return Header::decode(*bytes).map(Some).map_err(violation);
            }
            let empty = self.buffer.is_empty();
            if self.fill(SMALL_READ_BYTES).await? == 0 {
                return if empty { Ok(None) } else { Err(broke_off()) };
            }
        }
    }

    /// The next frame, whole.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<(Kind, Bytes)>> {
        let Some(Header { kind, length }) = self.header().await? else { return Ok(None) };
        let whole = Header::BYTES + length;
        while self.buffer.len() < whole {
            if self.fill(whole - self.buffer.len()).await? == 0 {
                return Err(broke_off());
            }
        }
        let mut frame = self.buffer.split_to(whole);
        frame.advance(Header::BYTES);
        if matches!(kind, Kind::Delete) {
            // The buffer is used for other requests, and a token may be in it.
            let secret = Bytes::from_owner(Wiped(BytesMut::from(&*frame)));
            frame.zeroize();
            return Ok(Some((kind, secret)));
        }
        Ok(Some((kind, frame.freeze())))
    }

    /// Waits for the first byte of a request for as long as a lane may lie idle.
    pub(crate) async fn idle(&mut self, most: Duration) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.buffer.reserve(SMALL_READ_BYTES);
            timeout(most, self.from.read_buf(&mut self.buffer)).await??;
        }
        Ok(())
    }

    /// The next frame, for which nobody waits, however long it takes to begin.
    pub(crate) async fn unasked(&mut self) -> io::Result<Option<(Kind, Bytes)>> {
        if self.buffer.is_empty() {
            self.buffer.reserve(SMALL_READ_BYTES);
            self.from.read_buf(&mut self.buffer).await?;
        }
        self.frame().await
    }

    /// Reads what comes and throws it away, until the lane ends or the pace is not kept.
    pub(crate) async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            if !matches!(self.fill(SMALL_READ_BYTES).await, Ok(1..)) {
                return;
            }
        }
    }

    /// A peer that works on something is not a peer that stalls.
    pub(crate) fn forgive(&mut self) {
        self.pace.forgive();
    }

    async fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        self.buffer.reserve(wanted);
        self.pace.keep(self.from.read_buf(&mut self.buffer)).await
    }
}

/// Frames to a peer. A call that is dropped leaves a lane that can only be closed, unless [`flush`](Writer::flush) is
/// called again.
pub(crate) struct Writer {
    to: Box<dyn AsyncWrite + Send + Unpin>,
    /// What is still to be sent of a frame,
    out: BytesMut,
    /// and of the bytes of an object behind its header, which are not copied.
    data: Bytes,
    pace: Pace,
}

impl Writer {
    /// Sends one frame, which `encode` puts into the buffer.
    pub(crate) async fn send(&mut self, encode: impl FnOnce(&mut BytesMut)) -> io::Result<()> {
        self.begin(encode);
        self.flush().await
    }

    /// Sends bytes of an object.
    pub(crate) async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        self.begin_data(bytes);
        self.flush().await
    }

    /// Takes a frame that is to be sent.
    pub(crate) fn begin(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        self.out.clear();
        encode(&mut self.out);
    }

    /// As [`begin`](Self::begin), for a short frame with a secret in it, of which nothing stays behind.
    pub(crate) fn begin_secret(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        self.out.clear();
        // Growing would leave a copy behind.
        let mut frame = Wiped(BytesMut::with_capacity(SMALL_READ_BYTES));
        encode(&mut frame.0);
        self.data = Bytes::from_owner(frame);
    }

    /// Takes bytes of an object that are to be sent.
    pub(crate) fn begin_data(&mut self, bytes: Bytes) {
        let header = Header { kind: Kind::Data, length: bytes.len() };
        self.begin(|out| out.extend_from_slice(&header.encode()));
        self.data = bytes;
    }

    /// Sends what was begun. May be dropped and called again: nothing is sent twice.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let Self { to, out, data, pace } = self;
        let mut bytes = out.chain(&mut *data);
        while bytes.has_remaining() {
            if pace.keep(to.write_buf(&mut bytes)).await? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        // An empty slice would keep all that it is of.
        *data = Bytes::new();
        pace.keep(async { to.flush().await.map(|()| 0) }).await.map(drop)
    }

    /// A peer that works on something is not a peer that stalls.
    pub(crate) fn forgive(&mut self) {
        self.pace.forgive();
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        let Self { to, pace, .. } = self;
        pace.keep(async { to.shutdown().await.map(|()| 0) }).await.map(drop)
    }
}

/// How slow a peer may be: of the time that is spent waiting for it, no `time` may pass in which it moves less
/// than `bytes`. A rate over a window, so that one byte now and then does not count as progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    time: Duration,
    bytes: usize,
    waited: Duration,
    moved: usize,
}

impl Pace {
    pub(crate) fn new(time: Duration, bytes: usize) -> Self {
        Self { time, bytes, waited: Duration::ZERO, moved: 0 }
    }

    fn forgive(&mut self) {
        (self.waited, self.moved) = (Duration::ZERO, 0);
    }

    async fn keep(&mut self, work: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
        let began = Instant::now();
        let most = self.time.saturating_sub(self.waited);
        let Ok(moved) = timeout(most, work).await else {
            let (bytes, seconds) = (self.bytes, self.time.as_secs_f64());
            let words = format!("fewer than {bytes} bytes moved in {seconds} s of waiting");
            return Err(io::Error::new(ErrorKind::TimedOut, words));
        };
        let moved = moved?;
        self.waited += began.elapsed();
        self.moved += moved;
        if self.moved >= self.bytes {
            self.forgive();
        }
        Ok(moved)
    }
}

/// A peer that breaks the protocol, as an error of input.
pub(crate) fn violation(error: WireError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, Violation(error))
}

/// A lane that ended within a frame or a request.
pub(crate) fn broke_off() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "the peer broke off in the middle")
}

#[derive(Debug, thiserror::Error)]
#[error("the peer broke the protocol: it sent {0}")]
struct Violation(WireError);

/// Bytes of buffer for whatever is no data: what an idle lane takes once it woke up.
const SMALL_READ_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::wire::{Answer, Request};

    fn pair(time: Duration, bytes: usize) -> (Lane, tokio::io::DuplexStream) {
        let (near, far) = duplex(1 << 16);
        let (from, to) = tokio::io::split(near);
        (Lane::new(from, to, Pace::new(time, bytes)), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_not_progress() {
        let (mut lane, mut far) = pair(Duration::from_secs(30), 100);
        tokio::spawn(async move {
            far.write_all(&Header { kind: Kind::Data, length: 1000 }.encode()).await.unwrap();
            while far.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        let error = lane.reader.frame().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asked_is_not_held_against_the_peer() {
        let (mut lane, mut far) = pair(Duration::from_secs(30), 100);
        for _ in 0..5 {
            let mut frame = BytesMut::new();
            Answer::Ok.encode(&mut frame);
            far.write_all(&frame).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(lane.reader.frame().await.unwrap(), Some((Kind::Ok, Bytes::new())));
        }
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing_of_a_frame() {
        use futures_util::FutureExt;
        let (mut lane, mut far) = pair(Duration::from_secs(30), 1);
        let mut frame = BytesMut::new();
        Request::Data("some bytes".into()).encode(&mut frame);
        for byte in &frame[..frame.len() - 1] {
            far.write_all(&[*byte]).await.unwrap();
            assert!(lane.reader.frame().now_or_never().is_none());
        }
        far.write_all(&frame[frame.len() - 1..]).await.unwrap();
        assert_eq!(lane.reader.frame().await.unwrap(), Some((Kind::Data, "some bytes".into())));
    }

    #[tokio::test]
    async fn the_end_of_a_lane_is_told_from_its_breaking_off() {
        for (sent, whole) in [(0, true), (3, false), (6, false)] {
            let (mut lane, mut far) = pair(Duration::from_secs(30), 1);
            far.write_all(&b"\x03\x09\0\0\0abc"[..sent]).await.unwrap();
            drop(far);
            assert_eq!(lane.reader.frame().await.is_ok_and(|frame| frame.is_none()), whole, "{sent} bytes");
        }
    }
}
