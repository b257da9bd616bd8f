\echo Use "CREATE EXTENSION topk" to load this file. \quit

-- Everything of version 1.0. Rows of all counters live in the *_data tables, which only the extension's owner may touch;
-- the C functions write them after checking the caller's right on the counter. The public names are security-barrier
-- views that show the rows of the counters the current user may read. This script is never edited once released.

CREATE SCHEMA topk;
COMMENT ON SCHEMA topk IS 'exact Top-K: registry, Kafka offsets, dead letters, late views, and the functions that keep them';
GRANT USAGE ON SCHEMA topk TO PUBLIC;

-- ---------------------------------------------------------------------------------------------------------------------
-- Tables of the extension's owner. No foreign keys to the registry: pg_restore loads tables in any order when it runs
-- several jobs, and it has no constraints of extensions to put off. drop_counter and claim keep them together by locks.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE topk.counter_data (
    name text COLLATE "C" PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 40),
    hour_table regclass NOT NULL UNIQUE,
    late_table regclass NOT NULL,
    day_rollup regclass NOT NULL,
    month_rollup regclass NOT NULL,
    all_time_rollup regclass NOT NULL,
    created_by regrole NOT NULL,
    time_zone text NOT NULL,
    lateness interval NOT NULL,
    max_clock_skew interval NOT NULL,
    max_age interval NOT NULL,
    idle_timeout interval NOT NULL,
    sealed_through timestamptz NOT NULL DEFAULT '-infinity',
    seal_held_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE topk.counter_data IS 'the counters of this database; read it through topk.counter';
COMMENT ON COLUMN topk.counter_data.hour_table IS 'the partitioned table of hours; its owner is the counter''s owner';
COMMENT ON COLUMN topk.counter_data.created_by IS 'who may drop the counter when its tables were all dropped by hand';
COMMENT ON COLUMN topk.counter_data.lateness IS 'how long after its end, in event time, an hour stays open';
COMMENT ON COLUMN topk.counter_data.max_clock_skew IS 'an event further ahead of the clock is a dead letter';
COMMENT ON COLUMN topk.counter_data.max_age IS 'an older event is a dead letter';
COMMENT ON COLUMN topk.counter_data.idle_timeout IS 'silence after which a partition read to its end no longer holds the seal back';
COMMENT ON COLUMN topk.counter_data.sealed_through IS 'the frontier: every hour that ends at or before it is sealed';
COMMENT ON COLUMN topk.counter_data.seal_held_at IS 'since when topk.hold_seal keeps the frontier where it is; NULL: it moves';

CREATE TABLE topk.access_data (
    counter text COLLATE "C" NOT NULL,
    role regrole NOT NULL,
    privilege text COLLATE "C" NOT NULL CHECK (privilege IN ('read', 'ingest', 'admin')),
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (counter, role, privilege)
);
COMMENT ON TABLE topk.access_data IS 'privileges given by topk.grant_access; read it through topk.access';

-- Offsets are compared and set in the transaction of the counts. No CHECK ties the books to the offsets: they are
-- written independently, so that an audit of them can fail.
CREATE TABLE topk.kafka_progress_data (
    counter text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition int NOT NULL CHECK (partition >= 0),
    cluster_id text,
    group_id text,
    member text,
    owner_pid int,
    owner_backend_start timestamptz,
    epoch bigint NOT NULL DEFAULT 0,
    start_offset bigint,
    next_offset bigint,
    last_offset bigint,
    last_timestamp_ms bigint,
    last_crc bigint CHECK (last_crc BETWEEN 0 AND 4294967295),
    watermark timestamptz NOT NULL DEFAULT '-infinity',
    counted bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    flushed_at timestamptz,
    visible_after interval,
    clock_advanced_at timestamptz,
    PRIMARY KEY (counter, topic, partition)
) WITH (fillfactor = 40);
COMMENT ON TABLE topk.kafka_progress_data IS 'the next offset of every Kafka partition, its owner and its books; read it through topk.kafka_progress';
COMMENT ON COLUMN topk.kafka_progress_data.epoch IS 'raised by every claim, never lowered: the fence against former owners';
COMMENT ON COLUMN topk.kafka_progress_data.start_offset IS 'where the books begin; NULL until first claimed';
COMMENT ON COLUMN topk.kafka_progress_data.next_offset IS 'the offset to read next; NULL until first claimed';
COMMENT ON COLUMN topk.kafka_progress_data.last_offset IS 'the last record consumed; last_timestamp_ms and last_crc (CRC-32C) are its fingerprint';
COMMENT ON COLUMN topk.kafka_progress_data.watermark IS 'greatest min(event time, record timestamp, wall clock) seen';
COMMENT ON COLUMN topk.kafka_progress_data.skipped IS 'offsets that delivered no record: markers, aborted, compacted';
COMMENT ON COLUMN topk.kafka_progress_data.lost IS 'offsets given up by topk.reset_progress';
COMMENT ON COLUMN topk.kafka_progress_data.created_at IS 'the same for all partitions that a claim found; later for those that appeared later';
COMMENT ON COLUMN topk.kafka_progress_data.flushed_at IS 'the last flush that moved the offset';
COMMENT ON COLUMN topk.kafka_progress_data.visible_after IS 'from event time to visible: the age of the watermark at the last flush with records';
COMMENT ON COLUMN topk.kafka_progress_data.clock_advanced_at IS 'when its owner last advanced the watermark by the clock, for silence; NULL: never';

