\echo Use "ALTER EXTENSION topk UPDATE TO '1.1'" to load this file. \quit

-- What version 1.1 adds: roll-ups with their markers, leaderboards, retention, and the schedule. Counters that were made before
-- get what they lack at their first roll-up. This script is never edited once released.

-- ---------------------------------------------------------------------------------------------------------------------
-- Roll-up: how far the sealed hours, in order, have been added to the days, and the sealed days to months and all time
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE topk.roll_up_marker (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL CHECK (span IN ('day','month','all_time')),
    window_start timestamptz NOT NULL DEFAULT '-infinity',
    video_id text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (counter, span)
) WITH (fillfactor = 40);
COMMENT ON TABLE topk.roll_up_marker IS 'how far the roll-up to days, months and all time has come; moved in the transaction of the sums';
COMMENT ON COLUMN topk.roll_up_marker.span IS 'day: hours were added to the day roll-up; month, all_time: rows of the day roll-up were added to these';
COMMENT ON COLUMN topk.roll_up_marker.video_id IS 'rows with (window_start, video_id) up to this are in the roll-up, and those beyond are not';
GRANT SELECT ON topk.roll_up_marker TO PUBLIC;

-- ---------------------------------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.counter_data
    ADD COLUMN hour_retention interval NOT NULL DEFAULT '7 days',
    ADD COLUMN day_retention interval NOT NULL DEFAULT '90 days',
    ADD COLUMN hour_list_retention interval NOT NULL DEFAULT '30 days',
    ADD COLUMN late_retention interval NOT NULL DEFAULT '30 days',
    ADD COLUMN hours_expired_through timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN days_expired_through timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN topk.counter_data.hour_retention IS 'how long rows of hours are kept at least; never dropped before they are rolled up';
COMMENT ON COLUMN topk.counter_data.day_retention IS 'how long rows of the day roll-up are kept at least; never deleted before they are in month and all time';
COMMENT ON COLUMN topk.counter_data.hour_list_retention IS 'how long final lists of hours are kept in topk.leaderboard; those of days and months stay';
COMMENT ON COLUMN topk.counter_data.late_retention IS 'how long topk.late_views and topk.dead_letter are kept';
COMMENT ON COLUMN topk.counter_data.hours_expired_through IS 'hours that begin before it may have lost their rows';
COMMENT ON COLUMN topk.counter_data.days_expired_through IS 'days that begin before it may have lost their rows in the day roll-up';

-- ---------------------------------------------------------------------------------------------------------------------
-- Prepared sums: the sealed part of long trailing spans as one sorted list
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.counter_data ADD COLUMN prepared_spans text[] NOT NULL DEFAULT '{24 hours,7 days}';
COMMENT ON COLUMN topk.counter_data.prepared_spans IS 'trailing spans whose sealed part topk.prepare_step prepares; set by topk.set_prepared_spans';

-- A list is read whole, so it is one row. It is made anew when it is gone: no dump has it.
CREATE TABLE topk.prepared_sum_data (
    counter text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL CHECK (until > since),
    corrections bigint NOT NULL,
    complete boolean NOT NULL,
    video_ids text[] COLLATE "C" NOT NULL,
    views bigint[] NOT NULL CHECK (cardinality(views) = cardinality(video_ids)),
    prepared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (counter, since, until)
);
COMMENT ON TABLE topk.prepared_sum_data IS 'the greatest sums of ranges of sealed hours, for trailing spans; made by topk.prepare_step, and used while they hold';
COMMENT ON COLUMN topk.prepared_sum_data.corrections IS 'how often the hours had been corrected; the sums do not hold for who sees another number';
COMMENT ON COLUMN topk.prepared_sum_data.complete IS 'no other video has views in these hours';
COMMENT ON COLUMN topk.prepared_sum_data.video_ids IS 'by views descending, then bytewise';

CREATE FUNCTION topk.prepare_step(counter text) RETURNS int
    AS 'MODULE_PATHNAME', 'topk_prepare_step' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.prepare_step IS 'prepares the sums of the sealed hours of the counter''s prepared spans, for this hour and the next, and returns how many ranges were missing; needs ''admin''';

CREATE FUNCTION topk.set_prepared_spans(counter text, spans text[]) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_set_prepared_spans' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.set_prepared_spans IS 'chooses which trailing spans are prepared, such as ''{24 hours,7 days}''; needs ''admin''';

-- ---------------------------------------------------------------------------------------------------------------------
-- Leaderboards
-- ---------------------------------------------------------------------------------------------------------------------

-- ---------------------------------------------------------------------------------------------------------------------
-- Schedule: the jobs of pg_cron
-- ---------------------------------------------------------------------------------------------------------------------

DO $dump$
DECLARE
    of_whole text := 'WHERE counter IN (SELECT name FROM topk.counter_data WHERE (SELECT count(*) FROM pg_catalog.pg_class c'
                     ' WHERE c.oid IN (hour_table, late_table, day_rollup, month_rollup, all_time_rollup)) = 5)';
BEGIN
    PERFORM pg_extension_config_dump('topk.roll_up_marker', of_whole);
END
$dump$;
