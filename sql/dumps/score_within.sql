-- One score if it has 32 bits, far more than any on Reddit; null for any other number, so that no
-- sum or difference of scores leaves the type.
CREATE MACRO score_within(score) AS
CASE WHEN score BETWEEN -2147483648 AND 2147483647 THEN score END
