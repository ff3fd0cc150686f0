-- One name of a range of thread ids: on the grid of width, or by month for ids that are no number.
CREATE MACRO range_name(number, width, created_utc) AS
coalesce(
    (number // width * width) || '-' || ((number // width + 1) * width),
    strftime(make_timestamp(created_utc * 1000000), 'm%Y-%m')
)
