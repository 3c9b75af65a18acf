//! How many bytes a second at which time of the week.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use bytesize::ByteSize;

/// A rate that depends on the time of day, as rclone writes it: `08:00,5M 19:00,off`, or one rate for all time.
///
/// From each time on the rate behind it holds, until the next time; the last one holds over midnight. A time may be of
/// one day only: `Mon-00:00,512KiB Fri-23:59,10MiB`. A rate is bytes a second with the units that all sizes have here
/// (`5M` or `5MB/s` is 5 000 000, `5MiB` is 5 242 880), or `off` for as fast as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    text: String,
    /// Minute of the week and bytes a second from then on, in order. Never empty.
    switches: Vec<(u16, Option<NonZeroU64>)>,
}

impl Timetable {
    /// Bytes a second in this minute of the week, counted from Monday 0:00; `None` is as fast as it goes.
    pub fn at(&self, minute: u16) -> Option<NonZeroU64> {
        let minute = minute % MINUTES_OF_WEEK;
        let last = self.switches.iter().rev();
        let current = last.clone().find(|(from, _)| *from <= minute).or(last.clone().next());
        current.and_then(|(_, rate)| *rate)
    }

    /// Whether it ever limits.
    pub fn is_off(&self) -> bool {
        self.switches.iter().all(|(_, rate)| rate.is_none())
    }

    /// Whether it says the same at all times.
    pub(super) fn is_constant(&self) -> bool {
        self.switches.len() == 1
    }
}

impl Default for Timetable {
    /// As fast as it goes.
    fn default() -> Self {
        Self { text: OFF.to_owned(), switches: vec![(0, None)] }
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a timetable looks like, said to whoever wrote something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{TIMETABLE_FORM}")]
pub struct TimetableError;

impl FromStr for Timetable {
    type Err = TimetableError;

    fn from_str(text: &str) -> Result<Self, TimetableError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let mut switches = Vec::new();
        match words[..] {
            [] => return Err(TimetableError),
            [word] if !word.contains(',') => switches.push((0, rate(word)?)),
            _ => {
                for word in &words {
                    let (time, of) = word.split_once(',').ok_or(TimetableError)?;
                    let of = rate(of)?;
                    switches.extend(minutes(time)?.map(|minute| (minute, of)));
                }
            }
        }
        switches.sort_by_key(|(minute, _)| *minute);
        if switches.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(TimetableError);
        }
        Ok(Self { text: words.join(" "), switches })
    }
}

/// Bytes a second; nothing for off. A rate of 0 would be a store that never answers, so it is none.
fn rate(text: &str) -> Result<Option<NonZeroU64>, TimetableError> {
    if text == OFF {
        return Ok(None);
    }
    let bytes = text.strip_suffix("/s").unwrap_or(text).parse::<ByteSize>().map_err(|_| TimetableError)?;
    NonZeroU64::new(bytes.as_u64()).map(Some).ok_or(TimetableError)
}

/// The minutes of the week that a time names: one of each day, or one.
fn minutes(text: &str) -> Result<impl Iterator<Item = u16>, TimetableError> {
    let (days, time) = match text.split_once('-') {
        None => (0..7, text),
        Some((day, time)) => {
            let day =
                DAYS.iter().position(|name| name.eq_ignore_ascii_case(day)).ok_or(TimetableError)? as u16;
            (day..day + 1, time)
        }
    };
    let (hour, minute) = time.split_once(':').ok_or(TimetableError)?;
    let number = |text: &str, bound: u16| match text.parse::<u16>() {
        Ok(number) if number < bound && text.len() <= 2 && !text.starts_with('+') => Ok(number),
        _ => Err(TimetableError),
    };
    let minute: u16 = number(hour, 24)? * 60 + number(minute, 60)?;
    Ok(days.map(move |day| day * MINUTES_OF_DAY + minute))
}

const OFF: &str = "off";
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_DAY: u16 = 24 * 60;
const MINUTES_OF_WEEK: u16 = 7 * MINUTES_OF_DAY;
pub(super) const TIMETABLE_FORM: &str =
    "a rate is bytes a second such as 5M, off, or a timetable such as \"08:00,5M 19:00,off\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timetable: &str, day: u16, hour: u16, minute: u16) -> u64 {
        let timetable: Timetable = timetable.parse().unwrap();
        timetable.at((day * 24 + hour) * 60 + minute).map_or(0, NonZeroU64::get)
    }

    #[test]
    fn the_office_has_its_line_by_day_and_the_backup_by_night() {
        for day in 0..7 {
            for (hour, minute, rate) in
                [(7, 59, 0), (8, 0, 5_000_000), (18, 59, 5_000_000), (19, 0, 0), (23, 59, 0)]
            {
                assert_eq!(at("08:00,5M 19:00,off", day, hour, minute), rate, "{day} {hour}:{minute}");
            }
        }
        assert_eq!(at("08:00,5M 19:00,1MiB", 0, 0, 0), 1 << 20, "over midnight");
        assert_eq!(at("512", 3, 3, 3), 512);
        assert_eq!(at("5MB/s", 3, 3, 3), 5_000_000);
    }

    #[test]
    fn a_weekend_has_a_rate_of_its_own() {
        let week = "Mon-08:00,5M sat-00:00,off 12:00,7M";
        assert_eq!(at(week, 0, 8, 0), 5_000_000);
        assert_eq!(at(week, 1, 8, 0), 7_000_000);
        assert_eq!(at(week, 5, 11, 59), 0);
        assert_eq!(at(week, 5, 12, 0), 7_000_000);
        assert_eq!(at(week, 0, 7, 59), 7_000_000, "from Sunday noon");
    }

    #[test]
    fn a_timetable_with_a_slip_is_refused_and_never_half_obeyed() {
        let slips = [
            "",
            "0",
            "08:00",
            "08:00,",
            "08:00,0",
            "24:00,5M",
            "08:60,5M",
            "8,5M",
            "08:00,5M 19:00",
            "5M 19:00,off",
            "08:00,5M 08:00,off",
            "Xyz-08:00,5M",
            "08:00,5M 08:0,off",
            "+8:00,5M",
            "08:00;5M",
            "-1",
        ];
        for slip in slips {
            assert_eq!(slip.parse::<Timetable>(), Err(TimetableError), "{slip:?}");
        }
        let timetable: Timetable = " 08:00,5M   19:00,off ".parse().unwrap();
        assert_eq!(timetable.to_string(), "08:00,5M 19:00,off");
        assert_eq!(timetable.to_string().parse(), Ok(timetable));
    }
}
