//! The one clock on the wall.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Zoned;

/// Now, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Minutes of the local week, from Monday 0:00: what the timetable of a limit goes by. In UTC where the system says nothing of where it is.
pub(super) fn week_minute() -> u16 {
    let now = Zoned::now();
    let day = now.weekday().to_monday_zero_offset();
    let minutes = (i16::from(day) * 24 + i16::from(now.hour())) * 60 + i16::from(now.minute());
    u16::try_from(minutes).expect("no part of a date is negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_one_of_the_week() {
        assert!(week_minute() < 7 * 24 * 60);
    }
}
