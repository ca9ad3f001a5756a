CREATE MATERIALIZED VIEW v AS
SELECT student_id, avg(score) AS score
FROM grades
WHERE student_id <> 'student_456'
GROUP BY student_id;
