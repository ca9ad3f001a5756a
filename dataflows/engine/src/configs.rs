//! Tenants' configurations as numbers: differential moves and compares the number, closures look the value up.
//! Equal values have equal numbers, so that a configuration that did not change makes no difference.

use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::tenant::{Rule, TenantConfig};
use compact_str::CompactString;
use parking_lot::RwLock;
use std::sync::Arc;

/// A configuration's number.
pub type ConfigNo = u32;
/// The number of a set of rules.
pub type RuleSetNo = u32;

/// The rules that a subject's periods choose from.
#[derive(Debug)]
pub struct RuleSet {
    config: Arc<TenantConfig>,
    subject: Subject,
    /// What decides equality: the subject's own rules and the default ones.
    rules: Vec<Arc<Rule>>,
    versions: Vec<CompactString>,
}

impl RuleSet {
    /// The rules that a configuration has for a subject.
    pub fn new(config: Arc<TenantConfig>, subject: &Subject) -> Self {
        let rules: Vec<_> =
            config.rules.iter().filter(|r| r.subject.as_ref().is_none_or(|s| s == subject)).cloned().collect();
        let versions = rules.iter().map(|r| CompactString::new(r.version())).collect();
        Self { config, subject: subject.clone(), rules, versions }
    }

    /// The rules as they would be with this one instead of all of its subject.
    pub fn replacing(&self, rule: Arc<Rule>) -> Self {
        // The other subjects' rules in the configuration may be old: they don't matter here.
        Self::new(Arc::new(self.config.replacing(rule)), &self.subject)
    }

    /// The rule for a period and its version.
    pub fn rule(&self, period: &PeriodId) -> Option<(&Arc<Rule>, &str)> {
        let rule = self.config.rule_for(&self.subject, period)?;
        let at = self.rules.iter().position(|r| Arc::ptr_eq(r, rule))?;
        Some((rule, &self.versions[at]))
    }
}

/// All configurations and rule sets that were in force in this process. Grows by one per change.
#[derive(Default)]
pub struct Configs {
    configs: RwLock<Vec<Arc<TenantConfig>>>,
    rule_sets: RwLock<Vec<Arc<RuleSet>>>,
}

impl Configs {
    /// The number of a configuration.
    pub fn number(&self, config: TenantConfig) -> ConfigNo {
        let mut configs = self.configs.write();
        let at = configs.iter().position(|c| **c == config).unwrap_or_else(|| {
            configs.push(Arc::new(config));
            configs.len() - 1
        });
        at as ConfigNo
    }

    /// A configuration.
    pub fn get(&self, number: ConfigNo) -> Arc<TenantConfig> {
        self.configs.read()[number as usize].clone()
    }

    /// The number of the rules that a configuration has for a subject.
    pub fn rule_set(&self, config: ConfigNo, subject: &Subject) -> RuleSetNo {
        let config = self.get(config);
        let rules: Vec<_> =
            config.rules.iter().filter(|r| r.subject.as_ref().is_none_or(|s| s == subject)).cloned().collect();
        let mut sets = self.rule_sets.write();
        let same = |set: &Arc<RuleSet>| set.rules == rules && set.subject == *subject;
        let at = sets.iter().position(same).unwrap_or_else(|| {
            let versions = rules.iter().map(|r| CompactString::new(r.version())).collect();
            sets.push(Arc::new(RuleSet { config: config.clone(), subject: subject.clone(), rules, versions }));
            sets.len() - 1
        });
        at as RuleSetNo
    }

    /// A rule set.
    pub fn get_rule_set(&self, number: RuleSetNo) -> Arc<RuleSet> {
        self.rule_sets.read()[number as usize].clone()
    }
}
