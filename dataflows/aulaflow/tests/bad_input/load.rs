//! Writers that load an instance and remember exactly what was acknowledged and what has an unknown end.

use crate::support::{Caller, Instance, event, events, exam, grade};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

pub const WRITERS: u64 = 3;
const BATCH_EVENTS: u64 = 100;

/// What one writer has sent: its batches are numbered from 0, and each batch has one evaluation beside it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    /// Batches of events that were acknowledged.
    pub batches: u64,
    /// Evaluations that were acknowledged.
    pub exams: u64,
}

fn batch(writer: u64, number: u64) -> Value {
    let student = format!("w{writer}");
    (0..BATCH_EVENTS).map(|i| event(&format!("{writer}-{number}-{i}"), &student)).collect()
}

fn mark(writer: u64, number: u64) -> Value {
    exam(&format!("x{writer}-{number}"), &format!("w{writer}"), (number % 101) as u32)
}

/// The callers that a writer needs.
#[derive(Clone)]
pub struct Load {
    service: Caller,
    teacher: Caller,
}

impl Load {
    pub fn on(instance: &Instance<'_>) -> Self {
        Self { service: instance.caller("service"), teacher: instance.caller("teacher") }
    }

    /// Writes until a request is not acknowledged; counts requests in `acknowledged`.
    fn write(&self, writer: u64, from: Sent, acknowledged: &AtomicU64) -> Sent {
        let mut sent = from;
        loop {
            if !self.one_batch(writer, sent.batches) {
                return sent;
            }
            sent.batches += 1;
            if !self.one_exam(writer, sent.exams) {
                return sent;
            }
            sent.exams += 1;
            acknowledged.fetch_add(2, Ordering::Relaxed);
        }
    }

    fn one_batch(&self, writer: u64, number: u64) -> bool {
        let body = batch(writer, number).to_string();
        let answer = self.service.send("POST /v1/behavior", &[("content-type", "application/json")], body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 202)
    }

    fn one_exam(&self, writer: u64, number: u64) -> bool {
        let body = mark(writer, number).to_string();
        let answer =
            self.teacher.send("POST /v1/evaluations", &[("content-type", "application/json")], body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 201)
    }

    /// Loads an instance, and calls `end` when so many requests are acknowledged. What was acknowledged in the end.
    pub fn until(&self, requests: u64, end: impl FnOnce()) -> Vec<Sent> {
        let acknowledged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let counter = &acknowledged;
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || self.write(writer, Sent::default(), counter))).collect();
            crate::support::eventually("load", || (acknowledged.load(Ordering::Relaxed) >= requests).then_some(()));
            end();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        })
    }

    /// What the profiles show at once is at least what was acknowledged, and at most one request more of each kind;
    /// and when that one is repeated, everything is there exactly once.
    pub fn compare(&self, sent: &[Sent]) {
        for (writer, sent) in (0..).zip(sent) {
            let profile = self.service.profile(&format!("w{writer}"));
            let shown = profile.as_ref().map_or(0, events);
            let range = sent.batches * BATCH_EVENTS..=(sent.batches + 1) * BATCH_EVENTS;
            assert!(range.contains(&shown), "{shown} events are shown, {sent:?} were acknowledged");
            let exams = profile.as_ref().map_or(0, |profile| exams_of(profile).0);
            assert!((sent.exams..=sent.exams + 1).contains(&exams), "{exams} exams are shown, {sent:?}");
        }
        for (writer, sent) in (0..).zip(sent) {
            assert!(self.one_batch(writer, sent.batches) && self.one_exam(writer, sent.exams));
            let (batches, exams) = (sent.batches + 1, sent.exams + 1);
            let count = batches * BATCH_EVENTS;
            let all = |profile: &Value| events(profile) >= count && exams_of(profile).0 >= exams;
            let profile = self.service.profile_when(&format!("w{writer}"), all);
            let points = &profile["features"]["points_7d"]["points"];
            assert_eq!((events(&profile), points), (count, &json!(count.to_string())));
            let sum: u64 = (0..exams).map(|number| number % 101).sum();
            // Half up to two decimals.
            let hundredths = (sum * 200 + exams) / (2 * exams);
            let mean = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            assert_eq!(exams_of(&profile), (exams, mean));
        }
    }
}

/// How many exams a profile's grade holds, and the score.
fn exams_of(profile: &Value) -> (u64, String) {
    grade(profile, "art", "P1").map_or((0, String::new()), |grade| {
        (grade["evaluations_count"].as_u64().unwrap(), grade["score"].as_str().unwrap().to_owned())
    })
}
