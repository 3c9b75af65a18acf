//! What a server has of an upload. `object_store` completes uploads and cannot ask for them, so the one request is made
//! here: signed by its keys, answered through its connection.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request};
use object_store::client::{HttpError, HttpRequestBody};
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::error::convert;
use super::nonsense;
use super::put::{PARTS_MAX, To};
use crate::Result;

/// A part that has arrived.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Part {
    part_number: u64,
    /// What the server wants to hear when the parts are joined; a server that does not say it does not ask for it.
    #[serde(default, rename = "ETag")]
    pub(super) e_tag: String,
    /// Bytes.
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    next_part_number_marker: Option<u64>,
    #[serde(default, rename = "Part")]
    parts: Vec<Part>,
}

/// The parts of an upload from the first on, up to where one is missing.
pub(super) async fn list(to: &To, upload: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut marker = 0;
    loop {
        let page = page(to, upload, marker).await?;
        parts.extend(page.parts);
        match page.next_part_number_marker.filter(|_| page.is_truncated) {
            // Each page is further than the one before, so there is an end.
            Some(next) if next > marker && next < PARTS_MAX => marker = next,
            Some(_) => return Err(nonsense(to.at.clone())),
            None => break,
        }
    }
    parts.sort_by_key(|part| part.part_number);
    let in_order = parts.iter().zip(1..).take_while(|(part, number)| part.part_number == *number).count();
    parts.truncate(in_order);
    Ok(parts)
}

async fn page(to: &To, upload: &str, marker: u64) -> Result<Page> {
    let query = [("uploadId", upload.to_owned()), ("part-number-marker", marker.to_string())];
    let options = SignedUrlOptions::default().with_query(query);
    let failed = |error| convert(to.at.clone(), &error);
    let url = to.inner.store.signed_url_opts(Method::GET, &to.key, SIGNED_TIME, &options).await;
    let request = Request::get(url.map_err(failed)?.as_str()).body(HttpRequestBody::empty());
    let request = request.expect("a signed URL is a URL");
    let broken =
        |error: HttpError| failed(object_store::Error::Generic { store: "S3", source: error.into() });
    let answer = to.inner.http.execute(request).await.map_err(broken)?;
    let bytes = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    let page = str::from_utf8(&bytes).ok().filter(|text| text.contains("<ListPartsResult"));
    page.and_then(|text| quick_xml::de::from_str(text).ok()).ok_or_else(|| nonsense(to.at.clone()))
}

/// How long the server takes the request, if its clock goes as ours.
const SIGNED_TIME: Duration = Duration::from_secs(300);
