-- One row per reason: how many comments are no replies to learn from because of it.
SELECT
    reason,
    count(*) AS comments
FROM verdicts
WHERE reason IS NOT NULL
GROUP BY reason
ORDER BY reason
