-- One text without mentions, e-mail addresses and phone numbers.
-- Few texts have the sign that a pattern needs, and looking for a sign is ten times as fast.
CREATE MACRO masked(written, mention, mention_to, email, email_to, phone, phone_to) AS
regexp_replace(
    CASE
        WHEN contains(written, '@') OR contains(written, 'u/') OR contains(written, 'user/')
            THEN
                regexp_replace(
                    regexp_replace(written, mention, mention_to, 'g'), email, email_to, 'g'
                )
        ELSE written
    END,
    phone,
    phone_to,
    'g'
)
