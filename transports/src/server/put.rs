//! Objects on their way in.

use std::io;

use bytes::Bytes;

use super::area::Reservation;
use super::lane::{Next, Service};
use crate::transport::check_length;
use crate::wire::{Answer, Header, Request};
use crate::{ObjectName, Put, Result, TransportError};

impl Service {
    pub(super) async fn put(&mut self, name: ObjectName, length: Option<u64>) -> io::Result<Next> {
        let (area, store) = (self.client.area.clone(), self.store());
        let at = area.at(&name);
        let begun = self.at_work(async {
            let reservation = area.reserve(&at, length.unwrap_or(0)).await?;
            Ok::<_, TransportError>((reservation, store.put(&name, length).await?))
        });
        let (reservation, put) = match begun.await? {
            Ok(begun) => begun,
            Err(error) => {
                self.refuse(&error).await?;
                return Ok(Next::Request);
            }
        };
        self.answer(&Answer::Ok).await?;
        let mut object = Incoming { put, reservation, name, length, written: 0 };
        loop {
            self.lane.reader.idle(self.shared.limits.idle_time).await?;
            // A client that is gone leaves nothing: dropping the put discards it.
            let Some(Header { kind, length }) = self.lane.reader.header().await? else {
                return Ok(Next::End);
            };
            let _room = self.room(length).await?;
            let Some((_, payload)) = self.lane.reader.frame().await? else { return Ok(Next::End) };
            match Request::decode(kind, payload) {
                Ok(Request::Data(bytes)) => {
                    if let Err(error) = self.take(&mut object, bytes).await? {
                        self.at_work(object.put.abandon()).await?.unwrap_or_default();
                        self.refuse(&error).await?;
                        return Ok(Next::End);
                    }
                }
                Ok(Request::Commit) => return self.commit(object).await,
                Ok(Request::Abandon) => {
                    let abandoned = self.at_work(object.put.abandon()).await?;
                    return self.done(abandoned).await;
                }
                Ok(_) => return self.refuse_frame(&format!("a {kind:?} frame within a put")).await,
                Err(error) => return self.refuse_frame(&error.to_string()).await,
            }
        }
    }

    /// Gives bytes to the store. The inner result is that of the store.
    async fn take(&mut self, object: &mut Incoming, bytes: Bytes) -> io::Result<Result<()>> {
        let at = self.client.area.at(&object.name);
        object.written = object.written.saturating_add(bytes.len() as u64);
        let fits = check_length(&at, object.length, object.written, false)
            .and_then(|()| object.reservation.hold(&at, object.written));
        match fits {
            Ok(()) => self.at_work(object.put.write(bytes)).await,
            Err(error) => Ok(Err(error)),
        }
    }

    async fn commit(&mut self, object: Incoming) -> io::Result<Next> {
        let at = self.client.area.at(&object.name);
        if let Err(error) = check_length(&at, object.length, object.written, true) {
            self.at_work(object.put.abandon()).await?.unwrap_or_default();
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

/// An object that is not whole yet.
struct Incoming {
    put: Box<dyn Put>,
    reservation: Reservation,
    name: ObjectName,
    length: Option<u64>,
    written: u64,
}
