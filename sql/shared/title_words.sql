-- Item features with the words of titles as one more feature.
-- Grain: one row per item, feature and value. A word is a run of letters and digits, in lower case;
-- one that stands in few titles says nothing about other items and gives no row.
-- Parameters: $words_name, of that feature; $least, titles that a word must stand in.
-- Reads: items, item_features.
with

words as (
    select distinct
        item_source_id,
        unnest(regexp_extract_all(lower(title), '[\p{L}\p{N}]+')) as word
    from items
),

frequent as (
    select
        item_source_id,
        word
    from words
    qualify count(*) over (partition by word) >= $least
),

title_words as (
    select
        item_source_id,
        feature,
        feature_value
    from item_features
    union all
    select
        item_source_id,
        $words_name as feature,
        word as feature_value
    from frequent
)

select
    item_source_id,
    feature,
    feature_value
from title_words
