-- One row for all replies: the days of the first and the last one, and in how many subreddits.
SELECT
    strftime(make_timestamp(min(created_utc) * 1000000), '%Y-%m-%d') AS earliest,
    strftime(make_timestamp(max(created_utc) * 1000000), '%Y-%m-%d') AS latest,
    count(DISTINCT subreddit) AS subreddits
FROM read_parquet($files);
