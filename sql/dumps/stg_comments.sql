-- One row per line of a chunk of comments: what it says, typed, and why it is unusable, if so.
-- sqlfluff:templater:placeholder:inner:'inner'
-- sqlfluff:templater:placeholder:outer:'outer'
WITH lines AS (
    SELECT
        $line + row_number() OVER () - 1 AS line,
        id,
        link_id,
        parent_id,
        author,
        subreddit,
        body,
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
                link_id: 'VARCHAR',
                parent_id: 'VARCHAR',
                author: 'VARCHAR',
                subreddit: 'VARCHAR',
                body: 'VARCHAR',
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
        nullif(CASE WHEN starts_with(id, 't1_') THEN substr(id, 4) ELSE id END, '') AS id,
        nullif(
            CASE WHEN starts_with(link_id, 't3_') THEN substr(link_id, 4) ELSE link_id END, ''
        ) AS thread_id,
        parent_id AS parent,
        -- Nearly all bear a prefix, and none of those is a number.
        CASE WHEN NOT starts_with(parent_id, 't') THEN integral(parent_id) END AS parent_number,
        author,
        subreddit,
        body,
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
),

parents AS (
    SELECT
        *,
        -- A bare number is the id's decimal value: of the post if it is the post's.
        CASE
            WHEN starts_with(parent, 't1_') THEN 'comment'
            WHEN starts_with(parent, 't3_') THEN 'post'
            WHEN parent_number = decimal_id(thread_id) THEN 'post'
            WHEN parent_number > 0 THEN 'comment'
        END AS parent_kind,
        CASE
            WHEN starts_with(parent, 't1_') OR starts_with(parent, 't3_')
                THEN substr(parent, 4)
            WHEN parent_number > 0 THEN lower(to_base(parent_number, 36))
        END AS parent_id,
        lower(author) IN (
            SELECT names.name FROM names
            WHERE names.kind = 'removed'
        ) AS removed,
        lower(author) IN (
            SELECT names.name FROM names
            WHERE names.kind = 'bots'
        ) AS bot
    FROM typed
)

SELECT
    line,
    CASE
        WHEN removed THEN 'removed'
        WHEN thread_id IS NULL AND body IS NULL THEN 'not a comment'
        WHEN id IS NULL THEN 'no id'
        WHEN thread_id IS NULL OR starts_with(thread_id, 't1_') THEN 'no link_id'
        WHEN body IS NULL THEN 'no body'
        WHEN time_within(created_utc) IS NULL THEN 'created_utc does not convert'
    END AS reason,
    id,
    thread_id,
    parent_id,
    parent_kind,
    CASE WHEN author = '[deleted]' THEN author ELSE keyed(author, $inner, $outer) END AS author,
    coalesce(author = '[deleted]', TRUE) AS author_deleted,
    coalesce(bot, FALSE) AS bot,
    -- The subreddit of a user's own profile bears the user's name.
    CASE
        WHEN starts_with(lower(subreddit), 'u_')
            THEN 'u_' || keyed(substr(subreddit, 3), $inner, $outer)
        ELSE subreddit
    END AS subreddit,
    CASE WHEN NOT coalesce(removed, FALSE) THEN body END AS body,
    score_within(score) AS score,
    created_utc,
    time_within(retrieved_on) AS retrieved_on,
    time_within(retrieved_2nd_on) AS retrieved_2nd_on,
    edited,
    stickied,
    distinguished,
    over_18,
    score_text IS NOT NULL AND score_within(score) IS NULL AS score_lost,
    parent IS NOT NULL AND parent_kind IS NULL AS parent_id_lost,
    (retrieved_text IS NOT NULL AND time_within(retrieved_on) IS NULL)
    OR (retrieved_2nd_text IS NOT NULL AND time_within(retrieved_2nd_on) IS NULL)
        AS retrieved_on_lost
FROM parents
