-- Integer keys for all users of the source, in the order that breaks all ties.
-- Grain: one row per user; user_key counts from 0 by (length of source id, source id), which for
-- numbers is their numeric order. given_id is the source id as ratings has it, text or a number.
-- Reads: ratings.
with

sources as (
    select
        user_source_id as given_id,
        count(*) as num_ratings
    from ratings
    group by user_source_id
),

named as (
    select
        given_id,
        given_id::varchar as user_source_id,
        num_ratings
    from sources
),

user_keys as (
    select
        given_id,
        user_source_id,
        num_ratings,
        (
            row_number() over (order by length(user_source_id), user_source_id) - 1
        )::integer as user_key
    from named
)

select
    given_id,
    user_source_id,
    user_key,
    num_ratings
from user_keys
