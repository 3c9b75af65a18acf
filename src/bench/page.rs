//! A report as one page: plots, what binds, and the numbers. It loads nothing and runs nothing.

use std::fmt::Write;

use super::figures::figures;
use super::report::{Kind, Report};

/// The page of a report.
pub(crate) fn page(report: &Report) -> String {
    let machine = &report.machine;
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    put(
        &mut html,
        format_args!(
            "<title>tanner bench: {}</title>\n<style>\n{STYLE}</style>\n</head>\n",
            escaped(&machine.cpu)
        ),
    );
    put(
        &mut html,
        format_args!("<body>\n<header>\n<h1>tanner bench</h1>\n<p>{}</p>\n", escaped(&facts(report))),
    );
    put(&mut html, format_args!("<p class=\"muted\">{}</p>\n", escaped(&more_facts(report))));
    for note in &report.notes {
        put(&mut html, format_args!("<p class=\"note\">{}</p>\n", escaped(note)));
    }
    html += "</header>\n<main>\n<h2>Plots</h2>\n<div class=\"plots\">\n";
    for (number, figure) in figures(report).into_iter().enumerate() {
        html += &figure.html(number);
    }
    html += "</div>\n";
    html += &roofs(report);
    html += &profiles(report);
    html += &measurements(report);
    html += "</main>\n</body>\n</html>\n";
    html
}

fn roofs(report: &Report) -> String {
    let rows = report.roofs().into_iter().map(|roof| {
        let (name, ceiling) = roof.binding();
        let reached = roof.reached.map_or_else(|| "–".into(), gb);
        let share = roof.share().map_or_else(|| "–".into(), |share| format!("{share:.2}"));
        vec![roof.what, roof.threads.to_string(), reached, name.into(), gb(ceiling), share]
    });
    table("What binds", &["", "threads", "GB/s", "bound by", "at most", "share"], 1, rows.collect())
}

fn profiles(report: &Report) -> String {
    let rows = report.profiles.iter().map(|profile| {
        vec![
            profile.shape.clone(),
            profile.code.clone(),
            profile.taps.map_or_else(|| "–".into(), |taps| taps.to_string()),
            profile.period.to_string(),
            profile.depth.to_string(),
            format!("any {} of {}", profile.threshold, profile.data + profile.parity),
            profile.evidence.clone(),
            format!("{:.2}", profile.xors_per_mille as f64 / 1000.0),
        ]
    });
    let heads = ["shape", "code", "N1", "P", "D", "restores", "evidence", "XORs a byte"];
    table("Codes", &heads, 2, rows.collect())
}

fn measurements(report: &Report) -> String {
    let rows = report.measurements.iter().map(|m| {
        let kind = match m.subject.kind {
            Kind::Encode => "encode ",
            Kind::Decode => "decode ",
            _ => "",
        };
        let spread = m.spread().map_or_else(|| "–".into(), |spread| format!("± {:.0} %", spread * 100.0));
        let speed = if m.bytes > 0 { gb(m.rate()) } else { format!("{:.1} µs", m.median_seconds() * 1e6) };
        let level = m.subject.level.clone().unwrap_or_default();
        let rounds = m.seconds.len().to_string();
        vec![format!("{kind}{}", m.subject.name), level, m.subject.threads.to_string(), speed, spread, rounds]
    });
    table("Measurements", &["", "level", "threads", "GB/s", "spread", "rounds"], 2, rows.collect())
}

/// A table that scrolls by itself where the screen is narrow. The first `words` columns are no numbers.
pub(crate) fn table(title: &str, heads: &[&str], words: usize, rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class = |column: usize, cell: &str| {
        let number = column >= words && cell.chars().all(|c| !c.is_alphabetic() || c == 'µ' || c == 's');
        if number { " class=\"number\"" } else { "" }
    };
    let mut html = format!(
        "<h2>{title}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\">\n<table>\n<tr>"
    );
    for (column, head) in heads.iter().enumerate() {
        let class = class(column, &rows[0][column]);
        put(&mut html, format_args!("<th scope=\"col\"{class}>{}</th>", escaped(head)));
    }
    html += "</tr>\n";
    for row in rows {
        html += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            put(&mut html, format_args!("<td{}>{}</td>", class(column, cell), escaped(cell)));
        }
        html += "</tr>\n";
    }
    html + "</table>\n</div>\n"
}

fn facts(report: &Report) -> String {
    let machine = &report.machine;
    let memory = machine
        .memory_bytes
        .map_or_else(String::new, |bytes| format!(", {} memory", bytesize::ByteSize(bytes).display().iec()));
    format!("{}, {}{memory}, {}", machine.cpu, counted(machine.cores, "core"), machine.kernel)
}

fn more_facts(report: &Report) -> String {
    let machine = &report.machine;
    let caches = machine.caches.join(", ");
    format!(
        "tanner {} · levels {} · {} · {caches}",
        machine.tanner,
        machine.levels.join(", "),
        machine.architecture
    )
}

pub(super) fn gb(rate: f64) -> String {
    let rate = rate / 1e9;
    if rate < 9.995 { format!("{rate:.2}") } else { format!("{rate:.1}") }
}

pub(crate) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a string takes every text");
}

/// Names come from directories and processors: none of it is markup.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

pub(crate) const STYLE: &str = include_str!("page.css");
