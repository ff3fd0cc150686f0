-- One row per pair that crosses splits or uses, or has an end without a valuation in its thread.
-- sqlfluff:templater:placeholder:pairs:'pairs'
-- sqlfluff:templater:placeholder:valuations:'valuations'
SELECT
    pairs.thread_id,
    pairs.preferred,
    pairs.rejected
FROM read_parquet($pairs) AS pairs
LEFT JOIN read_parquet($valuations) AS preferred
    ON
        pairs.thread_id = preferred.thread_id
        AND pairs.preferred = preferred.id
LEFT JOIN read_parquet($valuations) AS rejected
    ON
        pairs.thread_id = rejected.thread_id
        AND pairs.rejected = rejected.id
WHERE
    preferred.id IS NULL
    OR rejected.id IS NULL
    OR preferred.score <= rejected.score
    OR preferred.split <> pairs.split
    OR rejected.split <> pairs.split
    OR preferred.use IS DISTINCT FROM pairs.use
    OR rejected.use IS DISTINCT FROM pairs.use;