CREATE TABLE topk.progress_history_data (
    LIKE topk.kafka_progress_data,
    reset_to bigint NOT NULL,
    reason text NOT NULL,
    reset_by text NOT NULL,
    reset_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX progress_history_data_counter_idx ON topk.progress_history_data (counter, topic, partition, reset_at);
COMMENT ON TABLE topk.progress_history_data IS 'progress rows as they were before topk.reset_progress; read it through topk.progress_history';
COMMENT ON INDEX topk.progress_history_data_counter_idx IS 'the resets of one partition in order';

CREATE TABLE topk.dead_letter_data (
    counter text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    epoch bigint NOT NULL,
    record_timestamp timestamptz,
    reason text NOT NULL,
    key bytea,
    payload bytea CHECK (octet_length(payload) <= 4096),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (counter, topic, partition, "offset", epoch)
);
COMMENT ON TABLE topk.dead_letter_data IS 'records that could not be counted, with the reason; read it through topk.dead_letter';
COMMENT ON COLUMN topk.dead_letter_data.record_timestamp IS 'NULL when the record has none, or one before 1970 or after 9999';
COMMENT ON COLUMN topk.dead_letter_data.payload IS 'the first 4096 bytes of the value; NULL for a null value or when a flood drops payloads';

CREATE TABLE topk.late_views_data (
    counter text COLLATE "C" NOT NULL,
    hour_start timestamptz NOT NULL,
    video_id text COLLATE "C" NOT NULL,
    views bigint NOT NULL CHECK (views > 0),
    records bigint NOT NULL CHECK (records > 0),
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (counter, hour_start, video_id)
);
COMMENT ON TABLE topk.late_views_data IS 'views that came too late for their hour; read it through topk.late_views';

-- Sums that topk.flush makes of its arguments, not of the tables: an audit compares both.
CREATE TABLE topk.hour_book_data (
    counter text COLLATE "C" NOT NULL,
    hour_start timestamptz NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition int NOT NULL,
    views bigint NOT NULL,
    late_views bigint NOT NULL,
    late_records bigint NOT NULL,
    late_in_day bigint NOT NULL,
    late_in_month bigint NOT NULL,
    PRIMARY KEY (counter, hour_start, topic, partition)
) WITH (fillfactor = 40);
COMMENT ON TABLE topk.hour_book_data IS 'what flushes brought, by hour; read it through topk.hour_book';
COMMENT ON COLUMN topk.hour_book_data.partition IS 'the lowest partition of the flush, whose progress row it has locked: two flushes never write one row of the book at once';
COMMENT ON COLUMN topk.hour_book_data.views IS 'views counted in the hour itself';
COMMENT ON COLUMN topk.hour_book_data.late_views IS 'views too late for the hour; all time took every one of them';
COMMENT ON COLUMN topk.hour_book_data.late_in_day IS 'those of the late views that the hour''s day still took';
COMMENT ON COLUMN topk.hour_book_data.late_in_month IS 'those of the late views that the hour''s month still took';

CREATE TABLE topk.correction_data (
    counter text COLLATE "C" NOT NULL,
    hour_start timestamptz NOT NULL,
    video_id text COLLATE "C" NOT NULL,
    delta bigint NOT NULL CHECK (delta <> 0),
    views_after bigint NOT NULL CHECK (views_after >= 0),
    reason text NOT NULL,
    corrected_by text NOT NULL,
    corrected_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX correction_data_counter_idx ON topk.correction_data (counter, hour_start, video_id);
COMMENT ON TABLE topk.correction_data IS 'what topk.correct changed; read it through topk.correction';
COMMENT ON COLUMN topk.correction_data.views_after IS 'the video''s views in the hour afterwards; 0: the row was deleted';
COMMENT ON INDEX topk.correction_data_counter_idx IS 'the corrections of an hour by video';

CREATE TABLE topk.window_revision_data (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL CHECK (span IN ('hour','day','month')),
    window_start timestamptz NOT NULL,
    revision int NOT NULL CHECK (revision > 0),
    PRIMARY KEY (counter, span, window_start)
);
COMMENT ON TABLE topk.window_revision_data IS 'how often a window was corrected; 0 without a row';

CREATE TABLE topk.hour_map (
    counter text COLLATE "C" NOT NULL,
    hour_start timestamptz NOT NULL,
    hour_end timestamptz NOT NULL CHECK (hour_end > hour_start),
    day_start timestamptz NOT NULL,
    month_start timestamptz NOT NULL,
    PRIMARY KEY (counter, hour_start)
);
COMMENT ON TABLE topk.hour_map IS 'the hours of every day partition made so far, as the time zone data stood then: they win over the calendar of today';
GRANT SELECT ON topk.hour_map TO PUBLIC;

CREATE TABLE topk.seal_hold_data (
    counter text COLLATE "C" NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_by text NOT NULL,
    reason text,
    resumed_at timestamptz,
    resumed_by text
);
CREATE INDEX seal_hold_data_counter_idx ON topk.seal_hold_data (counter, held_at);
CREATE UNIQUE INDEX seal_hold_data_open_idx ON topk.seal_hold_data (counter) WHERE resumed_at IS NULL;
COMMENT ON TABLE topk.seal_hold_data IS 'when operators kept windows open by topk.hold_seal; read it through topk.seal_hold';
COMMENT ON INDEX topk.seal_hold_data_counter_idx IS 'the holds of a counter in order';
COMMENT ON INDEX topk.seal_hold_data_open_idx IS 'sealing is held once at a time';

-- A table or role that was dropped by hand leaves its oid here. In another database that could be the oid of anything, so
-- a dump leaves such rows out, and with a counter all its rows.
DO $dump$
DECLARE
    whole text := '(SELECT count(*) FROM pg_catalog.pg_class c WHERE c.oid IN (hour_table, late_table, day_rollup, month_rollup, all_time_rollup)) = 5';
    of_whole text := 'counter IN (SELECT name FROM topk.counter_data WHERE ' || whole || ')';
BEGIN
    PERFORM pg_extension_config_dump('topk.counter_data', 'WHERE ' || whole);
    PERFORM pg_extension_config_dump('topk.access_data', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles) AND ' || of_whole);
    PERFORM pg_extension_config_dump('topk.kafka_progress_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.progress_history_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.dead_letter_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.late_views_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.hour_book_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.correction_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.window_revision_data', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.hour_map', 'WHERE ' || of_whole);
    PERFORM pg_extension_config_dump('topk.seal_hold_data', 'WHERE ' || of_whole);
END
$dump$;

-- ---------------------------------------------------------------------------------------------------------------------
-- The public views
-- ---------------------------------------------------------------------------------------------------------------------

CREATE VIEW topk.counter WITH (security_barrier) AS
    SELECT c.name, c.hour_table, c.time_zone, c.lateness, c.max_clock_skew, c.max_age, c.idle_timeout, c.sealed_through,
        c.seal_held_at, c.created_at
    FROM topk.counter_data c
    WHERE has_table_privilege(c.hour_table, 'SELECT')
       OR EXISTS (SELECT FROM topk.access_data a
                  WHERE a.counter = c.name AND a.privilege = 'admin' AND pg_has_role(a.role, 'USAGE'));
COMMENT ON VIEW topk.counter IS 'the counters the current user may read: their tables, time zones, limits and frontiers';

CREATE VIEW topk.kafka_progress WITH (security_barrier) AS
    SELECT p.* FROM topk.kafka_progress_data p JOIN topk.counter c ON c.name = p.counter;
COMMENT ON VIEW topk.kafka_progress IS 'the next offset of every Kafka partition, its owner, watermark and books';

CREATE VIEW topk.progress_history WITH (security_barrier) AS
    SELECT h.* FROM topk.progress_history_data h JOIN topk.counter c ON c.name = h.counter;
COMMENT ON VIEW topk.progress_history IS 'progress rows as they were before topk.reset_progress, with the reason';

CREATE VIEW topk.dead_letter WITH (security_barrier) AS
    SELECT d.* FROM topk.dead_letter_data d JOIN topk.counter c ON c.name = d.counter;
COMMENT ON VIEW topk.dead_letter IS 'records that could not be counted, with the reason';

-- What tells views of single videos, or sums of them, is not for readers whom row-level security keeps from rows of the tables;
-- topk.audit refuses them likewise. Owners and admins know all of it.
CREATE VIEW topk.counter_in_full WITH (security_barrier) AS
    SELECT c.name
    FROM topk.counter v JOIN topk.counter_data c ON c.name = v.name
    WHERE NOT (row_security_active(c.hour_table) OR row_security_active(c.late_table) OR row_security_active(c.day_rollup)
               OR row_security_active(c.month_rollup) OR row_security_active(c.all_time_rollup))
       OR pg_has_role((SELECT t.relowner FROM pg_catalog.pg_class t WHERE t.oid = c.hour_table), 'USAGE')
       OR EXISTS (SELECT FROM topk.access_data a
                  WHERE a.counter = c.name AND a.privilege = 'admin' AND pg_has_role(a.role, 'USAGE'));
COMMENT ON VIEW topk.counter_in_full IS 'the counters of which the current user may read every row: part of the views that tell views';

CREATE VIEW topk.late_views WITH (security_barrier) AS
    SELECT l.* FROM topk.late_views_data l JOIN topk.counter_in_full c ON c.name = l.counter;
COMMENT ON VIEW topk.late_views IS 'views that came too late for their hour';

CREATE VIEW topk.hour_book WITH (security_barrier) AS
    SELECT b.* FROM topk.hour_book_data b JOIN topk.counter_in_full c ON c.name = b.counter;
COMMENT ON VIEW topk.hour_book IS 'what flushes brought, by hour: views, late views, and what of these day and month still took';

CREATE VIEW topk.correction WITH (security_barrier) AS
    SELECT k.* FROM topk.correction_data k JOIN topk.counter_in_full c ON c.name = k.counter;
COMMENT ON VIEW topk.correction IS 'what topk.correct changed, why and by whom';

CREATE VIEW topk.seal_hold WITH (security_barrier) AS
    SELECT s.* FROM topk.seal_hold_data s JOIN topk.counter c ON c.name = s.counter;
COMMENT ON VIEW topk.seal_hold IS 'when operators kept windows open by topk.hold_seal, and why';

CREATE VIEW topk.access WITH (security_barrier) AS
    SELECT a.* FROM topk.access_data a
    WHERE pg_has_role(a.role, 'USAGE') OR EXISTS (SELECT FROM topk.counter c WHERE c.name = a.counter);
COMMENT ON VIEW topk.access IS 'who was given which privilege by topk.grant_access';

GRANT SELECT ON topk.counter, topk.kafka_progress, topk.progress_history, topk.dead_letter, topk.late_views, topk.access,
    topk.counter_in_full, topk.hour_book, topk.correction, topk.seal_hold TO PUBLIC;

-- ---------------------------------------------------------------------------------------------------------------------
-- What a consumer calls. search_path is pinned because these functions act as the owners of the tables.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TYPE topk.flush_late AS (hour_start timestamptz, video_id text, views bigint, records bigint);
COMMENT ON TYPE topk.flush_late IS 'late views of one (hour, video) in a flush';

CREATE TYPE topk.flush_dead AS (partition int, "offset" bigint, record_timestamp_ms bigint, reason text, key bytea, payload bytea);
COMMENT ON TYPE topk.flush_dead IS 'a dead letter in a flush; record_timestamp_ms is NULL or -1 when the record has none';

CREATE TYPE topk.flush_progress AS (partition int, epoch bigint, from_offset bigint, to_offset bigint, last_offset bigint,
                                    last_timestamp_ms bigint, last_crc bigint, watermark timestamptz,
                                    counted bigint, late bigint, dead bigint, skipped bigint);
COMMENT ON TYPE topk.flush_progress IS 'how far a flush takes one partition: offsets [from_offset, to_offset), fingerprint of the last record, books';

CREATE FUNCTION topk.claim(counter text, topic text, cluster_id text, group_id text, member text, partition_count int,
                           partitions int[], log_starts bigint[], log_ends bigint[],
                           epochs bigint[] DEFAULT NULL, take_over boolean DEFAULT false)
    RETURNS TABLE (partition int, status text, epoch bigint, next_offset bigint, last_offset bigint, last_timestamp_ms bigint,
                   last_crc bigint, watermark timestamptz, sealed_through timestamptz, time_zone text, lateness interval,
                   max_clock_skew interval, max_age interval, idle_timeout interval)
    AS 'MODULE_PATHNAME', 'topk_claim' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.claim IS 'takes Kafka partitions over for this session, or resumes them when epochs are given; needs ''ingest''';

CREATE FUNCTION topk.flush(counter text, topic text, deltas bytea, late topk.flush_late[], dead topk.flush_dead[], progress topk.flush_progress[])
    RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'topk_flush' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.flush IS 'adds deltas, late views and dead letters and advances the offsets they came from, or fails as a whole: TK001 fenced, TK002 sealed; returns the frontier; needs ''ingest''';

CREATE FUNCTION topk.hours(counter text, since timestamptz, until timestamptz)
    RETURNS TABLE (hour_start timestamptz, hour_end timestamptz, day_start timestamptz, month_start timestamptz)
    AS 'MODULE_PATHNAME', 'topk_hours' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.hours IS 'every hour of the counter that overlaps [since, until), with the day and month it belongs to';

CREATE FUNCTION topk.window_end(counter text, span text, at timestamptz) RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'topk_window_end' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.window_end IS 'the end of the counter''s hour, day or month that contains an instant';

-- The end of a day or month is the calendar's: not all of its hours need be in the map. Of a window's instants, the start
-- of an hour in the map is surely in it.
CREATE VIEW topk.time_window WITH (security_barrier) AS
    SELECT c.name AS counter, w.span, w.window_start, w.window_end, w.window_end <= c.sealed_through AS sealed,
        false AS rolled_up,  -- no roll-up in this version: all windows are read from their hours
        coalesce(r.revision, 0) AS revision
    FROM topk.counter c
    CROSS JOIN LATERAL (
        SELECT 'hour' COLLATE "C" AS span, h.hour_start AS window_start, h.hour_end AS window_end FROM topk.hour_map h WHERE h.counter = c.name
        UNION ALL SELECT 'day', h.day_start, topk.window_end(c.name, 'day', max(h.hour_start)) FROM topk.hour_map h WHERE h.counter = c.name GROUP BY h.day_start
        UNION ALL SELECT 'month', h.month_start, topk.window_end(c.name, 'month', max(h.hour_start)) FROM topk.hour_map h WHERE h.counter = c.name GROUP BY h.month_start
        UNION ALL SELECT 'all_time', '-infinity', 'infinity') w
    LEFT JOIN topk.window_revision_data r ON r.counter = c.name AND r.span = w.span AND r.window_start = w.window_start
    -- An admin's view of one whose table was dropped by hand must not keep the others from sight: topk.window_end refuses it.
    WHERE EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.oid = c.hour_table);
COMMENT ON VIEW topk.time_window IS 'every hour, day and month with a partition, and all time: bounds, sealed or open, rolled up or not, and how often corrected';
GRANT SELECT ON topk.time_window TO PUBLIC;

CREATE FUNCTION topk.delta_rows(deltas bytea)
    RETURNS TABLE (window_start timestamptz, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_delta_rows' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 20000;
COMMENT ON FUNCTION topk.delta_rows IS 'decodes the deltas of a flush; 22023 when they are malformed';

-- ---------------------------------------------------------------------------------------------------------------------
-- Lists
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.top(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_topk' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.top IS 'the k most viewed of the hour, day, month or all time that contains "at" (default: now), or of the whole hours of an interval that end with it';

CREATE FUNCTION @extschema@.topk(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_topk' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION @extschema@.topk IS 'the k most viewed of the hour, day, month or all time that contains "at" (default: now), or of the whole hours of an interval that end with it; the same as topk.top';

CREATE FUNCTION topk.between(since timestamptz, until timestamptz, k int DEFAULT 10, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_between' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.between IS 'the k most viewed of the whole hours from "since" to before "until"';

CREATE FUNCTION topk.explain(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (list text, estimated_rows bigint, rows_read bigint, lookups bigint, last_views bigint, ended text)
    AS 'MODULE_PATHNAME', 'topk_explain' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 30
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.explain IS 'how topk() finds a list: what it reads of every sorted list, what it looks up, and whether it has to add up all rows';

-- ---------------------------------------------------------------------------------------------------------------------
-- Counters
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.prepare_counter(name text, time_zone text, lateness interval, max_clock_skew interval, max_age interval, idle_timeout interval)
    RETURNS void
    AS 'MODULE_PATHNAME', 'topk_prepare_counter' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.prepare_counter IS 'part of topk.create_counter: checks the options and locks the name until the transaction ends';

CREATE FUNCTION topk.register_counter(name text, hour_table regclass, time_zone text, lateness interval, max_clock_skew interval, max_age interval, idle_timeout interval)
    RETURNS void
    AS 'MODULE_PATHNAME', 'topk_register_counter' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.register_counter IS 'part of topk.create_counter: enters tables that the caller owns into the registry, if they are what create_counter makes';

-- Runs with the caller's rights and search_path: the tables go to its current_schema() and belong to it.
CREATE FUNCTION topk.create_counter(name text DEFAULT 'video_views', time_zone text DEFAULT 'UTC', lateness interval DEFAULT '60 s',
                                    max_clock_skew interval DEFAULT '5 min', max_age interval DEFAULT '400 days',
                                    idle_timeout interval DEFAULT '60 s')
    RETURNS void LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS $create_counter$
DECLARE
    home text := pg_catalog.current_schema();
    hours text := pg_catalog.concat(name, '_hour');
    late text := pg_catalog.concat(name, '_late');
    grain text;
BEGIN
    PERFORM topk.prepare_counter(name, time_zone, lateness, max_clock_skew, max_age, idle_timeout);
    IF home IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_schema_name', MESSAGE = 'no schema has been selected to create the counter in',
            HINT = 'Set search_path to a schema in which you may create tables.';
    END IF;

    EXECUTE pg_catalog.format('CREATE TABLE %I.%I (window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
        views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start)',
        home, hours);
    EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (window_start, views DESC, video_id)', home, hours);
    EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, hours,
        pg_catalog.format('views of counter %I by hour and video; one partition a local day', name));

    EXECUTE pg_catalog.format('CREATE TABLE %I.%I (span pg_catalog.text COLLATE pg_catalog."C" NOT NULL CHECK (span OPERATOR(pg_catalog.=) ANY (''{day,month,all_time}''::pg_catalog.text[])),
        window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
        views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (span, window_start, video_id)) WITH (fillfactor = 70)',
        home, late);
    EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (span, window_start, views DESC, video_id)', home, late);
    EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, late,
        pg_catalog.format('views of counter %I that came too late for their hour, kept for the day, month and all time that still took them', name));

    FOREACH grain IN ARRAY '{day,month,all_time}'::pg_catalog.text[] LOOP
        EXECUTE pg_catalog.format('CREATE TABLE %I.%I (window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
            views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (window_start, video_id)) WITH (fillfactor = 70)',
            home, pg_catalog.format('%s_%s_rollup', name, grain));
        EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (window_start, views DESC, video_id)',
            home, pg_catalog.format('%s_%s_rollup', name, grain));
        EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, pg_catalog.format('%s_%s_rollup', name, grain),
            pg_catalog.format('views of counter %I by video, added up from sealed hours (%s)', name, grain));
        EXECUTE pg_catalog.format(
            'CREATE VIEW %1$I.%2$I AS SELECT part.window_start, part.video_id, pg_catalog.sum(part.views)::pg_catalog.int8 AS views FROM (
                 SELECT window_start, video_id, views FROM %1$I.%3$I
                 UNION ALL SELECT %4$s, h.video_id, h.views FROM %1$I.%5$I h %6$s
                 UNION ALL SELECT window_start, video_id, views FROM %1$I.%7$I WHERE span OPERATOR(pg_catalog.=) %8$L) part
             GROUP BY part.window_start, part.video_id',
            home, pg_catalog.format('%s_%s', name, grain), pg_catalog.format('%s_%s_rollup', name, grain),
            CASE WHEN grain OPERATOR(pg_catalog.=) 'all_time' THEN '''-infinity''::pg_catalog.timestamptz' ELSE pg_catalog.format('m.%s_start', grain) END,
            hours,
            CASE WHEN grain OPERATOR(pg_catalog.=) 'all_time' THEN '' ELSE pg_catalog.format(
                'JOIN topk.hour_map m ON m.counter OPERATOR(pg_catalog.=) %L AND m.hour_start OPERATOR(pg_catalog.=) h.window_start', name) END,
            late, grain);
        EXECUTE pg_catalog.format('COMMENT ON VIEW %I.%I IS %L', home, pg_catalog.format('%s_%s', name, grain),
            pg_catalog.format('exact, live views of counter %I by %s and video: roll-up, hours not rolled up yet, and late views', name,
                              pg_catalog.replace(grain, '_', ' ')));
    END LOOP;

    PERFORM topk.register_counter(name, pg_catalog.format('%I.%I', home, hours)::pg_catalog.regclass,
                                  time_zone, lateness, max_clock_skew, max_age, idle_timeout);
END
$create_counter$;
COMMENT ON FUNCTION topk.create_counter IS 'makes a counter and its tables in the current schema, owned by the caller';

CREATE FUNCTION topk.drop_counter(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_drop_counter' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.drop_counter IS 'drops a counter with its tables, offsets, dead letters and late views; only its owner may';

CREATE FUNCTION topk.grant_access(role text, privilege text, counter text DEFAULT 'video_views') RETURNS void
    AS 'MODULE_PATHNAME', 'topk_grant_access' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.grant_access IS 'gives a role ''read'', ''ingest'' or ''admin'' on a counter; for its owner and admins';

CREATE FUNCTION topk.revoke_access(role text, privilege text, counter text DEFAULT 'video_views') RETURNS void
    AS 'MODULE_PATHNAME', 'topk_revoke_access' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.revoke_access IS 'takes back what topk.grant_access gave';

CREATE FUNCTION topk.reset_progress(counter text, topic text, partition int, next_offset bigint, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_reset_progress' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.reset_progress IS 'moves a partition to another offset, fences its owner, and records the loss and the reason; for the counter''s owner and admins';

CREATE FUNCTION topk.status(counter text DEFAULT 'video_views')
    RETURNS TABLE (topic text, partition int, group_id text, member text, owner_pid int, owner_alive boolean, epoch bigint,
                   start_offset bigint, next_offset bigint, counted bigint, late bigint, dead bigint, skipped bigint, lost bigint,
                   watermark timestamptz, flushed_at timestamptz, sealed_through timestamptz, watermark_age interval,
                   visible_after interval, holds_seal_back text)
    AS 'MODULE_PATHNAME', 'topk_status' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 16
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.status IS 'one row a partition: its owner, whether that session still lives, offsets, books, watermark, freshness, and why it holds the seal back';

-- ---------------------------------------------------------------------------------------------------------------------
-- Sealing. A procedure without SET, so that it may commit between the steps of what is to follow.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.seal_step(counter text) RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'topk_seal_step' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.seal_step IS 'part of topk.seal: moves the frontier to the start of the hour that all partitions have reached, less the lateness, and returns it; for the counter''s owner and admins';

CREATE PROCEDURE topk.seal(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $seal$
BEGIN
    PERFORM topk.seal_step(seal.counter);
END
$seal$;
COMMENT ON PROCEDURE topk.seal IS 'seals the hours that all partitions have passed by the lateness; for the counter''s owner and admins';

CREATE FUNCTION topk.hold_seal(counter text DEFAULT 'video_views', reason text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_hold_seal' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.hold_seal IS 'keeps the frontier where it is until topk.resume_seal, on the record; for the counter''s owner and admins';

CREATE FUNCTION topk.resume_seal(counter text DEFAULT 'video_views') RETURNS void
    AS 'MODULE_PATHNAME', 'topk_resume_seal' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.resume_seal IS 'ends what topk.hold_seal began; for the counter''s owner and admins';

CREATE FUNCTION topk.correct(counter text, hour timestamptz, video_id text, delta bigint, reason text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_correct' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.correct IS 'adds delta, which may be negative, to a video''s views in an open or sealed hour, on the record; returns the views afterwards; for the counter''s owner and admins';

CREATE FUNCTION topk.audit(counter text DEFAULT 'video_views')
    RETURNS TABLE (check_name text, subject text, expected numeric, found numeric, ok boolean, detail text)
    AS 'MODULE_PATHNAME', 'topk_audit' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.audit IS 'compares the tables with the books, in the caller''s snapshot: one row a check, then one for each partition, hour or window that differs; needs ''read'' or ''admin''';

