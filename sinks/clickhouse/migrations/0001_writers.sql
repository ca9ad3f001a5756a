-- Who writes which share's rows: a row when a writer starts, and one when it has sent everything and lets the share go.
CREATE TABLE IF NOT EXISTS writers
(
  share LowCardinality(String),
  writer UUID,
  closed Bool,
  at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY (share, at);
