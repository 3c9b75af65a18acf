//! The plots of the page: bars with direct labels, lines over threads, the roofline of encoding.
//!
//! A colour here is a key: the page's style sheet says what it is in light and in dark.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One bar: its label, its length, the range of its rounds, and what is written behind it.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) range: Option<(f64, f64)>,
    pub(super) text: String,
    pub(super) colour: usize,
}

/// Bars below a label of their own; none for the only group.
pub(super) struct Group {
    pub(super) label: Option<String>,
    pub(super) bars: Vec<Bar>,
}

/// A line through points, labelled at its end.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: usize,
}

/// A labelled point.
pub(super) struct Dot {
    pub(super) label: String,
    pub(super) at: (f64, f64),
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Horizontal bars. `full` draws each bar on a track that ends there.
pub(super) fn bars(groups: &[Group], full: Option<f64>) -> String {
    let labels = groups.iter().filter(|group| group.label.is_some()).count();
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = labels * (GROUP + GAP) + rows * ROW + 8;
    let all = || groups.iter().flat_map(|group| &group.bars);
    let ends = all().map(|bar| bar.range.map_or(bar.value, |range| range.1.max(bar.value)));
    let most = ends.chain(full).fold(f64::MIN_POSITIVE, f64::max);
    let text = all().map(|bar| width(&bar.text)).max().unwrap_or(0);
    let left = all().map(|bar| width(&elided(&bar.label, LABEL_CHARS))).max().unwrap_or(0) + 12;
    let scale = f64::from((WIDTH as i32 - left - text - 10).max(20)) / most;
    let x = |value: f64| left + (value * scale).round() as i32;
    draw(height as u32, |area| {
        let mut y = 0;
        for group in groups {
            if let Some(label) = &group.label {
                y += GAP as i32;
                write(area, &elided(label, GROUP_CHARS), (0, y + GROUP as i32 / 2), HPos::Left, INK);
                y += GROUP as i32;
            }
            for bar in &group.bars {
                let middle = y + ROW as i32 / 2;
                write(area, &elided(&bar.label, LABEL_CHARS), (left - 8, middle), HPos::Right, MUTED);
                if let Some(full) = full {
                    rectangle(area, (left, middle - 6), (x(full), middle + 6), TRACK);
                }
                rectangle(
                    area,
                    (left, middle - 6),
                    (x(bar.value).max(left + 1), middle + 6),
                    COLOURS[bar.colour % COLOURS.len()],
                );
                let mut end = x(bar.value).max(full.map_or(0, x));
                if let Some((least, most)) = bar.range.filter(|(least, most)| x(*most) > x(*least) + 2) {
                    path(area, vec![(x(least), middle), (x(most), middle)], INK, 1);
                    for end in [least, most] {
                        path(area, vec![(x(end), middle - 3), (x(end), middle + 3)], INK, 1);
                    }
                    end = end.max(x(most));
                }
                write(area, &bar.text, (end + 6, middle), HPos::Left, INK);
                y += ROW as i32;
            }
        }
    })
}

/// Lines over whole numbers from 1 on.
pub(super) fn lines(lines: &[Line], x_title: &str) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_most = points().map(|point| point.0).fold(2.0, f64::max);
    let y_most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let right = lines.iter().map(|line| width(&line.label)).max().unwrap_or(0) + 16;
    let axes = Axes { x: (1.0, x_most), y_most, right };
    draw(HEIGHT, |area| {
        let step = nice(x_most / 8.0).max(1.0);
        let ticks = (0..).map(|tick| 1.0 + f64::from(tick) * step).take_while(|&tick| tick <= x_most);
        axes.draw(area, &ticks.collect::<Vec<_>>(), 0, x_title);
        let mut ends: Vec<i32> = Vec::new();
        for line in lines {
            let colour = line_colour(line.colour);
            path(area, line.points.iter().map(|&at| axes.at(at)).collect(), colour, 2);
            line.points.iter().for_each(|&at| dot(area, axes.at(at), 3, colour));
            ends.push(line.points.last().map_or(0, |&end| axes.at(end).1));
        }
        for (line, y) in lines.iter().zip(apart(&ends, TEXT + 2)) {
            write(
                area,
                &line.label,
                (axes.at((x_most, 0.0)).0 + 10, y),
                HPos::Left,
                line_colour(line.colour),
            );
        }
    })
}