CREATE FUNCTION topk.version() RETURNS text
    AS 'MODULE_PATHNAME', 'topk_version' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION topk.version IS 'the version of the loaded library';

-- ---------------------------------------------------------------------------------------------------------------------
-- The index access method: CREATE INDEX … USING topk (group columns…, score DESC [, tie-breakers…]) WITH (k = 1000)
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.index_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'topk_index_handler' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.index_handler IS 'the callbacks of access method topk';
CREATE ACCESS METHOD topk TYPE INDEX HANDLER topk.index_handler;
COMMENT ON ACCESS METHOD topk IS 'the rows with the greatest scores of every group, exact, in space for a few times k rows a group';

CREATE FUNCTION topk.headroom(score int2) RETURNS int2 AS 'MODULE_PATHNAME', 'topk_headroom_int2' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION topk.headroom(score int4) RETURNS int4 AS 'MODULE_PATHNAME', 'topk_headroom_int4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION topk.headroom(score int8) RETURNS int8 AS 'MODULE_PATHNAME', 'topk_headroom_int8' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION topk.headroom(score float4) RETURNS float4 AS 'MODULE_PATHNAME', 'topk_headroom_float4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION topk.headroom(score float8) RETURNS float8 AS 'MODULE_PATHNAME', 'topk_headroom_float8' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.headroom(int2) IS 'the score and a 32nd of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(int4) IS 'the score and a 32nd of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(int8) IS 'the score and a 32nd of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(float4) IS 'the score and a 32nd of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(float8) IS 'the score and a 32nd of it: how far it may grow before the index is written again';

