-- One row per fact about the labels: what is counted, and how many.
SELECT
    'replies' AS fact,
    count(*) AS n
FROM read_parquet($files)
UNION ALL
SELECT
    'scored' AS fact,
    count(*) AS n
FROM valued
UNION ALL
SELECT
    'scope ' || scope AS fact,
    count(*) AS n
FROM valued
GROUP BY scope
UNION ALL
SELECT
    'level ' || level AS fact,
    count(*) AS n
FROM valued
GROUP BY level
UNION ALL
SELECT
    'pairs ' || coalesce(use, split) AS fact,
    count(*) AS n
FROM read_parquet($pairs)
GROUP BY coalesce(use, split)
ORDER BY fact;
