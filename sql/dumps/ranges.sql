-- One row per range of thread ids that a dump touches.
SELECT
    thread_range,
    count(*) AS rows
FROM read_parquet($file)
GROUP BY thread_range
ORDER BY thread_range
