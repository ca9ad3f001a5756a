CREATE MATERIALIZED VIEW a AS
SELECT student_id, max(n) AS n
FROM b
GROUP BY student_id, tumble(interval '7 days');

CREATE MATERIALIZED VIEW b AS
SELECT student_id, max(n) AS n
FROM a
GROUP BY student_id, tumble(interval '7 days');
