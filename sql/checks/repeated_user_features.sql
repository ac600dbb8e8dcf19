-- User features with more than one value for a user: a user described twice, or a list.
-- Grain: one row, the first such user and feature, or none: the check passes by returning no rows.
-- Reads: user_features.
select
    user_source_id as source_id,
    feature,
    count(*) as num_values
from user_features
group by user_source_id, feature
having count(*) > 1
order by source_id, feature
limit 1
