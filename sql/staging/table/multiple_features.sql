-- Item features with more than one value for some item.
-- Grain: one row per such feature.
-- Reads: item_features.
with

sizes as (
    select
        item_source_id,
        feature,
        count(*) as num_values
    from item_features
    group by item_source_id, feature
)

select distinct feature
from sizes
where num_values > 1
order by feature
