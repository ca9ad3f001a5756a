CREATE MATERIALIZED VIEW v AS
SELECT student_id, avg(mean) AS mean
FROM cohorts
GROUP BY student_id;
