-- One row per comment id of the range: its latest copy, the text cleaned and masked.
-- Ties between copies are broken by everything that is kept, so that the result is the same always.
INSERT INTO comments
WITH latest AS (
    SELECT
        id,
        thread_id,
        parent_id,
        parent_kind,
        author,
        bot,
        subreddit,
        clean(body) AS text,
        score,
        created_utc,
        coalesce(retrieved_2nd_on, retrieved_on) - created_utc AS age,
        stickied,
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
                thread_id ASC,
                parent_id ASC,
                parent_kind ASC,
                author ASC,
                subreddit ASC,
                body ASC,
                line ASC
        ) = 1
)

SELECT
    id,
    thread_id,
    parent_id,
    parent_kind,
    author,
    bot,
    subreddit,
    masked(text, $mention, $mention_to, $email, $email_to, $phone, $phone_to) AS text,
    score,
    created_utc,
    age,
    stickied,
    over_18
FROM latest
