-- One text as a person reads it: entities resolved, line ends and NUL signs gone; null if deleted
-- or blank.
-- Most texts are clean already: the costly chain runs only on those that are not.
CREATE MACRO clean(written) AS
CASE
    WHEN
        -- Not IN: DuckDB makes a join of it, for which every text is trimmed.
        regexp_full_match(
            written,
            '[ \t\n\r\x00]*| *\[(deleted( by user)?|removed( by reddit)?| removed by reddit )\] *',
            'i'
        )
        THEN NULL
    WHEN
        contains(written, '&')
        OR contains(written, chr(13))
        OR contains(written, chr(0))
        OR starts_with(written, ' ')
        OR starts_with(written, chr(9))
        OR starts_with(written, chr(10))
        OR ends_with(written, ' ')
        OR ends_with(written, chr(9))
        OR ends_with(written, chr(10))
        THEN
            nullif(
                trim(
                    -- What Reddit's editor writes for an empty paragraph.
                    replace(
                        replace(
                            replace(
                                replace(
                                    replace(
                                        replace(
                                            replace(
                                                replace(
                                                    replace(written, chr(0), ''),
                                                    chr(13) || chr(10),
                                                    chr(10)
                                                ),
                                                chr(13),
                                                chr(10)
                                            ),
                                            '&lt;',
                                            '<'
                                        ),
                                        '&gt;',
                                        '>'
                                    ),
                                    '&#39;',
                                    ''''
                                ),
                                '&amp;',
                                '&'
                            ),
                            '&#x200B;',
                            ''
                        ),
                        '&nbsp;',
                        ' '
                    ),
                    ' ' || chr(9) || chr(10)
                ),
                ''
            )
    ELSE written
END
