-- One row per split and use: the conversations, and what is unknown of them.
SELECT
    coalesce(use, split) AS use,
    count(*) AS conversations,
    count(DISTINCT thread_id) AS threads,
    count(*) FILTER (WHERE age IS NULL) AS age_unknown,
    count(*) FILTER (WHERE score IS NULL) AS score_unknown
FROM read_parquet($out)
GROUP BY coalesce(use, split)
ORDER BY use
