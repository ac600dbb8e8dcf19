-- Features of users with numbers replaced by the ranges that they lie in.
-- Grain: one row per user, feature and value.
-- Reads: user_features, number_bins.
select
    user_features.user_source_id,
    user_features.feature,
    coalesce(number_bins.bin, user_features.feature_value) as feature_value
from user_features
left join number_bins
    on
        number_bins.kind = 'user'
        and user_features.feature = number_bins.feature
        and user_features.feature_value = number_bins.feature_value
