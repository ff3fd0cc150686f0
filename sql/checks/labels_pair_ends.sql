-- One row per pair that crosses threads, splits or uses, or that has an end without a valuation.
-- sqlfluff:templater:placeholder:pairs:'pairs'
-- sqlfluff:templater:placeholder:valuations:'valuations'
SELECT
    pairs.thread_id,
    pairs.preferred,
    pairs.rejected
FROM read_parquet($pairs) AS pairs
LEFT JOIN read_parquet($valuations) AS preferred
    ON pairs.preferred = preferred.id
LEFT JOIN read_parquet($valuations) AS rejected
    ON pairs.rejected = rejected.id
WHERE
    preferred.id IS NULL
    OR rejected.id IS NULL
    OR preferred.score <= rejected.score
    OR preferred.thread_id <> pairs.thread_id
    OR rejected.thread_id <> pairs.thread_id
    OR preferred.split <> pairs.split
    OR rejected.split <> pairs.split
    OR preferred.use IS DISTINCT FROM pairs.use
    OR rejected.use IS DISTINCT FROM pairs.use;