/// Roofs as lines labelled at their right end, and dots below them.
pub(super) fn roofline(roofs: &[Line], dots: &[Dot], x_title: &str) -> String {
    let points = || roofs.iter().flat_map(|roof| roof.points.iter()).chain(dots.iter().map(|dot| &dot.at));
    let x_most = points().map(|point| point.0).fold(1.5, f64::max);
    let y_most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let axes = Axes { x: (1.0, x_most), y_most, right: 24 };
    draw(HEIGHT, |area| {
        let step = nice((x_most - 1.0) / 4.0);
        let ticks = (0..).map(|tick| 1.0 + f64::from(tick) * step).take_while(|&tick| tick <= x_most + 1e-9);
        axes.draw(area, &ticks.collect::<Vec<_>>(), usize::from(step < 1.0), x_title);
        let mut taken: Vec<Box> = Vec::new();
        for roof in roofs {
            path(area, roof.points.iter().map(|&at| axes.at(at)).collect(), line_colour(roof.colour), 2);
        }
        for spot in dots {
            let (x, y) = axes.at(spot.at);
            dot(area, (x, y), 5, COLOURS[0]);
            taken.push(Box { left: x - 6, top: y - 6, right: x + 6, bottom: y + 6 });
        }
        for roof in roofs {
            let Some(&end) = roof.points.last() else { continue };
            let (x, y) = axes.at(end);
            let places =
                [(0, -11), (0, 12), (-60, -11), (-60, 12), (-120, -11), (-120, 12), (0, -26), (0, 26)];
            place(area, &mut taken, &roof.label, (x, y), &places, HPos::Right, line_colour(roof.colour));
        }
        for spot in dots {
            let half = width(&spot.label) / 2;
            let places =
                [(10 + half, 0), (-10 - half, 0), (0, 16), (0, -16), (0, 30), (0, -30), (0, 44), (0, -44)];
            place(area, &mut taken, &spot.label, axes.at(spot.at), &places, HPos::Center, INK);
        }
    })
}

/// A plane with linear scales; y begins at 0.
struct Axes {
    x: (f64, f64),
    y_most: f64,
    /// Room at the right.
    right: i32,
}

impl Axes {
    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let room = f64::from(WIDTH as i32 - LEFT - self.right);
        let tall = f64::from(HEIGHT as i32 - TOP - BOTTOM);
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        (LEFT + (across * room).round() as i32, TOP + ((1.0 - y / self.y_most) * tall).round() as i32)
    }

    fn draw(&self, area: &Area<'_>, ticks: &[f64], decimals: usize, x_title: &str) {
        let step = nice(self.y_most / 5.0);
        let digits = usize::from(step < 1.0);
        for tick in (0..).map(|tick| f64::from(tick) * step).take_while(|&tick| tick <= self.y_most) {
            let ((left, y), (right, _)) = (self.at((self.x.0, tick)), self.at((self.x.1, tick)));
            path(area, vec![(left, y), (right, y)], GRID, 1);
            write(area, &format!("{tick:.digits$}"), (left - 8, y), HPos::Right, MUTED);
        }
        for &tick in ticks {
            let (x, y) = self.at((tick, 0.0));
            write(area, &format!("{tick:.decimals$}"), (x, y + 14), HPos::Center, MUTED);
        }
        write(area, "GB/s", (0, 8), HPos::Left, MUTED);
        write(area, x_title, (WIDTH as i32, HEIGHT as i32 - 8), HPos::Right, MUTED);
    }
}

