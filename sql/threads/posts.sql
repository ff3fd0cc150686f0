-- One row per post id of the range: its latest copy, the texts cleaned and masked.
INSERT INTO posts
SELECT
    id,
    regexp_replace(
        regexp_replace(
            regexp_replace(clean(title), $mention, $mention_to, 'g'), $email, $email_to, 'g'
        ),
        $phone,
        $phone_to,
        'g'
    ) AS title,
    regexp_replace(
        regexp_replace(
            regexp_replace(clean(selftext), $mention, $mention_to, 'g'), $email, $email_to, 'g'
        ),
        $phone,
        $phone_to,
        'g'
    ) AS text,
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