CREATE FUNCTION topk.hash_date_as_timestamp(value date, seed int8) RETURNS int8
    AS 'MODULE_PATHNAME', 'topk_hash_date_as_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.hash_date_as_timestamp IS 'what the timestamp equal to the date hashes to';
CREATE FUNCTION topk.hash_date_as_timestamptz(value date, seed int8) RETURNS int8
    AS 'MODULE_PATHNAME', 'topk_hash_date_as_timestamptz' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.hash_date_as_timestamptz IS 'what the timestamptz equal to the date, in the session''s time zone, hashes to';
CREATE FUNCTION topk.hash_timestamp_as_timestamptz(value timestamp, seed int8) RETURNS int8
    AS 'MODULE_PATHNAME', 'topk_hash_timestamp_as_timestamptz' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.hash_timestamp_as_timestamptz IS 'what the timestamptz equal to the timestamp, in the session''s time zone, hashes to';
CREATE FUNCTION topk.hash_timestamp_as_date(value timestamp, seed int8) RETURNS int8
    AS 'MODULE_PATHNAME', 'topk_hash_timestamp_as_date' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.hash_timestamp_as_date IS 'what the date equal to the timestamp hashes to; anything if it is not midnight';
CREATE FUNCTION topk.hash_name(value name, seed int8) RETURNS int8
    AS 'MODULE_PATHNAME', 'topk_hash_name' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.hash_name IS 'what the text equal to the name hashes to';

