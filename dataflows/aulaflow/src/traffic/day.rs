//! A school day's shape: how many events a second a school makes at each minute of the day.

/// Minutes from midnight at which the generated day starts: phones wake up before the first bell.
pub const DAY_START_MINUTE: u32 = 7 * 60 + 30;

/// Minutes from midnight at which it ends; the next day starts at once.
pub const DAY_END_MINUTE: u32 = 22 * 60;

/// Events a second at a bell, when everybody checks in, answers and hands in at the same time.
pub const PEAK_RATE: u32 = 5_000;

/// Lessons' first minutes, from midnight; the last one is the bell that ends the day.
const BELLS: [u32; 7] = [8 * 60, 8 * 60 + 50, 9 * 60 + 40, 11 * 60, 11 * 60 + 50, 12 * 60 + 40, 13 * 60 + 30];

/// How long the rush after a bell lasts, in minutes.
const RUSH_MINUTES: u32 = 10;

/// Events a second at a minute of the day.
pub fn rate_at(minute: u32) -> u32 {
    let rush = BELLS.iter().any(|bell| (*bell..*bell + RUSH_MINUTES).contains(&minute));
    match minute {
        _ if rush => PEAK_RATE,
        0..480 => 400,         // on the way
        480..630 => 1_500,     // lessons
        630..660 => 800,       // the break
        660..810 => 1_500,     // lessons
        810..1_080 => 600,     // the afternoon
        1_080..1_290 => 2_000, // homework
        _ => 300,
    }
}

/// The minute of the generated day after `elapsed_ms` of real time, `speed` school seconds in each second.
pub fn minute_at(elapsed_ms: u64, speed: u32) -> u32 {
    let day_minutes = u64::from(DAY_END_MINUTE - DAY_START_MINUTE);
    let minutes = elapsed_ms.saturating_mul(u64::from(speed)) / 60_000;
    DAY_START_MINUTE + (minutes % day_minutes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bells_are_the_peaks() {
        assert_eq!(rate_at(8 * 60), PEAK_RATE);
        assert_eq!(rate_at(13 * 60 + 39), PEAK_RATE);
        assert_eq!(rate_at(13 * 60 + 40), 600);
        assert!((DAY_START_MINUTE..DAY_END_MINUTE).all(|minute| (300..=PEAK_RATE).contains(&rate_at(minute))));
    }

    #[test]
    fn a_day_follows_a_day() {
        assert_eq!(minute_at(0, 300), DAY_START_MINUTE);
        assert_eq!(minute_at(6_000, 300), 8 * 60);
        let day_ms = u64::from(DAY_END_MINUTE - DAY_START_MINUTE) * 60_000 / 300;
        assert_eq!(minute_at(day_ms, 300), DAY_START_MINUTE);
        assert_eq!(minute_at(day_ms - 1, 300), DAY_END_MINUTE - 1);
    }
}
