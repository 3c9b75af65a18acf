//! Which backups of one source stay, by rules for how many and how old: arithmetic on times, and no deed.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// So many backups stay: the last ones, and the last ones of so many days, weeks, months and years that have any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// The last ones.
    pub last: usize,
    /// The last of each of so many days.
    pub daily: usize,
    /// The last of each of so many weeks, which begin on Mondays.
    pub weekly: usize,
    /// The last of each of so many months.
    pub monthly: usize,
    /// The last of each of so many years.
    pub yearly: usize,
    /// All that are no more than so much older than the last one: if backups stop, none grows too old.
    pub within: Option<Duration>,
}

/// A backup, as far as rules go by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dated {
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// Whether it can be restored. One that cannot is no backup that a rule could count.
    pub is_restorable: bool,
}

/// What tells one day, week, month or year from the others.
type Period = (&'static str, fn(&Zoned) -> String);

impl Keep {
    /// Whether no rule keeps anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For each of the backups of one source, why it stays; nothing if it is to go. The last one that can be restored
    /// stays whatever the rules, and so do those that cannot: they may have blocks where nobody looked.
    #[must_use]
    pub fn reasons(&self, backups: &[Dated], zone: &TimeZone) -> Vec<Vec<String>> {
        let mut reasons = vec![Vec::new(); backups.len()];
        let mut order: Vec<usize> = (0..backups.len()).filter(|&at| backups[at].is_restorable).collect();
        // Of those that began in the same second any may be the last; each run has to find the same one.
        order.sort_by_key(|&at| std::cmp::Reverse((backups[at].created, at)));
        let broken = (0..backups.len()).filter(|&at| !backups[at].is_restorable);
        broken.for_each(|at| reasons[at].push("it cannot be restored from these stores".into()));
        let Some(&newest) = order.first() else { return reasons };
        let mut keep = |at: usize, why: String| reasons[at].push(why);
        keep(newest, "the newest".into());
        order.iter().take(self.last).enumerate().for_each(|(n, &at)| keep(at, format!("last {}", n + 1)));
        let since = self.within.map(|within| backups[newest].created.saturating_sub(within.as_secs()));
        for &at in order.iter().filter(|&&at| since.is_some_and(|since| backups[at].created >= since)) {
            let within = humantime::format_duration(self.within.unwrap_or_default());
            keep(at, format!("within {within}"));
        }
        for ((name, of), count) in
            PERIODS.into_iter().zip([self.daily, self.weekly, self.monthly, self.yearly])
        {
            let mut seen: Vec<String> = Vec::new();
            for &at in &order {
                let period = of(&zoned(backups[at].created, zone));
                if seen.last() == Some(&period) {
                    continue;
                }
                if seen.len() == count {
                    break;
                }
                keep(at, format!("{name} {period}"));
                seen.push(period);
            }
        }
        reasons
    }
}

/// Times beyond the calendar are its end.
fn zoned(seconds: u64, zone: &TimeZone) -> Zoned {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
}

const PERIODS: [Period; 4] = [
    ("daily", |time| time.date().to_string()),
    ("weekly", |time| {
        let week = time.date().iso_week_date();
        format!("{}-W{:02}", week.year(), week.week())
    }),
    ("monthly", |time| format!("{}-{:02}", time.year(), time.month())),
    ("yearly", |time| time.year().to_string()),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::{TimeZone, offset};
    use proptest::prelude::*;

    use super::{Dated, Keep};

    const DAY: u64 = 86_400;
    /// Monday, 5 January 2026, noon in UTC.
    const MONDAY: u64 = 1_767_614_400;

    fn at(created: u64) -> Dated {
        Dated { created, is_restorable: true }
    }

    fn kept(keep: &Keep, backups: &[Dated]) -> Vec<usize> {
        let reasons = keep.reasons(backups, &TimeZone::UTC);
        (0..backups.len()).filter(|&at| !reasons[at].is_empty()).collect()
    }

    #[test]
    fn the_last_ones_stay_and_of_each_day_week_month_and_year_its_last() {
        // Two a day, at noon and six hours later, for 400 days.
        let backups: Vec<Dated> = (0..800).map(|n| at(MONDAY + n / 2 * DAY + n % 2 * 21_600)).collect();
        assert_eq!(kept(&Keep { last: 3, ..Keep::default() }, &backups), [797, 798, 799]);
        assert_eq!(kept(&Keep { daily: 3, ..Keep::default() }, &backups), [795, 797, 799]);
        // The last day is the 400th, a Monday: the weeks before it end on Sundays.
        assert_eq!(kept(&Keep { weekly: 3, ..Keep::default() }, &backups), [783, 797, 799]);
        let reasons = Keep { monthly: 2, yearly: 9, ..Keep::default() }.reasons(&backups, &TimeZone::UTC);
        let why: Vec<&[String]> = reasons.iter().map(Vec::as_slice).filter(|why| !why.is_empty()).collect();
        assert_eq!(why[0], ["yearly 2026"]);
        assert_eq!(why[1], ["monthly 2027-01"]);
        assert_eq!(why[2], ["the newest", "monthly 2027-02", "yearly 2027"]);
        assert_eq!(why.len(), 3);
    }

    /// In the night of the cron job the day is another one in most of the world.
    #[test]
    fn days_are_those_of_the_zone() {
        let backups = [at(MONDAY), at(MONDAY + 3 * 3600)];
        let keep = Keep { daily: 9, ..Keep::default() };
        let days = |hours| {
            let reasons = keep.reasons(&backups, &TimeZone::fixed(offset(hours)));
            reasons.iter().filter(|why| why.iter().any(|why| why.starts_with("daily"))).count()
        };
        assert_eq!((days(0), days(10)), (1, 2));
    }

    /// A job that fails since a month would lose what it has, one by one.
    #[test]
    fn what_is_within_a_time_is_so_before_the_last_backup_and_not_before_now() {
        let backups: Vec<Dated> = (0..10).map(|n| at(MONDAY + n * DAY)).collect();
        let keep = Keep { within: Some(Duration::from_secs(2 * DAY)), ..Keep::default() };
        assert_eq!(kept(&keep, &backups), [7, 8, 9]);
    }

    /// Seven backups of which none can be restored are no week of backups.
    #[test]
    fn what_cannot_be_restored_does_not_count_and_is_not_deleted_by_rules() {
        let mut backups: Vec<Dated> = (0..6).map(|n| at(MONDAY + n * DAY)).collect();
        backups[5].is_restorable = false;
        backups[3].is_restorable = false;
        assert_eq!(kept(&Keep { last: 2, ..Keep::default() }, &backups), [2, 3, 4, 5]);
        assert_eq!(kept(&Keep::default(), &backups), [3, 4, 5], "the newest stays whatever the rules");
        backups.iter_mut().for_each(|backup| backup.is_restorable = false);
        assert_eq!(kept(&Keep { last: 1, ..Keep::default() }, &backups).len(), 6);
        assert!(kept(&Keep::default(), &[]).is_empty());
    }

    proptest! {
        /// Whatever the rules: the newest stays, more rules keep more, and a second run deletes nothing.
        #[test]
        fn a_second_run_deletes_nothing(
            times in prop::collection::vec((0..2000 * DAY, any::<bool>()), 1..60),
            (last, daily, weekly, monthly, yearly) in (0..5_usize, 0..8_usize, 0..5_usize, 0..12_usize, 0..4_usize),
            within in prop::option::of(0..100 * DAY),
        ) {
            let backups: Vec<Dated> =
                times.iter().map(|&(time, is_restorable)| Dated { created: MONDAY + time, is_restorable }).collect();
            let within = within.map(Duration::from_secs);
            let keep = Keep { last, daily, weekly, monthly, yearly, within };
            let first = kept(&keep, &backups);
            let left: Vec<Dated> = first.iter().map(|&at| backups[at]).collect();
            prop_assert_eq!(kept(&keep, &left).len(), left.len());
            let newest = backups.iter().filter(|backup| backup.is_restorable).max_by_key(|backup| backup.created);
            prop_assert!(newest.is_none_or(|newest| left.contains(newest)));
            let more = kept(&Keep { last: last + 1, daily: daily + 1, ..keep }, &backups);
            prop_assert!(first.iter().all(|at| more.contains(at)));
        }

        /// Manifests may say any time.
        #[test]
        fn no_time_is_beyond_the_calendar(created in any::<u64>()) {
            let keep = Keep { daily: 1, weekly: 1, monthly: 1, yearly: 1, ..Keep::default() };
            prop_assert_eq!(kept(&keep, &[at(created)]), [0]);
        }
    }
}
