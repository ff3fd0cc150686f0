-- One row per subreddit, the largest ones only: how many replies.
-- sqlfluff:templater:placeholder:top:8
SELECT
    subreddit,
    count(*) AS replies
FROM read_parquet($files)
GROUP BY subreddit
ORDER BY replies DESC, subreddit ASC
LIMIT $top;
