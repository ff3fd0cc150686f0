-- One hash for a user name: 128 bits of HMAC-SHA256 (RFC 2104), from the key's two padded forms.
-- Reddit takes names that differ in case for the same.
CREATE MACRO keyed(name, inner_pad, outer_pad) AS
left(sha256(outer_pad || unhex(sha256(inner_pad || encode(lower(name))))), 32)
