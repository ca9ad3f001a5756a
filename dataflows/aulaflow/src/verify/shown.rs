//! What an instance shows: its profiles and cohorts as a reader gets them, over HTTP or from its store.

use super::Offsets;
use crate::client::Client;
use crate::lag::Lag;
use crate::token::{Bearer, sign};
use anyhow::{Context, Result, anyhow};
use aulaflow_engine::Monitor;
use aulaflow_model::cohort::BINS;
use aulaflow_model::decimal::write_micros;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_plan::runtime::Auth;
use aulaflow_query_api::Role;
use aulaflow_serving::{CohortEntry, CohortQuery, ReadHalf};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a token is good for: longer than a verification takes.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Cohorts asked for at once.
const COHORTS: usize = 1_000;

/// Reads what is shown.
pub trait Shown {
    /// Whether it goes on while it is looked at.
    fn moves(&self) -> bool;
    /// Per source partition, records before this offset are visible to whoever looks from now on.
    fn visible(&self) -> Result<Offsets>;
    /// The clock of the views.
    fn clock(&self) -> Result<Millis>;
    /// Profiles in the order asked; `None` where there is none.
    fn profiles(&self, tenant: &TenantId, students: &[StudentId]) -> Result<Vec<Option<Value>>>;
    /// A tenant's cohorts by subject and period, as the API shows them.
    fn cohorts(&self, tenant: &TenantId) -> Result<BTreeMap<(String, String), Value>>;
    /// How many students have a profile; `None` where nobody can say.
    fn students(&self) -> Option<usize>;
}

/// The instant as of which a profile says that it is true.
pub fn as_of(profile: &Value) -> Result<Millis> {
    let text = profile.get("as_of").and_then(Value::as_str).context("a profile has no as_of")?;
    Millis::parse_rfc3339(text).map_err(|_| anyhow!("a profile's as_of is no time: {text:?}"))
}

/// A store and dataflows of this process.
pub struct InProcess {
    /// How far they are.
    pub monitor: Monitor,
    /// What they show.
    pub store: ReadHalf,
    /// Whether they go on.
    pub moves: bool,
}

impl Shown for InProcess {
    fn moves(&self) -> bool {
        self.moves
    }

    fn visible(&self) -> Result<Offsets> {
        let positions = self.monitor.status().positions.into_iter();
        Ok(positions.filter_map(|p| Some(((source(&p.place.topic)?, p.place.partition), p.visible))).collect())
    }

    fn clock(&self) -> Result<Millis> {
        self.monitor.status().clock.context("no view is complete yet")
    }

    fn profiles(&self, tenant: &TenantId, students: &[StudentId]) -> Result<Vec<Option<Value>>> {
        let read = |student: &StudentId| {
            let Some(profile) = self.store.profile(tenant, student) else { return Ok(None) };
            let mut json = Vec::new();
            profile.write_json(&mut json);
            serde_json::from_slice(&json).map(Some).context("a profile is no JSON")
        };
        students.iter().map(read).collect()
    }

    fn cohorts(&self, tenant: &TenantId) -> Result<BTreeMap<(String, String), Value>> {
        let all = self.store.cohorts(tenant, CohortQuery { limit: usize::MAX, ..CohortQuery::default() });
        Ok(all.iter().map(|entry| (place(entry), cohort(&entry.cohort))).collect())
    }

    fn students(&self) -> Option<usize> {
        (!self.moves).then(|| self.store.students())
    }
}

fn place(entry: &CohortEntry) -> (String, String) {
    (entry.subject.to_string(), entry.period.to_string())
}

fn source(topic: &str) -> Option<&'static str> {
    aulaflow_model::topic::inputs().map(|(_, name)| name).find(|name| *name == topic)
}

