-- One row per user name of one list.
-- sqlfluff:templater:placeholder:kind:'bots'
-- sqlfluff:templater:placeholder:names:['a']
INSERT INTO names
SELECT DISTINCT
    $kind AS kind,
    unnest($names::VARCHAR[]) AS name
