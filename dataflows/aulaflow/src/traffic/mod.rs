//! Generated school traffic: a pure function of its settings, tick by tick. It has what real traffic has: rushes at
//! the bells, phones that send hours late, events sent twice, corrected marks, and devices with a wrong clock.
//! Sending it and keeping its pace is the caller's.

pub mod day;

use crate::random::Random;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{TenantConfig, Weights};
use std::collections::VecDeque;
use std::io::Write;

/// Length of a tick in milliseconds.
pub const TICK_MS: u64 = 50;

/// Events in 1,000 that are sent a second time.
const DUPLICATES_PER_MILLE: u64 = 10;

/// Events in 1,000 that a phone sends late.
const LATE_PER_MILLE: u64 = 5;

/// Marks in 1,000 that correct an earlier one.
const CORRECTIONS_PER_MILLE: u64 = 50;

/// Evaluations per 1,000 behaviour events.
const EVALUATIONS_PER_MILLE: u64 = 40;

/// One student in this many has a device whose clock is more than a year ahead.
const WRONG_CLOCK_EVERY: u64 = 499;

/// Lines and marks remembered to be sent again or corrected.
const REMEMBERED_MAX: usize = 256;

/// What happens in a school, and how often of 100.
const KINDS: [(&str, u64); 6] =
    [("page_view", 40), ("answer", 25), ("participation", 15), ("video", 10), ("forum", 5), ("attendance", 5)];

/// What to generate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Equal settings give equal traffic.
    pub seed: u64,
    /// How many students.
    pub students: u32,
    /// School seconds in each second.
    pub speed: u32,
    /// When the traffic starts; also part of the ids, so that a second run makes new events.
    pub start: Millis,
    /// What is taught; at least one.
    pub lessons: Vec<Lesson>,
    /// Named by each evaluation where the tenant's calendar has no period at the start.
    pub period: Option<String>,
}

/// A subject and the types of its evaluations.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// The subject.
    pub subject: String,
    /// The types that its rule weighs.
    pub categories: Vec<String>,
}

/// What one tick brought: JSON lines as the HTTP edge takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Burst {
    /// Behaviour events.
    pub behavior: Vec<u8>,
    /// How many.
    pub behavior_count: u32,
    /// Evaluations.
    pub evaluations: Vec<u8>,
    /// How many.
    pub evaluations_count: u32,
}

/// A mark that may be corrected later.
#[derive(Debug, Clone)]
struct Mark {
    id: u64,
    student: u64,
    lesson: usize,
    category: usize,
    graded_at: Millis,
}

/// Generated traffic.
pub struct Traffic {
    settings: Settings,
    random: Random,
    ticks: u64,
    events: u64,
    marks: u64,
    /// Thousandths of an event that earlier ticks left over.
    carry: u64,
    recent_lines: VecDeque<Vec<u8>>,
    recent_marks: VecDeque<Mark>,
}

/// The name of student number `n`.
pub fn student_name(n: u64) -> String {
    format!("s-{n:06}")
}

/// What a tenant's rules say is taught; a school without rules teaches mathematics.
pub fn lessons_of(config: &TenantConfig) -> Vec<Lesson> {
    let categories = |weights: &Weights| match weights {
        Weights::Categories(weights) => weights.keys().map(|name| name.as_str().to_owned()).collect(),
        Weights::Items => vec!["exam".to_owned(), "homework".to_owned()],
    };
    let mut lessons: Vec<Lesson> = Vec::new();
    for rule in &config.rules {
        let subject = rule.subject.as_ref().map_or("history", |subject| subject.as_str());
        if !lessons.iter().any(|lesson| lesson.subject == subject) {
            lessons.push(Lesson { subject: subject.to_owned(), categories: categories(&rule.weights) });
        }
    }
    lessons.retain(|lesson| !lesson.categories.is_empty());
    if lessons.is_empty() {
        lessons.push(Lesson { subject: "mathematics".to_owned(), categories: categories(&Weights::Items) });
    }
    lessons
}

