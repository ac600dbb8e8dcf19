-- What was read, and what a model may be trained on.
-- Grain: one row per step, in order: ratings, users and items.
-- Reads: dealt.
select
    1 as step,
    count(*) as num_ratings,
    count(distinct user_key) as num_users,
    count(distinct item_key) as num_items
from dealt
union all
select
    2 as step,
    count(*) as num_ratings,
    count(distinct user_key) as num_users,
    count(distinct item_key) as num_items
from dealt
where split = 'train'
order by step
