-- The item table.
-- Grain: one row per catalogue item, by item_id. An item that the source does not describe has its
-- source id as title and no features.
-- Reads: catalogue, item_keys, items, item_features, item_vocabulary, target_counts,
-- which may have several rows of an item.
with

codes as (
    select
        item_features.item_source_id,
        list(distinct item_vocabulary.code order by item_vocabulary.code) as feature_codes
    from item_features
    inner join item_vocabulary
        on
            item_features.feature = item_vocabulary.feature
            and item_features.feature_value = item_vocabulary.feature_value
    group by item_features.item_source_id
),

totals as (
    select
        item_id,
        sum(num_train_targets)::bigint as num_train_targets
    from target_counts
    group by item_id
),

item_table as (
    select
        catalogue.item_id,
        item_keys.item_source_id as source_id,
        items.release_year,
        catalogue.num_events,
        coalesce(items.title, item_keys.item_source_id) as title,
        coalesce(items.genres, []::varchar[]) as genres,
        coalesce(codes.feature_codes, []::integer[]) as feature_codes,
        coalesce(totals.num_train_targets, 0) as num_train_targets
    from catalogue
    inner join item_keys on catalogue.item_key = item_keys.item_key
    left join items on item_keys.item_source_id = items.item_source_id
    left join codes on item_keys.item_source_id = codes.item_source_id
    left join totals on catalogue.item_id = totals.item_id
)

select
    item_id,
    source_id,
    title,
    release_year,
    genres,
    feature_codes,
    num_events,
    num_train_targets
from item_table
order by item_id
