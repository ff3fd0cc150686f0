-- One row per comment: the comment that it answers, if that is there and in the same thread.
-- Dumps reuse ids, so a parent must share the thread; a null parent is no top-level comment.
CREATE TABLE links AS
SELECT
    comments.rowid AS comment,
    parents.rowid AS parent,
    coalesce(
        comments.parent_kind = 'post' AND comments.parent_id = comments.thread_id, FALSE
    ) AS top
FROM comments
LEFT JOIN comments AS parents
    ON
        comments.parent_kind = 'comment'
        AND comments.parent_id = parents.id
        AND comments.thread_id = parents.thread_id
