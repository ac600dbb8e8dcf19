-- Values of numeric features that are no finite number.
-- Grain: one row per kind of feature, feature and value; passes by returning no rows.
-- Reads: number_bins.
select
    kind,
    feature,
    feature_value
from number_bins
where bin is null
order by kind, feature, feature_value
