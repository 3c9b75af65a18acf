//! Which plots a report makes.

use super::ceilings::{CIPHER, HASH, READ};
use super::codec::decode_name;
use super::disk::ALL;
use super::net::ROUND_TRIP;
use super::page::{counted, escaped, gb};
use super::plots::{Bar, Dot, GREY, Group, Line, bars, lines, roofline};
use super::report::{Kind, Measurement, Report};
use super::roofline::Roof;

/// Every plot that there are measurements for.
pub(super) fn figures(report: &Report) -> Vec<Figure> {
    let all = [whole(report), binding(report), roof(report), ceilings(report), shapes(report)];
    let all =
        all.into_iter().chain([levels(report, Kind::Encode), levels(report, Kind::Decode), scaling(report)]);
    all.chain([disks(report), net(report)]).flatten().collect()
}

/// Backup, restore and what they are held against.
fn whole(report: &Report) -> Option<Figure> {
    let copy = report.of(Kind::E2e).next()?;
    let bars_of = report.of(Kind::E2e).map(|m| {
        let ratio = m.times_as_long_as(copy).filter(|_| m.subject.name != copy.subject.name);
        let ratio = ratio.map_or_else(String::new, |ratio| format!(" · {ratio:.2} ×"));
        Bar { text: format!("{}{ratio}", gb(m.rate())), ..bar(&m.subject.name, m, 0) }
    });
    let groups = [Group { label: None, bars: bars_of.collect() }];
    let text = "GB/s of source bytes, from file to durable stores and back; and × the time of a plain copy.";
    Some(Figure { title: "Backup and restore".into(), text: text.into(), svg: bars(&groups, None) })
}

/// Every work as the share of the ceiling that binds it.
fn binding(report: &Report) -> Option<Figure> {
    let roofs = report.roofs();
    // Work that was measured on several numbers of threads counts with the most.
    let more = |roof: &Roof| roofs.iter().any(|r| r.what == roof.what && r.threads > roof.threads);
    let measured = roofs.iter().filter(|roof| !more(roof));
    let bars_of = measured.filter_map(|roof| {
        let (share, (name, _)) = (roof.share()?, roof.binding());
        let text = format!("{share:.2} · {name}");
        Some(Bar { label: roof.what.clone(), value: share, range: None, text, colour: 0 })
    });
    let groups = [Group { label: None, bars: bars_of.collect() }];
    let text =
        "The share reached of the ceiling that binds, on all threads; the grey track ends at 1.".into();
    let svg = bars(&groups, Some(1.0));
    (!groups[0].bars.is_empty()).then(|| Figure {
        title: "How much of the ceiling is reached".into(),
        text,
        svg,
    })
}

/// Encoding under the roof of memory: the more parity, the more bytes move.
fn roof(report: &Report) -> Option<Figure> {
    let threads = report.threads(Kind::Encode);
    let moved = |profile: &super::ProfileFacts| 1.0 + profile.parity as f64 / profile.data as f64;
    let dots: Vec<Dot> = report
        .profiles
        .iter()
        .filter_map(|profile| {
            let rate = report.find(Kind::Encode, &profile.shape, threads)?.rate() / 1e9;
            Some(Dot { label: profile.shape.clone(), at: (moved(profile), rate) })
        })
        .collect();
    let most = dots.iter().map(|dot| dot.at.0).fold(2.0, f64::max) * 1.05;
    let traffic = (0..=40).map(|part| 1.0 + (most - 1.0) * f64::from(part) / 40.0);
    let traffic = traffic.map(|x| Some((x, report.traffic(threads, 1.0, x - 1.0, None)? / 1e9)));
    let traffic: Vec<(f64, f64)> = traffic.collect::<Option<_>>()?;
    let mut roofs = vec![Line { label: "memory: read and write".into(), points: traffic, colour: GREY }];
    for (name, label, colour) in [(HASH, "hash of as many bytes", 1), (CIPHER, "cipher of as many bytes", 2)]
    {
        let Some(rate) = report.find(Kind::Ceiling, name, threads) else { continue };
        let rate = rate.rate() / 1e9;
        roofs.push(Line { label: label.into(), points: vec![(1.0, rate), (most, rate)], colour });
    }
    let text = format!("Encoding on {threads} threads under what memory, hash and cipher allow.");
    let svg = roofline(&roofs, &dots, "bytes read and written for each source byte");
    (!dots.is_empty()).then(|| Figure { title: "Roofline".into(), text, svg })
}

