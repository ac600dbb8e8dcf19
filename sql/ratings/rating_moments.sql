-- Mean and population standard deviation of the training ratings.
-- Grain: one row.
-- Reads: dealt.
select
    avg(rating::double) as rating_mean,
    stddev_pop(rating::double) as rating_std
from dealt
where split = 'train'
