-- One row per comment that a chain of comments leads to: its depth, and the nearest ones above it.
-- sqlfluff:templater:placeholder:turns:8
-- From the top down, so that it is linear and a chain that runs in a circle is never entered. A
-- chain is whole if it begins under the post; depth counts from the chain's beginning, from 1.
CREATE TABLE paths AS
WITH RECURSIVE walk AS (
    SELECT
        comment,
        top AS whole,
        1 AS depth,
        []::BIGINT[] AS above
    FROM links
    WHERE parent IS NULL
    UNION ALL
    SELECT
        links.comment,
        walk.whole,
        walk.depth + 1 AS depth,
        list_append(walk.above, walk.comment)[-$turns:] AS above
    FROM walk
    INNER JOIN links ON walk.comment = links.parent
)

SELECT
    comment,
    whole,
    depth,
    above
FROM walk
