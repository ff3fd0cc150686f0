-- One row: for each text, whether DuckDB takes it for JSON (trailing commas it forgives).
SELECT list_transform($texts::VARCHAR[], LAMBDA text: json_valid(text)) AS valid
