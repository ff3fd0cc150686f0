-- One row per post id of the range.
CREATE TABLE posts (
    id VARCHAR,
    title VARCHAR,
    titled BOOLEAN,
    text VARCHAR,
    score BIGINT,
    created_utc BIGINT,
    over_18 BOOLEAN
)
