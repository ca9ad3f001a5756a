CREATE MATERIALIZED VIEW v AS
SELECT student_id, avg(score) AS score, window_end AS at
FROM grades
GROUP BY student_id;
