CREATE MATERIALIZED VIEW v AS
SELECT student_id, max(n) AS n
FROM v
GROUP BY student_id, tumble(interval '7 days');