/// A cohort's numbers: what the API shows of it.
pub fn cohort(cohort: &aulaflow_model::cohort::Cohort) -> Value {
    let decimal = |micros: Option<i128>| {
        micros.map(|micros| {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write_micros(&mut text, micros);
            text
        })
    };
    let bins: Vec<i64> = (0..BINS).map(|bin| cohort.sums.bins[bin]).collect();
    json!({
        "count": cohort.sums.count, "mean": decimal(cohort.mean()), "stddev": decimal(cohort.stddev()),
        "pass_rate": decimal(cohort.pass_rate()), "histogram": bins,
    })
}

/// An instance that is asked over HTTP.
pub struct Http {
    url: String,
    auth: Auth,
    lag: Client,
    clients: RefCell<BTreeMap<TenantId, Client>>,
}

impl Http {
    /// The instance at a URL.
    pub fn new(url: &str, auth: &Auth) -> Result<Self> {
        let bearer = Bearer { tenant: None, role: Role::Platform, subject: "aulaflow".to_owned() };
        let lag = Client::new(url, &sign(auth, &bearer, TOKEN_FOR)?);
        Ok(Self { url: url.to_owned(), auth: auth.clone(), lag, clients: RefCell::default() })
    }

    fn client(&self, tenant: &TenantId) -> Result<Client> {
        if let Some(client) = self.clients.borrow().get(tenant) {
            return Ok(client.clone());
        }
        let token = sign(&self.auth, &Bearer::program(tenant, Role::Service), TOKEN_FOR)?;
        let client = Client::new(&self.url, &token);
        self.clients.borrow_mut().insert(tenant.clone(), client.clone());
        Ok(client)
    }
}

impl Shown for Http {
    fn moves(&self) -> bool {
        true
    }

    fn visible(&self) -> Result<Offsets> {
        let places = Lag::get(&self.lag)?.partitions.into_iter();
        Ok(places.filter_map(|p| Some(((source(&p.topic)?, p.partition), p.visible_offset))).collect())
    }

    fn clock(&self) -> Result<Millis> {
        let text = Lag::get(&self.lag)?.clock;
        Millis::parse_rfc3339(&text).map_err(|_| anyhow!("the instance's clock is no time: {text:?}"))
    }

    fn profiles(&self, tenant: &TenantId, students: &[StudentId]) -> Result<Vec<Option<Value>>> {
        let body = serde_json::to_vec(&json!({ "student_ids": students }))?;
        let answer = self.client(tenant)?.post("/v1/profiles:batchGet", "application/json", &body)?;
        let mut answer: Value = serde_json::from_slice(&answer.body).context("the answer makes no sense")?;
        let profiles = answer.get_mut("profiles").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let id = |profile: &Value| profile.get("student_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut by_id: BTreeMap<String, Value> = profiles.into_iter().map(|profile| (id(&profile), profile)).collect();
        Ok(students.iter().map(|student| by_id.remove(student.as_str())).collect())
    }

    fn cohorts(&self, tenant: &TenantId) -> Result<BTreeMap<(String, String), Value>> {
        let client = self.client(tenant)?;
        let mut cohorts = BTreeMap::new();
        let mut path = format!("/v1/cohorts?limit={COHORTS}");
        loop {
            let answer: Value =
                serde_json::from_slice(&client.get_once(&path)?.body).context("the answer makes no sense")?;
            for mut cohort in answer.get("cohorts").and_then(Value::as_array).cloned().unwrap_or_default() {
                let Some(object) = cohort.as_object_mut() else { continue };
                let mut text =
                    |name: &str| object.remove(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                let place = (text("subject"), text("period"));
                let counts = object.get("histogram").and_then(Value::as_array).cloned().unwrap_or_default();
                let counts: Vec<Value> =
                    counts.iter().map(|bin| bin.get("count").cloned().unwrap_or_default()).collect();
                object.insert("histogram".to_owned(), counts.into());
                cohorts.insert(place, cohort);
            }
            match answer.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => path = format!("/v1/cohorts?limit={COHORTS}&cursor={cursor}"),
                None => return Ok(cohorts),
            }
        }
    }

    fn students(&self) -> Option<usize> {
        None
    }
}
