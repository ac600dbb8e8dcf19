-- Ratings with the keys of their users and items.
-- Grain: one row per rating, in no order; source_row is its rowid in ratings.
-- Reads: ratings (its rowid is the source's row order), user_keys, item_keys.
select
    user_keys.user_key,
    item_keys.item_key,
    ratings.event_time,
    coalesce(ratings.rating, 0)::float as rating,
    ratings.rowid as source_row
from ratings
inner join user_keys on ratings.user_source_id = user_keys.given_id
inner join item_keys on ratings.item_source_id = item_keys.given_id
