-- One time in seconds since 1970 if it lies before the year 10000; null for any other number, so
-- that no difference of two times leaves the type.
CREATE MACRO time_within(seconds) AS
CASE WHEN seconds BETWEEN 0 AND 253402300799 THEN seconds END
