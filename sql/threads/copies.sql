-- One row per range: how many rows the dumps hold of it, copies included.
SELECT count(*) AS rows
FROM read_parquet($files)
WHERE thread_range = $range
