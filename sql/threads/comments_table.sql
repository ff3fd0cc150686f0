-- One row per comment of the range.
CREATE TABLE comments (
    id VARCHAR,
    thread_id VARCHAR,
    parent_id VARCHAR,
    parent_kind VARCHAR,
    author VARCHAR,
    bot BOOLEAN,
    subreddit VARCHAR,
    text VARCHAR,
    score BIGINT,
    created_utc BIGINT,
    age BIGINT,
    stickied BOOLEAN,
    over_18 BOOLEAN
)
