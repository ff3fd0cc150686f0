-- One row per comment that a chain of comments leads to: depth, and what the nearest above it say.
-- sqlfluff:templater:placeholder:turns:8
-- sqlfluff:templater:placeholder:deleted:'[deleted]'
-- From the top down, so that it is linear and a chain that runs in a circle is never entered. A
-- chain is whole if it begins under the post; depth counts from the chain's beginning, from 1. The
-- texts are carried along: gathering them afterwards takes three times as long.
CREATE TABLE paths AS
WITH RECURSIVE walk AS (
    SELECT
        comment,
        top AS whole,
        1 AS depth,
        []::VARCHAR[] AS above
    FROM links
    WHERE parent IS NULL
    UNION ALL
    SELECT
        links.comment,
        walk.whole,
        walk.depth + 1 AS depth,
        list_append(walk.above, coalesce(parents.text, $deleted))[-$turns:] AS above
    FROM walk
    INNER JOIN links ON walk.comment = links.parent
    INNER JOIN comments AS parents ON walk.comment = parents.rowid
)

SELECT
    comment,
    whole,
    depth,
    list_transform(above, LAMBDA text: { role: 'comment', text: text }) AS above
FROM walk