-- Strategies 1 to 5 are numbered as in btree, whose meaning the planner reads into them. FUNCTION 1 orders; FUNCTION 11
-- (value, seed) hashes, which a group column needs: in a pair of types it hashes a constant of the right type to what the
-- equal value of the left type hashes to. FUNCTION 12 is the headroom of a score, and optional.

CREATE OPERATOR FAMILY topk.integer_ops USING topk;
CREATE OPERATOR CLASS topk.int2_ops DEFAULT FOR TYPE int2 USING topk FAMILY topk.integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btint2cmp(int2, int2), FUNCTION 11 hashint2extended(int2, int8), FUNCTION 12 topk.headroom(int2);
CREATE OPERATOR CLASS topk.int4_ops DEFAULT FOR TYPE int4 USING topk FAMILY topk.integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btint4cmp(int4, int4), FUNCTION 11 hashint4extended(int4, int8), FUNCTION 12 topk.headroom(int4);
CREATE OPERATOR CLASS topk.int8_ops DEFAULT FOR TYPE int8 USING topk FAMILY topk.integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btint8cmp(int8, int8), FUNCTION 11 hashint8extended(int8, int8), FUNCTION 12 topk.headroom(int8);
ALTER OPERATOR FAMILY topk.integer_ops USING topk ADD
    OPERATOR 1 < (int2, int4), OPERATOR 2 <= (int2, int4), OPERATOR 3 = (int2, int4), OPERATOR 4 >= (int2, int4), OPERATOR 5 > (int2, int4),
    FUNCTION 1 (int2, int4) btint24cmp(int2, int4), FUNCTION 11 (int2, int4) hashint4extended(int4, int8),
    OPERATOR 1 < (int2, int8), OPERATOR 2 <= (int2, int8), OPERATOR 3 = (int2, int8), OPERATOR 4 >= (int2, int8), OPERATOR 5 > (int2, int8),
    FUNCTION 1 (int2, int8) btint28cmp(int2, int8), FUNCTION 11 (int2, int8) hashint8extended(int8, int8),
    OPERATOR 1 < (int4, int2), OPERATOR 2 <= (int4, int2), OPERATOR 3 = (int4, int2), OPERATOR 4 >= (int4, int2), OPERATOR 5 > (int4, int2),
    FUNCTION 1 (int4, int2) btint42cmp(int4, int2), FUNCTION 11 (int4, int2) hashint2extended(int2, int8),
    OPERATOR 1 < (int4, int8), OPERATOR 2 <= (int4, int8), OPERATOR 3 = (int4, int8), OPERATOR 4 >= (int4, int8), OPERATOR 5 > (int4, int8),
    FUNCTION 1 (int4, int8) btint48cmp(int4, int8), FUNCTION 11 (int4, int8) hashint8extended(int8, int8),
    OPERATOR 1 < (int8, int2), OPERATOR 2 <= (int8, int2), OPERATOR 3 = (int8, int2), OPERATOR 4 >= (int8, int2), OPERATOR 5 > (int8, int2),
    FUNCTION 1 (int8, int2) btint82cmp(int8, int2), FUNCTION 11 (int8, int2) hashint2extended(int2, int8),
    OPERATOR 1 < (int8, int4), OPERATOR 2 <= (int8, int4), OPERATOR 3 = (int8, int4), OPERATOR 4 >= (int8, int4), OPERATOR 5 > (int8, int4),
    FUNCTION 1 (int8, int4) btint84cmp(int8, int4), FUNCTION 11 (int8, int4) hashint4extended(int4, int8);

