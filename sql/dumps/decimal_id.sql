-- One number for a base-36 id; null for one that is not base 36, or too long to be Reddit's.
CREATE MACRO decimal_id(id) AS
CASE
    WHEN regexp_full_match(id, '[0-9a-z]{1,12}')
        THEN
            list_sum(
                list_transform(
                    range(1, len(id) + 1),
                    LAMBDA place:
                    (instr('0123456789abcdefghijklmnopqrstuvwxyz', id[place]) - 1)
                    * (36 ** (len(id) - place))::bigint
                )
            )::bigint
END
