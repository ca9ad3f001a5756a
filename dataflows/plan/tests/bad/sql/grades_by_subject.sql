CREATE MATERIALIZED VIEW v AS
SELECT student_id, subject, avg(score) AS score
FROM grades
GROUP BY student_id, subject;
