-- One row per range: what there is of comments, threads and posts, before any filter.
SELECT
    count(*) AS comments,
    count(DISTINCT comments.thread_id) AS threads,
    count(*) FILTER (WHERE paths.whole) AS reached,
    count(*) FILTER (WHERE NOT paths.whole) AS broken,
    count(*) FILTER (WHERE paths.comment IS NULL) AS circular,
    count(*) FILTER (WHERE paths.whole AND posts.id IS NULL) AS post_missing,
    count(DISTINCT comments.thread_id) FILTER (WHERE posts.id IS NULL) AS threads_without_post
FROM comments
LEFT JOIN paths ON comments.rowid = paths.comment
LEFT JOIN posts ON comments.thread_id = posts.id
