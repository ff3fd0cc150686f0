-- One row per age bin that occurs, null for an unknown age: how many replies. A bin is the number
-- of bounds (seconds) that the age has reached.
-- sqlfluff:templater:placeholder:age_bounds:[]
SELECT
    CASE
        WHEN age IS NOT NULL
            THEN len(list_filter($age_bounds::BIGINT[], LAMBDA bound: bound <= age))
    END AS bin,
    count(*) AS replies
FROM read_parquet($files)
GROUP BY bin
ORDER BY bin;
