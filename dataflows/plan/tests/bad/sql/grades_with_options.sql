CREATE MATERIALIZED VIEW v WITH (analytics = 'daily', explain = 10) AS
SELECT student_id, avg(score) AS score
FROM grades
GROUP BY student_id;
