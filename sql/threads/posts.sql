-- One row per post id of the range: its latest copy, the texts cleaned and masked.
INSERT INTO posts
WITH latest AS (
    SELECT
        id,
        clean(title) AS title,
        -- A corpus may not say what the title was, which is no deletion. Of titles without text
        -- only those that tell of one have a bracket.
        coalesce(clean(title) IS NOT NULL OR contains(title, '['), FALSE) AS titled,
        clean(selftext) AS text,
        score,
        created_utc,
        over_18
    FROM read_parquet($files)
    WHERE thread_range = $range
    QUALIFY
        row_number() OVER (
            PARTITION BY id
            ORDER BY
                coalesce(retrieved_2nd_on, retrieved_on) DESC NULLS LAST,
                created_utc ASC,
                score DESC NULLS LAST,
                title ASC,
                selftext ASC,
                line ASC
        ) = 1
)

SELECT
    id,
    masked(title, $mention, $mention_to, $email, $email_to, $phone, $phone_to) AS title,
    titled,
    masked(text, $mention, $mention_to, $email, $email_to, $phone, $phone_to) AS text,
    score,
    created_utc,
    over_18
FROM latest
