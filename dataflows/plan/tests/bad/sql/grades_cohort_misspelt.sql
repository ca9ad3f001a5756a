CREATE MATERIALIZED VIEW v AS
SELECT student_id, min(cohort.percentil) AS lowest, avg(cohort.average) AS mean
FROM grades
GROUP BY student_id;
