-- One row per comment and band of its signature, for the bands that a comment of the range has.
-- sqlfluff:templater:placeholder:signatures:'signatures'
-- sqlfluff:templater:placeholder:range:'range'
CREATE TABLE bands AS
WITH spread AS (
    SELECT
        thread_range,
        thread_id,
        id,
        created_utc,
        unnest([low, high]) AS band
    FROM read_parquet($signatures)
)

SELECT
    thread_id,
    id,
    created_utc,
    band
FROM spread
WHERE
    band IN (
        SELECT own.band FROM spread AS own
        WHERE own.thread_range = $range
    )
