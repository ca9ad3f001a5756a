//! `aulaflow plan`: the dataflow that a configuration makes, and what a restart with it would make anew. Starts nothing.
//! What is said comes from the engine (`aulaflow_engine::describe`); here it is drawn.

mod dot;
mod drawing;
mod mermaid;
mod text;

use crate::config::{self, ConfigArg};
use crate::failure::Misuse;
use crate::log_store::{self, Opened};
use crate::tenant_records::{self, Shown};
use anyhow::{Result, anyhow, bail};
use aulaflow_engine::describe::{Kept, SERVING_STORE, Size, SummaryError, allocated, table_bytes};
use aulaflow_engine::{Assumptions, Description, StateSummary, describe};
use aulaflow_log::{Log, OpenError};
use aulaflow_plan::{Plan, render};
use aulaflow_serving::sizes;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// Draws the dataflow that the configuration makes, operator by operator, with what each keeps and how much memory
/// that takes; with --against also what a restart would make anew, and from where
#[derive(Debug, clap::Args)]
pub struct PlanCommand {
    #[command(flatten)]
    config: ConfigArg,
    /// For people, for GitHub, for Graphviz, or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Say what a restart over this state would do with each view [default: the state in the data directory]
    #[arg(long, value_name = "STATE", num_args = 0..=1)]
    against: Option<Option<PathBuf>>,
    /// Where the log and the state are kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    sizes: Sizes,
}

/// How the plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines of at most 120 characters.
    Text,
    /// A flowchart that GitHub renders.
    Mermaid,
    /// A graph for Graphviz.
    Dot,
    /// Everything, as data.
    Json,
}

/// What memory is estimated for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Sizes are estimated for")]
struct Sizes {
    /// Students
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().students, value_parser = up_to(STUDENTS_MAX))]
    students: u64,
    /// Panes of a grid that hold events of a student, or sessions
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().active_panes, value_parser = up_to(PER_STUDENT_MAX))]
    active_panes: u64,
    /// Behaviour events of a student a day
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().events_per_day, value_parser = up_to(PER_STUDENT_MAX))]
    events_per_day: u64,
    /// Evaluations of a student
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().evaluations, value_parser = up_to(PER_STUDENT_MAX))]
    evaluations: u64,
    /// Grades of a student: subjects by periods
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().grades, value_parser = up_to(PER_STUDENT_MAX))]
    grades: u64,
    /// Distinct values in a pane of a count(distinct x)
    #[arg(long, value_name = "N", default_value_t = Assumptions::default().distinct_values, value_parser = up_to(PER_STUDENT_MAX))]
    distinct_values: u64,
}

/// The most students. With [`PER_STUDENT_MAX`] it keeps every size within 64 bits.
const STUDENTS_MAX: u64 = 1_000_000_000;
/// The most of anything of a student.
const PER_STUDENT_MAX: u64 = 100_000;

fn up_to(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=most)
}

impl Sizes {
    fn assumptions(&self) -> Assumptions {
        let Self { students, active_panes, events_per_day, evaluations, grades, distinct_values } = *self;
        Assumptions { students, active_panes, events_per_day, evaluations, grades, distinct_values }
    }
}

impl PlanCommand {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let checked = config::check(&self.config.config)?;
        eprint!("{}", render(&checked.diagnostics));
        let Some(mut plan) = checked.plan else {
            return Err(config::faulty(&checked.diagnostics));
        };
        if let Some(dir) = &self.data_dir {
            plan.runtime.data_dir.clone_from(dir);
        }
        let against = self.against.as_ref().map(|dir| summary(&plan, dir.as_deref())).transpose()?;
        let (state, tenants) = against.unzip();
        let tenants = tenants.unwrap_or_default();
        if let Some(reason) = state.as_ref().and_then(|state| state.refusal(&plan)) {
            bail!("a start would be refused: {reason}");
        }
        let description = described(&plan, state.as_ref(), self.sizes.assumptions());
        match self.format {
            Format::Text => {
                print!("{}", text::render(&description));
                for line in tenants.iter().flat_map(Shown::lines) {
                    println!("{line}");
                }
            }
            Format::Mermaid => print!("{}", mermaid::render(&description)),
            Format::Dot => print!("{}", dot::render(&description)),
            Format::Json => {
                let mut whole = serde_json::to_value(&description)?;
                if let (Some(_), Some(whole)) = (&state, whole.as_object_mut()) {
                    whole.insert("tenants".to_owned(), serde_json::to_value(&tenants)?);
                }
                println!("{}", serde_json::to_string_pretty(&whole)?);
            }
        }
        Ok(())
    }
}

/// The engine's description, and the profiles of the serving store, which the engine does not know.
fn described(plan: &Plan, state: Option<&StateSummary>, assumptions: Assumptions) -> Description {
    let mut description = describe(plan, state, assumptions);
    let (tables, room) = sizes::tables(assumptions.students, plan.runtime.serving.students_expected);
    let profiles = assumptions.students * allocated(sizes::PROFILE as u64);
    let kept = Kept {
        what: "profiles, without their rows".to_owned(),
        per: "student".to_owned(),
        size: Some(Size { entries: assumptions.students, bytes: tables * table_bytes(room, sizes::ENTRY) + profiles }),
        checkpoint: None,
    };
    description.nodes.iter_mut().filter(|node| node.name == SERVING_STORE).for_each(|n| n.keeps.push(kept.clone()));
    description
}

/// The state in a folder, or of the configuration, and what a start would change in the tenants' settings on its log.
fn summary(plan: &Plan, asked: Option<&Path>) -> Result<(StateSummary, Vec<Shown>)> {
    let data = &plan.runtime.data_dir;
    let dir = asked.map_or_else(|| data.join("state"), Path::to_owned);
    let there = StateSummary::is_there(&dir);
    if asked.is_some() && !there {
        return Err(Misuse::error(format!(
            "--against: {} holds no state; an instance keeps its own in {}",
            dir.display(),
            data.join("state").display()
        )));
    }
    let Some(log) = open_log(plan)? else {
        if there {
            bail!("there is no log in {}: a start would refuse the state in {}", data.display(), dir.display());
        }
        return Ok((StateSummary::default(), Vec::new()));
    };
    let state = StateSummary::read(&dir, log.log.as_ref()).map_err(|error| match error {
        SummaryError::InUse { dir } => in_use(&dir),
        error @ SummaryError::Start(_) => {
            anyhow::Error::new(error).context(format!("a start from {} would be refused", dir.display()))
        }
    })?;
    Ok((state, tenants(log.log.as_ref(), plan)?))
}

/// The log of a configuration that no instance runs on; `None` where there is none yet: opening would make one.
pub fn open_log(plan: &Plan) -> Result<Option<Opened>> {
    let data = &plan.runtime.data_dir;
    if !log_store::is_there(&plan.runtime)? {
        return Ok(None);
    }
    let log = log_store::open_existing(&plan.runtime).map_err(|error| match error.downcast_ref() {
        Some(OpenError::InUse { .. }) => in_use(data),
        Some(_) | None => error,
    })?;
    Ok(Some(log))
}

/// What a start would change in the tenants' settings.
pub fn tenants(log: &dyn Log, plan: &Plan) -> Result<Vec<Shown>> {
    Ok(tenant_records::outcomes(log, plan)?.into_iter().map(Shown::from).collect())
}

fn in_use(dir: &Path) -> anyhow::Error {
    anyhow!("{} is in use by a running instance: stop that one, look, and start it again", dir.display())
}
