-- One row per comment id of the range: its latest copy, the text cleaned and masked.
-- Ties between copies are broken by everything that is kept, so that the result is the same always.
INSERT INTO comments
WITH copies AS NOT MATERIALIZED (
    SELECT
        id,
        thread_id,
        parent_id,
        parent_kind,
        author,
        bot,
        subreddit,
        body,
        clean(body) AS text,
        score,
        created_utc,
        coalesce(retrieved_2nd_on, retrieved_on) AS seen,
        stickied,
        over_18,
        line
    FROM read_parquet($files)
    WHERE thread_range = $range
),

-- Hardly any comment has a second copy, and ordering all of them would take as long as the rest.
repeated AS (
    SELECT id FROM copies
    GROUP BY id
    HAVING count(*) > 1
),

latest AS (
    SELECT * FROM copies
    WHERE id NOT IN (SELECT repeated.id FROM repeated)
    UNION ALL
    SELECT * FROM copies
    WHERE id IN (SELECT repeated.id FROM repeated)
    QUALIFY
        row_number() OVER (
            PARTITION BY id
            ORDER BY
                seen DESC NULLS LAST,
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
    seen - created_utc AS age,
    stickied,
    over_18
FROM latest
