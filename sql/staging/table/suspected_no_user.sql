-- A user whose id reads like a missing value and who has much of the table.
-- Grain: one row, such a user with the most rows, or none.
-- Reads: ratings.
with

counts as (
    select
        user_source_id,
        count(*) as num_rows
    from ratings
    group by user_source_id
),

shares as (
    select
        user_source_id::varchar as user_source_id,
        num_rows,
        (sum(num_rows) over ())::bigint as num_all
    from counts
)

select
    user_source_id,
    num_rows,
    num_all
from shares
where
    lower(user_source_id) in ('na', 'n/a', 'null', 'nan', 'none', '-', '-1')
    and num_rows > 0.1 * num_all
order by num_rows desc
limit 1
