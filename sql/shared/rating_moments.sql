-- Mean and population standard deviation of the training windows' input ratings, without padding.
-- Grain: one row, with the number of those ratings.
-- Reads: windows.
with

inputs as (
    select
        unnest(ratings)::double as rating,
        unnest(item_ids) as item_id
    from windows
    where split = 'train'
),

rating_moments as (
    select
        count(*) as num_ratings,
        avg(rating) as rating_mean,
        stddev_pop(rating) as rating_std
    from inputs
    where item_id != 0
)

select
    num_ratings,
    rating_mean,
    rating_std
from rating_moments
