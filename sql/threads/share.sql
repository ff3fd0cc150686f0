-- One number in [0, 1) for a thread and a purpose, the same for ever: 32 bits of a SHA-256.
CREATE MACRO share(purpose, thread_id) AS
cast('0x' || left(sha256(purpose || ':' || thread_id), 8) AS bigint) / 4294967296.0
