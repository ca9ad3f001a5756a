CREATE MATERIALIZED VIEW v AS
SELECT student_id, avg(score) AS score
FROM grades
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