impl Traffic {
    /// Traffic from its first tick on.
    pub fn new(settings: Settings) -> Self {
        let random = Random::new(settings.seed);
        let recent_lines = VecDeque::with_capacity(REMEMBERED_MAX);
        let recent_marks = VecDeque::with_capacity(REMEMBERED_MAX);
        Self { settings, random, ticks: 0, events: 0, marks: 0, carry: 0, recent_lines, recent_marks }
    }

    /// The minute of the school day that the next tick is in.
    pub fn minute(&self) -> u32 {
        day::minute_at(self.ticks * TICK_MS, self.settings.speed)
    }

    /// What happens in the next tick.
    pub fn tick(&mut self) -> Burst {
        let elapsed_ms = self.ticks * TICK_MS;
        let now = Millis(self.settings.start.0 + elapsed_ms as i64);
        let due = u64::from(day::rate_at(self.minute())) * TICK_MS + self.carry;
        self.carry = due % 1_000;
        self.ticks += 1;
        let mut burst = Burst::default();
        for _ in 0..due / 1_000 {
            self.behavior(now, &mut burst);
            if self.random.per_mille(EVALUATIONS_PER_MILLE) {
                self.evaluation(now, &mut burst);
            }
        }
        burst
    }

    fn behavior(&mut self, now: Millis, burst: &mut Burst) {
        if self.random.per_mille(DUPLICATES_PER_MILLE) && !self.recent_lines.is_empty() {
            let index = self.random.below(self.recent_lines.len() as u64) as usize;
            burst.behavior.extend_from_slice(&self.recent_lines[index]);
            burst.behavior_count += 1;
            return;
        }
        let student = self.random.below(u64::from(self.settings.students.max(1)));
        let kind = self.kind();
        let at = self.device_time(student, now);
        let halves = match kind {
            "answer" => self.random.below(21),    // up to 10 points
            "video" => 2 * self.random.below(45), // minutes
            _ => 2,
        };
        let device = if self.random.per_mille(650) { "phone" } else { "laptop" };
        let start = burst.behavior.len();
        let written = writeln!(
            burst.behavior,
            r#"{{"event_id":"b-{}-{}","student_id":"{}","event_type":"{kind}","value":"{}.{}","occurred_at":"{at}","context":{{"device":"{device}"}}}}"#,
            self.settings.start.0,
            self.events,
            student_name(student),
            halves / 2,
            if halves % 2 == 1 { 5 } else { 0 },
        );
        debug_assert!(written.is_ok());
        self.events += 1;
        burst.behavior_count += 1;
        if self.recent_lines.len() == REMEMBERED_MAX {
            self.recent_lines.pop_front();
        }
        self.recent_lines.push_back(burst.behavior[start..].to_vec());
    }

