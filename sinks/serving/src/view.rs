//! What every profile says the same way about a view, and its window's bounds at a clock. Made once, at start.

use crate::derived::DerivedView;
use crate::render::string;
use aulaflow_model::change::{ViewIndex, ViewSchema};
use aulaflow_model::instant::Millis;
use aulaflow_model::window::{WindowKind, WindowSpec};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

/// The plan's views as a store shows them.
pub(crate) struct Views {
    texts: Box<[ViewText]>,
    /// Different windows; views mostly share one.
    windows: Box<[WindowBounds]>,
    pub(crate) derived: Box<[DerivedView]>,
}

/// A view's texts.
pub(crate) struct ViewText {
    /// Where its window's bounds come from.
    pub(crate) bounds: Bounds,
    /// `"participation_7d":{`
    pub(crate) open: Vec<u8>,
    /// `"participations":`, per output.
    pub(crate) outputs: Vec<Vec<u8>>,
    /// `"window":{"kind":"hop","slide_s":3600,"size_s":604800`, and no end.
    pub(crate) window: Vec<u8>,
}

/// Where a window's bounds come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// From the clock: the window's place among the different ones.
    Clock(usize),
    /// From the row: a session's bounds follow from its events.
    Row,
    /// There are none.
    None,
}

impl Views {
    pub(crate) fn new(schemas: &[ViewSchema], derived: Vec<DerivedView>) -> Self {
        let mut windows: Vec<WindowBounds> = Vec::new();
        let mut place = |spec: &WindowSpec| {
            windows.iter().position(|window| window.spec == *spec).unwrap_or_else(|| {
                windows.push(WindowBounds::new(spec.clone()));
                windows.len() - 1
            })
        };
        let texts = schemas.iter().map(|schema| {
            let bounds = match schema.window.kind {
                WindowKind::Hop | WindowKind::Tumble => Bounds::Clock(place(&schema.window)),
                WindowKind::Session => Bounds::Row,
                WindowKind::Present => Bounds::None,
            };
            ViewText::new(schema, bounds)
        });
        Self { texts: texts.collect(), derived: derived.into(), windows: windows.into() }
    }

    pub(crate) fn text(&self, view: ViewIndex) -> Option<&ViewText> {
        self.texts.get(usize::from(view))
    }

    /// A window's bounds at a clock.
    pub(crate) fn bounds(&self, window: usize, clock: Millis) -> Option<(Millis, Millis)> {
        self.windows.get(window).map(|window| window.at(clock))
    }
}

impl ViewText {
    fn new(schema: &ViewSchema, bounds: Bounds) -> Self {
        let key = |name: &str| {
            let mut text = Vec::new();
            string(&mut text, name);
            text.push(b':');
            text
        };
        let mut open = key(&schema.name);
        open.push(b'{');
        let outputs = schema.outputs.iter().map(|name| key(name)).collect();
        Self { bounds, open, outputs, window: window(&schema.window) }
    }
}

fn window(spec: &WindowSpec) -> Vec<u8> {
    let kind = match spec.kind {
        WindowKind::Hop => "hop",
        WindowKind::Tumble => "tumble",
        WindowKind::Session => "session",
        WindowKind::Present => "present",
    };
    let mut text = format!(r#""window":{{"kind":"{kind}""#);
    match spec.kind {
        WindowKind::Hop | WindowKind::Tumble => {
            text.push_str(&format!(r#","slide_s":{},"size_s":{}"#, seconds(spec.slide_ms), seconds(spec.size_ms)));
        }
        WindowKind::Session => text.push_str(&format!(r#","gap_s":{}"#, seconds(spec.gap_ms))),
        WindowKind::Present => {}
    }
    let mut text = text.into_bytes();
    if let Some(zone) = &spec.zone {
        text.extend_from_slice(b",\"zone\":");
        string(&mut text, zone.name());
    }
    text
}

/// Whole seconds as an integer, others with their milliseconds.
fn seconds(ms: i64) -> String {
    if ms % 1000 == 0 {
        (ms / 1000).to_string()
    } else {
        format!("{}.{:03}", ms / 1000, ms % 1000).trim_end_matches('0').to_owned()
    }
}

/// A window's bounds at a clock. Without a calendar they are a few divisions; with one they take a search in a time
/// zone's transitions, so those of the last pane asked for are kept.
struct WindowBounds {
    spec: WindowSpec,
    /// A sequence lock: odd while `kept` is being written, and another even number after each time.
    sequence: AtomicU64,
    /// The clocks that the bounds are right for, from and to, and where the window starts. It ends with the last of them.
    kept: [AtomicI64; 3],
}

impl WindowBounds {
    fn new(spec: WindowSpec) -> Self {
        // An empty range: right for no clock.
        Self { spec, sequence: AtomicU64::new(0), kept: Default::default() }
    }

    fn at(&self, clock: Millis) -> (Millis, Millis) {
        if self.spec.zone.is_none() {
            return self.spec.bounds(clock);
        }
        self.load(clock).unwrap_or_else(|| {
            let pane = self.spec.pane(clock);
            let (start, end) = self.spec.bounds(clock);
            self.keep([self.spec.start_of(pane), end, start]);
            (start, end)
        })
    }

    fn load(&self, clock: Millis) -> Option<(Millis, Millis)> {
        let sequence = self.sequence.load(Ordering::Acquire);
        let [from, to, start] = [0, 1, 2].map(|i: usize| self.kept[i].load(Ordering::Relaxed));
        // What was loaded stays before the second look at the sequence.
        fence(Ordering::Acquire);
        let whole = sequence.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == sequence;
        (whole && from <= clock.0 && clock.0 < to).then_some((Millis(start), Millis(to)))
    }

    /// Does nothing where another reader is about to: what it keeps is as good.
    fn keep(&self, bounds: [Millis; 3]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        let mine = |even| self.sequence.compare_exchange(even, even + 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !sequence.is_multiple_of(2) || !mine(sequence) {
            return;
        }
        // The odd number is seen before anything that is written under it.
        fence(Ordering::Release);
        for (kept, bound) in self.kept.iter().zip(bounds) {
            kept.store(bound.0, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aulaflow_model::window::{DAY_MS, Zone};

    #[test]
    fn kept_bounds_are_the_calendar_s_on_every_thread() {
        let spec = WindowSpec::hop(DAY_MS, 7 * DAY_MS).in_zone(Zone::new("America/New_York"));
        let bounds = WindowBounds::new(spec.clone());
        // Around both changes of the clocks of 2026, in steps that fall on either side of midnight.
        let clocks: Vec<Millis> = [1_772_841_600_000_i64, 1_793_404_800_000]
            .iter()
            .flat_map(|start| (0..400).map(move |i| Millis(start + i * 1_237_000)))
            .collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (bounds, spec, clocks) = (&bounds, &spec, &clocks);
                scope.spawn(move || {
                    for round in 0..3 {
                        for i in 0..clocks.len() {
                            let clock = clocks[(i * (2 * thread + 1) + round) % clocks.len()];
                            assert_eq!(bounds.at(clock), spec.bounds(clock), "{clock}");
                        }
                    }
                });
            }
        });
        let clock = clocks[0];
        bounds.at(clock);
        assert_eq!(bounds.load(clock), Some(spec.bounds(clock)), "the pane asked for last is kept");
        assert_eq!(bounds.load(Millis(clock.0 + 2 * DAY_MS)), None, "and right for itself only");
    }
}
