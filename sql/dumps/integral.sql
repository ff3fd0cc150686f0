-- One whole number for a text that writes one (1138751932, 1706745600.0); null for anything else.
-- A cast to bigint alone would round 1.5 and take 0x10 for a number, either would take 1_000.
CREATE MACRO integral(written) AS
CASE
    WHEN try_cast(written AS double) = try_cast(written AS bigint) AND NOT contains(written, '_')
        THEN try_cast(written AS bigint)
END
