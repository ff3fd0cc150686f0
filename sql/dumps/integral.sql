-- One whole number for a text that writes one (1138751932, 1706745600.0); null for anything else.
CREATE MACRO integral(written) AS
CASE
    WHEN try_cast(written AS double) = try_cast(written AS bigint) THEN try_cast(written AS bigint)
END
