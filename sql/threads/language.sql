-- One row per reply that is in a language the recipe does not ask for.
-- sqlfluff:templater:placeholder:others:[]
UPDATE verdicts
SET reason = 'language'
WHERE comment IN (SELECT unnest($others::BIGINT[]))
