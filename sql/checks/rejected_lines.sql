-- Lines of text files that did not parse.
-- Grain: one row, the first such line, or none: the check passes by returning no rows.
-- Reads: reject_errors and reject_scans, which read_csv fills.
select
    reject_scans.file_path,
    reject_errors.line,
    reject_errors.column_name,
    reject_errors.error_type,
    reject_errors.csv_line
from reject_errors
inner join reject_scans
    on
        reject_errors.scan_id = reject_scans.scan_id
        and reject_errors.file_id = reject_scans.file_id
order by reject_errors.scan_id, reject_errors.line
limit 1
