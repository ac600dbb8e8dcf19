-- Integer keys for all items of the source, in the order that breaks all ties.
-- Grain: one row per item; item_key counts from 0 by (length of source id, source id), which for
-- numbers is their numeric order. given_id is the source id as ratings has it, text or a number.
-- Reads: ratings.
with

sources as (
    select distinct item_source_id as given_id
    from ratings
),

named as (
    select
        given_id,
        given_id::varchar as item_source_id
    from sources
),

item_keys as (
    select
        given_id,
        item_source_id,
        (
            row_number() over (order by length(item_source_id), item_source_id) - 1
        )::integer as item_key
    from named
)

select
    given_id,
    item_source_id,
    item_key
from item_keys
