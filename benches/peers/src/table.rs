//! Rows of a record as the tables of a README.

use crate::ceilings::{COPY_STREAMING, READ};
use crate::record::Row;
use crate::rounds::CEILING;

/// The contestant that the others are compared with.
pub const OURS: &str = "tanner";

pub fn print(rows: &[Row]) {
    let record = Record { rows };
    record.ceilings();
    record.summary("encode", |operation| operation == "encode");
    record.summary("decode", |operation| operation.starts_with("decode"));
    record.everyone();
    record.notes();
}

struct Record<'a> {
    rows: &'a [Row],
}

impl Record<'_> {
    fn ceilings(&self) {
        println!("Ceilings, GB/s: median (least–most)\n");
        let ceilings = || self.rows.iter().filter(|row| row.operation == CEILING);
        let threads = distinct(ceilings().map(|row| row.threads));
        println!(
            "| | {} |",
            threads.iter().map(|n| format!("{n} thread{}", plural(*n))).collect::<Vec<_>>().join(" | ")
        );
        println!("| --- |{}", " --- |".repeat(threads.len()));
        for name in distinct(ceilings().map(|row| &row.contestant)) {
            let cell = |&threads: &usize| {
                spread(
                    ceilings().filter(|row| &row.contestant == name && row.threads == threads).map(Row::rate),
                )
            };
            println!("| {name} | {} |", threads.iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
    }

    /// tanner, the best of the others, and how much of the time the bytes alone would take.
    fn summary(&self, title: &str, wanted: fn(&str) -> bool) {
        println!("\n{title}, one thread, GB/s of source bytes: median (least–most); ratios round by round\n");
        println!("| shape | lost | tanner | best other | | tanner : other | of the ceiling |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for (shape, operation) in self.cases(wanted) {
            let ours = self.rounds(shape, operation, OURS);
            let Some(&first) = ours.first() else { continue };
            let others = distinct(self.rows.iter().map(|row| row.contestant.as_str()));
            let others = others.into_iter().filter(|&name| name != OURS);
            let rate = |name: &&str| median(self.rounds(shape, operation, name).into_iter().map(Row::rate));
            let best = others.filter(|name| rate(name) > 0.0).max_by(|a, b| rate(a).total_cmp(&rate(b)));
            let theirs = best.map_or_else(Vec::new, |best| self.rounds(shape, operation, best));
            let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.rate() / theirs.rate());
            let lost = match first.lost {
                0 => "–".to_owned(),
                lost => format!("{lost} data ({})", operation.trim_start_matches("decode ")),
            };
            println!(
                "| {shape} | {lost} | {} | {}{} | {} | {} | {} |",
                spread(ours.iter().map(|row| row.rate())),
                best.unwrap_or("–"),
                theirs.first().map_or_else(String::new, |row| remarks(row, first)),
                spread(theirs.iter().map(|row| row.rate())),
                spread(ratios),
                self.share(&ours)
            );
        }
    }

    /// The time to read the source once and to write the results past the caches, as a share of the time taken.
    fn share(&self, ours: &[&Row]) -> String {
        let Some(first) = ours.first() else { return String::new() };
        let seconds = |name: &str| {
            let ceilings =
                self.rows.iter().filter(|row| row.shape == first.shape && row.threads == first.threads);
            1.0 / median(ceilings.filter(|row| row.contestant == name).map(Row::rate))
        };
        let (read, copy) = (seconds(READ), seconds(COPY_STREAMING));
        let (data, parity) = first.shape.split_once('+').expect("a shape");
        let (data, parity): (f64, f64) = (data.parse().expect("a number"), parity.parse().expect("a number"));
        let written = if first.lost > 0 { first.lost as f64 } else { parity };
        let least = read + (copy - read).max(0.0) * written / data;
        format!("{:.0} %", 100.0 * least * median(ours.iter().map(|row| row.rate())))
    }

    fn everyone(&self) {
        println!(
            "\nEvery contestant, GB/s of source bytes, median; less of the source where a run took too long: MiB in brackets\n"
        );
        let codes = || self.rows.iter().filter(|row| row.operation != CEILING && row.note.is_empty());
        let columns = distinct(codes().map(|row| (row.contestant.as_str(), row.threads)));
        let title = |&(name, threads): &(&str, usize)| match threads {
            1 => name.to_owned(),
            _ => format!("{name}, {threads} threads"),
        };
        println!("| shape | operation | {} |", columns.iter().map(title).collect::<Vec<_>>().join(" | "));
        println!("| --- | --- |{}", " --- |".repeat(columns.len()));
        let most = codes().map(|row| row.bytes).max().unwrap_or(0);
        for (shape, operation) in self.cases(|operation| operation != CEILING) {
            let cell = |&(name, threads): &(&str, usize)| {
                let rows: Vec<&Row> =
                    self.of(shape, operation, name).filter(|row| row.threads == threads).collect();
                let Some(first) = rows.first() else { return "–".to_owned() };
                let short = first.bytes < most / 10 * 9;
                let bytes = if short { format!(" [{}]", first.bytes >> 20) } else { String::new() };
                format!("{}{bytes}", number(median(rows.iter().map(|row| row.rate()))))
            };
            println!(
                "| {shape} | {operation} | {} |",
                columns.iter().map(cell).collect::<Vec<_>>().join(" | ")
            );
        }
    }

    /// Who was absent, and why.
    fn notes(&self) {
        let notes = self.rows.iter().filter(|row| !row.note.is_empty());
        let notes = distinct(notes.map(|row| format!("{} at {}: {}", row.contestant, row.shape, row.note)));
        if !notes.is_empty() {
            println!();
        }
        notes.iter().for_each(|note| println!("* {note}"));
    }

    fn cases(&self, wanted: fn(&str) -> bool) -> Vec<(&str, &str)> {
        let rows = self.rows.iter().filter(|row| wanted(&row.operation));
        distinct(rows.map(|row| (row.shape.as_str(), row.operation.as_str())))
    }

    fn of(&self, shape: &str, operation: &str, name: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| {
            row.seconds > 0.0
                && (row.shape.as_str(), row.operation.as_str(), row.contestant.as_str())
                    == (shape, operation, name)
        })
    }

    /// One thread's rows, in the order of their rounds.
    fn rounds(&self, shape: &str, operation: &str, name: &str) -> Vec<&Row> {
        self.of(shape, operation, name).filter(|row| row.threads == 1).collect()
    }
}

/// Where a row's conditions are not tanner's.
fn remarks(theirs: &Row, ours: &Row) -> String {
    let mut remarks = Vec::new();
    if theirs.lost != ours.lost {
        remarks.push(format!("{} lost", theirs.lost));
    }
    if theirs.bytes < ours.bytes / 10 * 9 {
        remarks.push(format!("{} MiB", theirs.bytes >> 20));
    }
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) }
}

/// Each value once, in the order of first appearance.
pub fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    values.for_each(|value| {
        if !found.contains(&value) {
            found.push(value);
        }
    });
    found
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    if values.is_empty() { 0.0 } else { (values[low] + values[high]) / 2.0 }
}

/// Median, least and most.
pub fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let (least, most) = values
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), &value| (least.min(value), most.max(value)));
    match values.len() {
        0 => "–".to_owned(),
        _ => format!("{} ({}–{})", number(median(values.into_iter())), number(least), number(most)),
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    if value >= 9.995 { format!("{value:.1}") } else { format!("{value:.2}") }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