    fn kind(&mut self) -> &'static str {
        let mut left = self.random.below(100);
        for (kind, share) in KINDS {
            if left < share {
                return kind;
            }
            left -= share;
        }
        "page_view"
    }

    /// When a student's device says that it is.
    fn device_time(&mut self, student: u64, now: Millis) -> Millis {
        let within_tick = self.random.between(0, TICK_MS as i64 - 1);
        if student % WRONG_CLOCK_EVERY == WRONG_CLOCK_EVERY - 1 {
            return Millis(now.0 + 400 * 86_400_000);
        }
        if self.random.per_mille(LATE_PER_MILLE) {
            return Millis(now.0 - self.random.between(5 * 60_000, 6 * 3_600_000));
        }
        // What happened in this tick had happened when it was sent.
        Millis(now.0 - within_tick)
    }

    fn evaluation(&mut self, now: Millis, burst: &mut Burst) {
        let correction = self.random.per_mille(CORRECTIONS_PER_MILLE) && !self.recent_marks.is_empty();
        let mark = if correction {
            let index = self.random.below(self.recent_marks.len() as u64) as usize;
            self.recent_marks[index].clone()
        } else {
            self.new_mark(now)
        };
        let Some(lesson) = self.settings.lessons.get(mark.lesson) else { return };
        let Some(category) = lesson.categories.get(mark.category) else { return };
        let score = 40 + self.random.below(61);
        let mut line = serde_json::json!({
            "evaluation_id": format!("m-{}-{}", self.settings.start.0, mark.id),
            "student_id": student_name(mark.student),
            "subject": lesson.subject,
            "type": category,
            "score": score,
            "graded_at": mark.graded_at.to_string(),
            "updated_at": now.to_string(),
        });
        if let Some(period) = &self.settings.period {
            line["period"] = period.as_str().into();
        }
        let written = writeln!(burst.evaluations, "{line}");
        debug_assert!(written.is_ok());
        burst.evaluations_count += 1;
    }

    /// A first mark; every student gets one in turn.
    fn new_mark(&mut self, now: Millis) -> Mark {
        let lesson = self.random.below(self.settings.lessons.len() as u64) as usize;
        let categories = self.settings.lessons.get(lesson).map_or(0, |lesson| lesson.categories.len());
        let mark = Mark {
            id: self.marks,
            student: self.marks % u64::from(self.settings.students.max(1)),
            lesson,
            category: self.random.below(categories as u64) as usize,
            graded_at: now,
        };
        self.marks += 1;
        if self.recent_marks.len() == REMEMBERED_MAX {
            self.recent_marks.pop_front();
        }
        self.recent_marks.push_back(mark.clone());
        mark
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    fn settings(seed: u64) -> Settings {
        let categories = vec!["exam".to_owned(), "homework".to_owned()];
        Settings {
            seed,
            students: 2_000,
            speed: 300,
            start: Millis(1_772_000_000_000),
            lessons: vec![Lesson { subject: "matematicas".to_owned(), categories }],
            period: None,
        }
    }

    fn ticks(seed: u64, count: usize) -> Vec<Burst> {
        let mut traffic = Traffic::new(settings(seed));
        (0..count).map(|_| traffic.tick()).collect()
    }

    fn values(lines: &[u8]) -> Vec<serde_json::Value> {
        lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    #[test]
    fn one_seed_makes_one_traffic() {
        assert_eq!(ticks(1, 200), ticks(1, 200));
        assert_ne!(ticks(1, 20), ticks(2, 20));
    }

    #[test]
    fn counts_are_those_of_the_day() {
        let bursts = ticks(3, 160); // 8 s at 300: from 07:30 to 08:10, the last 2 s are the rush
        assert!(bursts[..120].iter().all(|b| b.behavior_count == 20));
        assert!(bursts[120..].iter().all(|b| b.behavior_count == 250));
        for burst in &bursts {
            assert_eq!(values(&burst.behavior).len(), burst.behavior_count as usize);
            assert_eq!(values(&burst.evaluations).len(), burst.evaluations_count as usize);
        }
    }

    #[test]
    fn holds_what_real_traffic_holds() {
        let bursts = ticks(4, 200);
        let events: Vec<_> = bursts.iter().flat_map(|b| values(&b.behavior)).collect();
        let ids: HashSet<_> = events.iter().map(|e| e["event_id"].as_str().unwrap()).collect();
        let twice = events.len() - ids.len();
        assert!((events.len() / 200..events.len() / 50).contains(&twice), "{twice} of {}", events.len());
        let start = settings(4).start.0;
        let at = |e: &serde_json::Value| Millis::parse_rfc3339(e["occurred_at"].as_str().unwrap()).unwrap().0 - start;
        assert!(events.iter().any(|e| at(e) < -5 * 60_000), "late phones");
        assert!(events.iter().any(|e| at(e) > 300 * 86_400_000), "a wrong clock");
        let marks: Vec<_> = bursts.iter().flat_map(|b| values(&b.evaluations)).collect();
        let ids: HashSet<_> = marks.iter().map(|e| e["evaluation_id"].as_str().unwrap()).collect();
        assert!(ids.len() < marks.len(), "corrections");
    }
}
