-- One row per tenth of the margin between the valuations of a pair that occurs: how many pairs.
SELECT
    least(cast(floor(margin * 10) AS INTEGER), 9) AS bin,
    count(*) AS pairs
FROM read_parquet($pairs)
GROUP BY bin
ORDER BY bin;
