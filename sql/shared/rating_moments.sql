-- Mean and population standard deviation of the training windows' input ratings.
-- Grain: one row.
-- Reads: windows.
with

inputs as (
    select unnest(ratings)::double as rating
    from windows
    where split = 'train'
),

rating_moments as (
    select
        avg(rating) as rating_mean,
        stddev_pop(rating) as rating_std
    from inputs
)

select
    rating_mean,
    rating_std
from rating_moments
