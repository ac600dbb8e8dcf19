-- Integer keys for all users of the source, in the order that breaks all ties.
-- Grain: one row per user; user_key counts from 0 by (length of source id, source id), which for
-- numbers is their numeric order.
-- Reads: ratings.
with

sources as (
    select distinct user_source_id
    from ratings
),

user_keys as (
    select
        user_source_id,
        (
            row_number() over (order by length(user_source_id), user_source_id) - 1
        )::integer as user_key
    from sources
)

select
    user_source_id,
    user_key
from user_keys
