-- One row per reply whose valuation is not in [0, 1], whose level is not in 0..7, or that occurs
-- twice in its thread.
SELECT
    thread_id,
    id,
    min(valuation) AS valuation,
    min(level) AS level,
    count(*) AS n
FROM read_parquet($valuations)
GROUP BY thread_id, id
HAVING
    count(*) > 1
    OR NOT coalesce(bool_and(valuation BETWEEN 0 AND 1), false)
    OR NOT coalesce(bool_and(level BETWEEN 0 AND 7), false);
