-- One row per line of a chunk that reads as JSON and cannot be used.
SELECT
    line,
    reason
FROM read_parquet($part)
WHERE reason IS NOT NULL
ORDER BY line
