-- How many users are to be served.
-- Grain: one row.
-- Reads: user_keys.
select count(*) as num_users
from user_keys