#[derive(Clone, Copy)]
struct Box {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Box {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Writes a label at the first of these places that is free, or else at the nearest one that is.
fn place(
    area: &Area<'_>,
    taken: &mut Vec<Box>,
    label: &str,
    at: (i32, i32),
    places: &[(i32, i32)],
    anchor: HPos,
    colour: RGBColor,
) {
    let wide = width(label);
    let boxed = |(dx, dy): (i32, i32)| {
        let (x, y) = (at.0 + dx, at.1 + dy);
        let left = if matches!(anchor, HPos::Center) { x - wide / 2 } else { x - wide };
        Box { left, top: y - TEXT / 2, right: left + wide, bottom: y + TEXT / 2 }
    };
    let inside = |b: &Box| {
        b.left >= LEFT && b.right <= WIDTH as i32 && b.top >= 0 && b.bottom <= HEIGHT as i32 - BOTTOM
    };
    let is_free = |&by: &(i32, i32)| {
        let wanted = boxed(by);
        inside(&wanted) && !taken.iter().any(|other| other.meets(&wanted))
    };
    let all = || {
        let columns = (0..WIDTH as i32).step_by(TEXT as usize);
        columns.flat_map(|x| (0..HEIGHT as i32).step_by(TEXT as usize).map(move |y| (x - at.0, y - at.1)))
    };
    let nearest = || all().filter(is_free).min_by_key(|(dx, dy)| dx * dx + dy * dy);
    let Some(by) = places.iter().copied().find(is_free).or_else(nearest) else { return };
    taken.push(boxed(by));
    write(area, label, (at.0 + by.0, at.1 + by.1), anchor, colour);
}

/// Moves labels down until none covers another, and all up again if the last fell out.
fn apart(wanted: &[i32], gap: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&label| wanted[label]);
    let (mut placed, mut least) = (vec![0; wanted.len()], i32::MIN);
    for &label in &order {
        placed[label] = wanted[label].max(least);
        least = placed[label] + gap;
    }
    let over = (least - gap - (HEIGHT as i32 - BOTTOM)).max(0);
    placed.iter().map(|y| y - over).collect()
}

fn draw(height: u32, paint: impl FnOnce(&Area<'_>)) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        paint(&area);
        area.present().expect(INFALLIBLE);
    }
    svg
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), anchor: HPos, colour: RGBColor) {
    let style = ("sans-serif", FONT).into_text_style(area).color(&colour).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).expect(INFALLIBLE);
}

fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
    area.draw(&Rectangle::new([from, to], colour.filled())).expect(INFALLIBLE);
}

fn path(area: &Area<'_>, points: Vec<(i32, i32)>, colour: RGBColor, wide: u32) {
    area.draw(&PathElement::new(points, colour.stroke_width(wide))).expect(INFALLIBLE);
}

fn dot(area: &Area<'_>, at: (i32, i32), radius: i32, colour: RGBColor) {
    area.draw(&Circle::new(at, radius, colour.filled())).expect(INFALLIBLE);
}

fn line_colour(colour: usize) -> RGBColor {
    if colour == GREY { MUTED } else { COLOURS[colour % COLOURS.len()] }
}

/// Pixels that a text takes, rather too many.
fn width(text: &str) -> i32 {
    (text.chars().count() as f64 * 7.3).ceil() as i32
}

/// Cuts the middle out of a text that is too long: the ends of paths tell them apart.
fn elided(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (most / 2 - 1, most - most / 2);
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

/// 1, 2 or 5 times a power of ten, at least `wanted`.
fn nice(wanted: f64) -> f64 {
    let wanted = wanted.max(1e-9);
    let power = 10_f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|&step| step >= wanted * 0.999)
        .unwrap_or(power)
}

pub(super) const WIDTH: u32 = 420;
const HEIGHT: u32 = 300;
const LEFT: i32 = 40;
const TOP: i32 = 28;
const BOTTOM: i32 = 46;
const ROW: usize = 24;
const GROUP: usize = 20;
const GAP: usize = 6;
const LABEL_CHARS: usize = 24;
const GROUP_CHARS: usize = 54;
/// Comes out as 12.5 units.
const FONT: f64 = 15.5;
const TEXT: i32 = 14;
const INFALLIBLE: &str = "a string takes every drawing";

/// A line that is no series of its own.
pub(super) const GREY: usize = usize::MAX;
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1F, 0x6F, 0xB5),
    RGBColor(0xB8, 0x55, 0x0A),
    RGBColor(0x2B, 0x7A, 0x4B),
    RGBColor(0x7B, 0x4B, 0xA8),
    RGBColor(0xA6, 0x3A, 0x6B),
];
const INK: RGBColor = RGBColor(0x1C, 0x21, 0x28);
const MUTED: RGBColor = RGBColor(0x57, 0x60, 0x6A);
const GRID: RGBColor = RGBColor(0xDF, 0xE3, 0xE8);
const TRACK: RGBColor = RGBColor(0xE9, 0xEC, 0xF0);
