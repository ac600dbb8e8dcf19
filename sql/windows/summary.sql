-- Figures over the training windows' inputs, and how many items the source did not describe.
-- Grain: one row. The standard deviation is that of the population.
-- Reads: windows, catalogue, item_keys, items.
with

inputs as (
    select unnest(ratings)::double as rating
    from windows
    where split = 'train'
),

undescribed as (
    select count(*) as num_items
    from catalogue
    inner join item_keys on catalogue.item_key = item_keys.item_key
    where item_keys.item_source_id not in (select items.item_source_id from items)
),

summary as (
    select
        avg(inputs.rating) as rating_mean,
        stddev_pop(inputs.rating) as rating_std,
        any_value(undescribed.num_items) as num_undescribed_items
    from inputs
    cross join undescribed
)

select
    rating_mean,
    rating_std,
    num_undescribed_items
from summary
