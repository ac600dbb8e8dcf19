-- How much there is.
-- Grain: one row: ratings, users and items.
-- Reads: event_users, event_items, which may have several rows of an item.
select
    (select coalesce(sum(num_events), 0)::bigint from event_users) as num_ratings,
    (select count(*) from event_users) as num_users,
    (select count(distinct item_key) from event_items) as num_items
