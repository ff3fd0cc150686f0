-- One row per reply that stands twice, has no text, or not just the turns that its depth asks for.
-- sqlfluff:templater:placeholder:out:'out'
-- sqlfluff:templater:placeholder:turns:8
WITH replies AS (
    SELECT
        thread_id,
        id,
        reply,
        depth,
        len(list_filter(context, LAMBDA turn: turn.role = 'comment')) AS turns
    FROM read_parquet($out)
)

SELECT
    thread_id,
    id,
    count(*) AS copies
FROM replies
GROUP BY thread_id, id
HAVING
    count(*) > 1
    OR bool_or(coalesce(reply, '') = '')
    OR bool_or(turns > $turns)
    OR bool_or(depth IS NOT NULL AND turns != least(depth - 1, $turns))
