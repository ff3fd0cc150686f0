-- One row per comment of the range: its latest copy, the text cleaned and masked. Dumps reuse ids,
-- so copies share the thread too.
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
    SELECT
        thread_id,
        id
    FROM copies
    GROUP BY thread_id, id
    HAVING count(*) > 1
),

latest AS (
    SELECT copies.* FROM copies
    ANTI JOIN repeated ON copies.thread_id = repeated.thread_id AND copies.id = repeated.id
    UNION ALL
    SELECT copies.* FROM copies
    SEMI JOIN repeated ON copies.thread_id = repeated.thread_id AND copies.id = repeated.id
    QUALIFY
        row_number() OVER (
            PARTITION BY copies.thread_id, copies.id
            ORDER BY
                copies.seen DESC NULLS LAST,
                copies.created_utc ASC,
                copies.score DESC NULLS LAST,
                copies.parent_id ASC,
                copies.parent_kind ASC,
                copies.author ASC,
                copies.subreddit ASC,
                copies.body ASC,
                copies.line ASC
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