CREATE OPERATOR FAMILY topk.float_ops USING topk;
CREATE OPERATOR CLASS topk.float4_ops DEFAULT FOR TYPE float4 USING topk FAMILY topk.float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btfloat4cmp(float4, float4), FUNCTION 11 hashfloat4extended(float4, int8), FUNCTION 12 topk.headroom(float4);
CREATE OPERATOR CLASS topk.float8_ops DEFAULT FOR TYPE float8 USING topk FAMILY topk.float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btfloat8cmp(float8, float8), FUNCTION 11 hashfloat8extended(float8, int8), FUNCTION 12 topk.headroom(float8);
ALTER OPERATOR FAMILY topk.float_ops USING topk ADD
    OPERATOR 1 < (float4, float8), OPERATOR 2 <= (float4, float8), OPERATOR 3 = (float4, float8), OPERATOR 4 >= (float4, float8), OPERATOR 5 > (float4, float8),
    FUNCTION 1 (float4, float8) btfloat48cmp(float4, float8), FUNCTION 11 (float4, float8) hashfloat8extended(float8, int8),
    OPERATOR 1 < (float8, float4), OPERATOR 2 <= (float8, float4), OPERATOR 3 = (float8, float4), OPERATOR 4 >= (float8, float4), OPERATOR 5 > (float8, float4),
    FUNCTION 1 (float8, float4) btfloat84cmp(float8, float4), FUNCTION 11 (float8, float4) hashfloat4extended(float4, int8);

