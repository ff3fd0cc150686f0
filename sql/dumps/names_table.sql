-- One row per user name that stands in a list, in lower case: of bots, or of removed authors.
CREATE TABLE names (kind VARCHAR, name VARCHAR)
