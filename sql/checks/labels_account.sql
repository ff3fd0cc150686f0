-- One row if the replies with a score are not the replies with a valuation.
-- sqlfluff:templater:placeholder:files:'files'
-- sqlfluff:templater:placeholder:valuations:'valuations'
WITH counts AS (
    SELECT
        (
            SELECT count(*) FROM read_parquet($files)
            WHERE score IS NOT NULL
        ) AS scored,
        (SELECT count(*) FROM read_parquet($valuations)) AS valued
)

SELECT
    scored,
    valued
FROM counts
WHERE scored != valued;
