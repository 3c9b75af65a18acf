//! The page: what is here, on one screen of a telephone or more. It loads nothing and runs nothing.

use std::time::Duration;

use bytesize::ByteSize;
use humantime::{format_duration, format_rfc3339_seconds};

use super::scan::{BackupState, RootState, Shape};
use super::{Board, Seen};
use crate::bench::page::{STYLE, counted, escaped, table};

pub(super) fn page(board: &Board, seen: &Seen) -> String {
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    html += &format!("<title>tanner serve</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n");
    html += &format!("<h1>tanner serve</h1>\n<p>{}</p>\n", traffic(board));
    let (version, began) = (env!("CARGO_PKG_VERSION"), format_rfc3339_seconds(board.began));
    let age = format_duration(Duration::from_secs(seen.at.elapsed().as_secs()));
    html += &format!("<p class=\"muted\">tanner {version}, since {began}; stores as seen {age} ago</p>\n");
    html += "</header>\n<main>\n";
    seen.roots.iter().for_each(|root| html += &section(root));
    html + "</main>\n</body>\n</html>\n"
}

fn traffic(board: &Board) -> String {
    let (put, got) = board.rates();
    let rate = |bytes: f64| format!("{}/s", size(bytes as u64));
    let traffic = &board.traffic;
    format!(
        "Now {} in and {} out; since it began {} in, {} out, {} refused",
        rate(put),
        rate(got),
        size(traffic.put_bytes()),
        size(traffic.get_bytes()),
        counted(usize::try_from(traffic.refused()).unwrap_or(usize::MAX), "request")
    )
}

fn section(root: &RootState) -> String {
    let mut html = format!("<section>\n<h2>{}</h2>\n", escaped(&root.name));
    let objects = counted(usize::try_from(root.objects).unwrap_or(usize::MAX), "object");
    let mut facts = format!("{} in {objects}", size(root.bytes));
    if let Some(quota) = root.quota_bytes {
        facts += &format!(", {} allowed", size(quota));
    }
    if let Some((free, total)) = root.room {
        facts += &format!("; {} of {} free on the disk", size(free), size(total));
    }
    html += &format!("<p>{facts}</p>\n<p class=\"muted\">{}</p>\n", escaped(&root.path));
    if let Some(trouble) = &root.trouble {
        html += &format!("<p class=\"note\">{}</p>\n", escaped(trouble));
    }
    let title = match root.backups.len() {
        shown @ ..=BACKUPS_SHOWN => counted(shown, "backup"),
        all => format!("{BACKUPS_SHOWN} of {all} backups"),
    };
    let rows = root.backups.iter().take(BACKUPS_SHOWN);
    let rows = rows.map(|(id, backup)| {
        let mut row = vec![id.to_string(), size(backup.bytes)];
        row.extend(words(backup));
        row
    });
    let heads = ["backup", "here", "of", "blocks here", "alone"];
    html + &table(&title, &heads, 1, rows.collect()) + "</section>\n"
}

/// The size of its source, the blocks here, and what they are good for.
fn words(backup: &BackupState) -> [String; 3] {
    let Some(shape) = backup.shape else {
        let what = if backup.has_manifest { "its manifest was not read" } else { "not finished" };
        return ["–".into(), "–".into(), what.into()];
    };
    let Shape { source_bytes, blocks, threshold, here, wrong } = shape;
    let mut alone = match shape.margin() {
        Some(0) => "restores, with none to spare".into(),
        Some(spare) => format!("restores, with {} to spare", counted(spare, "block")),
        None => format!("restores with {} from elsewhere", counted(threshold - here, "block")),
    };
    if wrong > 0 {
        alone += &format!("; {} of the wrong length", counted(wrong, "block"));
    }
    [size(source_bytes), format!("{here} of {blocks}"), alone]
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Of one directory.
const BACKUPS_SHOWN: usize = 500;
