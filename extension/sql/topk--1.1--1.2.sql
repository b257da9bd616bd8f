\echo Use "ALTER EXTENSION topk UPDATE TO '1.2'" to load this file. \quit

-- What version 1.2 adds. This script is never edited once released.

-- ---------------------------------------------------------------------------------------------------------------------
-- Partitions that are gone
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.progress_history_data ALTER COLUMN reset_to DROP NOT NULL;
COMMENT ON TABLE topk.progress_history_data IS 'progress rows as they were before topk.reset_progress or topk.retire_partition; read it through topk.progress_history';
COMMENT ON COLUMN topk.progress_history_data.reset_to IS 'where topk.reset_progress moved the partition; NULL: topk.retire_partition took it away';
COMMENT ON COLUMN topk.progress_history_data.reset_by IS 'who moved or retired it';
COMMENT ON COLUMN topk.progress_history_data.reset_at IS 'when that was';
COMMENT ON VIEW topk.progress_history IS 'progress rows as they were before topk.reset_progress, or topk.retire_partition (reset_to is NULL), with the reason';

CREATE FUNCTION topk.retire_partition(counter text, topic text, partition int, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_retire_partition' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.retire_partition IS 'takes a partition that Kafka does not have any more out of topk.kafka_progress, so that it does not hold the seal back; on the record in topk.progress_history; a claim puts it back where it was; for the counter''s owner and admins';

-- Functions that know of retired partitions, under names that older libraries do not have: sessions that loaded one of these before the
-- new one was installed would read a partition that came back anew, and count it twice. They get an error from now on.
CREATE OR REPLACE FUNCTION topk.claim(counter text, topic text, cluster_id text, group_id text, member text, partition_count int,
                           partitions int[], log_starts bigint[], log_ends bigint[],
                           epochs bigint[] DEFAULT NULL, take_over boolean DEFAULT false)
    RETURNS TABLE (partition int, status text, epoch bigint, next_offset bigint, last_offset bigint, last_timestamp_ms bigint,
                   last_crc bigint, watermark timestamptz, sealed_through timestamptz, time_zone text, lateness interval,
                   max_clock_skew interval, max_age interval, idle_timeout interval)
    AS 'MODULE_PATHNAME', 'topk_claim_1_2' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.reset_progress(counter text, topic text, partition int, next_offset bigint, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_reset_progress_1_2' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.audit(counter text DEFAULT 'video_views')
    RETURNS TABLE (check_name text, subject text, expected numeric, found numeric, ok boolean, detail text)
    AS 'MODULE_PATHNAME', 'topk_audit_1_2' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
    SET search_path = pg_catalog, pg_temp;

-- ---------------------------------------------------------------------------------------------------------------------
-- What goes with a list
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.window_state(span text, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (window_start timestamptz, window_end timestamptz, sealed boolean, revision bigint, watermark timestamptz, counter_created_at timestamptz)
    AS 'MODULE_PATHNAME', 'topk_window_state' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.window_state IS 'the window that topk() of the same span and instant lists: its bounds, whether it is sealed, how often it was corrected, and the least watermark of the counter''s partitions; NULL: none yet';
