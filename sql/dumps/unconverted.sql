-- One row per file: how many values of optional fields did not convert, and are null therefore.
SELECT
    count(*) FILTER (WHERE score_lost) AS score,
    count(*) FILTER (WHERE parent_lost) AS parent_id,
    count(*) FILTER (WHERE retrieved_lost) AS retrieved_on
FROM read_parquet($parts)
WHERE reason IS NULL
