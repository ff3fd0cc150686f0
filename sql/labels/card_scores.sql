-- One row per bin of scores that occurs: how many replies. A bin n above 0 holds the scores from
-- 2^(n - 1) to 2^n - 1, a bin -n their negatives, bin 0 the score 0.
SELECT
    CASE
        WHEN score = 0 THEN 0
        ELSE sign(score) * cast(1 + floor(log2(abs(cast(score AS DOUBLE)))) AS INTEGER)
    END AS bin,
    count(*) AS replies
FROM read_parquet($files)
WHERE score IS NOT NULL
GROUP BY bin
ORDER BY bin;