fn ceilings(report: &Report) -> Option<Figure> {
    let mut names: Vec<&str> = Vec::new();
    for measurement in report.of(Kind::Ceiling) {
        let name = measurement.subject.name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let groups = names.iter().map(|name| {
        let own = report.of(Kind::Ceiling).filter(|m| m.subject.name == **name);
        let bars = own.enumerate().map(|(at, m)| bar(&counted(m.subject.threads, "thread"), m, at)).collect();
        Group { label: Some((*name).into()), bars }
    });
    let groups: Vec<Group> = groups.collect();
    let text = "GB/s that the machine allows, measured in the same rounds.";
    (!groups.is_empty()).then(|| Figure {
        title: "Ceilings".into(),
        text: text.into(),
        svg: bars(&groups, None),
    })
}

/// Encoding and every decoding of each shape, on one thread.
fn shapes(report: &Report) -> Option<Figure> {
    let groups = report.profiles.iter().map(|profile| {
        let encode = report.find(Kind::Encode, &profile.shape, 1).map(|m| bar("encode", m, 0));
        let decode = profile.losses.iter().filter_map(|&lost| {
            let found = report.find(Kind::Decode, &decode_name(&profile.shape, lost), 1)?;
            Some(bar(&format!("decode, {lost} lost"), found, 1))
        });
        let label = format!("{} · {}, D {}", profile.shape, profile.code, profile.depth);
        Group { label: Some(label), bars: encode.into_iter().chain(decode).collect() }
    });
    let groups: Vec<Group> = groups.filter(|group| !group.bars.is_empty()).collect();
    let text = "GB/s on one thread by the fastest level; lost are data blocks, all parity is at hand.";
    let title = "Encode and decode by shape".into();
    (!groups.is_empty()).then(|| Figure { title, text: text.into(), svg: bars(&groups, None) })
}

fn levels(report: &Report, kind: Kind) -> Option<Figure> {
    let groups = report.profiles.iter().map(|profile| {
        let name = match kind {
            Kind::Decode => decode_name(&profile.shape, profile.losses.last().copied().unwrap_or(0)),
            _ => profile.shape.clone(),
        };
        let own = report.of(kind).filter(|m| m.subject.name == name && m.subject.threads == 1);
        let bars =
            own.enumerate().map(|(at, m)| bar(m.subject.level.as_deref().unwrap_or(""), m, at)).collect();
        Group { label: Some(name), bars }
    });
    let groups: Vec<Group> = groups.filter(|group| !group.bars.is_empty()).collect();
    let title = if kind == Kind::Encode { "SIMD levels: encode" } else { "SIMD levels: decode" };
    let text = "GB/s on one thread. Every level gave the same bytes before it was timed.";
    (!groups.is_empty()).then(|| Figure { title: title.into(), text: text.into(), svg: bars(&groups, None) })
}

fn scaling(report: &Report) -> Option<Figure> {
    let line = |kind, name: &str, label: &str, colour| {
        let threads = 1..=report.threads(Kind::Encode);
        let rate = |threads| Some((threads as f64, report.find(kind, name, threads)?.rate() / 1e9));
        let points: Vec<(f64, f64)> = threads.filter_map(rate).collect();
        (points.len() > 1).then(|| Line { label: label.into(), points, colour })
    };
    let shapes = report.profiles.iter().enumerate();
    let encode = shapes.filter_map(|(at, profile)| line(Kind::Encode, &profile.shape, &profile.shape, at));
    let all: Vec<Line> = line(Kind::Ceiling, READ, READ, GREY).into_iter().chain(encode).collect();
    let text = "GB/s of encoding, and of reading memory.";
    let title = "Threads".into();
    (all.len() > 1).then(|| Figure { title, text: text.into(), svg: lines(&all, "threads") })
}

fn disks(report: &Report) -> Option<Figure> {
    let paths = report.directories.iter().map(|directory| directory.path.as_str());
    let groups = paths.chain([ALL]).map(|path| {
        let own =
            report.of(Kind::Disk).filter_map(|m| Some((m.subject.name.strip_suffix(path)?.trim_end(), m)));
        let own = own.filter(|(job, _)| ["write", "read"].contains(job));
        Group {
            label: Some(path.into()),
            bars: own.enumerate().map(|(at, (job, m))| bar(job, m, at)).collect(),
        }
    });
    let groups: Vec<Group> = groups.filter(|group| !group.bars.is_empty()).collect();
    let text = "GB/s, written until durable, and read back after the page cache let go.";
    (!groups.is_empty()).then(|| Figure {
        title: "Disks".into(),
        text: text.into(),
        svg: bars(&groups, None),
    })
}

fn net(report: &Report) -> Option<Figure> {
    let trip = report.of(Kind::Net).find(|m| m.subject.name == ROUND_TRIP)?;
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for measurement in report.of(Kind::Net).filter(|m| m.bytes > 0) {
        let streams = measurement.subject.threads;
        if groups.last().is_none_or(|(known, _)| *known != streams) {
            groups.push((streams, Group { label: Some(counted(streams, "stream")), bars: Vec::new() }));
        }
        let bars = &mut groups.last_mut()?.1.bars;
        bars.push(bar(&measurement.subject.name, measurement, bars.len()));
    }
    let groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
    let text = format!("GB/s over TCP. A round trip takes {:.0} µs.", trip.median_seconds() * 1e6);
    (!groups.is_empty()).then(|| Figure { title: "Network".into(), text, svg: bars(&groups, None) })
}

fn bar(label: &str, measurement: &Measurement, colour: usize) -> Bar {
    let (least, most) = measurement.rate_range();
    let (value, text) = (measurement.rate() / 1e9, gb(measurement.rate()));
    Bar { label: label.into(), value, range: Some((least / 1e9, most / 1e9)), text, colour }
}

/// A plot with its words.
pub(super) struct Figure {
    title: String,
    text: String,
    svg: String,
}

impl Figure {
    /// The plot with its title, for eyes and for readers of screens.
    pub(super) fn html(&self, number: usize) -> String {
        let (title, text) = (escaped(&self.title), escaped(&self.text));
        // The size is the page's business: the plot scales with its column.
        let body = self.svg.find(" viewBox").map_or("", |at| &self.svg[at..]);
        let (view, body) = body.split_once(" xmlns=").unwrap_or((body, ""));
        let body = body.split_once('>').map_or(body, |(_, body)| body);
        format!(
            "<figure>\n<figcaption><h3>{title}</h3><p>{text}</p></figcaption>\n\
             <svg role=\"img\" aria-labelledby=\"title{number} text{number}\"{view}>\n\
             <title id=\"title{number}\">{title}</title>\n<desc id=\"text{number}\">{text}</desc>{body}</figure>\n"
        )
    }
}
