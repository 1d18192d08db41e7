//! When a scheduled playbook is due (floor F0): checked when a manifest is read, asked while it is in force. A time that a clock change skips is due right after it; one that comes twice is due
//! once, the first time.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::{CatchUp, Schedule};

/// The next time after `after`; `None` when there is none within some years.
///
/// # Errors
/// In one sentence, what is wrong with the cron fields or the time zone.
pub fn next_time(schedule: &Schedule, after: Timestamp) -> Result<Option<Timestamp>, String> {
    let zone = zone(schedule.timezone.as_deref())?;
    if schedule.cron.split_whitespace().count() != 5 {
        return Err(format!("`{}` has not five fields: minute, hour, day of month, month, day of week", schedule.cron));
    }
    let cron = Cron::from_str(&schedule.cron).map_err(|error| format!("`{}` is no cron: {error}", schedule.cron))?;
    let next = cron.find_next_occurrence(&after.to_zoned(zone), false);
    Ok(next.ok().map(|zoned| zoned.timestamp()))
}

/// The time that is due now, if one is: the last of those after `taken` (the last one taken up or left) and not after
/// `now`. With [`CatchUp::None`] one that is older than `grace` is not due any more.
///
/// # Errors
/// As [`next_time`].
pub fn due(
    schedule: &Schedule,
    taken: Timestamp,
    now: Timestamp,
    grace: SignedDuration,
) -> Result<Option<Timestamp>, String> {
    let mut last = None;
    // What was due more than 400 days ago is not looked for: a yearly time is found, and no gap is walked for ever.
    let mut from = taken.max(now.checked_sub(SignedDuration::from_hours(24 * 400)).unwrap_or(taken));
    if next_time(schedule, from)?.is_some_and(|first| first <= now) {
        // Seconds of work at most: start near the end when the gap is long and times are many.
        for back in [1_i64, 24, 24 * 40] {
            let near = now.checked_sub(SignedDuration::from_hours(back)).unwrap_or(from);
            if near > from && next_time(schedule, near)?.is_some_and(|time| time <= now) {
                from = near;
                break;
            }
        }
    }
    while let Some(time) = next_time(schedule, from)?.filter(|time| *time <= now) {
        last = Some(time);
        from = time;
    }
    Ok(last.filter(|time| schedule.catch_up == CatchUp::Last || now.duration_since(*time) <= grace))
}

/// The time zone of an IANA name; UTC without one.
///
/// # Errors
/// In one sentence, that there is none of this name.
pub fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None => Ok(TimeZone::UTC),
        Some(name) => jiff::tz::TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| format!("`{name}` is not an IANA time zone, such as Europe/Berlin")),
    }
}
