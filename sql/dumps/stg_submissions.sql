-- One row per line of a chunk of submissions: what it says, typed, and why it is unusable, if so.
-- sqlfluff:templater:placeholder:inner:'inner'
-- sqlfluff:templater:placeholder:outer:'outer'
WITH lines AS (
    SELECT
        $line + row_number() OVER () - 1 AS line,
        id,
        author,
        subreddit,
        title,
        selftext,
        score,
        created_utc,
        coalesce(retrieved_on, retrieved_utc) AS retrieved_on,
        nullif(
            -- Anything but null. Cut first, which is faster than to search by the pattern.
            regexp_extract(split_part(_meta, '"retrieved_2nd_on":', 2), '^[^n,}][^,}]*'), ''
        ) AS retrieved_2nd_on,
        edited,
        stickied,
        distinguished,
        over_18
    FROM
        read_ndjson(
            $chunk,
            maximum_object_size = 17825792,
            columns = {
                id: 'VARCHAR',
                author: 'VARCHAR',
                subreddit: 'VARCHAR',
                title: 'VARCHAR',
                selftext: 'VARCHAR',
                score: 'VARCHAR',
                created_utc: 'VARCHAR',
                retrieved_on: 'VARCHAR',
                retrieved_utc: 'VARCHAR',
                _meta: 'VARCHAR',
                edited: 'VARCHAR',
                stickied: 'VARCHAR',
                distinguished: 'VARCHAR',
                over_18: 'VARCHAR'
            }
        )
),

typed AS (
    SELECT
        line,
        nullif(CASE WHEN starts_with(id, 't3_') THEN substr(id, 4) ELSE id END, '') AS id,
        author,
        lower(author) IN (
            SELECT names.name FROM names
            WHERE names.kind = 'removed'
        ) AS removed,
        lower(author) IN (
            SELECT names.name FROM names
            WHERE names.kind = 'bots'
        ) AS bot,
        subreddit,
        title,
        selftext,
        score AS score_text,
        integral(score) AS score,
        integral(created_utc) AS created_utc,
        retrieved_on AS retrieved_text,
        integral(retrieved_on) AS retrieved_on,
        retrieved_2nd_on AS retrieved_2nd_text,
        integral(retrieved_2nd_on) AS retrieved_2nd_on,
        coalesce(edited != 'false', FALSE) AS edited,
        coalesce(try_cast(stickied AS BOOLEAN), FALSE) AS stickied,
        distinguished,
        try_cast(over_18 AS BOOLEAN) AS over_18
    FROM lines
)

SELECT
    line,
    CASE
        WHEN removed THEN 'removed'
        WHEN title IS NULL THEN 'not a submission'
        WHEN id IS NULL THEN 'no id'
        WHEN time_within(created_utc) IS NULL THEN 'created_utc does not convert'
    END AS reason,
    id,
    CASE WHEN author = '[deleted]' THEN author ELSE keyed(author, $inner, $outer) END AS author,
    coalesce(author = '[deleted]', TRUE) AS author_deleted,
    coalesce(bot, FALSE) AS bot,
    -- The subreddit of a user's own profile bears the user's name.
    CASE
        WHEN starts_with(lower(subreddit), 'u_')
            THEN 'u_' || keyed(substr(subreddit, 3), $inner, $outer)
        ELSE subreddit
    END AS subreddit,
    CASE WHEN NOT coalesce(removed, FALSE) THEN title END AS title,
    CASE WHEN NOT coalesce(removed, FALSE) THEN selftext END AS selftext,
    score_within(score) AS score,
    created_utc,
    time_within(retrieved_on) AS retrieved_on,
    time_within(retrieved_2nd_on) AS retrieved_2nd_on,
    edited,
    stickied,
    distinguished,
    over_18,
    score_text IS NOT NULL AND score_within(score) IS NULL AS score_lost,
    FALSE AS parent_id_lost,
    (retrieved_text IS NOT NULL AND time_within(retrieved_on) IS NULL)
    OR (retrieved_2nd_text IS NOT NULL AND time_within(retrieved_2nd_on) IS NULL)
        AS retrieved_on_lost
FROM typed
