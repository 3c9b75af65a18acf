//! Objects on their way in.

use std::io;

use bytes::Bytes;

use super::area::Reservation;
use super::lane::{Next, Service};
use crate::transport::check_length;
use crate::wire::{Answer, Header, Request};
use crate::{Kept, ObjectName, Put, Result};

impl Service {
    pub(super) async fn put(&mut self, name: ObjectName, length: Option<u64>) -> io::Result<Next> {
        let (area, store) = (self.client.area.clone(), self.store());
        let at = area.at(&name);
        let begun = self.at_work(async {
            let reservation = area.reserve(&at, length.unwrap_or(0)).await?;
            let put = store.put(&name, length).await?;
            Ok(Incoming { reservation, put, name, length, written: 0 })
        });
        let begun = begun.await?;
        self.receive(begun).await
    }

    pub(super) async fn resume(
        &mut self,
        name: ObjectName,
        length: Option<u64>,
        kept: Kept,
    ) -> io::Result<Next> {
        let (area, store) = (self.client.area.clone(), self.store());
        let at = area.at(&name);
        let begun = self.at_work(async {
            area.counted().await?;
            // First, because who goes on with it has its room, and nobody else.
            let put = store.resume(&name, length, &kept).await?;
            let reservation = area.resume(&kept.token);
            let mut begun = Incoming { reservation, put, name, length, written: kept.bytes };
            begun.reservation.hold(&at, length.unwrap_or(kept.bytes)).await?;
            Ok(begun)
        });
        let begun = begun.await?;
        self.receive(begun).await
    }

    async fn receive(&mut self, begun: Result<Incoming>) -> io::Result<Next> {
        let mut object = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.refuse(&error).await?;
                return Ok(Next::Request);
            }
        };
        self.answer(&Answer::Ok).await?;
        loop {
            self.lane.reader.idle(self.shared.limits.idle_time).await?;
            // A client that is gone leaves what was kept: dropping the put discards the rest.
            let Some(Header { kind, length }) = self.lane.reader.header().await? else {
                return Ok(Next::End);
            };
            let _room = self.room(length).await?;
            let Some((_, payload)) = self.lane.reader.frame().await? else { return Ok(Next::End) };
            let taken = match Request::decode(kind, payload) {
                Ok(Request::Data(bytes)) => self.take(&mut object, bytes).await?,
                Ok(Request::Keep) => self.keep(&mut object).await?,
                Ok(Request::Commit) => return self.commit(object).await,
                Ok(Request::Abandon) => {
                    let abandoned = self.at_work(object.abandon()).await?;
                    return self.done(abandoned).await;
                }
                Ok(_) => return self.refuse_frame(&format!("a {kind:?} frame within a put")).await,
                Err(error) => return self.refuse_frame(&error.to_string()).await,
            };
            if let Err(error) = taken {
                self.at_work(object.give_up()).await?;
                self.refuse(&error).await?;
                return Ok(Next::End);
            }
        }
    }

    /// Gives bytes to the store. The inner result is that of the store.
    async fn take(&mut self, object: &mut Incoming, bytes: Bytes) -> io::Result<Result<()>> {
        let at = self.client.area.at(&object.name);
        object.written = object.written.saturating_add(bytes.len() as u64);
        if let Err(error) = check_length(&at, object.length, object.written, false) {
            return Ok(Err(error));
        }
        if bytes.is_empty() {
            // The client is slow, and that is all.
            return Ok(Ok(()));
        }
        let Incoming { put, reservation, written, .. } = object;
        let count = bytes.len();
        let taken = async {
            reservation.hold(&at, *written).await?;
            put.write(bytes).await
        };
        let taken = self.at_work(taken).await?;
        Ok(taken.inspect(|()| self.shared.traffic.put(count)))
    }

    /// Lets the object outlive its lane, and says so. The inner result is that of the store.
    async fn keep(&mut self, object: &mut Incoming) -> io::Result<Result<()>> {
        let Incoming { put, reservation, .. } = object;
        // To the end, or it would be kept without its room being counted.
        let kept = self.at_work_to_the_end(async {
            let kept = put.keep().await?;
            kept.iter().for_each(|kept| reservation.keep(kept.token.clone()));
            Ok(kept)
        });
        match kept.await? {
            Ok(kept) => self.answer(&Answer::Kept(kept)).await.map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn commit(&mut self, object: Incoming) -> io::Result<Next> {
        let at = self.client.area.at(&object.name);
        if let Err(error) = check_length(&at, object.length, object.written, true) {
            self.at_work(object.give_up()).await?;
            return self.done(Err(error)).await;
        }
        let committed = self.at_work_to_the_end(object.reservation.commit(object.put, &object.name)).await?;
        self.done(committed).await
    }

    async fn done(&mut self, result: Result<()>) -> io::Result<Next> {
        match result {
            Ok(()) => self.answer(&Answer::Ok).await?,
            Err(error) => self.refuse(&error).await?,
        }
        Ok(Next::Request)
    }
}

/// An object that is not whole yet. Its room is given back, or noted as that of what is kept, before somebody else can
/// go on with it.
struct Incoming {
    reservation: Reservation,
    put: Box<dyn Put>,
    name: ObjectName,
    length: Option<u64>,
    written: u64,
}

impl Incoming {
    async fn abandon(mut self) -> Result<()> {
        self.put.abandon().await?;
        self.reservation.forget_kept();
        Ok(())
    }

    /// Leaves what was kept, and else nothing.
    async fn give_up(self) {
        if !self.reservation.is_kept() {
            // The error that led here is the one to report.
            let _ = self.put.abandon().await;
        }
    }
}
