-- One row per reply of a slice of the comments that no filter has dropped so far: its text.
-- sqlfluff:templater:placeholder:start:0
-- sqlfluff:templater:placeholder:stop:8
SELECT
    comments.rowid AS comment,
    comments.text
FROM comments
INNER JOIN verdicts ON comments.rowid = verdicts.comment
WHERE comments.rowid >= $start AND comments.rowid < $stop AND verdicts.reason IS NULL
