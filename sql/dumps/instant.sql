-- One time in seconds since 1970 for a text that writes one, as a number of seconds or in ISO 8601
-- (UTC if it names no offset); null for anything else, a date without a time included.
CREATE MACRO instant(written) AS
CASE
    WHEN
        regexp_full_match(
            written,
            '\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|UTC|[+-]\d{2}(:?\d{2})?)?'
        )
        THEN epoch_us(try_cast(written AS timestamptz)) // 1000000
    ELSE integral(written)
END
