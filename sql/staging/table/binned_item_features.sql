-- Features of items with numbers replaced by the ranges that they lie in.
-- Grain: one row per item, feature and value.
-- Reads: item_features, number_bins.
select
    item_features.item_source_id,
    item_features.feature,
    coalesce(number_bins.bin, item_features.feature_value) as feature_value
from item_features
left join number_bins
    on
        number_bins.kind = 'item'
        and item_features.feature = number_bins.feature
        and item_features.feature_value = number_bins.feature_value
