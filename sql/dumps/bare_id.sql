-- One id without the prefix that says what it is the id of (t1_ a comment, t3_ a post).
CREATE MACRO bare_id(written) AS
CASE WHEN regexp_matches(written, '^t[13]_') THEN substr(written, 4) ELSE written END
