-- Mean and standard deviation (of the population) of the training ratings, and the scale of all.
-- Grain: one row.
-- Reads: dealt.
select
    avg(rating::double) filter (where split = 'train') as rating_mean,
    stddev_pop(rating::double) filter (where split = 'train') as rating_std,
    min(rating) as rating_min,
    max(rating) as rating_max
from dealt