-- A timestamptz constant is not hashed for a date or timestamp column: several local times can be the same instant.
CREATE OPERATOR FAMILY topk.datetime_ops USING topk;
CREATE OPERATOR CLASS topk.date_ops DEFAULT FOR TYPE date USING topk FAMILY topk.datetime_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 date_cmp(date, date), FUNCTION 11 hashint4extended(int4, int8);
CREATE OPERATOR CLASS topk.timestamp_ops DEFAULT FOR TYPE timestamp USING topk FAMILY topk.datetime_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 timestamp_cmp(timestamp, timestamp), FUNCTION 11 timestamp_hash_extended(timestamp, int8);
CREATE OPERATOR CLASS topk.timestamptz_ops DEFAULT FOR TYPE timestamptz USING topk FAMILY topk.datetime_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 timestamptz_cmp(timestamptz, timestamptz), FUNCTION 11 timestamp_hash_extended(timestamp, int8);
ALTER OPERATOR FAMILY topk.datetime_ops USING topk ADD
    OPERATOR 1 < (date, timestamp), OPERATOR 2 <= (date, timestamp), OPERATOR 3 = (date, timestamp), OPERATOR 4 >= (date, timestamp), OPERATOR 5 > (date, timestamp),
    FUNCTION 1 (date, timestamp) date_cmp_timestamp(date, timestamp), FUNCTION 11 (date, timestamp) topk.hash_timestamp_as_date(timestamp, int8),
    OPERATOR 1 < (date, timestamptz), OPERATOR 2 <= (date, timestamptz), OPERATOR 3 = (date, timestamptz), OPERATOR 4 >= (date, timestamptz), OPERATOR 5 > (date, timestamptz),
    FUNCTION 1 (date, timestamptz) date_cmp_timestamptz(date, timestamptz),
    OPERATOR 1 < (timestamp, date), OPERATOR 2 <= (timestamp, date), OPERATOR 3 = (timestamp, date), OPERATOR 4 >= (timestamp, date), OPERATOR 5 > (timestamp, date),
    FUNCTION 1 (timestamp, date) timestamp_cmp_date(timestamp, date), FUNCTION 11 (timestamp, date) topk.hash_date_as_timestamp(date, int8),
    OPERATOR 1 < (timestamp, timestamptz), OPERATOR 2 <= (timestamp, timestamptz), OPERATOR 3 = (timestamp, timestamptz), OPERATOR 4 >= (timestamp, timestamptz), OPERATOR 5 > (timestamp, timestamptz),
    FUNCTION 1 (timestamp, timestamptz) timestamp_cmp_timestamptz(timestamp, timestamptz),
    OPERATOR 1 < (timestamptz, date), OPERATOR 2 <= (timestamptz, date), OPERATOR 3 = (timestamptz, date), OPERATOR 4 >= (timestamptz, date), OPERATOR 5 > (timestamptz, date),
    FUNCTION 1 (timestamptz, date) timestamptz_cmp_date(timestamptz, date), FUNCTION 11 (timestamptz, date) topk.hash_date_as_timestamptz(date, int8),
    OPERATOR 1 < (timestamptz, timestamp), OPERATOR 2 <= (timestamptz, timestamp), OPERATOR 3 = (timestamptz, timestamp), OPERATOR 4 >= (timestamptz, timestamp), OPERATOR 5 > (timestamptz, timestamp),
    FUNCTION 1 (timestamptz, timestamp) timestamptz_cmp_timestamp(timestamptz, timestamp), FUNCTION 11 (timestamptz, timestamp) topk.hash_timestamp_as_timestamptz(timestamp, int8);

CREATE OPERATOR FAMILY topk.text_ops USING topk;
CREATE OPERATOR CLASS topk.text_ops DEFAULT FOR TYPE text USING topk FAMILY topk.text_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 bttextcmp(text, text), FUNCTION 11 hashtextextended(text, int8);
CREATE OPERATOR CLASS topk.varchar_ops FOR TYPE text USING topk FAMILY topk.text_ops AS STORAGE text;
CREATE OPERATOR CLASS topk.name_ops DEFAULT FOR TYPE name USING topk FAMILY topk.text_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btnamecmp(name, name), FUNCTION 11 topk.hash_name(name, int8);
ALTER OPERATOR FAMILY topk.text_ops USING topk ADD
    OPERATOR 1 < (text, name), OPERATOR 2 <= (text, name), OPERATOR 3 = (text, name), OPERATOR 4 >= (text, name), OPERATOR 5 > (text, name),
    FUNCTION 1 (text, name) bttextnamecmp(text, name), FUNCTION 11 (text, name) topk.hash_name(name, int8),
    OPERATOR 1 < (name, text), OPERATOR 2 <= (name, text), OPERATOR 3 = (name, text), OPERATOR 4 >= (name, text), OPERATOR 5 > (name, text),
    FUNCTION 1 (name, text) btnametextcmp(name, text), FUNCTION 11 (name, text) hashtextextended(text, int8);

CREATE OPERATOR FAMILY topk.network_ops USING topk;
CREATE OPERATOR CLASS topk.inet_ops DEFAULT FOR TYPE inet USING topk FAMILY topk.network_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 network_cmp(inet, inet), FUNCTION 11 hashinetextended(inet, int8);
CREATE OPERATOR CLASS topk.cidr_ops FOR TYPE inet USING topk FAMILY topk.network_ops AS STORAGE inet;

