-- One row per thread whose replies fall into two splits or two uses, or into a wrong pair of them.
SELECT
    thread_id,
    count(DISTINCT split) AS splits,
    count(DISTINCT coalesce(use, '')) AS uses
FROM read_parquet($out)
GROUP BY thread_id
HAVING
    count(DISTINCT split) > 1
    OR count(DISTINCT coalesce(use, '')) > 1
    OR bool_or((split = 'train') != (use IS NOT NULL))
