//! The grades by week, and cohorts beside each other.

use super::{CLOCK, Made, Text, View};

const GRADES: &str = "grades";
const CHANGES: &str = "grades_changes";

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// Per subject, period and week (by its Monday): what the grades were at the week's end. The differences up to then add up to it,
/// so that a week without changes has the same numbers as the one before. The last week is as of now.
pub(super) fn grades_weekly(database: &str) -> View {
    let made = Made {
        name: "grades_weekly".to_owned(),
        columns: names(["subject", "period", "week", "students", "mean", "pass_rate"]),
        parameter: None,
        reads: names([CHANGES]),
        newest: vec![(CHANGES.to_owned(), CLOCK)],
    };
    made.view(database, |text, columns| {
        let table = text.table(CHANGES, false);
        // How much each week has changed the count, the grades with a score, the sum of the scores, and those that pass.
        let weeks = format!(
            "SELECT `__t`.tenant AS tenant, `__t`.subject AS subject, `__t`.period AS period, toMonday(`__t`.clock) AS `__week`, \
             sum(`__t`.diff) AS `__n`, sumIf(`__t`.diff, isNotNull(`__t`.score)) AS `__scored`, sum(ifNull(`__t`.score, 0) * \
             `__t`.diff) AS `__total`, sumIf(`__t`.diff, `__t`.passing) AS `__passed` FROM {table} GROUP BY tenant, subject, period, \
             `__week`"
        );
        let lists = format!(
            "SELECT tenant, subject, period, groupArray((`__week`, `__n`, `__scored`, `__total`, `__passed`)) AS `__changes`, \
             min(`__week`) AS `__first`, max(max(`__week`)) OVER (PARTITION BY tenant) AS `__last` FROM ({weeks}) AS `__w` GROUP BY \
             tenant, subject, period"
        );
        let dense = format!(
            "SELECT tenant, subject, period, `__changes`, arrayJoin(arrayMap(i -> `__first` + 7 * i, range(0, \
             toUInt32(intDiv(`__last` - `__first`, 7) + 1)))) AS week FROM ({lists}) AS `__l`"
        );
        let until = |place: u8| {
            format!("arraySum(arrayMap(c -> tupleElement(c, {place}), arrayFilter(c -> tupleElement(c, 1) <= week, `__changes`)))")
        };
        let counted = format!(
            "SELECT tenant, subject, period, week, {} AS students, {} AS `__scored`, if(`__scored` = 0, NULL, toFloat64({}) / \
             `__scored`) AS mean, if(students = 0, NULL, {} / students) AS pass_rate FROM ({dense}) AS `__d`",
            until(2),
            until(3),
            until(4),
            until(5)
        );
        format!("SELECT {} FROM ({counted}) AS `__c` WHERE `__c`.students > 0", text.shown(columns, "`__c`"))
    })
}

/// Per subject and period: the grades now beside those of the period before (by the order of the periods' names), and beside all
/// subjects of the period.
pub(super) fn cohort_comparison(database: &str) -> View {
    let made = Made {
        name: "cohort_comparison".to_owned(),
        columns: names([
            "subject",
            "period",
            "students",
            "mean",
            "pass_rate",
            "period_before",
            "mean_before",
            "mean_change",
            "pass_rate_before",
            "pass_rate_change",
            "school_mean",
            "mean_from_school",
        ]),
        parameter: None,
        reads: names([GRADES]),
        newest: vec![(CHANGES.to_owned(), CLOCK)],
    };
    made.view(database, comparison)
}

fn comparison(text: Text<'_>, columns: &[String]) -> String {
    let table = text.table(GRADES, true);
    let groups = format!(
        "SELECT `__t`.tenant AS tenant, `__t`.subject AS subject, `__t`.period AS period, count() AS students, \
         countIf(isNotNull(`__t`.score)) AS `__scored`, sum(ifNull(`__t`.score, 0)) AS `__total`, countIf(`__t`.passing) AS `__passed` \
         FROM {table} GROUP BY tenant, subject, period"
    );
    let rates = format!(
        "SELECT tenant, subject, period, students, `__scored`, `__total`, if(`__scored` = 0, NULL, toFloat64(`__total`) / `__scored`) \
         AS mean, `__passed` / students AS pass_rate FROM ({groups}) AS `__g`"
    );
    let before = |column: &str| {
        format!(
            "lagInFrame(toNullable({column})) OVER (PARTITION BY tenant, subject ORDER BY period ASC ROWS BETWEEN UNBOUNDED PRECEDING \
             AND UNBOUNDED FOLLOWING)"
        )
    };
    let school = |column: &str| format!("sum({column}) OVER (PARTITION BY tenant, period)");
    let beside = format!(
        "SELECT tenant, subject, period, students, mean, pass_rate, {} AS period_before, {} AS mean_before, {} AS pass_rate_before, {} \
         AS `__school_scored`, {} AS `__school_total` FROM ({rates}) AS `__r`",
        before("toString(period)"),
        before("mean"),
        before("pass_rate"),
        school("`__scored`"),
        school("`__total`"),
    );
    let compared = format!(
        "SELECT tenant, subject, period, students, mean, pass_rate, period_before, mean_before, mean - mean_before AS mean_change, \
         pass_rate_before, pass_rate - pass_rate_before AS pass_rate_change, if(`__school_scored` = 0, NULL, toFloat64(`__school_total`) \
         / `__school_scored`) AS school_mean, mean - school_mean AS mean_from_school FROM ({beside}) AS `__b`"
    );
    format!("SELECT {} FROM ({compared}) AS `__c`", text.shown(columns, "`__c`"))
}