-- Some hash functions of core are shared by types of the same representation; amvalidate knows which.
CREATE OPERATOR CLASS topk.array_ops DEFAULT FOR TYPE anyarray USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btarraycmp(anyarray, anyarray), FUNCTION 11 hash_array_extended(anyarray, int8);
CREATE OPERATOR CLASS topk.bit_ops DEFAULT FOR TYPE bit USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 bitcmp(bit, bit), FUNCTION 11 hashvarlenaextended(internal, int8);
CREATE OPERATOR CLASS topk.bool_ops DEFAULT FOR TYPE bool USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btboolcmp(bool, bool), FUNCTION 11 hashcharextended("char", int8);
CREATE OPERATOR CLASS topk.bpchar_ops DEFAULT FOR TYPE bpchar USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 bpcharcmp(bpchar, bpchar), FUNCTION 11 hashbpcharextended(bpchar, int8);
CREATE OPERATOR CLASS topk.bytea_ops DEFAULT FOR TYPE bytea USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 byteacmp(bytea, bytea), FUNCTION 11 hashvarlenaextended(internal, int8);
CREATE OPERATOR CLASS topk.char_ops DEFAULT FOR TYPE "char" USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btcharcmp("char", "char"), FUNCTION 11 hashcharextended("char", int8);
CREATE OPERATOR CLASS topk.enum_ops DEFAULT FOR TYPE anyenum USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 enum_cmp(anyenum, anyenum), FUNCTION 11 hashenumextended(anyenum, int8);
CREATE OPERATOR CLASS topk.interval_ops DEFAULT FOR TYPE interval USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 interval_cmp(interval, interval), FUNCTION 11 interval_hash_extended(interval, int8);
CREATE OPERATOR CLASS topk.jsonb_ops DEFAULT FOR TYPE jsonb USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 jsonb_cmp(jsonb, jsonb), FUNCTION 11 jsonb_hash_extended(jsonb, int8);
CREATE OPERATOR CLASS topk.macaddr_ops DEFAULT FOR TYPE macaddr USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 macaddr_cmp(macaddr, macaddr), FUNCTION 11 hashmacaddrextended(macaddr, int8);
CREATE OPERATOR CLASS topk.macaddr8_ops DEFAULT FOR TYPE macaddr8 USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 macaddr8_cmp(macaddr8, macaddr8), FUNCTION 11 hashmacaddr8extended(macaddr8, int8);
CREATE OPERATOR CLASS topk.money_ops DEFAULT FOR TYPE money USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 cash_cmp(money, money), FUNCTION 11 hashint8extended(int8, int8);
CREATE OPERATOR CLASS topk.multirange_ops DEFAULT FOR TYPE anymultirange USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 multirange_cmp(anymultirange, anymultirange), FUNCTION 11 hash_multirange_extended(anymultirange, int8);
CREATE OPERATOR CLASS topk.numeric_ops DEFAULT FOR TYPE numeric USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 numeric_cmp(numeric, numeric), FUNCTION 11 hash_numeric_extended(numeric, int8);
CREATE OPERATOR CLASS topk.oid_ops DEFAULT FOR TYPE oid USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btoidcmp(oid, oid), FUNCTION 11 hashoidextended(oid, int8);
CREATE OPERATOR CLASS topk.oidvector_ops DEFAULT FOR TYPE oidvector USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btoidvectorcmp(oidvector, oidvector), FUNCTION 11 hashoidvectorextended(oidvector, int8);
CREATE OPERATOR CLASS topk.pg_lsn_ops DEFAULT FOR TYPE pg_lsn USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 pg_lsn_cmp(pg_lsn, pg_lsn), FUNCTION 11 pg_lsn_hash_extended(pg_lsn, int8);
CREATE OPERATOR CLASS topk.range_ops DEFAULT FOR TYPE anyrange USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 range_cmp(anyrange, anyrange), FUNCTION 11 hash_range_extended(anyrange, int8);
CREATE OPERATOR CLASS topk.record_ops DEFAULT FOR TYPE record USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btrecordcmp(record, record), FUNCTION 11 hash_record_extended(record, int8);
CREATE OPERATOR CLASS topk.tid_ops DEFAULT FOR TYPE tid USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 bttidcmp(tid, tid), FUNCTION 11 hashtidextended(tid, int8);
CREATE OPERATOR CLASS topk.time_ops DEFAULT FOR TYPE time USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 time_cmp(time, time), FUNCTION 11 time_hash_extended(time, int8);
CREATE OPERATOR CLASS topk.timetz_ops DEFAULT FOR TYPE timetz USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 timetz_cmp(timetz, timetz), FUNCTION 11 timetz_hash_extended(timetz, int8);
CREATE OPERATOR CLASS topk.uuid_ops DEFAULT FOR TYPE uuid USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 uuid_cmp(uuid, uuid), FUNCTION 11 uuid_hash_extended(uuid, int8);
CREATE OPERATOR CLASS topk.varbit_ops DEFAULT FOR TYPE varbit USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 varbitcmp(varbit, varbit), FUNCTION 11 hashvarlenaextended(internal, int8);
CREATE OPERATOR CLASS topk.xid8_ops DEFAULT FOR TYPE xid8 USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 xid8cmp(xid8, xid8), FUNCTION 11 hashint8extended(int8, int8);
-- No hash function: these can be scores and tie-breakers, not groups.
CREATE OPERATOR CLASS topk.tsquery_ops DEFAULT FOR TYPE tsquery USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 tsquery_cmp(tsquery, tsquery);
CREATE OPERATOR CLASS topk.tsvector_ops DEFAULT FOR TYPE tsvector USING topk AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 tsvector_cmp(tsvector, tsvector);

DO $comments$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT c.opcname, c.opcintype::pg_catalog.regtype AS type FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod WHERE a.amname = 'topk' LOOP
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR CLASS topk.%I USING topk IS %L', made.opcname, pg_catalog.format('%s in the order of btree', made.type));
    END LOOP;
    FOR made IN SELECT f.opfname FROM pg_catalog.pg_opfamily f JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod WHERE a.amname = 'topk' LOOP
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR FAMILY topk.%I USING topk IS %L', made.opfname, pg_catalog.format('the members of btree''s %s, with hashes', made.opfname));
    END LOOP;
END
$comments$;

-- EXECUTE stays with PUBLIC: all of them demand ownership of the index.
CREATE FUNCTION topk.index_check(index regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_index_check' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.index_check IS 'compares a topk index with its table, which it locks against writes; XX002 when a row could be missed; for the index''s owner';

CREATE FUNCTION topk.index_refill(index regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_index_refill' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.index_refill IS 'reads the table to fill up the groups that deletes and decreases left with fewer than k candidates, and returns how many; for the index''s owner';

CREATE FUNCTION topk.index_stats(index regclass, OUT k int, OUT groups bigint, OUT paged_groups bigint, OUT candidates bigint,
                                 OUT thresholds bigint, OUT histories bigint, OUT pages bigint, OUT bucket_pages bigint,
                                 OUT group_pages bigint, OUT directory_pages bigint, OUT free_pages bigint, OUT bytes bigint)
    AS 'MODULE_PATHNAME', 'topk_index_stats' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.index_stats IS 'what a topk index holds: groups, candidates, thresholds, pages; for the index''s owner';

CREATE FUNCTION topk.index_groups(index regclass)
    RETURNS TABLE (group_hash bigint, pages int, candidates bigint, threshold text)
    AS 'MODULE_PATHNAME', 'topk_index_groups' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.index_groups IS 'the groups of a topk index that have pages of their own; for the index''s owner';
