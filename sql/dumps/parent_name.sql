-- One parent's id with its prefix, for sources that leave it out: the post's if it is the thread's.
CREATE MACRO parent_name(parent, thread) AS
CASE
    WHEN bare_id(parent) != parent THEN parent
    WHEN parent = bare_id(thread) THEN 't3_' || parent
    ELSE 't1_' || parent
END
